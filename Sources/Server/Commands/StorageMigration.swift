import Barrier
import Base
import PluginKit

/// Copies every record of one storage into another, as it is.
///
/// Invariants: a destination under way carries a mark, and lacks what a server reads first (the table
/// `bootstrap`), so no server ever starts on half a copy; that table goes last, in one commit that also
/// takes the mark away, and only after the copy has been compared with its source, record by record.
struct StorageMigration {
    /// In the table `bootstrap` of a destination that is not complete.
    static let mark = Array("core/migration".utf8)

    /// Records and bytes of one commit, whichever is reached first.
    private static let batchRecords = 2_000
    private static let batchBytes = 4 << 20

    private let source: any StorageBackend
    private let target: any StorageBackend
    private let progress: (_ records: Int, _ key: String?) -> Void

    init(
        from source: any StorageBackend, to target: any StorageBackend,
        progress: @escaping (_ records: Int, _ key: String?) -> Void
    ) {
        self.source = source
        self.target = target
        self.progress = progress
    }

    /// - Parameter start: nil copies all; a key goes on with the entries where an interrupted migration
    ///   stood. The links are small and are copied whole either way.
    /// - Returns: the number of records copied.
    /// - Throws: `.badRequest` when there is nothing to copy, or the destination is in use.
    func run(start: String?) throws(VaultError) -> Int {
        guard try BarrierBootstrap.isInitialized(source) else {
            throw .badRequest("the source is not initialized: there is nothing to migrate")
        }
        switch (try Self.state(of: target), start) {
        case (.used, _):
            throw .badRequest("the destination holds data: give one that is empty")
        case (.empty, .some):
            throw .badRequest("-start: the destination carries no interrupted migration")
        case (.marked, nil): try Self.reset(target)
        case (.empty, nil), (.marked, .some): break
        }
        var batch = CommitBatch()
        batch.put(.bootstrap, Self.mark, Array("under way".utf8))
        _ = try target.commit(batch)
        var copied = 0
        copied += try copy(.links, from: [], copied)
        copied += try copy(.entries, from: start.map { Array($0.utf8) } ?? [], copied)
        for table in [StorageTable.links, .entries] { try compare(table) }
        return copied + (try finish())
    }

    /// Empties a destination whose migration was interrupted.
    /// - Throws: `.badRequest` when it carries no mark: then it is somebody's data.
    static func reset(_ target: any StorageBackend) throws(VaultError) {
        guard try state(of: target) == .marked else {
            throw .badRequest("the destination carries no interrupted migration: nothing was changed")
        }
        for table in [StorageTable.entries, .links] {
            while true {
                let batch = try Self.records(target) { (reader) throws(VaultError) in
                    var batch = CommitBatch()
                    var pair = try first(reader, table, [])
                    while let here = pair, batch.writes.count < batchRecords {
                        batch.delete(table, Array(here.key))
                        pair = try reader.next(table)
                    }
                    return batch
                }
                if batch.writes.isEmpty { break }
                _ = try target.commit(batch)
            }
        }
        var last = CommitBatch()
        last.delete(.bootstrap, mark)
        _ = try target.commit(last)
    }

    enum State { case empty, marked, used }

    static func state(of target: any StorageBackend) throws(VaultError) -> State {
        try records(target) { (reader) throws(VaultError) in
            if try has(reader, mark) { return .marked }
            for table in StorageTable.allCases where try first(reader, table, []) != nil { return .used }
            return .empty
        }
    }

    // MARK: -

    private func copy(
        _ table: StorageTable, from start: [UInt8], _ before: Int
    ) throws(VaultError) -> Int {
        var next = start
        var copied = 0
        while true {
            let (batch, bound) = try batch(of: table, from: next)
            if batch.writes.isEmpty { return copied }
            _ = try target.commit(batch)
            copied += batch.writes.count
            let last = batch.writes.last.map { String(decoding: $0.key, as: UTF8.self) }
            progress(before + copied, table == .entries ? last : nil)
            guard let bound else { return copied }
            next = bound
        }
    }

    /// Some records from `start` on, and the key of the one behind them; nil at the end.
    private func batch(
        of table: StorageTable, from start: [UInt8]
    ) throws(VaultError) -> (CommitBatch, next: [UInt8]?) {
        try Self.records(source) { (reader) throws(VaultError) in
            var batch = CommitBatch()
            var bytes = 0
            var pair = try Self.first(reader, table, start)
            while let here = pair, batch.writes.count < Self.batchRecords, bytes < Self.batchBytes {
                batch.put(table, Array(here.key), Array(here.value))
                bytes += here.key.count + here.value.count
                pair = try reader.next(table)
            }
            return (batch, pair.map { Array($0.key) })
        }
    }

    /// Both tables must be the same, byte by byte: a disk that lies is found out here.
    private func compare(_ table: StorageTable) throws(VaultError) {
        try Self.records(source) { (from) throws(VaultError) in
            try Self.records(target) { (to) throws(VaultError) in
                var expected = try Self.first(from, table, [])
                var found = try Self.first(to, table, [])
                while let want = expected {
                    guard let have = found, want.key.elementsEqual(have.key),
                        want.value.elementsEqual(have.value)
                    else {
                        let key = String(decoding: want.key, as: UTF8.self)
                        throw .badRequest(
                            "the copy differs from its source at \(key): run the migration anew")
                    }
                    expected = try from.next(table)
                    found = try to.next(table)
                }
                if found != nil { throw .badRequest("the copy has more records than its source: copy anew") }
            }
        }
    }

    private func finish() throws(VaultError) -> Int {
        var batch = try Self.records(source) { (reader) throws(VaultError) in
            var batch = CommitBatch()
            var pair = try Self.first(reader, .bootstrap, [])
            while let here = pair {
                batch.put(.bootstrap, Array(here.key), Array(here.value))
                pair = try reader.next(.bootstrap)
            }
            return batch
        }
        let count = batch.writes.count
        batch.delete(.bootstrap, Self.mark)
        _ = try target.commit(batch)
        return count
    }

    private static func first(
        _ reader: any StorageReader, _ table: StorageTable, _ key: [UInt8]
    ) throws(VaultError) -> StoredPair? {
        // Typed throws do not pass through `withUnsafeBytes`, so the bytes are lent by hand.
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, key.count), alignment: 1)
        defer { bytes.deallocate() }
        bytes.copyBytes(from: key)
        return try reader.first(table, from: UnsafeRawBufferPointer(rebasing: bytes[..<key.count]))
    }

    private static func has(_ reader: any StorageReader, _ key: [UInt8]) throws(VaultError) -> Bool {
        let found = try first(reader, .bootstrap, key)
        return found.map { $0.key.elementsEqual(key) } ?? false
    }

    private static func records<R>(
        _ backend: any StorageBackend, _ body: (any StorageReader) throws(VaultError) -> R
    ) throws(VaultError) -> R {
        let reader = try backend.makeReader()
        try reader.refresh()
        defer { reader.release() }
        return try body(reader)
    }
}
