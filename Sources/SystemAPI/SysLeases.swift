package import Base
package import Core
package import PluginKit

/// `sys/leases/*` and its older faces `sys/renew`, `sys/revoke`, `sys/revoke-prefix` and `sys/revoke-force`.
///
/// Whoever knows a lease's id may look it up and renew it (the policy `default` says so); all that names
/// leases by their path needs `sudo`.
package struct SysLeases: Sendable {
    private let active: @Sendable () -> ActiveCore?
    private let clock: any Clock
    private let random: any RandomSource

    package init(
        clock: any Clock, random: any RandomSource, active: @escaping @Sendable () -> ActiveCore?
    ) {
        self.clock = clock
        self.random = random
        self.active = active
    }

    private static let id = Field<String>("lease_id", default: "", "Id of the lease.")
    private static let urlID = Field<String>("url_lease_id", default: "", "Id of the lease.")
    private static let increment = Field<Duration>(
        "increment", default: .zero, "Span from now that is asked for.")
    private static let sync = Field<Bool>("sync", default: false, "Whether to wait until it is done.")
    private static let prefix = Field<String>("prefix", default: "", "A path that leases stand below.")
    private static let type = Field<String>("type", default: "", "The kind of leases: irrevocable.")
    private static let limit = Field<String>(
        "limit", default: "", "How many leases to show at most; \"none\" for all.")
    private static let children = Field<Bool>(
        "include_child_namespaces", default: false, "There are none below the root namespace.")

    /// Names in one list.
    private static let mostNames = 100_000
    /// Irrevocable leases that are shown when nobody says how many.
    private static let mostShown = 10_000

    package static var routes: [Route<Self>] { lookupRoutes + changeRoutes + prefixRoutes }

    private static var lookupRoutes: [Route<Self>] {
        [
            Route(
                .read, "leases", "Leases that would not be revoked.", .sudo, fields: type, limit, children,
                run: Self.listIrrevocable),
            Route(
                .read, "leases/count", "How many leases would not be revoked, by mount.", fields: type,
                children, run: Self.count),
            Route(.update, "leases/lookup", "What a lease is.", fields: id, run: Self.lookUp),
            Route(
                .list, "leases/lookup/*prefix", "The names below a path.", .sudo, fields: prefix,
                run: Self.list),
            Route(.update, "leases/tidy", "Look for leases whose tokens are gone.", run: Self.tidy),
        ]
    }

    private static var changeRoutes: [Route<Self>] {
        [
            Route(.update, "leases/renew", "Renew a lease.", fields: id, increment, runAsync: Self.renew),
            Route(
                .update, "leases/renew/*url_lease_id", "Renew a lease.", fields: urlID, id, increment,
                runAsync: Self.renew),
            Route(.update, "renew", "Renew a lease.", fields: id, increment, runAsync: Self.renew),
            Route(
                .update, "renew/*url_lease_id", "Renew a lease.", fields: urlID, id, increment,
                runAsync: Self.renew),
            Route(.update, "leases/revoke", "Revoke a lease.", fields: id, sync, runAsync: Self.revoke),
            Route(
                .update, "leases/revoke/*url_lease_id", "Revoke a lease.", fields: urlID, id, sync,
                runAsync: Self.revoke),
            Route(.update, "revoke", "Revoke a lease.", fields: id, sync, runAsync: Self.revoke),
            Route(
                .update, "revoke/*url_lease_id", "Revoke a lease.", fields: urlID, id, sync,
                runAsync: Self.revoke),
        ]
    }

    private static var prefixRoutes: [Route<Self>] {
        [
            Route(
                .update, "leases/revoke-prefix/*prefix", "Revoke all leases below a path.", .sudo,
                fields: prefix, sync, runAsync: Self.revokePrefix),
            Route(
                .update, "revoke-prefix/*prefix", "Revoke all leases below a path.", .sudo, fields: prefix,
                sync, runAsync: Self.revokePrefix),
            Route(
                .update, "leases/revoke-force/*prefix",
                "Remove all leases below a path, whatever their engines say.", .sudo, fields: prefix,
                runAsync: Self.revokeForce),
            Route(
                .update, "revoke-force/*prefix",
                "Remove all leases below a path, whatever their engines say.", .sudo, fields: prefix,
                runAsync: Self.revokeForce),
        ]
    }

    // MARK: Looking

    private func lookUp(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let lease = try service().lookUp(try Self.leaseID(request), &tx) else {
            throw .badRequest("invalid lease")
        }
        let left = max(0, (lease.expires - request.now).wholeSeconds)
        var members: [(String, JSONValue)] = [
            ("expire_time", .string(lease.expires.rfc3339())), ("id", .string(lease.id)),
            ("issue_time", .string(lease.issued.rfc3339())),
            ("last_renewal", .optional(lease.renewed?.rfc3339())),
            ("renewable", .bool(lease.isRenewable)), ("ttl", .int(Int(left))),
        ]
        if lease.failures > 0 {
            members.append(("revoke_attempts", .int(lease.failures)))
            members.append(("revoke_error", .string(lease.lastFailure)))
        }
        return LogicalResponse(data: .object(members))
    }

    private func list(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        var path = try request[Self.prefix]
        if !path.isEmpty, !path.hasSuffix("/") { path += "/" }
        let names = try store().list(&tx, path, limit: Self.mostNames)
        var response = try LogicalResponse.keys(names)
        if names.count == Self.mostNames {
            response.warnings = ["only the first \(Self.mostNames) names are shown"]
        }
        return response
    }

    private func listIrrevocable(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try checkType(request)
        let text = try request[Self.limit]
        let most = text == "none" ? Int.max : text.isEmpty ? Self.mostShown : Int(text) ?? 0
        if most < 1 { throw .badRequest("limit: expected a positive number, or none") }
        var rows: [JSONValue] = []
        var hasMore = false
        try forEachIrrevocable(&tx) { lease, mount in
            if rows.count == most {
                hasMore = true
            } else {
                rows.append([
                    "lease_id": .string(lease.id), "mount_id": .string(mount),
                    "error": .string(lease.lastFailure),
                ])
            }
            return !hasMore
        }
        var response = LogicalResponse(data: ["lease_count": .int(rows.count), "leases": .array(rows)])
        if hasMore { response.warnings = ["only \(most) leases are shown; ask with limit=none for all"] }
        return response
    }

    private func count(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try checkType(request)
        var counts: [String: Int] = [:]
        try forEachIrrevocable(&tx) { _, mount in
            counts[mount, default: 0] += 1
            return true
        }
        let sorted = counts.sorted { $0.key < $1.key }
        return LogicalResponse(data: [
            "lease_count": .int(counts.values.reduce(0, +)),
            "counts": .object(sorted.map { ($0.key, .int($0.value)) }),
        ])
    }

    private func checkType(_ request: LogicalRequest) throws(VaultError) {
        guard try request[Self.type] == "irrevocable" else {
            throw .badRequest("type: expected irrevocable")
        }
    }

    /// Calls `body` with each lease and the accessor of its mount, until it says false.
    private func forEachIrrevocable(
        _ tx: inout Transaction, _ body: (LeaseRecord, String) -> Bool
    ) throws(VaultError) {
        guard let active = active() else { throw .sealed }
        var after: String?
        repeat {
            let page = try active.tokens.leases.irrevocable(&tx, after: after, limit: 500)
            for id in page.ids {
                guard let lease = try active.tokens.leases.get(&tx, id: id) else { continue }
                let mount = try lease.mount.flatMap { (uuid) throws(VaultError) in
                    try active.mounts.mount(uuid: uuid, &tx)
                }
                if !body(lease, mount?.entry.accessor ?? "mount-accessor-not-found") { return }
            }
            after = page.last
        } while after != nil
    }

    // MARK: Changing

    private func renew(_ request: LogicalRequest, _ transactions: any Transactions) async throws(VaultError)
        -> LogicalResponse
    {
        let increment = try request[Self.increment]
        if increment < .zero { throw .badRequest("increment: expected a span that is not negative") }
        return try await service().renew(
            try Self.leaseID(request), increment: increment, now: request.now)
    }

    private func revoke(_ request: LogicalRequest, _ transactions: any Transactions)
        async throws(VaultError) -> LogicalResponse
    {
        try await service().revoke(
            try Self.leaseID(request), waits: try request[Self.sync], now: request.now)
        return .empty
    }

    private func revokePrefix(_ request: LogicalRequest, _ transactions: any Transactions)
        async throws(VaultError) -> LogicalResponse
    {
        try await service().revoke(
            prefix: try request[Self.prefix], waits: try request[Self.sync], now: request.now)
        return .empty
    }

    private func revokeForce(_ request: LogicalRequest, _ transactions: any Transactions)
        async throws(VaultError) -> LogicalResponse
    {
        try await service().force(prefix: try request[Self.prefix], now: request.now)
        return .empty
    }

    /// Leases that one call of `tidy` checks.
    private static let tidyLimit = 1_000

    /// A lease and its token come and go in one commit, so that nothing should ever be left over. This
    /// checks a bounded number of secrets' owners from a random one on, behind the last those from the first
    /// on, and ends the leases of those that are gone.
    private func tidy(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let active = active() else { throw .sealed }
        let leases = active.tokens.leases
        let first = try leases.firstOwner(&tx) ?? ""
        let start = TimePrefix.place(from: first, to: request.now, random)
        var ids = try leases.ids(&tx, ownedFrom: start, limit: Self.tidyLimit)
        if ids.count < Self.tidyLimit {
            ids += try leases.ids(&tx, ownedFrom: "", limit: Self.tidyLimit - ids.count)
        }
        var lost: [LeaseRecord] = []
        for id in ids {
            guard let lease = try leases.get(&tx, id: id), !lease.isToken else { continue }
            if try active.tokens.live(hash: lease.owner, now: request.now, &tx) == nil { lost.append(lease) }
        }
        for lease in lost { leases.release(&tx, lease, now: request.now) }
        var response = LogicalResponse(warnings: [
            "Tidy operation finished: up to \(Self.tidyLimit) leases were checked against their tokens."
        ])
        response.status = 202
        return response
    }

    // MARK: -

    private static func leaseID(_ request: LogicalRequest) throws(VaultError) -> String {
        let sent = try request[id]
        let found = sent.isEmpty ? try request[urlID] : sent
        if found.isEmpty { throw .badRequest("lease_id must be specified") }
        if found.utf8.count > Limits.standard.pathBytes || found.utf8.contains(0) {
            throw .badRequest("lease_id: expected the id of a lease")
        }
        return found
    }

    private func service() throws(VaultError) -> LeaseService {
        guard let active = active() else { throw .sealed }
        return LeaseService(active: active, clock: clock, random: random)
    }

    private func store() throws(VaultError) -> LeaseStore {
        guard let active = active() else { throw .sealed }
        return active.tokens.leases
    }
}
