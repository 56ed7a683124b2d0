package import Base
package import PluginKit
import Synchronization

/// A cluster in memory, for tests of what runs on top of one: nodes that share a log, and a test that says
/// who leads and who is cut off. It keeps what a real one promises: what was acknowledged is never lost, a
/// batch is applied only to the state that it was made over, and no read is confirmed too early.
package final class FakeCluster: Sendable {
    fileprivate struct Entry: Sendable {
        let batch: CommitBatch
        /// The state that it was made over.
        let base: UInt64
    }
    fileprivate struct Member {
        var isCut = false
        /// The term in which it believes to lead; nil for a follower.
        var leads: UInt64?
        var takesPart = false
    }
    fileprivate struct State {
        var log: [Entry] = []
        var term: UInt64 = 0
        var leader: Int?
        var members: [Member]
        var confirmations = 0
        var holdsConfirmations = false
        var heldConfirmations: [@Sendable () -> Void] = []
        /// Commits begin to wait here when it is set.
        var holdsCommits = false
        var losesAnswers = false
    }
    fileprivate let state: Mutex<State>
    private let all = Mutex<[FakeClusterNode]>([])

    /// - Parameter count: of nodes; none of them leads, and none takes part.
    package init(nodes count: Int) {
        state = Mutex(State(members: Array(repeating: Member(), count: count)))
        let nodes = (0..<count).map { FakeClusterNode(self, $0) }
        all.withLock { $0 = nodes }
    }

    /// The nodes; each is storage and role in one.
    package var nodes: [FakeClusterNode] { all.withLock { $0 } }

    /// Read indices that were asked for.
    package var confirmations: Int { state.withLock { $0.confirmations } }

    /// The node that leads.
    package var leader: Int? { state.withLock { $0.leader } }

    /// Makes a node the leader of the next term. One that is cut off and led before does not hear of it.
    package func elect(_ node: Int) {
        state.withLock { state in
            state.term += 1
            state.leader = node
            for index in state.members.indices where !state.members[index].isCut {
                state.members[index].leads = index == node ? state.term : nil
            }
        }
        tellAll()
    }

    /// Nobody leads until the next election.
    package func depose() {
        state.withLock { state in
            state.leader = nil
            for index in state.members.indices where !state.members[index].isCut {
                state.members[index].leads = nil
            }
        }
        tellAll()
    }

    /// Cuts a node off: it hears nothing, and believes what it believed.
    package func cut(_ node: Int) { state.withLock { $0.members[node].isCut = true } }

    /// Ends the cut: the node learns who leads.
    package func heal(_ node: Int) {
        state.withLock { state in
            state.members[node].isCut = false
            state.members[node].leads = state.leader == node ? state.term : nil
        }
        tellAll()
    }

    /// Lets reads wait for their index until `releaseConfirmations`.
    package func holdConfirmations() { state.withLock { $0.holdsConfirmations = true } }

    /// Ends the waiting.
    package func releaseConfirmations() {
        let held = state.withLock { state in
            defer { state.heldConfirmations = [] }
            state.holdsConfirmations = false
            return state.heldConfirmations
        }
        for body in held { body() }
    }

    /// Lets commits wait, as on a slow disk, while it is true.
    package func holdCommits(_ isHeld: Bool) { state.withLock { $0.holdsCommits = isHeld } }

    /// Lets commits take effect without their proposer's hearing of it, while it is true.
    package func loseAnswers(_ areLost: Bool) { state.withLock { $0.losesAnswers = areLost } }

    /// Batches that were committed.
    package var commits: Int { state.withLock { $0.log.count } }

    private func tellAll() {
        for node in nodes where !state.withLock({ $0.members[node.index].isCut }) { node.tell() }
    }

    fileprivate func member(_ index: Int) -> ClusterMember {
        ClusterMember(
            nodeID: "n\(index)", apiAddress: "http://n\(index):8200", clusterAddress: "n\(index):8201")
    }
}

/// One node of a `FakeCluster`.
package final class FakeClusterNode: StorageBackend, ClusterRole {
    /// Shown as what it stands for.
    package static let type = "raft"
    /// Its place among the nodes.
    package let index: Int
    private let cluster: FakeCluster
    private let store = MemoryBackend()
    /// Held while a batch is applied.
    private let applied = Mutex<UInt64>(0)
    private let observer = Mutex<(any ClusterObserver)?>(nil)

    fileprivate init(_ cluster: FakeCluster, _ index: Int) {
        self.cluster = cluster
        self.index = index
    }

    /// Takes part from now on. The first node to do so leads.
    package func join() {
        let isFirst = cluster.state.withLock { state in
            state.members[index].takesPart = true
            return state.leader == nil
        }
        if isFirst { cluster.elect(index) } else { tell() }
    }

    /// Takes no part any more.
    package func leave() { cluster.state.withLock { $0.members[index].takesPart = false } }

    /// Applies all that is committed, as a node that was away does.
    package func catchUp() { apply(upTo: cluster.state.withLock { UInt64($0.log.count) }) }

    fileprivate func tell() { observer.withLock { $0 }?.standingChanged() }

    // MARK: Storage

    /// See `StorageBackend`.
    package func makeReader() throws(VaultError) -> any StorageReader { try store.makeReader() }

    /// See `StorageBackend`.
    package func commit(_ batch: CommitBatch) throws(VaultError) -> UInt64 {
        let base = applied.withLock { $0 }
        while cluster.state.withLock({ $0.holdsCommits }) { waitBriefly() }
        let outcome: Result<UInt64, VaultError> = cluster.state.withLock { state in
            let isFounding = state.term == 0
            guard isFounding || state.members[index].leads != nil else { return .failure(.standby) }
            guard isFounding || state.leader == index, !state.members[index].isCut,
                base == UInt64(state.log.count)
            else {
                return .failure(.unknownOutcome)
            }
            state.log.append(FakeCluster.Entry(batch: batch, base: base))
            return .success(UInt64(state.log.count))
        }
        let sequence = try outcome.get()
        apply(upTo: sequence)
        if cluster.state.withLock({ $0.losesAnswers }) { throw .unknownOutcome }
        for other in cluster.nodes where other !== self {
            let hears = cluster.state.withLock { state in
                state.members[other.index].takesPart && !state.members[other.index].isCut
            }
            if hears { other.apply(upTo: sequence) }
        }
        return sequence
    }

    /// See `StorageBackend`.
    package func close() {}

    fileprivate func apply(upTo sequence: UInt64) {
        applied.withLock { applied in
            while applied < sequence {
                let entry = cluster.state.withLock { $0.log[Int(applied)] }
                precondition(entry.base == applied, "a batch over another state")
                _ = try? store.commit(entry.batch)
                applied += 1
                observer.withLock { $0 }?.applied(
                    AppliedBatch(
                        keys: entry.batch.writes.filter { $0.table == .entries }.map(\.key),
                        touchesBootstrap: entry.batch.writes.contains { $0.table == .bootstrap },
                        sequence: applied))
            }
        }
    }

    // MARK: The role

    /// See `ClusterRole`.
    package var standing: ClusterStanding {
        let applied = self.applied.withLock { $0 }
        return cluster.state.withLock { state in
            var standing = ClusterStanding()
            let own = state.members[index]
            standing.isLeader = own.leads != nil
            standing.term = own.leads ?? state.term
            standing.nodeID = "n\(index)"
            standing.leader = (own.isCut && own.leads != nil ? index : state.leader).map(cluster.member)
            standing.hasQuorum =
                !own.isCut && (state.leader.map { !state.members[$0].isCut } ?? false)
            standing.members = state.members.indices.map(cluster.member)
            standing.committedIndex = UInt64(state.log.count)
            standing.appliedIndex = applied
            return standing
        }
    }

    /// See `ClusterRole`.
    package func confirmRead(_ done: @escaping @Sendable (VaultError?) -> Void) {
        let body: @Sendable () -> Void = { [self] in
            let target: UInt64? = cluster.state.withLock { state in
                guard !state.members[index].isCut, let leader = state.leader,
                    !state.members[leader].isCut
                else { return nil }
                return UInt64(state.log.count)
            }
            guard let target else {
                return done(.unavailable("the cluster has no leader", retryAfterSeconds: 1))
            }
            apply(upTo: target)
            done(nil)
        }
        let isHeld = cluster.state.withLock { state in
            state.confirmations += 1
            if state.holdsConfirmations { state.heldConfirmations.append(body) }
            return state.holdsConfirmations
        }
        if !isHeld { _ = Self.thread.push(body) }
    }

    /// Where answers come from, as from consensus: a thread that no test can keep busy.
    private static let thread = {
        let queue = BlockingQueue<@Sendable () -> Void>(limit: .max)
        _ = try? Thread(name: "fake-cluster") {
            while let work = queue.take(most: 1).first { work() }
        }
        return queue
    }()

    /// See `ClusterRole`.
    package func handOver(_ done: @escaping @Sendable (VaultError?) -> Void) {
        let next = cluster.state.withLock { state in
            state.members.indices.first {
                $0 != index && !state.members[$0].isCut && state.members[$0].takesPart
            }
        }
        guard let next else {
            return done(.unavailable("no other node can take over", retryAfterSeconds: 1))
        }
        cluster.elect(next)
        done(nil)
    }

    /// See `ClusterRole`.
    package func observe(_ observer: any ClusterObserver) { self.observer.withLock { $0 = observer } }
}
