/// One member of a cluster, as the rest of the server sees it. `RaftNode` is the real one; tests of the
/// others bring their own.
///
/// All calls return at once. Every `done` is called exactly once, on a thread of the node's: it must not
/// wait, nor call back into the node but to hand something over.
package protocol ConsensusNode: AnyObject, Sendable {
    /// A frame from an authenticated peer. What makes no sense is dropped.
    func receive(_ frame: [UInt8], from peer: UInt64)

    /// A whole state from an authenticated peer: the message that `sendSnapshot` was given, and this node's
    /// own copy of the file. It is verified before anything is replaced, and removed in the end.
    /// - Parameter done: whether the state was taken (or was not needed any more).
    func receiveSnapshot(
        message: [UInt8], path: String, from peer: UInt64, done: @escaping @Sendable (Bool) -> Void)

    /// Appends an entry and waits until it is committed and applied here.
    /// - Parameter done: the entry's index. `.outcomeUnknown` when leadership was lost in between, or when it
    ///   took too long.
    func propose(_ payload: [UInt8], done: @escaping @Sendable (Result<UInt64, RaftError>) -> Void)

    /// Waits until local reads see everything that was acknowledged before the call, on any node. On a
    /// follower it asks the leader. Many calls share one round.
    /// - Parameter done: nil, or why not: then nothing may be read.
    func readIndex(_ done: @escaping @Sendable (RaftError?) -> Void)

    /// Gives up calls of `readIndex` and `propose` whose time is over, though the node's own thread waits for
    /// its disk. To be called several times a second, from another thread.
    func expireCalls()

    /// Changes the membership; on the leader only. Done when it is applied here.
    func changeMembership(
        _ change: MembershipChange, done: @escaping @Sendable (Result<UInt64, RaftError>) -> Void)

    /// Hands leadership over: to one voter, or to the one that is furthest. Done when another leads.
    func transferLeadership(to peer: UInt64?, done: @escaping @Sendable (RaftError?) -> Void)

    /// An atomic snapshot; cheap.
    var state: RaftState { get }

    /// Calls back on every change of role, leader, term, quorum or membership, and at once with the state
    /// as it is. On the raft thread: it must not wait.
    func observe(_ observer: @escaping @Sendable (RaftState) -> Void)
}
