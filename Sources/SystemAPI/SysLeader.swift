import Base
package import Core
package import PluginKit

/// `sys/leader`, `sys/ha-status` and `sys/step-down`: which node of the cluster is active.
package struct SysLeader: Sendable {
    private let core: VaultCore

    /// Over the core's role in its cluster.
    package init(core: VaultCore) { self.core = core }

    /// The group's endpoints.
    package static var routes: [Route<Self>] {
        [
            Route(
                .read, "leader", "Which node is active.", [.unauthenticated, .whileSealed], run: Self.leader),
            Route(.read, "ha-status", "The nodes of this cluster.", .onActive, run: Self.haStatus),
            Route(
                .update, "step-down", "Give up being the active node.", [.sudo, .thisNode],
                runAsync: Self.stepDown),
        ]
    }

    private static let never = "0001-01-01T00:00:00Z"

    private func leader(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        // Who is sealed takes no part, and knows nothing.
        if core.role != nil, core.active == nil { throw .sealed }
        let standing = core.role?.standing
        let isSelf = standing != nil && core.isActive
        let leader = standing?.hasQuorum == true ? standing?.leader : nil
        let since = isSelf ? core.active?.duty?.since.rfc3339() : nil
        var members: [(String, JSONValue)] = [
            ("ha_enabled", .bool(standing != nil)), ("is_self", .bool(isSelf)),
            ("active_time", .string(since ?? Self.never)),
            ("leader_address", .string(leader?.apiAddress ?? "")),
            ("leader_cluster_address", .string(leader.map(Self.clusterURL) ?? "")),
            ("performance_standby", false), ("performance_standby_last_remote_wal", 0),
        ]
        if let standing {
            members.append(("raft_committed_index", .int(Int(standing.committedIndex))))
            members.append(("raft_applied_index", .int(Int(standing.appliedIndex))))
        }
        return .plain(.object(members))
    }

    /// A node that is alone is the active one, and has neither addresses nor an echo.
    private func haStatus(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let standing = core.role?.standing else {
            return LogicalResponse(data: [
                "nodes": [
                    [
                        "hostname": .string(HostInfo.hostName), "api_address": "", "cluster_address": "",
                        "active_node": true, "last_echo": nil, "version": .string(Version.api),
                    ]
                ]
            ])
        }
        let nodes = standing.members.map { member -> JSONValue in
            let isActive = member.nodeID == standing.leader?.nodeID
            let echo = member.lastContact.map { (request.now - $0).rfc3339() }
            return [
                "hostname": .string(member.hostName), "api_address": .string(member.apiAddress),
                "cluster_address": .string(Self.clusterURL(member)), "active_node": .bool(isActive),
                "last_echo": .optional(isActive ? nil : echo), "version": .string(member.version),
            ]
        }
        return LogicalResponse(data: ["nodes": .array(nodes)])
    }

    private static func clusterURL(_ member: ClusterMember) -> String {
        member.clusterAddress.isEmpty ? "" : "https://\(member.clusterAddress)"
    }

    /// A node that is alone has nobody to hand over to, and a standby nothing: who stops all nodes one after
    /// the other asks each of them.
    private func stepDown(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let others = core.role?.standing.members.count { $0.isVoter } ?? 1
        if others > 1 { try await core.stepDown() }
        return .empty
    }
}
