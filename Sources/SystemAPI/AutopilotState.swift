package import Base

/// What autopilot goes by (Vault API: `sys/storage/raft/autopilot/configuration`). Stored behind the barrier.
package struct AutopilotConfiguration: Sendable, Equatable {
    /// Where it is stored.
    package static let key = "core/raft/autopilot"
    /// Members that shall never vote, by name, below this.
    package static let nonVoters = "core/raft/non-voters/"

    /// Removes members that have not been heard for `deadServerThreshold`.
    package var cleansUp = false
    /// Silence after which a member counts as unhealthy.
    package var lastContact = Duration.seconds(10)
    /// Silence after which a member is removed, where that is wanted.
    package var deadServerThreshold = Duration.seconds(24 * 3600)
    /// Entries that a healthy member may lag behind.
    package var maxTrailingLogs = 1_000
    /// Members that stay, whatever happens.
    package var minQuorum = 0
    /// For how long a member must be healthy before it votes.
    package var stabilization = Duration.seconds(10)

    /// The defaults, which are those of Vault.
    package init() {}

    /// - Throws: `.corrupted` when this is no such record.
    package init(record: [UInt8]) throws(VaultError) {
        guard let json = try? RawJSON(validating: record) else { throw .corrupted(place: Self.key) }
        func span(_ name: String, _ usual: Duration) -> Duration {
            json[name]?.int.map { .milliseconds($0) } ?? usual
        }
        cleansUp = json["cleanup_dead_servers"]?.bool ?? cleansUp
        lastContact = span("last_contact_ms", lastContact)
        deadServerThreshold = span("dead_server_ms", deadServerThreshold)
        maxTrailingLogs = json["max_trailing_logs"]?.int ?? maxTrailingLogs
        minQuorum = json["min_quorum"]?.int ?? minQuorum
        stabilization = span("stabilization_ms", stabilization)
    }

    /// As it is stored.
    package var record: [UInt8] {
        func milliseconds(_ span: Duration) -> JSONValue { .int(Int(span.wholeNanoseconds / 1_000_000)) }
        let json: JSONValue = [
            "cleanup_dead_servers": .bool(cleansUp), "last_contact_ms": milliseconds(lastContact),
            "dead_server_ms": milliseconds(deadServerThreshold), "max_trailing_logs": .int(maxTrailingLogs),
            "min_quorum": .int(minQuorum), "stabilization_ms": milliseconds(stabilization),
        ]
        return json.encoded()
    }
}

/// How the members of a cluster do, as its leader sees them.
package struct AutopilotState: Sendable {
    /// One member.
    package struct Server: Sendable {
        /// `node_id` of its configuration.
        package var nodeID = ""
        /// `host:port` of its cluster port.
        package var address = ""
        /// The name of its host.
        package var hostName = ""
        /// The version of the API that it speaks.
        package var version = ""
        /// Whether it leads the cluster.
        package var isLeader = false
        /// Whether it counts for a quorum.
        package var isVoter = false
        /// Alive, and not far behind.
        package var isHealthy = false
        /// Whether it was heard within the configured time.
        package var isAlive = false
        /// Since it was heard; zero for the leader itself.
        package var lastContact = Duration.zero
        /// The term of the leader that tells this.
        package var lastTerm: UInt64 = 0
        /// The last entry of the log that it is known to hold.
        package var lastIndex: UInt64 = 0
        /// Since when it has been as healthy as it is now.
        package var stableSince = Timestamp(seconds: 0)
        /// A member of whom nothing is known.
        package init() {}
    }
    /// All members, by name.
    package var servers: [Server] = []
    /// A cluster without members.
    package init() {}

    /// Whether all members are.
    package var isHealthy: Bool { servers.allSatisfy(\.isHealthy) }
    /// How many healthy voters may be lost and leave a quorum.
    package var failureTolerance: Int {
        let voters = servers.count(where: \.isVoter)
        let healthy = servers.count { $0.isVoter && $0.isHealthy }
        return max(0, healthy - (voters / 2 + 1))
    }
}
