import Base
internal import NodeStore
import PluginKit

/// A view of the data file and of what was applied but is not in it yet. Its number is that of the batches.
final class RaftReader: StorageReader {
    private let store: RaftStore
    private let transaction: ReadTransaction
    private let base: NodeStoreReader
    private var overlay: RaftOverlay
    private(set) var sequence: UInt64 = 0
    /// For each table the key that was given out last, so that `next` knows where it is.
    private var places: [[UInt8]?] = StorageTable.allCases.map { _ in nil }

    init(_ store: RaftStore, _ transaction: ReadTransaction) {
        self.store = store
        self.transaction = transaction
        base = NodeStoreReader(transaction)
        overlay = RaftOverlay(sequence: 0)
    }

    private static let name = Array(RaftStore.sequenceFact.utf8)

    func refresh() throws(VaultError) {
        // First the overlay, then the file: what the file has gained in between is in this overlay too, and
        // the overlay counts. Unless the file has overtaken it: then once more.
        var flushed: UInt64 = 0
        repeat {
            overlay = store.overlay
            try transaction.refresh()
            flushed = try flushedSequence()
        } while flushed > overlay.sequence
        sequence = overlay.sequence
        for table in places.indices where places[table] != nil { places[table] = nil }
    }

    func release() {
        transaction.release()
        sequence = 0
        overlay = Self.nothing
    }
    private static let nothing = RaftOverlay(sequence: 0)

    func get(
        _ table: StorageTable, _ key: UnsafeRawBufferPointer
    ) throws(VaultError) -> UnsafeRawBufferPointer? {
        if !overlay.isEmpty(table), let write = overlay.write(table, key) { return write.value }
        return try base.get(table, key)
    }

    func first(_ table: StorageTable, from key: UnsafeRawBufferPointer) throws(VaultError) -> StoredPair? {
        if overlay.isEmpty(table) { return try base.first(table, from: key) }
        return remember(table, try merged(table, from: key))
    }

    func next(_ table: StorageTable) throws(VaultError) -> StoredPair? {
        if overlay.isEmpty(table) { return try base.next(table) }
        guard var key = places[Int(table.rawValue)] else { return nil }
        // No key lies between this one and itself with a zero behind it.
        key.append(0)
        let found = try withBytes(key) { (key) throws(VaultError) in try merged(table, from: key) }
        return remember(table, found)
    }

    func last(_ table: StorageTable, before key: UnsafeRawBufferPointer) throws(VaultError) -> StoredPair? {
        if overlay.isEmpty(table) { return try base.last(table, before: key) }
        var place = overlay.lowerBound(table, key) - 1
        var pair = try base.last(table, before: key)
        while true {
            let write = overlay.at(place, table)
            guard let write, pair.map({ compare($0.key, write.key) <= 0 }) ?? true else {
                return remember(table, pair)
            }
            if let value = write.value {
                return remember(table, StoredPair(key: write.key, value: value))
            }
            // Deleted: the file may hold it still.
            if let found = pair, compare(found.key, write.key) == 0 {
                pair = try base.last(table, before: write.key)
            }
            place -= 1
        }
    }

    /// The first pair of both whose key is not below `key`.
    private func merged(
        _ table: StorageTable, from key: UnsafeRawBufferPointer
    ) throws(VaultError) -> StoredPair? {
        var place = overlay.lowerBound(table, key)
        var pair = try base.first(table, from: key)
        while let write = overlay.at(place, table) {
            let order = pair.map { compare(write.key, $0.key) } ?? -1
            if order > 0 { return pair }
            if let value = write.value { return StoredPair(key: write.key, value: value) }
            if order == 0 { pair = try base.next(table) }
            place += 1
        }
        return pair
    }

    private func remember(_ table: StorageTable, _ pair: StoredPair?) -> StoredPair? {
        places[Int(table.rawValue)] = pair.map { Array($0.key) }
        return pair
    }

    private func flushedSequence() throws(VaultError) -> UInt64 {
        try withBytes(Self.name) { (name) throws(VaultError) in
            guard let bytes = try transaction.fact(name), bytes.count == 8 else { return 0 }
            return UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        }
    }
}

/// Lends the bytes of an array to a body that throws.
func withBytes<Result>(
    _ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws(VaultError) -> Result
) throws(VaultError) -> Result {
    var outcome: Swift.Result<Result, VaultError>?
    bytes.withUnsafeBytes { buffer in
        do throws(VaultError) { outcome = .success(try body(buffer)) } catch { outcome = .failure(error) }
    }
    guard let outcome else { throw .internal("no bytes") }
    return try outcome.get()
}
