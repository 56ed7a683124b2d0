/// What goes to one peer.
package struct OutboundMessage: Sendable {
    /// The receiver's raft id.
    package let to: UInt64
    /// Opaque; the receiver hands it to its `ConsensusNode.receive` whole.
    package let bytes: [UInt8]

    /// A message to one peer.
    package init(to: UInt64, bytes: [UInt8]) {
        self.to = to
        self.bytes = bytes
    }
}

/// Sends frames to peers: TLS connections in a server, arrays in the simulation.
///
/// Never blocks, and never fails: what cannot be sent now is dropped, and consensus sends it again. Order
/// between two nodes may change, and a frame may come twice.
package protocol RaftTransport: AnyObject, Sendable {
    /// Sends each message to its peer. Called on the raft thread.
    func send(_ messages: [OutboundMessage])

    /// Sends a state too old to be sent as entries: the message, then the file in bounded chunks. The
    /// receiver calls `ConsensusNode.receiveSnapshot` when it has all of it, with its own copy.
    /// - Parameter done: called once, from any thread: whether the receiver took all of it. Then the
    ///   transport no longer needs the file.
    func sendSnapshot(
        to peer: UInt64, message: [UInt8], file: SnapshotFile, done: @escaping @Sendable (Bool) -> Void)

    /// Tells who the members are, and the raft ids of those that were: nothing may come from them any more.
    /// When this node is among the latter, there is nobody to talk to. Called at the start and whenever that
    /// changes.
    func updatePeers(_ peers: [RaftPeer], removed: [UInt64])
}

/// A consistent copy of the state in a local file. The file goes when the last reference does.
package final class SnapshotFile: Sendable {
    /// An absolute path, in the storage directory.
    package let path: String
    /// Bytes in the file.
    package let sizeBytes: Int
    /// The last entry that the state holds, and its term.
    package let index: UInt64
    /// The term of that entry.
    package let term: UInt64
    private let remove: @Sendable (String) -> Void

    /// - Parameter remove: called with the path when nobody needs the file any more.
    package init(
        path: String, sizeBytes: Int, index: UInt64, term: UInt64,
        remove: @escaping @Sendable (String) -> Void
    ) {
        self.path = path
        self.sizeBytes = sizeBytes
        self.index = index
        self.term = term
        self.remove = remove
    }

    deinit { remove(path) }
}
