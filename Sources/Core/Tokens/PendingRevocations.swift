package import Base
package import PluginKit
import Synchronization

/// Whether any token tree is being revoked right now, so that requests look for a dead ancestor only then.
///
/// This is a hint; storage decides. It must never say no to a view in which a tombstone counts. So a
/// commit is noted before its clients are answered, and a view older than the commit that removed the
/// last tombstone is still told to look.
package final class PendingRevocations: Sendable {
    private let tombstones = Mutex<Set<String>>([])
    private let count = Atomic<Int>(0)
    private let clearedAt = Atomic<UInt64>(0)
    /// Orders to end all tokens below a path.
    let sweeps = PendingSweeps()

    package init() {}

    /// True when a view of this age may hold a tombstone.
    package func mayAffect(sequence: UInt64) -> Bool {
        count.load(ordering: .acquiring) > 0 || sequence < clearedAt.load(ordering: .acquiring)
    }

    /// Reads the tombstones that were left when the server went down. Call it once, at unseal, before the
    /// first request.
    package func load(_ view: any StorageView) throws(VaultError) {
        try sweeps.load(view)
        let found = try view.scan(TokenKeys.revoking, after: nil, limit: .max)
        tombstones.withLock { tombstones in
            tombstones = Set(found)
            count.store(tombstones.count, ordering: .releasing)
        }
    }

    /// Takes note of a commit: its keys, and a view that sees it. Call it before the commit's clients are
    /// answered.
    package func noteCommit(keys: [String], view: any StorageView) throws(VaultError) {
        try sweeps.noteCommit(keys: keys, view: view)
        for key in keys where key.utf8.starts(with: TokenKeys.revoking.utf8) {
            let isThere = try view.get(key) != nil
            let sequence = view.sequence
            tombstones.withLock { tombstones in
                if isThere { tombstones.insert(key) } else { tombstones.remove(key) }
                if tombstones.isEmpty { clearedAt.store(sequence, ordering: .releasing) }
                count.store(tombstones.count, ordering: .releasing)
            }
        }
    }
}
