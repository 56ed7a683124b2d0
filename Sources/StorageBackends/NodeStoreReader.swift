import Base
internal import NodeStore
import PluginKit

/// A view of the node's store in the words of `StorageReader`.
final class NodeStoreReader: StorageReader {
    private let transaction: ReadTransaction

    init(_ transaction: ReadTransaction) { self.transaction = transaction }

    func refresh() throws(VaultError) { try transaction.refresh() }
    func release() { transaction.release() }
    var sequence: UInt64 { transaction.sequence }

    func get(
        _ table: StorageTable, _ key: UnsafeRawBufferPointer
    ) throws(VaultError) -> UnsafeRawBufferPointer? {
        try transaction.get(Int(table.rawValue), key)
    }

    func first(_ table: StorageTable, from key: UnsafeRawBufferPointer) throws(VaultError) -> StoredPair? {
        StoredPair(try transaction.first(Int(table.rawValue), from: key))
    }

    func next(_ table: StorageTable) throws(VaultError) -> StoredPair? {
        StoredPair(try transaction.next(Int(table.rawValue)))
    }

    func last(_ table: StorageTable, before key: UnsafeRawBufferPointer) throws(VaultError) -> StoredPair? {
        StoredPair(try transaction.last(Int(table.rawValue), before: key))
    }
}

extension StoredPair {
    fileprivate init?(_ pair: Pair?) {
        guard let pair else { return nil }
        self.init(key: pair.key, value: pair.value)
    }
}

extension Environment {
    /// Applies a batch as one commit. An empty batch is a commit too.
    func apply(_ batch: CommitBatch) throws(VaultError) -> UInt64 {
        try commit(expectedBytes: batch.byteCount, writes: batch.writes.count) {
            (transaction) throws(VaultError) in
            try transaction.apply(batch) { trim() }
        }
    }
}

extension WriteTransaction {
    /// Makes the writes of a batch.
    /// - Parameter meanwhile: called now and then, for each write touches pages all over the store.
    mutating func apply(_ batch: CommitBatch, meanwhile: () -> Void = {}) throws(VaultError) {
        for (number, write) in batch.writes.enumerated() {
            if number & 127 == 127 { meanwhile() }
            if let value = write.value {
                try put(Int(write.table.rawValue), write.key, value)
            } else {
                try delete(Int(write.table.rawValue), write.key)
            }
        }
    }
}
