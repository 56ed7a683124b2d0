package import Base
package import PluginKit
import Synchronization

/// The durable order to end all leases below a path that exist at one moment: of a prefix that an operator
/// named, or of a mount that was disabled or moved.
///
///     core/sweeping/<uuid>    what to end; see `record`
///
/// The order takes effect with its commit: from then on every token below the path counts as revoked, with
/// its descendants. The background work then removes the tokens and makes the secrets due, in bounded
/// batches. What stood behind a disabled mount is kept until its last secret has been taken back, for its
/// engine needs it to do so; leases that come later below the same path are none of the order's business.
package struct LeaseSweep: Sendable {
    static let keys = "core/sweeping/"

    let key: String
    /// With its trailing slash.
    let prefix: String
    /// Leases of this moment and earlier end.
    let moment: Timestamp
    /// The mount whose secrets are meant; nil for all below the prefix.
    let mount: MountEntry?
    /// Whether the mount was disabled: it has left the mount table, and what it stored goes at last.
    let isDisabled: Bool

    /// Orders it.
    ///
    /// The read of the leases' names makes the order depend on them: a lease that was granted while the order
    /// waited to be committed lets it be made again, at a later moment.
    package static func order(
        _ tx: inout Transaction, below prefix: String, mount: MountEntry? = nil, isDisabled: Bool = false,
        clock: any Clock, random: any RandomSource
    ) throws(VaultError) {
        _ = try LeaseStore(random: random).ids(&tx, below: prefix, limit: 1)
        let record: JSONValue = [
            "prefix": .string(prefix), "moment": .int(Int(clock.now().nanoseconds)),
            "mount": mount?.record ?? .null, "disabled": .bool(isDisabled),
        ]
        tx.put(keys + random.uuid(), record.encoded())
    }

    /// The order at a key; nil when it has been carried out.
    static func read(_ key: String, _ tx: inout Transaction) throws(VaultError) -> LeaseSweep? {
        guard let bytes = try tx.get(key) else { return nil }
        let json = RawJSON(trusted: bytes)
        guard let prefix = json["prefix"]?.string, let moment = json["moment"]?.int,
            let isDisabled = json["disabled"]?.bool
        else { throw .corrupted(place: key) }
        var mount: MountEntry?
        if let stored = json["mount"], !stored.isNull { mount = try MountEntry(record: stored) }
        return LeaseSweep(
            key: key, prefix: prefix, moment: Timestamp(nanoseconds: Int64(moment)), mount: mount,
            isDisabled: isDisabled)
    }

    /// All orders that are being carried out.
    static func all(_ tx: inout Transaction) throws(VaultError) -> [LeaseSweep] {
        var found: [LeaseSweep] = []
        for name in try tx.list(keys) {
            if let sweep = try read(keys + name, &tx) { found.append(sweep) }
        }
        return found
    }

    /// Whether a token is dead by this order. Batch tokens have no lease, and die at their end.
    func covers(_ token: TokenEntry) -> Bool {
        guard token.leaseID != nil, token.lifetime.created <= moment else { return false }
        return (token.path + "/").utf8.starts(with: prefix.utf8)
    }

    func covers(_ lease: LeaseRecord) -> Bool {
        guard lease.issued <= moment else { return false }
        guard let mount, let leased = lease.mount else { return true }
        return leased == mount.uuid
    }
}

/// Whether any order to end leases is being carried out, so that requests read them only then.
///
/// This is a hint; storage decides. It must never say no to a view in which an order counts, so a view
/// older than the commit that removed the last one is still told to look.
package final class PendingSweeps: Sendable {
    private let pending = Mutex<Set<String>>([])
    private let count = Atomic<Int>(0)
    private let clearedAt = Atomic<UInt64>(0)

    package init() {}

    /// The orders that a view has to heed. Costs nothing when there are none.
    func inForce(_ tx: inout Transaction) throws(VaultError) -> [LeaseSweep] {
        let isIdle =
            count.load(ordering: .acquiring) == 0
            && tx.log.sequence >= clearedAt.load(ordering: .acquiring)
        return isIdle ? [] : try LeaseSweep.all(&tx)
    }

    /// Reads what was left when the server went down.
    func load(_ view: any StorageView) throws(VaultError) {
        let found = try view.scan(LeaseSweep.keys, after: nil, limit: .max)
        pending.withLock { pending in
            pending = Set(found)
            count.store(pending.count, ordering: .releasing)
        }
    }

    /// Takes note of a commit, before its clients are answered.
    func noteCommit(keys: [String], view: any StorageView) throws(VaultError) {
        for key in keys where key.utf8.starts(with: LeaseSweep.keys.utf8) {
            let isThere = try view.get(key) != nil
            let sequence = view.sequence
            pending.withLock { pending in
                if isThere { pending.insert(key) } else { pending.remove(key) }
                if pending.isEmpty { clearedAt.store(sequence, ordering: .releasing) }
                count.store(pending.count, ordering: .releasing)
            }
        }
    }
}
