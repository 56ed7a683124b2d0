package import Base
package import PluginKit

/// What `sys/storage/raft/` needs of the node's part in its cluster. The server implements it.
///
/// What waits for the cluster does so without a thread; the leader's business throws `.unavailable`
/// elsewhere.
package protocol RaftControl: AnyObject, Sendable {
    /// Who belongs to the cluster, as this node knows it.
    func configuration() -> RaftMembership

    /// Removes a member for good.
    /// - Throws: `.badRequest` for a name that is no member's; `.unavailable` when this node must first hand
    ///   over, or no quorum answers.
    func remove(nodeID: String) async throws(VaultError)

    /// How the members do.
    func autopilotState() throws(VaultError) -> AutopilotState

    /// Makes this node, which must be empty, a member of another's cluster.
    /// - Returns: whether it has been taken on already: it may still wait for key shares. False when it goes
    ///   on trying by itself.
    func join(_ targets: [JoinTarget], options: JoinOptions) async throws(VaultError) -> Bool

    /// What a node that wants to join must answer. Nothing is remembered of it.
    func challenge(serverID: String) throws(VaultError) -> JoinChallenge

    /// Takes on a node that has answered.
    /// - Throws: `.forbidden` for a wrong answer.
    func admit(_ answer: JoinAnswer, _ transactions: any Transactions) async throws(VaultError) -> JoinReply

    /// Copies the state, as of now, and gives it out as an archive.
    func saveSnapshot() async throws(VaultError) -> StreamedAnswer

    /// How a schedule of snapshots does; nil when there is none, or this node is not active.
    func snapshotStatus(_ name: String) -> SnapshotScheduleStatus?

    /// Replaces the whole cluster's state by that of an archive.
    /// - Parameter isForced: also when it is another cluster's.
    /// - Throws: `.badRequest` when the archive is damaged, or another cluster's.
    func restoreSnapshot(_ archive: [UInt8], isForced: Bool) async throws(VaultError)

    /// Keeps a piece of an archive that comes in several requests. There is one upload at a time: the first
    /// piece of another ends it.
    /// - Throws: `.badRequest` when the piece does not follow on those before.
    func takePiece(_ bytes: [UInt8], at offset: Int, of upload: String) async throws(VaultError)

    /// The same as `restoreSnapshot`, with what came in pieces.
    func restoreUpload(_ upload: String, isForced: Bool) async throws(VaultError)

    /// Removes the pieces of an upload, if there are any.
    func forgetUpload(_ upload: String) async throws(VaultError)
}

/// The members of a cluster at one moment.
package struct RaftMembership: Sendable {
    /// One member.
    package struct Server: Sendable {
        /// `node_id` of its configuration.
        package var nodeID = ""
        /// `host:port` of its cluster port.
        package var address = ""
        /// Whether it leads, as far as this node knows.
        package var isLeader = false
        /// Whether it counts for a quorum.
        package var isVoter = false
        /// A member of whom nothing is known.
        package init() {}
    }
    /// All members, by name.
    package var servers: [Server] = []
    /// The last entry of the log that was applied here.
    package var index: UInt64 = 0
    /// A cluster without members.
    package init() {}
}

/// Where a node that wants to join finds the cluster, and how it connects there.
package struct JoinTarget: Sendable {
    /// The API's URL of any member.
    package var address = ""
    /// PEM; empty for the system's roots.
    package var caCertificate: [UInt8] = []
    /// PEM; empty for none.
    package var clientCertificate: [UInt8] = []
    /// The key of that certificate, PEM; nil without one.
    package var clientKey: SecretBytes?
    /// The name that the member's certificate must show; empty for the address's host.
    package var serverName = ""
    /// Set in place of an address: the members are looked up.
    package var autoJoin: AutoJoin?
    /// No target yet.
    package init() {}
}

/// How a node joins.
package struct JoinOptions: Sendable {
    /// It shall never vote.
    package var isNonVoter = false
    /// The answer need not wait for the first attempt.
    package var retries = false
    /// As a voter, and waiting for the first attempt.
    package init() {}
}

/// What an answer must be made for.
package struct JoinChallenge: Sendable {
    /// Opaque, and signed by the cluster.
    package var challenge: [UInt8]
    /// The record of the seal's configuration, and the wrapped root key: with the seal's help the joining
    /// node gets the key out, which its answer proves. Nobody else can.
    package var sealConfig: [UInt8]
    /// What the seal makes the root key of.
    package var wrappedRootKey: [UInt8]

    /// A challenge of these parts.
    package init(challenge: [UInt8], sealConfig: [UInt8], wrappedRootKey: [UInt8]) {
        self.challenge = challenge
        self.sealConfig = sealConfig
        self.wrappedRootKey = wrappedRootKey
    }
}

/// What a joining node says of itself, with the proof that it holds the root key.
package struct JoinAnswer: Sendable {
    /// The joining node's `node_id`.
    package var serverID = ""
    /// What is answered, as it came.
    package var challenge: [UInt8] = []
    /// The code over all the rest, by a key that derives from the root key.
    package var proof: [UInt8] = []
    /// The number of the node's data directory.
    package var raftID: UInt64 = 0
    /// `host:port` of its cluster port.
    package var clusterAddress = ""
    /// The URL of its API; empty when it has none to tell.
    package var apiAddress = ""
    /// The name of its host.
    package var hostName = ""
    /// The version of the API that it speaks.
    package var version = ""
    /// It shall never vote.
    package var isNonVoter = false
    /// An answer that says nothing yet.
    package init() {}
}

/// What the joining node gets.
package struct JoinReply: Sendable {
    /// Who belongs to the cluster, for people.
    package var members: [RaftMembership.Server]
    /// Readable by whoever holds the root key: the keyring's record, the cluster's id, who its members are.
    package var sealed: [UInt8]

    /// A reply of these parts.
    package init(members: [RaftMembership.Server], sealed: [UInt8]) {
        self.members = members
        self.sealed = sealed
    }
}
