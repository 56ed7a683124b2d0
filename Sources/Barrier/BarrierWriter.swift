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
        try keys.refresh()
        let cipher = try keys.cipher()
        var sealed: [SealedWrite] = []
        for transaction in transactions { sealed += try SealedWrite.seal(transaction, cipher) }
        return try encode(sealed)
    }

    /// The same for writes that are encrypted already (`EntrySealer`).
    package func encode(_ writes: [SealedWrite]) throws(VaultError) -> CommitBatch {
        try reader.refresh()
        defer { reader.release() }
        try keys.refresh()
        var batch = CommitBatch()
        var changes = try ChainChanges(keys.chain(), reader)
        for write in Self.net(writes) {
            if let entry = write.entry {
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

    /// The last write of each key, in the order of stored keys.
    private static func net(_ writes: [SealedWrite]) -> [SealedWrite] {
        writes.withUnsafeBufferPointer { writes in
            // Places are sorted, not writes: to move one of those counts three references.
            // Equal keys keep their order: Swift's sort is stable.
            let order = writes.indices.sorted { writes[$0].stored < writes[$1].stored }
            return order.indices.compactMap { index in
                let write = writes[order[index]]
                let next = index + 1
                return next < order.count && writes[order[next]].stored == write.stored ? nil : write
            }
        }
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

/// A write whose value is encrypted already. It says nothing yet of the keys beside its own.
package struct SealedWrite: Sendable {
    fileprivate let stored: [UInt8]
    fileprivate let logical: [UInt8]
    /// Nil deletes.
    fileprivate let entry: [UInt8]?

    /// Bytes that it brings into storage, about.
    package var byteCount: Int { stored.count + (entry?.count ?? 0) }

    fileprivate static func seal(
        _ writes: [String: [UInt8]?], _ cipher: EntryCipher
    ) throws(VaultError) -> [SealedWrite] {
        try BarrierWriter.validate(writes)
        var sealed: [SealedWrite] = []
        sealed.reserveCapacity(writes.count)
        for (key, value) in writes {
            let logical = Array(key.utf8)
            var entry: [UInt8]?
            if let value {
                entry = try logical.withRaw { (key) throws(VaultError) in try cipher.seal(value, at: key) }
            }
            sealed.append(SealedWrite(stored: StoredKey.stored(logical), logical: logical, entry: entry))
        }
        return sealed
    }
}

/// Encrypts what a transaction wants written, before it is known what else is committed with it.
/// Belongs to one thread.
package final class EntrySealer {
    private var keys: KeyHolder

    init(_ barrier: UnsealedBarrier) { keys = KeyHolder(barrier) }

    /// The writes, encrypted under the newest key. They must be committed before that key is replaced.
    /// - Throws: what `BarrierWriter.validate` throws; `.sealed`.
    package func seal(_ writes: [String: [UInt8]?]) throws(VaultError) -> [SealedWrite] {
        try keys.refresh()
        return try SealedWrite.seal(writes, try keys.cipher())
    }

    /// Lets go of keys that are no longer the barrier's.
    package func release() { keys.dropIfStale() }
}
