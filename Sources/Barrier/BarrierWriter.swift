package import Base
package import PluginKit

/// Turns write sets into one batch of ciphertext: encrypts the entries and brings the chain up to date.
///
/// For the commit thread. Only the last write of each key counts, so links are computed once for the
/// batch's net effect. A record is rewritten only after the stretch of chain that it replaces has been
/// verified; where that fails the batch fails with `.corrupted`, and nothing is written.
package final class BarrierWriter {
    private let reader: any StorageReader
    private var keys: KeyHolder

    init(_ barrier: UnsealedBarrier, _ reader: any StorageReader) {
        self.reader = reader
        keys = KeyHolder(barrier)
    }

    /// The batch for the transactions, in their order: a later write of a key wins. Nil deletes; what
    /// is not there is deleted without error. The batch before must have been committed.
    ///
    /// - Throws: what `validate` throws; `.corrupted`; `.sealed`.
    package func encode(_ transactions: [[String: [UInt8]?]]) throws(VaultError) -> CommitBatch {
        try reader.refresh()
        defer { reader.release() }
        try keys.refresh()
        let cipher = try keys.cipher()
        var batch = CommitBatch()
        var changes = try ChainChanges(keys.chain(), reader)
        for write in try Self.net(transactions) {
            if let value = write.value {
                let entry = try write.logical.withRaw { (key) throws(VaultError) in
                    try cipher.seal(value, at: key)
                }
                batch.put(.entries, write.stored, entry)
                try changes.put(write.stored, write.logical)
                Instruments.barrierPuts.add()
            } else {
                // An entry that its link has left behind goes, too.
                batch.delete(.entries, write.stored)
                try changes.delete(write.stored)
                Instruments.barrierDeletes.add()
            }
        }
        try changes.write(to: &batch)
        return batch
    }

    private struct Write {
        let stored: [UInt8]
        let logical: [UInt8]
        let value: [UInt8]?
    }

    /// The last write of each key, in the order of stored keys.
    private static func net(_ transactions: [[String: [UInt8]?]]) throws(VaultError) -> [Write] {
        var writes: [Write] = []
        writes.reserveCapacity(transactions.reduce(0) { $0 + $1.count })
        func add(_ logical: [UInt8], _ value: [UInt8]?) {
            writes.append(Write(stored: StoredKey.stored(logical), logical: logical, value: value))
        }
        for transaction in transactions { try validate(transaction) }
        if transactions.count == 1 {
            for (key, value) in transactions[0] { add(Array(key.utf8), value) }
        } else {
            var last: [[UInt8]: [UInt8]?] = [:]
            for transaction in transactions {
                for (key, value) in transaction { last.updateValue(value, forKey: Array(key.utf8)) }
            }
            for (key, value) in last { add(key, value) }
        }
        return writes.sorted { $0.stored < $1.stored }
    }

    /// Checks keys and sizes, so that one bad write set can be refused before it is queued with others.
    /// - Throws: `.badRequest` for an impossible key, `.tooLarge` for a value beyond `Limits.entryBytes`.
    package static func validate(_ writes: [String: [UInt8]?]) throws(VaultError) {
        for (key, value) in writes {
            try StoredKey.check(key)
            let limit = Limits.standard.entryBytes
            if let value, value.count > limit {
                throw .tooLarge("a stored value has \(value.count) bytes: expected at most \(limit)")
            }
        }
    }

    /// Lets go of keys that are no longer the barrier's.
    package func release() { keys.dropIfStale() }
}
