import Base
package import Core
package import PluginKit

/// `sys/seal-backend-status` and `sys/sealwrap/rewrap`: the seals that unseal the server by themselves.
package struct SysSealBackends: Sendable {
    private let seal: SealController

    /// Over the controller, which knows the seals.
    package init(seal: SealController) { self.seal = seal }

    /// All of this group.
    package static var routes: [Route<Self>] {
        [
            Route(
                .read, "seal-backend-status", "How each configured seal did when it was last asked.",
                [.unauthenticated, .whileSealed], run: Self.status),
            Route(
                .read, "sealwrap/rewrap", "Whether each seal has wrapped the key by its newest version.",
                run: Self.rewrapStatus),
            Route(
                .update, "sealwrap/rewrap",
                "Ask each seal now, and have the key wrapped anew where a KMS's key was rotated.", .sudo,
                runAsync: Self.rewrap),
        ]
    }

    private func status(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let health = seal.seals.health
        if health.isEmpty {
            return Self.mirrored([
                "healthy": true, "fully_wrapped": true,
                "backends": [["name": "shamir", "type": "shamir", "healthy": true]],
            ])
        }
        let backends: [JSONValue] = health.map { health in
            var members: [(String, JSONValue)] = [
                ("name", .string(health.name)), ("type", .string(health.type)),
                ("healthy", .bool(health.isHealthy)), ("wrapped", .bool(health.hasCopy)),
            ]
            if let asked = health.lastAsked { members.append(("last_asked", .string(asked.rfc3339()))) }
            if let since = health.unhealthySince {
                members.append(("unhealthy_since", .string(since.rfc3339())))
                members.append(("reason", .string(health.reason)))
            }
            return .object(members)
        }
        var members: [(String, JSONValue)] = [
            ("healthy", .bool(health.allSatisfy(\.isHealthy))),
            ("fully_wrapped", .bool(health.allSatisfy(\.hasCopy))), ("backends", .array(backends)),
        ]
        if let since = health.compactMap(\.unhealthySince).min() {
            members.append(("unhealthy_since", .string(since.rfc3339())))
        }
        return Self.mirrored(.object(members))
    }

    /// For old clients on top, for `holdfast read` in `data`.
    private static func mirrored(_ data: JSONValue) -> LogicalResponse {
        var response = LogicalResponse(data: data)
        response.mirrorsData = true
        return response
    }

    private func rewrapStatus(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        LogicalResponse(data: ["fully_wrapped": .bool(seal.isFullyWrapped)])
    }

    private func rewrap(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let isWhole = try await BlockingPool.shared.run { [seal] () throws(VaultError) in seal.checkSeals() }
        return LogicalResponse(data: ["fully_wrapped": .bool(isWhole)])
    }
}
