import Base
internal import NodeStore
import PluginKit

/// A view of the data file and of what was applied but is not in it yet. Its number is that of the batches.
final class OverlaidReader: StorageReader {
    private let source: OverlaySource
    private let transaction: ReadTransaction
    private let base: NodeStoreReader
    /// Nil when the data file has all.
    private var overlay: Overlay?
    private(set) var sequence: UInt64 = 0
    /// For each table the key that was given out last, so that `next` knows where it is. Empty while nothing
    /// but the data file was asked.
    private var places: [[UInt8]?] = []

    init(_ source: OverlaySource) throws(VaultError) {
        self.source = source
        transaction = try source.environment.makeReader()
        base = NodeStoreReader(transaction)
    }

    func refresh() throws(VaultError) {
        // First the overlay, then the file: what the file has gained in between is in this overlay too, and
        // the overlay counts. Unless the file has overtaken it: then once more.
        while true {
            let found = source.look
            try transaction.refresh()
            let isCurrent =
                if transaction.sequence == found.over { true } else {
                    try source.sequence(in: transaction) <= found.sequence
                }
            guard isCurrent else { continue }
            overlay = found.overlay
            sequence = found.sequence
            if !places.isEmpty { places = [] }
            return
        }
    }

    func release() {
        transaction.release()
        sequence = 0
        overlay = nil
    }

    /// What is in memory of a table; nil when the data file has all.
    private func overlay(_ table: StorageTable) -> Overlay? {
        guard let overlay, !overlay.isEmpty(table) else { return nil }
        return overlay
    }

    func get(
        _ table: StorageTable, _ key: UnsafeRawBufferPointer
    ) throws(VaultError) -> UnsafeRawBufferPointer? {
        if let overlay, let write = overlay.write(table, key) { return write.value }
        return try base.get(table, key)
    }

    func first(_ table: StorageTable, from key: UnsafeRawBufferPointer) throws(VaultError) -> StoredPair? {
        guard let overlay = overlay(table) else { return try base.first(table, from: key) }
        return remember(table, try merged(overlay, table, from: key))
    }

    func next(_ table: StorageTable) throws(VaultError) -> StoredPair? {
        guard let overlay = overlay(table) else { return try base.next(table) }
        guard !places.isEmpty, var key = places[Int(table.rawValue)] else { return nil }
        // No key lies between this one and itself with a zero behind it.
        key.append(0)
        let found = try key.span.bytes.withUnsafeBytes { (key) throws(VaultError) in
            try merged(overlay, table, from: key)
        }
        return remember(table, found)
    }

    func last(_ table: StorageTable, before key: UnsafeRawBufferPointer) throws(VaultError) -> StoredPair? {
        guard let overlay = overlay(table) else { return try base.last(table, before: key) }
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
        _ overlay: Overlay, _ table: StorageTable, from key: UnsafeRawBufferPointer
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
        if places.isEmpty { places = StorageTable.allCases.map { _ in nil } }
        places[Int(table.rawValue)] = pair.map { Array($0.key) }
        return pair
    }
}
