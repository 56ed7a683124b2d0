package import Base

/// One committed entry of the log.
package struct CommittedEntry: Sendable {
    /// Its place in the log.
    package let index: UInt64
    /// The term of the leader that made it.
    package let term: UInt64
    /// Empty for the entry that a new leader begins with, and for what concerns the members only.
    package let payload: [UInt8]
    /// Whether this node proposed it since its start.
    package let isOwn: Bool

    /// An entry.
    package init(index: UInt64, term: UInt64, payload: [UInt8], isOwn: Bool = false) {
        self.index = index
        self.term = term
        self.payload = payload
        self.isOwn = isOwn
    }
}

/// How far a state has come: stored by the state machine with the state itself, in the same transaction.
package struct RaftProgress: Sendable, Equatable {
    /// The last entry that was applied, and its term.
    package var index: UInt64
    /// The term of that entry.
    package var term: UInt64
    /// The core's configuration (who votes) as of that entry; opaque.
    package var configuration: [UInt8]
    /// The members as of that entry.
    package var members: [RaftPeer]
    /// Raft ids of members that have left, the latest last: nobody listens to them any more, and none of them
    /// comes back.
    package private(set) var removed: [UInt64]

    /// So many are remembered: it is written with every batch of commits, and must fit beside it.
    private static let mostRemoved = 128

    /// A place in the log and who belonged to the cluster there.
    package init(
        index: UInt64, term: UInt64, configuration: [UInt8], members: [RaftPeer], removed: [UInt64] = []
    ) {
        self.index = index
        self.term = term
        self.configuration = configuration
        self.members = members
        self.removed = removed.suffix(Self.mostRemoved)
    }

    /// Strikes a member off, for good.
    mutating func remove(_ raftID: UInt64) {
        members.removeAll { $0.raftID == raftID }
        removed.removeAll { $0 == raftID }
        removed = (removed + [raftID]).suffix(Self.mostRemoved)
    }
}

/// What the log is applied to: the node's store, or a model of it in the simulation. Called by one thread
/// at a time.
package protocol RaftStateMachine: AnyObject {
    /// What was stored last; nil for a store that never belonged to a cluster.
    func progress() throws(VaultError) -> RaftProgress?

    /// Applies entries in order, and keeps `progress` with them, all or nothing. When it returns, readers
    /// see the effect.
    func apply(_ entries: [CommittedEntry], _ progress: RaftProgress) throws(VaultError)

    /// The index up to which the state will survive a crash: the log must keep what comes behind it.
    var durableIndex: UInt64 { get }

    /// Waits until everything that was applied will survive a crash.
    func makeDurable() throws(VaultError)

    /// Copies the state as it is now into a file, on a thread of its own.
    /// - Parameter done: the file and the progress that it holds. Called from any thread.
    func makeSnapshot(
        _ done: @escaping @Sendable (Result<(SnapshotFile, RaftProgress), VaultError>) -> Void)

    /// Looks through a received file without changing anything.
    /// - Throws: `.corrupted` when it is not whole.
    func checkSnapshot(path: String) throws(VaultError) -> RaftProgress

    /// Replaces the whole state by that of a file which `checkSnapshot` has passed, all or nothing, durably.
    func restore(path: String, _ progress: RaftProgress) throws(VaultError)
}
