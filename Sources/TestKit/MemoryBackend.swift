package import Base
package import PluginKit
import Glibc
import Synchronization

/// A storage backend in memory for tests, with snapshots as the contract asks: sorted arrays, copied
/// when a commit meets an open reader. `tamper` changes what is stored behind everybody's back.
package final class MemoryBackend: StorageBackend {
    package static let type = "memory"

    fileprivate struct Pair: Sendable {
        let key: Blob
        var value: Blob
    }
    fileprivate struct Snapshot: Sendable {
        var tables: [[Pair]] = [[], [], []]
        var sequence: UInt64 = 0
    }
    private let newest = Mutex(Snapshot())

    package init() {}

    package func makeReader() throws(VaultError) -> any StorageReader { MemoryReader(self) }

    package func commit(_ batch: CommitBatch) throws(VaultError) -> UInt64 {
        newest.withLock { snapshot in
            for write in batch.writes {
                snapshot.tables[Int(write.table.rawValue)].set(write.key, write.value)
            }
            snapshot.sequence += 1
            return snapshot.sequence
        }
    }

    package func close() {}

    /// Writes (or with nil deletes) without a commit.
    package func tamper(_ table: StorageTable, _ key: [UInt8], _ value: [UInt8]?) {
        newest.withLock { $0.tables[Int(table.rawValue)].set(key, value) }
    }

    /// All of a table, in order.
    package func contents(_ table: StorageTable) -> [(key: [UInt8], value: [UInt8])] {
        newest.withLock {
            $0.tables[Int(table.rawValue)].map { (Array($0.key.bytes), Array($0.value.bytes)) }
        }
    }

    fileprivate func snapshot() -> Snapshot { newest.withLock { $0 } }
}

private final class MemoryReader: StorageReader {
    private let backend: MemoryBackend
    private var snapshot = MemoryBackend.Snapshot()
    private var isOpen = false
    private var positions = [Int](repeating: 0, count: 3)

    init(_ backend: MemoryBackend) { self.backend = backend }

    var sequence: UInt64 { snapshot.sequence }

    func refresh() throws(VaultError) {
        snapshot = backend.snapshot()
        isOpen = true
    }

    func release() {
        snapshot = MemoryBackend.Snapshot()
        isOpen = false
    }

    func get(
        _ table: StorageTable, _ key: UnsafeRawBufferPointer
    ) throws(VaultError) -> UnsafeRawBufferPointer? {
        let pairs = pairs(table, key)
        let at = pairs.lowerBound(key)
        guard at < pairs.count, compare(pairs[at].key.bytes, key) == 0 else { return nil }
        return pairs[at].value.bytes
    }

    func first(_ table: StorageTable, from key: UnsafeRawBufferPointer) throws(VaultError) -> StoredPair? {
        step(table, to: pairs(table, key).lowerBound(key))
    }

    func next(_ table: StorageTable) throws(VaultError) -> StoredPair? {
        step(table, to: positions[Int(table.rawValue)] + 1)
    }

    func last(_ table: StorageTable, before key: UnsafeRawBufferPointer) throws(VaultError) -> StoredPair? {
        step(table, to: pairs(table, key).lowerBound(key) - 1)
    }

    private func pairs(_ table: StorageTable, _ key: UnsafeRawBufferPointer) -> [MemoryBackend.Pair] {
        precondition(isOpen, "refresh comes before the first read")
        precondition(key.count <= storageKeyBytesLimit, "LMDB would refuse this key")
        return snapshot.tables[Int(table.rawValue)]
    }

    private func step(_ table: StorageTable, to index: Int) -> StoredPair? {
        let pairs = snapshot.tables[Int(table.rawValue)]
        positions[Int(table.rawValue)] = index
        guard pairs.indices.contains(index) else { return nil }
        return StoredPair(key: pairs[index].key.bytes, value: pairs[index].value.bytes)
    }
}

/// Bytes at a fixed address.
// SAFETY: never changed after `init`.
private final class Blob: @unchecked Sendable {
    let bytes: UnsafeRawBufferPointer

    init(_ source: [UInt8]) {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: source.count, alignment: 1)
        copy.copyBytes(from: source)
        bytes = UnsafeRawBufferPointer(copy)
    }

    deinit { bytes.deallocate() }
}

extension [MemoryBackend.Pair] {
    fileprivate func lowerBound(_ key: UnsafeRawBufferPointer) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if compare(self[middle].key.bytes, key) < 0 { low = middle + 1 } else { high = middle }
        }
        return low
    }

    fileprivate mutating func set(_ key: [UInt8], _ value: [UInt8]?) {
        let at = key.withUnsafeBytes { lowerBound($0) }
        let exists = at < count && key.withUnsafeBytes { compare(self[at].key.bytes, $0) } == 0
        switch (exists, value) {
        case (true, let value?): self[at].value = Blob(value)
        case (true, nil): remove(at: at)
        case (false, let value?): insert(MemoryBackend.Pair(key: Blob(key), value: Blob(value)), at: at)
        case (false, nil): break
        }
    }
}

private func compare(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int32 {
    guard let left = a.baseAddress, let right = b.baseAddress else { return Int32(a.count - b.count) }
    let order = memcmp(left, right, min(a.count, b.count))
    return order == 0 ? Int32(a.count - b.count) : order
}
