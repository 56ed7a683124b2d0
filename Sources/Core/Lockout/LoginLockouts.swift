package import Base
package import PluginKit
import Synchronization

/// Counts wrong guesses of login names, and locks a name out when there were too many in a row.
///
/// Names that do not exist are counted like those that do, so that a lock tells nothing. Counts are kept
/// in memory, bounded and forgotten in time: an attacker must not make the server write or grow. A lock
/// is stored as well, so that a restart does not lift it:
///
///     core/login/locked/<mount accessor>/<name in hex>    {"until": nanoseconds}
///
/// The stored record decides: what a commit does to it (a lock, an operator's unlock) is followed by `note`.
package final class LoginLockouts: Sendable {
    /// A name of one auth mount, in the method's own spelling.
    package struct Name: Sendable, Hashable {
        package let accessor: String
        package let name: String

        package init(accessor: String, name: String) {
            self.accessor = accessor
            self.name = name
        }

        package var key: String { "\(LoginLockouts.prefix)\(accessor)/\(Hex.encode(name.utf8))" }
    }

    private struct Count {
        var failures = 0
        var lockedUntil: Timestamp?
        /// When this may be dropped.
        var forgetAt: Timestamp
    }

    package static let prefix = "core/login/locked/"
    /// Bytes of a name that is counted; longer ones cannot exist.
    private static let nameBytes = 512
    /// Names counted at once. Hashing passwords is so slow that an attacker does not get there.
    private static let most = 65_536
    /// Stored locks that have ended, removed when one is added.
    private static let pruned = 32

    private let counts = Mutex<[Name: Count]>([:])
    private let transactions = Mutex<CommitTransactions?>(nil)

    package init() {}

    // MARK: Being asked

    package func isLocked(_ name: Name, now: Timestamp) -> Bool {
        counts.withLock { $0[name]?.lockedUntil.map { now < $0 } ?? false }
    }

    /// A wrong guess.
    package func fail(_ name: Name, _ rules: LockoutRules, now: Timestamp) {
        guard rules.threshold > 0, name.name.utf8.count <= Self.nameBytes else { return }
        let lockedUntil: Timestamp? = counts.withLock { counts in
            if counts.count >= Self.most, counts[name] == nil { Self.makeRoom(&counts, now) }
            var count = counts[name] ?? Count(forgetAt: now)
            if let until = count.lockedUntil {
                // Guesses at a locked name neither count nor make the lock longer.
                if now < until { return nil }
                count = Count(forgetAt: now)
            }
            count.failures = now < count.forgetAt ? count.failures + 1 : 1
            count.forgetAt = now + rules.counterReset
            if count.failures >= rules.threshold {
                count.lockedUntil = now + rules.duration
                count.forgetAt = now + rules.duration
            }
            counts[name] = count
            return count.lockedUntil
        }
        if let lockedUntil { store(name, until: lockedUntil, now: now) }
    }

    /// The right guess.
    package func succeed(_ name: Name) { counts.withLock { $0[name] = nil } }

    /// The names that are locked now, in order.
    package func locked(now: Timestamp) -> [Name] {
        let names = counts.withLock { counts in
            counts.filter { $0.value.lockedUntil.map { now < $0 } ?? false }.map(\.key)
        }
        return names.sorted { ($0.accessor, $0.name) < ($1.accessor, $1.name) }
    }

    private static func makeRoom(_ counts: inout [Name: Count], _ now: Timestamp) {
        counts = counts.filter { now < $0.value.forgetAt }
        guard counts.count >= most else { return }
        // Many at once, so that a flood does not pay this for every name. Locks stay.
        let open = counts.filter { $0.value.lockedUntil == nil }
            .sorted { $0.value.forgetAt < $1.value.forgetAt }
        for (name, _) in open.prefix(most / 8) { counts[name] = nil }
    }

    // MARK: Storage

    /// Takes the stored locks up: at unsealing, and when it is not known which of them have changed.
    func reload(_ view: any StorageView) throws(VaultError) {
        var locks: [Name: Timestamp] = [:]
        for key in try view.scan(Self.prefix, after: nil, limit: Self.most) {
            guard let name = Self.name(ofKey: key) else { continue }
            locks[name] = try Self.storedEnd(key, view)
        }
        counts.withLock { [locks] counts in
            counts = counts.filter { $0.value.lockedUntil == nil }
            for (name, end) in locks { counts[name] = Count(lockedUntil: end, forgetAt: end) }
        }
    }

    private static func storedEnd(_ key: String, _ view: any StorageView) throws(VaultError) -> Timestamp? {
        try view.get(key).flatMap { RawJSON(trusted: $0)["until"]?.int }
            .map { Timestamp(nanoseconds: Int64($0)) }
    }

    /// Where locks are stored from now on; nil while this node does not commit.
    func store(in transactions: CommitTransactions?) { self.transactions.withLock { $0 = transactions } }

    /// Forgets everything, when the server is sealed.
    func stop() {
        transactions.withLock { $0 = nil }
        counts.withLock { $0 = [:] }
    }

    /// Follows a commit.
    func note(_ keys: [String], _ view: any StorageView) throws(VaultError) {
        for key in keys where key.hasPrefix(Self.prefix) {
            guard let name = Self.name(ofKey: key) else { continue }
            let end = try Self.storedEnd(key, view)
            counts.withLock { counts in
                guard let end else { return counts[name] = nil }
                var count = counts[name] ?? Count(forgetAt: end)
                count.lockedUntil = end
                count.forgetAt = end
                counts[name] = count
            }
        }
    }

    /// Lifts a lock, in the transaction of the request that asks for it.
    package func unlock(_ name: Name, _ tx: inout Transaction) { tx.delete(name.key) }

    /// The answer to a wrong guess does not wait for it; an unlocking that follows the answer comes behind it.
    private func store(_ name: Name, until: Timestamp, now: Timestamp) {
        guard let transactions = transactions.withLock({ $0 }) else { return }
        // Without it the lock stands all the same, until the server stops.
        transactions.enqueue { tx throws(VaultError) in
            for old in try tx.scan(Self.prefix, limit: Self.pruned) {
                let end = try tx.get(old).flatMap { RawJSON(trusted: $0)["until"]?.int } ?? 0
                if Int64(end) <= now.nanoseconds { tx.delete(old) }
            }
            tx.put(name.key, JSONValue.object([("until", .int(Int(until.nanoseconds)))]).encoded())
        }
    }

    private static func name(ofKey key: String) -> Name? {
        let parts = key.dropFirst(prefix.count).split(separator: "/")
        guard parts.count == 2, let bytes = Hex.decode(String(parts[1])),
            let name = String(validating: bytes, as: UTF8.self)
        else { return nil }
        return Name(accessor: String(parts[0]), name: name)
    }
}
