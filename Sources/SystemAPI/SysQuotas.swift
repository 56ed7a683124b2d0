import Base
package import Core
package import PluginKit

/// `sys/quotas/*`: limits on how many requests one client address may send.
package struct SysQuotas: Sendable {
    private let registry: MountRegistry

    package init(registry: MountRegistry) { self.registry = registry }

    private static let name = Field<String>(required: "name", "Name of the quota.")
    private static let path = Field<String>(
        "path", default: "", "Mount that it holds for, or a path below one; empty for everything.")
    private static let rate = Field<RawJSON>("rate", "Requests in one interval; a number greater than 0.")
    private static let interval = Field<Duration>("interval", default: .seconds(1), "Length of an interval.")
    private static let blockInterval = Field<Duration>(
        "block_interval", default: .zero, "For how long an address that was refused stays refused.")
    private static let type = Field<String>("type", default: "rate-limit", "Kept for compatibility.")
    private static let audits = Field<Bool>(
        "enable_rate_limit_audit_logging", default: false, "Whether refusals are audited.")
    private static let headers = Field<Bool>(
        "enable_rate_limit_response_headers", default: false, "Whether answers tell how the caller stands.")
    private static let exempt = Field<[String]>(
        "rate_limit_exempt_paths", default: [], "Paths, with /v1/, for which no quota holds.")

    package static var routes: [Route<Self>] {
        [
            Route(.read, "quotas/config", "What holds for all quotas.", run: Self.readConfig),
            Route(
                .update, "quotas/config", "Set what holds for all quotas.", fields: audits, headers, exempt,
                run: Self.writeConfig),
            Route(.list, "quotas/rate-limit", "List the quotas.", run: Self.list),
            Route(.read, "quotas/rate-limit/:name", "Read a quota.", fields: name, run: Self.read),
            Route(
                .update, "quotas/rate-limit/:name", "Make or change a quota.",
                fields: name, path, rate, interval, blockInterval, type, run: Self.write),
            Route(.delete, "quotas/rate-limit/:name", "Delete a quota.", fields: name, run: Self.delete),
        ]
    }

    private func readConfig(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let config = try QuotaConfig(&tx)
        return LogicalResponse(data: [
            "enable_rate_limit_audit_logging": .bool(config.auditsRefusals),
            "enable_rate_limit_response_headers": .bool(config.sendsHeaders),
            "rate_limit_exempt_paths": .strings(config.exemptPaths),
        ])
    }

    private func writeConfig(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        var config = QuotaConfig()
        config.auditsRefusals = try request[Self.audits]
        config.sendsHeaders = try request[Self.headers]
        config.exemptPaths = try request[Self.exempt]
        guard config.exemptPaths.count <= 128, config.exemptPaths.allSatisfy({ $0.hasPrefix("/v1/") }) else {
            throw .badRequest("rate_limit_exempt_paths: expected at most 128 paths that begin with /v1/")
        }
        config.write(&tx)
        return .empty
    }

    private func list(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    { try .keys(RateLimitQuota.readAll(&tx).map(\.name)) }

    private func read(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let quota = try RateLimitQuota.read(try request[Self.name], &tx) else { throw .notFound }
        return LogicalResponse(data: [
            "name": .string(quota.name), "path": .string(quota.path), "rate": quota.shownRate,
            "interval": .int(Int(quota.interval.wholeSeconds)),
            "block_interval": .int(Int(quota.blockInterval.wholeSeconds)), "type": "rate-limit",
        ])
    }

    private func write(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard try request[Self.type] == "rate-limit" else { throw .badRequest("type: expected rate-limit") }
        let sent = try request.optional(Self.rate)
        guard let rate = sent.flatMap({ $0.numberText ?? $0.string }).flatMap({ Double($0) }) else {
            throw .badRequest("rate: expected a number greater than 0")
        }
        try RateLimitQuota(
            name: try request[Self.name], path: try path(try request[Self.path], &tx), rate: rate,
            interval: try request[Self.interval], blockInterval: try request[Self.blockInterval]
        ).write(&tx)
        return .empty
    }

    /// The path as it is compared: a mount's with its slash.
    private func path(_ text: String, _ tx: inout Transaction) throws(VaultError) -> String {
        var path = text
        while path.hasPrefix("/") { path.removeFirst() }
        if path.isEmpty { return "" }
        if path.utf8.count > Limits.standard.pathBytes { throw .badRequest("path: too long") }
        let entries = try registry.readEntries(&tx)
        if entries.contains(where: { $0.apiPath == path + "/" }) { return path + "/" }
        guard entries.contains(where: { path.hasPrefix($0.apiPath) }) else {
            throw .badRequest("path: there is no mount at \(path)")
        }
        return path
    }

    private func delete(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        RateLimitQuota.delete(try request[Self.name], &tx)
        return .empty
    }
}
