package import Base

/// A member of the cluster, as every member knows it: it is part of the replicated state.
package struct RaftPeer: Sendable, Equatable {
    /// The number that consensus knows the member by: random, made with its data directory, never used again.
    package var raftID: UInt64
    /// `node_id` of the configuration.
    package var nodeID: String
    /// `host:port` of its cluster port.
    package var clusterAddress: String
    /// The URL of its API, as `api_addr` gives it; empty when the member did not tell.
    package var apiAddress: String
    /// The host's name, for `sys/ha-status`.
    package var hostName: String
    /// The product's version that it runs, for `sys/ha-status`.
    package var version: String
    /// Whether it counts for a quorum. What does not vote yet is a learner.
    package var isVoter: Bool

    /// All that is known of a member.
    package init(
        raftID: UInt64, nodeID: String, clusterAddress: String = "", apiAddress: String = "",
        hostName: String = "", version: String = "", isVoter: Bool = true
    ) {
        self.raftID = raftID
        self.nodeID = nodeID
        self.clusterAddress = clusterAddress
        self.apiAddress = apiAddress
        self.hostName = hostName
        self.version = version
        self.isVoter = isVoter
    }
}

/// What a member is at the moment. The raw values are the core's.
package enum RaftRole: UInt32, Sendable {
    case follower = 0
    case candidate = 1
    case leader = 2
    case preCandidate = 3
}

/// What a member knows of the cluster at one moment.
package struct RaftState: Sendable, Equatable {
    /// A member seen from here.
    package struct Member: Sendable, Equatable {
        /// Who it is.
        package var peer: RaftPeer
        /// The last entry that it is known to hold; on the leader only, elsewhere 0.
        package var matchIndex: UInt64 = 0
        /// `CLOCK_BOOTTIME` nanoseconds of its last message to this node; 0 when there was none yet.
        package var lastContact: UInt64 = 0

        /// A member of which nothing is known yet.
        package init(peer: RaftPeer) { self.peer = peer }
    }

    /// What this node is now.
    package var role = RaftRole.follower
    /// The newest term that it has heard of.
    package var term: UInt64 = 0
    /// Nil when no leader is known.
    package var leader: RaftPeer?
    /// The leader: a quorum has answered it within one election timeout. Others: the leader was heard
    /// within one. Reads do not rest on it: they ask `readIndex`.
    package var hasQuorum = false
    /// The last entry known to be committed.
    package var committed: UInt64 = 0
    /// The last entry whose effect local reads see.
    package var applied: UInt64 = 0
    /// The last entry of the local log.
    package var lastIndex: UInt64 = 0
    /// All members, this one included, in the order of their ids.
    package var members: [Member] = []
    /// Whether this node was removed from its cluster, and knows it.
    package var isRemoved = false
    /// Why this node takes no part any more (a failed disk, a broken invariant); nil while all is well.
    package var failure: String?

    /// A node that has heard nothing.
    package init() {}

    /// Whether it leads, as far as it knows.
    package var isLeader: Bool { role == .leader }
}

/// One change of the membership. One at a time: the next is refused until this one is applied.
package enum MembershipChange: Sendable, Equatable {
    /// A new member, which does not vote until it is promoted.
    case addLearner(RaftPeer)
    /// A learner becomes a voter.
    case promote(raftID: UInt64)
    /// A voter becomes a learner.
    case demote(raftID: UInt64)
    /// A member leaves for good; its raft id is never used again. The leader must be transferred first.
    case remove(raftID: UInt64)
    /// Addresses, names or the version of a member have changed; whether it votes stays as it is.
    case update(RaftPeer)
}

/// Why consensus did not do what it was asked.
package enum RaftError: Error, Sendable, Equatable {
    /// Only the leader can; here is the one that is known.
    case notLeader(RaftPeer?)
    /// Leadership was lost, or the node stopped, while the entry was on its way: it may still be committed.
    /// With every other error it surely is not.
    case outcomeUnknown
    /// No quorum answered in time.
    case timedOut
    /// More waits than is allowed; try again.
    case busy
    /// The node waits for its disk, and takes nothing until that answers.
    case stalled
    /// The payload is larger than an entry may be.
    case tooLarge
    /// The change of membership makes no sense now, with the reason.
    case refused(String)
    /// This node was removed from its cluster.
    case removed
    /// The node has stopped, orderly or because of the failure that its state tells.
    case stopped
}

extension RaftError {
    /// What a client is told: 503, but for what is its own fault.
    package var vaultError: VaultError {
        switch self {
        // Surely nothing was appended: whoever asked may ask the leader.
        case .notLeader: .standby
        case .outcomeUnknown: .unknownOutcome
        case .timedOut: .unavailable("no quorum of the cluster answered in time", retryAfterSeconds: 1)
        case .busy: .unavailable("the cluster is busy; try again", retryAfterSeconds: 1)
        case .stalled: .unavailable("this node waits for its disk; try another", retryAfterSeconds: 1)
        case .tooLarge: .tooLarge("the write is larger than one entry of the log may be")
        case .refused(let reason): .badRequest(reason)
        case .removed: .removedFromCluster
        case .stopped: .unavailable("this node takes no part in the cluster", retryAfterSeconds: 1)
        }
    }
}
