import Base
import Consensus
import PluginKit
import StorageBackends
import Synchronization

/// The node's part in its cluster, in the core's words, over consensus and its store.
final class RaftClusterRole: ClusterRole {
    private let backend: RaftBackend
    private let clock: any Clock
    private let held = Mutex(Held())

    private struct Held {
        var observer: (any ClusterObserver)?
        /// The consensus that is being observed; each time that the node takes part it is another.
        weak var node: RaftNode?
    }

    init(_ backend: RaftBackend, clock: any Clock) {
        self.backend = backend
        self.clock = clock
        backend.onChange { [weak self] change in
            guard let observer = self?.held.withLock({ $0.observer }) else { return }
            switch change {
            case .batch(let batch, let sequence, _): observer.applied(AppliedBatch(batch, at: sequence))
            case .everything: observer.replaced()
            }
        }
    }

    func observe(_ observer: any ClusterObserver) { held.withLock { $0.observer = observer } }

    /// Follows the consensus that has just been started.
    func attach() {
        guard let node = backend.node else { return }
        let isNew = held.withLock { held in
            defer { held.node = node }
            return held.node !== node
        }
        guard isNew else { return }
        node.observe { [weak self] _ in self?.held.withLock { $0.observer }?.standingChanged() }
    }

    var standing: ClusterStanding {
        var standing = ClusterStanding()
        let identity = backend.identity
        standing.nodeID = identity.nodeID
        guard let state = backend.node?.state else {
            standing.isRemoved = backend.isRemoved
            return standing
        }
        let now = clock.monotonicNanoseconds()
        standing.isLeader = state.isLeader
        standing.term = state.term
        standing.hasQuorum = state.hasQuorum
        standing.leader = state.leader.map { ClusterMember($0) }
        standing.members = state.members.map { member in
            var shown = ClusterMember(member.peer)
            if member.peer.raftID != identity.raftID, member.lastContact > 0 {
                shown.lastContact = .nanoseconds(Int64(now &- min(now, member.lastContact)))
            }
            return shown
        }
        standing.committedIndex = state.committed
        standing.appliedIndex = state.applied
        standing.isRemoved = state.isRemoved
        standing.failure = state.failure
        return standing
    }

    func confirmRead(_ done: @escaping @Sendable (VaultError?) -> Void) {
        guard let node = backend.node else { return done(Self.takesNoPart) }
        node.readIndex { done($0?.vaultError) }
    }

    func handOver(_ done: @escaping @Sendable (VaultError?) -> Void) {
        guard let node = backend.node else { return done(Self.takesNoPart) }
        node.transferLeadership(to: nil) { done($0?.vaultError) }
    }

    private static let takesNoPart = VaultError.unavailable(
        "this node takes no part in the cluster", retryAfterSeconds: 1)
}

extension AppliedBatch {
    fileprivate init(_ batch: CommitBatch, at sequence: UInt64) {
        self.init(
            keys: batch.writes.filter { $0.table == .entries }.map(\.key),
            touchesBootstrap: batch.writes.contains { $0.table == .bootstrap }, sequence: sequence)
    }
}

extension ClusterMember {
    fileprivate init(_ peer: RaftPeer) {
        self.init(nodeID: peer.nodeID, apiAddress: peer.apiAddress, clusterAddress: peer.clusterAddress)
        hostName = peer.hostName
        version = peer.version
        isVoter = peer.isVoter
    }
}
