import Base
package import PluginKit

/// `sys/storage/raft/autopilot/`: what looks after the members, and how they do.
package struct SysRaftAutopilot: Sendable {
    private let control: any RaftControl

    /// - Parameter control: does what the endpoints ask for.
    package init(control: any RaftControl) { self.control = control }

    private static let cleanup = Field<Bool>(
        "cleanup_dead_servers", "Remove members that have been silent for too long.")
    private static let lastContact = Field<Duration>(
        "last_contact_threshold", "Silence after which a member counts as unhealthy.")
    private static let dead = Field<Duration>(
        "dead_server_last_contact_threshold", "Silence after which a member is removed.")
    private static let trailing = Field<Int>(
        "max_trailing_logs", "Entries of the log that a healthy member may lag behind.")
    private static let quorum = Field<Int>("min_quorum", "Members that are never removed.")
    private static let stabilization = Field<Duration>(
        "server_stabilization_time", "For how long a new member must be healthy before it votes.")

    /// The endpoints.
    package static var routes: [Route<Self>] {
        [
            Route(
                .read, "storage/raft/autopilot/configuration", "What autopilot goes by.",
                run: Self.readConfiguration),
            Route(
                .update, "storage/raft/autopilot/configuration", "Change what autopilot goes by.",
                fields: cleanup, lastContact, dead, trailing, quorum, stabilization,
                run: Self.writeConfiguration),
            // Only the leader knows, so it must not be answered anywhere else.
            Route(
                .read, "storage/raft/autopilot/state", "How the members do.", runAsync: Self.state),
        ]
    }

    private static func stored(_ tx: inout Transaction) throws(VaultError) -> AutopilotConfiguration {
        try tx.get(AutopilotConfiguration.key).map { bytes throws(VaultError) in
            try AutopilotConfiguration(record: bytes)
        } ?? AutopilotConfiguration()
    }

    private func readConfiguration(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let stored = try Self.stored(&tx)
        return LogicalResponse(data: [
            "cleanup_dead_servers": .bool(stored.cleansUp),
            "dead_server_last_contact_threshold": .string(stored.deadServerThreshold.goText),
            "last_contact_threshold": .string(stored.lastContact.goText),
            "max_trailing_logs": .int(stored.maxTrailingLogs), "min_quorum": .int(stored.minQuorum),
            "server_stabilization_time": .string(stored.stabilization.goText),
        ])
    }

    private func writeConfiguration(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        var next = try Self.stored(&tx)
        func set<Value: FieldValue>(
            _ field: Field<Value>, _ place: WritableKeyPath<AutopilotConfiguration, Value>, _ least: Value,
            _ expected: String
        ) throws(VaultError) where Value: Comparable {
            guard let value = try request.optional(field) else { return }
            guard value >= least else { throw .badRequest("\(field.name): expected \(expected)") }
            next[keyPath: place] = value
        }
        if let cleansUp = try request.optional(Self.cleanup) { next.cleansUp = cleansUp }
        try set(Self.lastContact, \.lastContact, .milliseconds(1), "a duration above 0")
        try set(Self.dead, \.deadServerThreshold, .seconds(60), "at least 1m")
        try set(Self.trailing, \.maxTrailingLogs, 1, "a number above 0")
        try set(Self.quorum, \.minQuorum, 0, "0 or more")
        try set(Self.stabilization, \.stabilization, .zero, "a duration of 0 or more")
        if next.cleansUp, next.minQuorum < 3 {
            throw .badRequest(
                "min_quorum: expected at least 3 with cleanup_dead_servers, so that removing members cannot "
                    + "leave a single one")
        }
        tx.put(AutopilotConfiguration.key, next.record)
        return .empty
    }

    private func state(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let state = try control.autopilotState()
        let servers = state.servers.map { ($0.nodeID, Self.describe($0)) }
        func names(_ filter: (AutopilotState.Server) -> Bool) -> JSONValue {
            .strings(state.servers.filter(filter).map(\.nodeID))
        }
        let nonVoters = names { !$0.isVoter }
        var members: [(String, JSONValue)] = [
            ("failure_tolerance", .int(state.failureTolerance)), ("healthy", .bool(state.isHealthy)),
            ("leader", .string(state.servers.first(where: \.isLeader)?.nodeID ?? "")),
            ("optimistic_failure_tolerance", .int(state.failureTolerance)),
            ("servers", .object(servers)),
            ("voters", names(\.isVoter)),
        ]
        if state.servers.contains(where: { !$0.isVoter }) { members.append(("non_voters", nonVoters)) }
        return LogicalResponse(data: .object(members))
    }

    private static func describe(_ server: AutopilotState.Server) -> JSONValue {
        [
            "id": .string(server.nodeID), "name": .string(server.nodeID), "address": .string(server.address),
            "node_status": .string(server.isAlive ? "alive" : "failed"),
            "node_type": server.isVoter ? "voter" : "non-voter",
            "last_contact": .string(server.lastContact.goText),
            "last_term": .int(Int(clamping: server.lastTerm)),
            "last_index": .int(Int(clamping: server.lastIndex)), "healthy": .bool(server.isHealthy),
            "stable_since": .string(server.stableSince.rfc3339()),
            "status": server.isLeader ? "leader" : server.isVoter ? "voter" : "non-voter",
            "version": .string(server.version),
        ]
    }
}
