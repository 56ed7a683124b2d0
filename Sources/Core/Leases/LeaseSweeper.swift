import Base
import PluginKit

/// Carries out orders to end leases (`LeaseSweep`), a bounded batch at a time. Belongs to one thread.
///
/// It goes through the leases in the order of their names, again and again with growing pauses, until one
/// walk finds nothing that the order covers: only then is the order removed. What it remembers between
/// two batches is not stored: after a restart a walk begins anew, and finds less.
final class LeaseSweeper {
    /// Leases looked at in one transaction.
    private static let batch = 500
    private static let longestPause = Duration.seconds(60)

    private struct Walk {
        /// The last lease looked at.
        var cursor: String?
        /// Whether this walk has met anything that the order covers.
        var hasFound = false
        var nextStart = Timestamp(nanoseconds: .min)
        var pause = Duration.seconds(1)
    }
    private var walks: [String: Walk] = [:]

    /// Does one batch of each order.
    /// - Returns: whether there is more to do at once.
    func run(_ core: ActiveCore, now: Timestamp) throws(VaultError) -> Bool {
        let sweeps = try core.transactions.runBlocking { tx throws(VaultError) in try LeaseSweep.all(&tx) }
        let known = Set(sweeps.map(\.key))
        walks = walks.filter { known.contains($0.key) }
        var hasMore = false
        for sweep in sweeps {
            var walk = walks[sweep.key] ?? Walk()
            if walk.nextStart > now { continue }
            let isUnderWay = try step(sweep, &walk, core, now)
            walks[sweep.key] = walk
            if isUnderWay { hasMore = true }
        }
        return hasMore
    }

    private func step(
        _ sweep: LeaseSweep, _ walk: inout Walk, _ core: ActiveCore, _ now: Timestamp
    ) throws(VaultError) -> Bool {
        let cursor = walk.cursor
        let tokens = core.tokens
        let done = try core.transactions.runBlocking { tx throws(VaultError) in
            try Self.sweep(sweep, after: cursor, tokens, now, &tx)
        }
        if done.hasFound { walk.hasFound = true }
        if let last = done.last {
            walk.cursor = last
            return true
        }
        if walk.hasFound {
            walk.cursor = nil
            walk.hasFound = false
            walk.nextStart = now + walk.pause
            walk.pause = min(walk.pause * 2, Self.longestPause)
            return false
        }
        try core.transactions.runBlocking { tx throws(VaultError) in
            tx.delete(sweep.key)
            if sweep.isDisabled, let mount = sweep.mount {
                Cleanup.schedule(prefix: mount.storagePrefix, &tx)
            }
        }
        return false
    }

    /// - Returns: the last lease looked at, nil at the end; and whether the order covers any of them.
    private static func sweep(
        _ sweep: LeaseSweep, after cursor: String?, _ tokens: TokenStore, _ now: Timestamp,
        _ tx: inout Transaction
    ) throws(VaultError) -> (last: String?, hasFound: Bool) {
        let ids = try tokens.leases.ids(&tx, below: sweep.prefix, after: cursor, limit: batch)
        var hasFound = false
        var dying: [String] = []
        var ending: [LeaseRecord] = []
        for id in ids {
            guard let record = try tokens.leases.readable(&tx, id: id), sweep.covers(record) else { continue }
            hasFound = true
            if record.isToken {
                dying.append(record.owner)
            } else if record.expires > now, record.failures == 0 {
                ending.append(record)
            }
        }
        try tokens.revoke(&tx, hashes: dying, now: now)
        for record in ending { tokens.leases.end(&tx, record, now: now) }
        return (ids.count < batch ? nil : ids.last, hasFound)
    }
}
