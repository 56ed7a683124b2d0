package import Base
package import PluginKit
import Synchronization

/// Identities that requests have asked for lately, for all threads. What it gives is what storage would give
/// in the view of the request: one counts only when no commit has changed a record that it was read from
/// (`Identity.keys`), and whoever uses it depends on these records, so that a commit that races with a change
/// is run again. Dropped when the server is sealed.
package final class IdentityCache: Sendable {
    fileprivate struct Held {
        let identity: Identity
        /// The view that it was read from.
        let from: UInt64
        /// The newest commit up to which its records are known to stand.
        var upTo: UInt64
    }

    fileprivate struct State {
        var young: [String: Held] = [:]
        var old: [String: Held] = [:]
        /// Which records the latest commits have changed.
        var changes: ConflictWindow
        /// The last commit that was noted: of newer views nothing is known.
        var notedUpTo: UInt64
        /// The last one that changed an identity's record.
        var newest: UInt64
    }

    /// Records remembered at most; about 100 bytes each.
    private static let most = 50_000

    private let state: Mutex<State>
    private let half: Int
    private let store: IdentityStore

    /// - Parameters:
    ///   - capacity: identities held at most. When the young half is full the old one goes, so that what is
    ///     in use stays.
    ///   - sequence: the newest commit.
    package init(store: IdentityStore, startingAfter sequence: UInt64, capacity: Int = 2_048) {
        self.store = store
        half = max(1, capacity / 2)
        state = Mutex(
            State(
                changes: ConflictWindow(startingAfter: sequence, most: Self.most), notedUpTo: sequence,
                newest: sequence))
    }

    /// The identity behind an entity's id; nil when it is gone.
    package func identity(of id: String, _ tx: Transaction) throws(VaultError) -> Identity? {
        // A batch in the making may hold changes that nobody has noted, and that may never be committed.
        let isCommitted = !tx.log.seesUncommitted && !tx.log.hasWrites
        let sequence = tx.log.sequence
        if isCommitted, let known = state.withLock({ $0.find(id, sequence, half) }) {
            for key in known.keys { tx.log.noteRead(key) }
            return known
        }
        guard let fresh = try store.identity(of: id, tx) else { return nil }
        if isCommitted {
            state.withLock { $0.insert(Held(identity: fresh, from: sequence, upTo: sequence), id, half) }
        }
        return fresh
    }

    /// The identity behind a token's entity; nil for a token without one.
    /// - Throws: `.permissionDenied` when the entity is disabled, or gone.
    func goodIdentity(of entityID: String, _ tx: Transaction) throws(VaultError) -> Identity? {
        if entityID.isEmpty { return nil }
        guard let identity = try identity(of: entityID, tx), !identity.entity.isDisabled else {
            throw .permissionDenied
        }
        return identity
    }

    /// Takes note of a commit, after it has become visible and before it is acknowledged.
    func note(_ keys: [String], at sequence: UInt64) {
        let records = keys.filter { $0.utf8.starts(with: IdentityKeys.root.utf8) }
        state.withLock { state in
            if !records.isEmpty {
                state.changes.note(records, at: sequence)
                state.newest = sequence
            }
            state.notedUpTo = sequence
        }
    }

    /// Everything may have changed up to a commit.
    func forget(upTo sequence: UInt64) {
        state.withLock {
            $0 = State(
                changes: ConflictWindow(startingAfter: sequence, most: Self.most), notedUpTo: sequence,
                newest: sequence)
        }
    }
}

extension IdentityCache.State {
    fileprivate mutating func find(_ id: String, _ sequence: UInt64, _ half: Int) -> Identity? {
        guard sequence <= notedUpTo else { return nil }
        guard var held = young[id] ?? old[id], held.from <= sequence else { return nil }
        if newest > held.upTo {
            if changes.changed(keys: held.identity.keys, prefixes: [], since: held.upTo) {
                young[id] = nil
                old[id] = nil
                return nil
            }
            held.upTo = notedUpTo
            insert(held, id, half)
        } else if young[id] == nil {
            insert(held, id, half)
        }
        return held.identity
    }

    fileprivate mutating func insert(_ held: IdentityCache.Held, _ id: String, _ half: Int) {
        if young.count >= half {
            old = young
            young = [:]
        }
        young[id] = held
    }
}
