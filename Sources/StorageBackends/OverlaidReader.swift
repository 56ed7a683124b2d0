import Base
internal import NodeStore
import PluginKit

/// A view of the data file and of what was applied but is not in it yet. Its number is that of the batches.
final class OverlaidReader<Progress: AppliedProgress>: StorageReader {
    private let store: OverlaidStore<Progress>
    private let transaction: ReadTransaction
    private let base: NodeStoreReader
    private var overlay: Overlay
    private(set) var sequence: UInt64 = 0
    /// For each table the key that was given out last, so that `next` knows where it is.
    private var places: [[UInt8]?] = StorageTable.allCases.map { _ in nil }

    init(_ store: OverlaidStore<Progress>) throws(VaultError) {
        self.store = store
        transaction = try store.environment.makeReader()
        base = NodeStoreReader(transaction)
        overlay = noOverlay
    }

    func refresh() throws(VaultError) {
        // First the overlay, then the file: what the file has gained in between is in this overlay too, and
        // the overlay counts. Unless the file has overtaken it: then once more.
        while true {
            overlay = store.overlay
            try transaction.refresh()
            if transaction.sequence == overlay.over { break }
            if try store.sequence(in: transaction) <= overlay.sequence { break }
        }
        sequence = overlay.sequence
        for table in places.indices where places[table] != nil { places[table] = nil }
    }

    func release() {
        transaction.release()
        sequence = 0
        overlay = noOverlay
    }

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
}

/// For readers that hold no view.
private let noOverlay = Overlay(sequence: 0, over: 0)

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
