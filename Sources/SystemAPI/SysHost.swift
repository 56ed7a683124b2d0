import Base
package import Core
package import PluginKit

/// What a node tells of itself: `sys/host-info`, `sys/in-flight-req`, `sys/version-history`,
/// `sys/replication/status` and `sys/internal/counters/tokens`.
package struct SysHost: Sendable {
    /// Accessors counted in one transaction.
    private static let page = 5_000

    private let core: VaultCore

    package init(core: VaultCore) { self.core = core }

    package static var routes: [Route<Self>] {
        [
            Route(
                .read, "host-info", "Processors, disks and memory of this machine.", .thisNode,
                runAsync: Self.hostInfo),
            Route(
                .read, "in-flight-req", "Requests that wait for something right now.", .thisNode,
                runAsync: Self.inFlight),
            Route(
                .list, "version-history", "Versions that have served the storage.", run: Self.versionHistory),
            Route(
                .read, "replication/status", "Whether this cluster replicates another.", .unauthenticated,
                run: Self.replicationStatus),
            Route(
                .read, "internal/counters/tokens", "How many service tokens there are.",
                runAsync: Self.tokenCount),
            Route(
                .read, "internal/counters/entities", "How many entities there are.",
                runAsync: Self.entityCount),
        ]
    }

    private func hostInfo(_ request: LogicalRequest, _ transactions: any Transactions)
        async throws(VaultError) -> LogicalResponse
    {
        let now = request.now
        return LogicalResponse(
            data: try await BlockingPool.shared.run { () throws(VaultError) in HostInfo.describe(now: now) })
    }

    private func inFlight(_ request: LogicalRequest, _ transactions: any Transactions)
        async throws(VaultError) -> LogicalResponse
    {
        let rows = core.inFlight.all.map { entry -> (String, JSONValue) in
            (
                entry.id,
                [
                    "start_time": .string(entry.started.rfc3339()),
                    "client_remote_address": .string(entry.remoteAddress),
                    "request_path": .string("/v1/" + entry.path),
                    "request_method": .string(entry.operation.method),
                    "duration": .string(max(.zero, core.clock.now() - entry.started).goText),
                ]
            )
        }
        return LogicalResponse(data: .object(rows))
    }

    private func versionHistory(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        var previous: String?
        var info: [(String, JSONValue)] = []
        for entry in try VersionHistory.read(&tx) {
            info.append(
                (
                    entry.version,
                    [
                        "build_date": .string(entry.buildDate), "previous_version": .optional(previous),
                        "timestamp_installed": .string(entry.installed.rfc3339()),
                    ]
                ))
            previous = entry.version
        }
        return LogicalResponse(data: [
            "keys": .strings(info.map(\.0)), "key_info": .object(info),
        ])
    }

    private func replicationStatus(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        LogicalResponse(data: [
            "mode": "disabled", "dr": ["mode": "disabled"], "performance": ["mode": "disabled"],
        ])
    }

    private func tokenCount(_ request: LogicalRequest, _ transactions: any Transactions)
        async throws(VaultError) -> LogicalResponse
    {
        guard let tokens = core.active?.tokens else { throw .sealed }
        let total = try await Self.count(transactions) { after, limit, tx throws(VaultError) in
            try tokens.accessors(&tx, after: after, limit: limit)
        }
        return LogicalResponse(data: ["counters": ["service_tokens": ["total": .int(total)]]])
    }

    private func entityCount(_ request: LogicalRequest, _ transactions: any Transactions)
        async throws(VaultError) -> LogicalResponse
    {
        guard let store = core.active?.tokens.identities else { throw .sealed }
        let total = try await Self.count(transactions) { after, limit, tx throws(VaultError) in
            try store.entityIDs(tx, after: after, limit: limit)
        }
        return LogicalResponse(data: ["counters": ["entities": ["total": .int(total)]]])
    }

    /// Counts names page by page, each in a transaction of its own.
    private static func count(
        _ transactions: any Transactions,
        _ names: @escaping @Sendable (String?, Int, inout Transaction) throws(VaultError) -> [String]
    ) async throws(VaultError) -> Int {
        var total = 0
        var last: String?
        while true {
            let after = last
            let found = try await transactions.run { tx throws(VaultError) in
                let found = try names(after, page, &tx)
                return (count: found.count, last: found.last)
            }
            total += found.count
            if found.count < page { return total }
            last = found.last
        }
    }
}

extension Operation {
    /// The verb that asks for it.
    fileprivate var method: String {
        switch self {
        case .read, .help: "GET"
        case .list: "LIST"
        case .create, .update: "PUT"
        case .patch: "PATCH"
        case .delete: "DELETE"
        }
    }
}
