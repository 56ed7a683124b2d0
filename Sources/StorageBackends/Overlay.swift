import Base
internal import Glibc
import PluginKit

/// What was applied and is not in the data file yet: for each table the newest write of each key, in the
/// order of the keys. It never changes; an apply makes the next one.
///
/// It is small: the flusher carries it to the data file as fast as the disk syncs, and an apply that finds it
/// large waits.
final class Overlay: Sendable {
    /// One write. Its bytes stay where they are as long as it lives, so readers may give them out.
    final class Write: Sendable {
        /// Where the key and behind it the value lie: written once, before anybody else sees the object.
        private let address: UInt
        private let keyBytes: Int
        let bytes: Int
        private let hasValue: Bool
        /// The batch that it belongs to.
        let sequence: UInt64

        init(_ write: CommitBatch.Write, sequence: UInt64) {
            let value = write.value ?? []
            keyBytes = write.key.count
            bytes = keyBytes + value.count
            hasValue = write.value != nil
            self.sequence = sequence
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(bytes, 1), alignment: 1)
            memory.copyBytes(from: write.key)
            UnsafeMutableRawBufferPointer(rebasing: memory[keyBytes...]).copyBytes(from: value)
            address = UInt(bitPattern: memory.baseAddress)
        }

        deinit { UnsafeMutableRawPointer(bitPattern: address)?.deallocate() }

        private var memory: UnsafeRawBufferPointer {
            UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: address), count: bytes)
        }
        var key: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[..<keyBytes]) }
        /// Nil when the key was deleted.
        var value: UnsafeRawBufferPointer? {
            hasValue ? UnsafeRawBufferPointer(rebasing: memory[keyBytes...]) : nil
        }
    }

    /// By the raw value of the table.
    private let tables: [[Write]]
    /// The number of the newest batch in it, or of the data file when it is empty.
    let sequence: UInt64
    /// The data file's commit that has everything that came before it.
    let over: UInt64
    /// Bytes of all writes.
    let bytes: Int
    let isEmpty: Bool
    var count: Int { tables.reduce(0) { $0 + $1.count } }

    private init(_ tables: [[Write]], bytes: Int, sequence: UInt64, over: UInt64) {
        self.tables = tables
        isEmpty = tables.allSatisfy(\.isEmpty)
        self.bytes = bytes
        self.sequence = sequence
        self.over = over
    }

    /// Nothing that is not in the data file.
    convenience init(sequence: UInt64, over: UInt64) {
        self.init(StorageTable.allCases.map { _ in [] }, bytes: 0, sequence: sequence, over: over)
    }

    /// The same with more batches, in order.
    func adding(_ batches: [(batch: CommitBatch, sequence: UInt64)]) -> Overlay {
        var fresh = tables.map { _ in [Write]() }
        for (batch, sequence) in batches {
            for write in batch.writes {
                fresh[Int(write.table.rawValue)].append(Write(write, sequence: sequence))
            }
        }
        var bytes = bytes
        let merged = zip(tables, fresh).map { old, new in
            new.isEmpty ? old : Self.merge(old, new, &bytes)
        }
        return Overlay(merged, bytes: bytes, sequence: batches.last?.sequence ?? sequence, over: over)
    }

    /// The same without what is in the data file since a commit of it.
    func dropping(through sequence: UInt64, over: UInt64) -> Overlay {
        var bytes = 0
        let left = tables.map { table in
            table.filter { write in
                guard write.sequence > sequence else { return false }
                bytes += write.bytes
                return true
            }
        }
        return Overlay(left, bytes: bytes, sequence: max(self.sequence, sequence), over: over)
    }

    /// Calls `body` with every write, in the order of tables and keys.
    func each(_ body: (StorageTable, Write) throws(VaultError) -> Void) throws(VaultError) {
        for table in StorageTable.allCases {
            for write in tables[Int(table.rawValue)] { try body(table, write) }
        }
    }

    func isEmpty(_ table: StorageTable) -> Bool { tables[Int(table.rawValue)].isEmpty }

    /// The write of a key; nil when the data file knows.
    func write(_ table: StorageTable, _ key: UnsafeRawBufferPointer) -> Write? {
        let writes = tables[Int(table.rawValue)]
        let at = lowerBound(table, key)
        guard at < writes.count, compare(writes[at].key, key) == 0 else { return nil }
        return writes[at]
    }

    /// The place of the first write whose key is not below `key`.
    func lowerBound(_ table: StorageTable, _ key: UnsafeRawBufferPointer) -> Int {
        let writes = tables[Int(table.rawValue)]
        var low = 0
        var high = writes.count
        while low < high {
            let middle = (low + high) / 2
            if compare(writes[middle].key, key) < 0 { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The write at a place; nil outside.
    func at(_ place: Int, _ table: StorageTable) -> Write? {
        let writes = tables[Int(table.rawValue)]
        return writes.indices.contains(place) ? writes[place] : nil
    }

    /// Of two writes of a key the later counts; `new` is in the order of time.
    /// - Parameter bytes: of all writes, kept up to date.
    private static func merge(_ old: [Write], _ new: [Write], _ bytes: inout Int) -> [Write] {
        // Sorting keeps the order of equal keys, so the last of a run is the latest.
        let sorted = new.sorted { compare($0.key, $1.key) < 0 }
        var merged: [Write] = []
        merged.reserveCapacity(old.count + sorted.count)
        var at = 0
        for write in sorted {
            while at < old.count, compare(old[at].key, write.key) < 0 {
                merged.append(old[at])
                at += 1
            }
            if at < old.count, compare(old[at].key, write.key) == 0 {
                bytes -= old[at].bytes
                at += 1
            }
            if let last = merged.last, compare(last.key, write.key) == 0 {
                bytes -= last.bytes
                merged.removeLast()
            }
            bytes += write.bytes
            merged.append(write)
        }
        merged.append(contentsOf: old[at...])
        return merged
    }
}

/// Below, equal or above zero as the first is in the order of bytes.
func compare(_ one: UnsafeRawBufferPointer, _ two: UnsafeRawBufferPointer) -> Int {
    let count = min(one.count, two.count)
    if count > 0, let a = one.baseAddress, let b = two.baseAddress {
        let order = Int(memcmp(a, b, count))
        if order != 0 { return order }
    }
    return one.count - two.count
}
