package import Base
package import Consensus
internal import Glibc
internal import NodeStore

/// Takes the files of a node that is damaged, or was removed, out of its way, so that its next start joins
/// the cluster anew: under its old name, but with a new raft id, for with the files its votes are gone.
package struct RaftRebuild: Sendable {
    /// Where the data lies.
    package let directory: String
    /// Nil when neither the configuration nor the store tells it.
    package let nodeID: String?
    /// The members, this one included, as the store has them; nil when it cannot be read.
    package let members: [RaftPeer]?
    /// What is wrong with the files, for the operator; nil when they can be read.
    package let damage: String?
    private let settings: [String: String]

    /// Looks at the directory of a server that is stopped, and changes nothing that counts.
    /// - Throws: `.badRequest` when it is in use, holds no node, or holds the only voter of a cluster.
    package init(examining settings: [String: String], log: Log) throws(VaultError) {
        let parsed = try RaftSettings(settings)
        self.settings = settings
        directory = parsed.path
        let hasData = Environment.hasDataFile(parsed.path)
        guard hasData || access("\(parsed.path)/raft", F_OK) == 0 else {
            throw .badRequest("\(parsed.path) holds no node: start the server, and let it join")
        }
        var (nodeID, members) = (parsed.nodeID, [RaftPeer]?.none)
        var damage: String? = hasData ? nil : "the data file is missing"
        if hasData {
            do throws(VaultError) {
                let backend = try RaftBackend.openIdle(
                    settings, clock: SystemClock(), random: SystemRandom(), log: log)
                defer { backend.close() }
                let own = backend.identity
                (nodeID, members) = (own.nodeID, backend.members)
                if !backend.isRemoved,
                    !backend.members.contains(where: { $0.isVoter && $0.raftID != own.raftID })
                {
                    throw .badRequest(
                        "no other member of its cluster votes: nobody has the data of this node. Restore a "
                            + "snapshot instead (docs/operations/cluster.md)")
                }
                try backend.checkLog()
            } catch {
                guard case .corrupted(let place) = error else { throw error }
                damage = place
            }
        }
        self.nodeID = nodeID.isEmpty ? nil : nodeID
        self.members = members
        self.damage = damage
    }

    /// What was done.
    package struct Outcome: Sendable {
        /// Where the old files lie now.
        package let aside: String
        /// The name under which the node will join.
        package let nodeID: String
    }

    /// Moves the files, and makes an empty node with a raft id of its own.
    /// - Throws: `.badRequest` when a server uses the directory.
    package func run(at now: Timestamp, log: Log) throws(VaultError) -> Outcome {
        let name = "set-aside-" + String(now.rfc3339(fraction: 0).map { $0 == ":" ? "-" : $0 })
        try Environment.setAside(directory, with: ["raft", "raft-copies"], into: name)
        var named = settings
        if let nodeID { named["node_id"] = nodeID }
        let fresh = try RaftBackend.openIdle(
            named, clock: SystemClock(), random: SystemRandom(), log: log)
        defer { fresh.close() }
        return Outcome(aside: "\(directory)/\(name)", nodeID: fresh.identity.nodeID)
    }
}
