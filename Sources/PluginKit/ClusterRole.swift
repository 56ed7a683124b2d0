package import Base

/// A node's part in its cluster, as the core sees it. Raft implements it; a node that is alone has none.
package protocol ClusterRole: AnyObject, Sendable {
    /// What is known at the moment of asking. Cheap, and never waits.
    var standing: ClusterStanding { get }

    /// Waits until local reads see everything that any node acknowledged before the call. Many calls may
    /// share one round.
    /// - Parameter done: called once, within a second, on any thread: with nil, or with the reason why
    ///   nothing may be read. It must not wait.
    func confirmRead(_ done: @escaping @Sendable (VaultError?) -> Void)

    /// Gives leadership to another voter.
    /// - Parameter done: called once, within two seconds, on any thread: with nil when another node leads.
    func handOver(_ done: @escaping @Sendable (VaultError?) -> Void)

    /// Tells `observer` of every change from now on. Called once, before the node takes part.
    func observe(_ observer: any ClusterObserver)
}

/// Who follows what happens in the cluster.
package protocol ClusterObserver: AnyObject, Sendable {
    /// The role, the leader, the term or the members have changed. Must not wait.
    func standingChanged()

    /// A batch has been applied to the local store, whoever proposed it: readers that refresh see it, and no
    /// read that it belongs to has been confirmed yet. Called in the order of the batches, by one thread.
    func applied(_ batch: AppliedBatch)

    /// The whole local store has been replaced by another state.
    func replaced()
}

/// What a batch changed in the local store.
package struct AppliedBatch: Sendable {
    /// The store's keys in the table of entries.
    package let keys: [[UInt8]]
    /// Whether the table of bootstrap records was written.
    package let touchesBootstrap: Bool
    /// The commit's number, as readers show it.
    package let sequence: UInt64

    /// What was written, and the number that readers show behind it.
    package init(keys: [[UInt8]], touchesBootstrap: Bool, sequence: UInt64) {
        self.keys = keys
        self.touchesBootstrap = touchesBootstrap
        self.sequence = sequence
    }
}

/// How a node stands in its cluster.
package struct ClusterStanding: Sendable {
    /// Whether this node leads, as far as it knows.
    package var isLeader = false
    /// One more for each leader that there was.
    package var term: UInt64 = 0
    /// On the leader: a quorum has answered it within one election timeout before the asking. On the others:
    /// the leader was heard within one.
    package var hasQuorum = false
    /// This node's name, `node_id`.
    package var nodeID = ""
    /// Nil while none is known.
    package var leader: ClusterMember?
    /// All members, this one included.
    package var members: [ClusterMember] = []
    /// The newest entry of the log that is known to be committed.
    package var committedIndex: UInt64 = 0
    /// The newest entry that was applied here.
    package var appliedIndex: UInt64 = 0
    /// Whether this node was removed from its cluster, and knows it.
    package var isRemoved = false
    /// Why this node takes no part any more, for the log; nil while it does.
    package var failure: String?

    /// Of a node that takes no part.
    package init() {}
}

/// A member of the cluster as all members know it.
package struct ClusterMember: Sendable, Equatable {
    /// Its name, `node_id`.
    package var nodeID: String
    /// The URL of its API; empty when it did not tell.
    package var apiAddress: String
    /// `host:port` of its cluster port.
    package var clusterAddress: String
    /// Of the machine.
    package var hostName = ""
    /// The level of the API that it speaks, as `Version.api`.
    package var version = ""
    /// Whether it counts for a quorum.
    package var isVoter = true
    /// How long ago it was heard; nil when it never was, or is this node itself.
    package var lastContact: Duration?

    /// A voter of that name and those addresses.
    package init(nodeID: String, apiAddress: String, clusterAddress: String) {
        self.nodeID = nodeID
        self.apiAddress = apiAddress
        self.clusterAddress = clusterAddress
    }
}

/// What a client asks of the cluster besides its request (Vault API: `X-Vault-Index`, `X-Vault-Forward`,
/// `X-Vault-Inconsistent`, `X-Vault-No-Request-Forwarding`).
package struct ClusterOptions: Sendable, Equatable {
    /// Only the active node may answer.
    package var wantsActiveNode = false
    /// The commit that the answer must see at least.
    package var requiredSequence: UInt64 = 0
    /// A node that does not see it asks the active one, instead of refusing.
    package var forwardsWhenBehind = false

    /// Nothing.
    package init() {}
}
