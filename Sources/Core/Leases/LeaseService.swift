package import Base
package import PluginKit

/// What clients and operators do with leases; `sys/leases` is its face.
package struct LeaseService: Sendable {
    /// Leases that one call gives back to their engines at a time.
    private static let tasks = 16
    /// Leases of one transaction.
    private static let batch = 256
    private let active: ActiveCore
    private let clock: any Clock
    private let random: any RandomSource
    private let patience: Duration
    private var store: LeaseStore { active.tokens.leases }

    /// Over what there is while the server is unsealed.
    /// - Parameter patience: what an engine gets to answer before its lease is removed by force.
    package init(
        active: ActiveCore, clock: any Clock, random: any RandomSource, patience: Duration = .seconds(5)
    ) {
        self.patience = patience
        self.active = active
        self.clock = clock
        self.random = random
    }

    /// The lease of that id; nil when there is none.
    package func lookUp(_ id: String, _ tx: inout Transaction) throws(VaultError) -> LeaseRecord? {
        try store.get(&tx, id: id)
    }

    // MARK: Renewing

    /// Prolongs a secret's lease, when its engine agrees.
    /// - Returns: the answer for the client.
    package func renew(_ id: String, increment: Duration, now: Timestamp) async throws(VaultError)
        -> LogicalResponse
    {
        let store = self.store
        let mounts = active.mounts
        let found = try await active.transactions.run { tx throws(VaultError) -> (LeaseRecord, Mount) in
            let record = try Self.renewable(id, store, now, &tx)
            guard let uuid = record.mount, let mount = try mounts.mount(uuid: uuid, &tx) else {
                throw .badRequest("lease is not renewable: the mount that leased this is gone")
            }
            return (record, mount)
        }
        let (record, mount) = found
        guard let secret = record.leased(now: now), let hooks = mount.leases else {
            throw .badRequest("lease is not renewable")
        }
        let span = mounts.ttl(of: mount.entry)
        let caps = TTLCaps(defaultTTL: span.default, maxTTL: span.max)
        let grant = try await hooks.renew(
            LeaseRenewal(secret: secret, increment: increment) { ttl, maxTTL throws(VaultError) in
                try store.renewal(
                    of: record, increment: increment, ttl: ttl, maxTTL: maxTTL, caps: caps, now: now
                ).ttl
            }, active.transactions.scoped(to: mount.storagePrefix))
        let (renewed, warnings) = try await active.transactions.run { tx throws(VaultError) in
            try Self.store(grant, increment, id, store, caps, now, &tx)
        }
        var response = LogicalResponse(warnings: warnings)
        response.lease = LeaseGrant(
            ttl: renewed.expires - now, isRenewable: renewed.isRenewable, internalData: .null)
        response.leaseID = id
        return response
    }

    private static func renewable(
        _ id: String, _ store: LeaseStore, _ now: Timestamp, _ tx: inout Transaction
    ) throws(VaultError) -> LeaseRecord {
        guard let record = try store.get(&tx, id: id) else { throw .badRequest("lease not found") }
        if record.isToken { throw .badRequest("tokens cannot be renewed through this endpoint") }
        guard record.isRenewable else { throw .badRequest("lease is not renewable") }
        if record.expires <= now || record.failures > 0 { throw .badRequest("lease expired") }
        return record
    }

    /// The lease may have ended while its engine was asked: then it stays ended.
    private static func store(
        _ grant: LeaseGrant, _ increment: Duration, _ id: String, _ store: LeaseStore, _ caps: TTLCaps,
        _ now: Timestamp, _ tx: inout Transaction
    ) throws(VaultError) -> (LeaseRecord, [String]) {
        let record = try renewable(id, store, now, &tx)
        let (ttl, warnings) = try store.renewal(
            of: record, increment: increment, ttl: grant.ttl, maxTTL: grant.maxTTL, caps: caps, now: now)
        var renewed = record
        renewed.expires = now + ttl
        renewed.renewed = now
        renewed.maxTTL = grant.maxTTL
        renewed.isRenewable = grant.isRenewable
        if let mount = record.mount {
            renewed.subject = .secret(
                mount: mount, internalData: RawJSON(trusted: grant.internalData.encoded()))
        }
        store.replace(&tx, record, with: renewed)
        return (renewed, warnings)
    }

    // MARK: Revoking

    /// Ends a lease. A token dies at once; a secret is taken back in the background, or with `waits` now.
    /// A lease that is gone is no error.
    package func revoke(_ id: String, waits: Bool, now: Timestamp) async throws(VaultError) {
        let store = self.store
        let tokens = active.tokens
        let isSecret = try await active.transactions.run { tx throws(VaultError) -> Bool in
            guard let record = try store.get(&tx, id: id) else { return false }
            if record.isToken {
                try tokens.revoke(&tx, hash: record.owner, now: now)
            } else if !waits {
                store.end(&tx, record, now: now)
            }
            return !record.isToken
        }
        guard isSecret, waits else { return }
        do throws(VaultError) { try await active.onDuty().revoker.revoke(id) } catch {
            throw Self.failure(id, error)
        }
    }

    /// Ends all leases below a prefix, or the one with that very id.
    package func revoke(prefix: String, waits: Bool, now: Timestamp) async throws(VaultError) {
        if !prefix.hasSuffix("/") {
            let store = self.store
            let isID = try await active.transactions.run { tx throws(VaultError) in
                try store.readable(&tx, id: prefix) != nil
            }
            if isID { return try await revoke(prefix, waits: waits, now: now) }
        }
        let folder = prefix.hasSuffix("/") ? prefix : prefix + "/"
        guard waits else {
            return try await active.transactions.run { [clock, random] tx throws(VaultError) in
                try LeaseSweep.order(&tx, below: folder, clock: clock, random: random)
            }
        }
        let revoker = try active.onDuty().revoker
        let failures = try await each(below: folder, now) { id throws(VaultError) in
            try await revoker.revoke(id)
        }
        if let first = failures.first {
            let more = failures.count > 1 ? " (and \(failures.count - 1) more)" : ""
            guard case .badRequest(let text) = Self.failure(first.id, first.error) else { throw first.error }
            throw .badRequest(text + more)
        }
    }

    /// Removes all leases below a prefix, whether their engines take the secrets back or not.
    package func force(prefix: String, now: Timestamp) async throws(VaultError) {
        let revoker = try active.onDuty().revoker
        let folder = prefix.hasSuffix("/") ? prefix : prefix + "/"
        let failures = try await each(below: folder, now) { [patience] id throws(VaultError) in
            try await revoker.force(id, patience: patience)
        }
        if let first = failures.first { throw first.error }
    }

    private static func failure(_ id: String, _ error: VaultError) -> VaultError {
        .badRequest("failed to revoke \"\(id)\": \(error.messages.joined(separator: "; "))")
    }

    /// Revokes the tokens below a prefix, and calls `end` for each secret, a few at a time.
    private func each(
        below folder: String, _ now: Timestamp,
        _ end: @escaping @Sendable (String) async throws(VaultError) -> Void
    ) async throws(VaultError) -> [(id: String, error: VaultError)] {
        var failures: [(id: String, error: VaultError)] = []
        var cursor: String?
        let tokens = active.tokens
        while true {
            let after = cursor
            let page = try await active.transactions.run { tx throws(VaultError) in
                try Self.page(below: folder, after: after, tokens, now, &tx)
            }
            failures += await Self.inParallel(page.secrets, end)
            guard let last = page.last else { return failures }
            cursor = last
        }
    }

    private static func page(
        below folder: String, after cursor: String?, _ tokens: TokenStore, _ now: Timestamp,
        _ tx: inout Transaction
    ) throws(VaultError) -> (secrets: [String], last: String?) {
        let ids = try tokens.leases.ids(&tx, below: folder, after: cursor, limit: batch)
        var secrets: [String] = []
        var dying: [String] = []
        for id in ids {
            guard let record = try tokens.leases.readable(&tx, id: id) else { continue }
            if record.isToken { dying.append(record.owner) } else { secrets.append(id) }
        }
        try tokens.revoke(&tx, hashes: dying, now: now)
        return (secrets, ids.count < batch ? nil : ids.last)
    }

    private static func inParallel(
        _ ids: [String], _ body: @escaping @Sendable (String) async throws(VaultError) -> Void
    ) async -> [(id: String, error: VaultError)] {
        await withTaskGroup(of: (id: String, error: VaultError)?.self) { group in
            var failures: [(id: String, error: VaultError)] = []
            for (index, id) in ids.enumerated() {
                if index >= tasks, let done = await group.next(), let failure = done {
                    failures.append(failure)
                }
                group.addTask {
                    do throws(VaultError) {
                        try await body(id)
                        return nil
                    } catch { return (id, error) }
                }
            }
            for await done in group { if let failure = done { failures.append(failure) } }
            return failures
        }
    }
}
