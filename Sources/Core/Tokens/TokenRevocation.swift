package import Base
package import PluginKit

/// Revocation. A small tree goes at once. Of a large one a single tombstone is committed, which every
/// request honours from then on for the token and all of its descendants; `cleanUp` then works it off
/// in batches of bounded size, each of which pushes tombstones one level down before it removes what
/// stands above, so that no descendant is ever without a dead ancestor or a tombstone of its own.
///
/// With a token go its accessor, its lease, its cubbyhole and its place below its parent; secrets that
/// it leased are made due at once, and stay visible until their engines have taken them back.
extension TokenStore {
    /// Revokes a token with all of its descendants.
    /// - Returns: false when a tombstone was left for `cleanUp`; the tokens are dead all the same.
    @discardableResult
    package func revoke(_ tx: inout Transaction, hash: String, now: Timestamp) throws(VaultError) -> Bool {
        let tombstone = TokenKeys.revoking + hash
        if try tx.get(tombstone) != nil { return false }
        var removal = Removal(budget: entriesAtOnce)
        guard try gatherTree(&tx, hash, &removal) else {
            tx.put(tombstone, [Tombstone.tree.rawValue])
            return false
        }
        apply(&tx, removal, now: now)
        return true
    }

    /// Revokes several tokens with all of their descendants.
    package func revoke(_ tx: inout Transaction, hashes: [String], now: Timestamp) throws(VaultError) {
        if hashes.isEmpty { return }
        var removal = Removal(budget: entriesAtOnce)
        for hash in hashes { try gatherOrCondemn(&tx, hash, &removal) }
        apply(&tx, removal, now: now)
    }

    /// Revokes a token and makes orphans of its children.
    /// - Returns: false when a tombstone was left for `cleanUp`; the token is dead all the same.
    @discardableResult
    package func revokeAlone(_ tx: inout Transaction, hash: String, now: Timestamp) throws(VaultError) -> Bool
    {
        let tombstone = TokenKeys.revoking + hash
        if try tx.get(tombstone) != nil { return false }
        var removal = Removal(budget: entriesAtOnce)
        let children = try tx.list(TokenKeys.children(of: hash), limit: entriesAtOnce + 1)
        guard children.count < removal.budget, try free(&tx, children, of: hash, &removal),
            try gather(&tx, hash, &removal)
        else {
            tx.put(tombstone, [Tombstone.alone.rawValue])
            return false
        }
        apply(&tx, removal, now: now)
        return true
    }

    /// Works off tombstones: removes about `limit` entries.
    /// - Returns: whether there is more to do. Call it again then, in another transaction.
    package func cleanUp(_ tx: inout Transaction, now: Timestamp, limit: Int) throws(VaultError) -> Bool {
        let dying = try tx.list(TokenKeys.revoking, limit: limit + 1)
        var removal = Removal(budget: max(limit, 8))
        for hash in dying {
            if removal.budget <= 0 { break }
            guard let bytes = try tx.get(TokenKeys.revoking + hash) else { continue }
            let children = try tx.list(TokenKeys.children(of: hash), limit: removal.budget + 1)
            let isDetached =
                switch Tombstone(bytes: bytes) {
                case .tree: try condemn(&tx, children, of: hash, &removal)
                case .alone: try free(&tx, children, of: hash, &removal)
                }
            if isDetached, try gather(&tx, hash, &removal) {
                removal.deletions.append(TokenKeys.revoking + hash)
                removal.finished += 1
            }
        }
        apply(&tx, removal, now: now)
        return removal.finished < dying.count || !removal.condemned.isEmpty
    }

    /// Ends what is due: tokens are revoked here; secrets are given back to the caller, whose engines must
    /// revoke them before it removes their leases (`LeaseStore.remove`, or `postpone` when that failed).
    ///
    /// `due` comes from `LeaseStore.due` with the same `limit`, in an earlier transaction; what was renewed
    /// since is left alone.
    package func expire(
        _ tx: inout Transaction, due: [DueLease], now: Timestamp, limit: Int
    ) throws(VaultError) -> ExpiredLeases {
        var expired = ExpiredLeases()
        var removal = Removal(budget: entriesAtOnce)
        // At the end, for a transaction that has written lists more slowly.
        defer { apply(&tx, removal, now: now) }
        for lease in due {
            // Several trees may be too much for one commit; the rest stays due.
            if removal.deletions.count > 8 * limit { break }
            let found: LeaseRecord?
            do throws(VaultError) { found = try leases.get(&tx, id: lease.id) } catch {
                guard case .corrupted = error else { throw error }
                leases.setAside(&tx, lease, now: now)
                expired.damaged.append(lease.id)
                continue
            }
            guard let record = found else {
                leases.removeTime(&tx, of: lease)
                continue
            }
            if record.expires > now { continue }
            if record.isToken {
                // The lease goes even where the tree takes longer, so that it is not due for ever.
                removal.deletions += LeaseStore.keys(of: record)
                try gatherOrCondemn(&tx, record.owner, &removal)
                expired.tokens += 1
            } else {
                expired.secrets.append(record)
            }
        }
        return expired
    }

    // MARK: What goes

    /// Everything that a removal changes, gathered by reading alone and applied at its end: a transaction
    /// that has written lists more slowly.
    private struct Removal {
        /// Entries that may still be removed.
        var budget: Int
        var deletions: [String] = []
        /// Secrets that lose their token.
        var released: [LeaseRecord] = []
        /// Tokens that get a tombstone of their own.
        var condemned: [String] = []
        /// Tokens that become orphans.
        var freed: [TokenEntry] = []
        var finished = 0

        init(budget: Int) { self.budget = budget }
    }

    /// One of several trees: what is small goes at once, a large one gets a tombstone.
    private func gatherOrCondemn(
        _ tx: inout Transaction, _ hash: String, _ removal: inout Removal
    ) throws(VaultError) {
        if try tombstone(&tx, hash) != nil { return }
        let deletions = removal.deletions.count
        let released = removal.released.count
        removal.budget = entriesAtOnce
        if try gatherTree(&tx, hash, &removal) { return }
        removal.deletions.removeSubrange(deletions...)
        removal.released.removeSubrange(released...)
        removal.condemned.append(hash)
    }

    private func apply(_ tx: inout Transaction, _ removal: Removal, now: Timestamp) {
        // First what is set free, for the same batch may remove it: it has a tombstone of its own then.
        for entry in removal.freed { put(&tx, entry) }
        for key in removal.deletions { tx.delete(key) }
        for record in removal.released { leases.release(&tx, record, now: now) }
        for hash in removal.condemned { tx.put(TokenKeys.revoking + hash, [Tombstone.tree.rawValue]) }
    }

    /// A token and all below it; false when that is more than the budget.
    private func gatherTree(
        _ tx: inout Transaction, _ root: String, _ removal: inout Removal
    ) throws(VaultError) -> Bool {
        var queue = [root]
        var next = 0
        while next < queue.count {
            let hash = queue[next]
            next += 1
            if next > 1, let kind = try tombstone(&tx, hash) {
                // Its children are being set free: it is cleaned up with them, not with this tree.
                if kind == .alone { continue }
                removal.deletions.append(TokenKeys.revoking + hash)
            }
            guard try gather(&tx, hash, &removal) else { return false }
            let room = removal.budget - (queue.count - next)
            let children = try tx.list(TokenKeys.children(of: hash), limit: max(0, room) + 1)
            if children.count > room { return false }
            for child in children { removal.deletions.append(TokenKeys.child(child, of: hash)) }
            queue += children
        }
        return true
    }

    /// One token with all that belongs to it, but for its children. False when the budget did not suffice:
    /// then the token itself stays, and what was gathered may be removed ahead of it.
    private func gather(
        _ tx: inout Transaction, _ hash: String, _ removal: inout Removal
    ) throws(VaultError) -> Bool {
        if removal.budget <= 0 { return false }
        removal.budget -= 1
        let corner = try tx.scan(cubbyholePrefix(hash), limit: removal.budget + 1)
        removal.deletions += corner.prefix(removal.budget)
        let secrets = try leases.ids(&tx, ownedBy: hash, limit: max(0, removal.budget - corner.count) + 1)
        for id in secrets.prefix(max(0, removal.budget - corner.count)) {
            if let record = try leases.get(&tx, id: id) { removal.released.append(record) }
        }
        let cost = corner.count + secrets.count
        if cost > removal.budget {
            removal.budget = 0
            return false
        }
        removal.budget -= cost
        removal.deletions.append(TokenKeys.id + hash)
        guard let entry = try readable(&tx, hash) else { return true }
        removal.deletions.append(TokenKeys.accessor + entry.accessor)
        if !entry.parent.isEmpty { removal.deletions.append(TokenKeys.child(hash, of: entry.parent)) }
        if let id = entry.leaseID, let expires = entry.lifetime.expires {
            removal.deletions += LeaseStore.keys(ofTokenLease: id, expires: expires, hash: hash)
        }
        return true
    }

    /// Removes children that have none of their own, and hands the tombstone on to the others.
    /// - Returns: whether none is left below `parent`.
    private func condemn(
        _ tx: inout Transaction, _ children: [String], of parent: String, _ removal: inout Removal
    ) throws(VaultError) -> Bool {
        for child in children {
            if removal.budget <= 0 { return false }
            removal.deletions.append(TokenKeys.child(child, of: parent))
            if try tombstone(&tx, child) != nil {
                removal.budget -= 1
                continue
            }
            let hasChildren = try !tx.list(TokenKeys.children(of: child), limit: 1).isEmpty
            let isGone = hasChildren ? false : try gather(&tx, child, &removal)
            if !isGone {
                removal.condemned.append(child)
                removal.budget -= 1
            }
        }
        return true
    }

    /// Makes orphans of children.
    /// - Returns: whether none is left below `parent`.
    private func free(
        _ tx: inout Transaction, _ children: [String], of parent: String, _ removal: inout Removal
    ) throws(VaultError) -> Bool {
        for child in children {
            if removal.budget <= 0 { return false }
            removal.budget -= 1
            removal.deletions.append(TokenKeys.child(child, of: parent))
            guard var entry = try readable(&tx, child) else { continue }
            entry.parent = ""
            removal.freed.append(entry)
        }
        return true
    }

    private func tombstone(_ tx: inout Transaction, _ hash: String) throws(VaultError) -> Tombstone? {
        try tx.get(TokenKeys.revoking + hash).map { Tombstone(bytes: $0) }
    }

    /// An entry that may be damaged: then it is removed as if it were not there, and holds up no other.
    private func readable(_ tx: inout Transaction, _ hash: String) throws(VaultError) -> TokenEntry? {
        do throws(VaultError) { return try entry(hash: hash, &tx) } catch {
            if case .corrupted = error { return nil }
            throw error
        }
    }
}

/// What one pass over due leases did.
package struct ExpiredLeases: Sendable {
    /// Tokens whose time was up.
    package var tokens = 0
    /// Leases of secrets that their engines have to revoke now.
    package var secrets: [LeaseRecord] = []
    /// Leases that cannot be read, and are looked at again later. For the log.
    package var damaged: [String] = []
}
