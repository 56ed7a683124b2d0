package import Barrier
package import Base
import Consensus
import Core
package import Net
package import PluginKit
import Synchronization

/// What a node stores its cluster's data in, as the cluster's service needs it: raft's backend.
protocol ClusterStorage: AnyObject, Sendable {
    /// What this data directory is called in the cluster.
    var raftID: UInt64 { get }
    var nodeID: String { get }
    /// Takes part in the cluster from now on; or, for a node that is alone so far, lets others join.
    func start(transport: any RaftTransport) throws(VaultError)
    /// Takes part no longer.
    func stop()
    /// Nil before `start` and after `stop`.
    var consensus: (any ConsensusNode)? { get }
    /// A path for a state that another member sends.
    func incomingPath() -> String
    /// Copies the state, as of now, into a file.
    /// - Parameter done: called once, from any thread.
    func saveSnapshot(_ done: @escaping @Sendable (Result<SnapshotFile, VaultError>) -> Void)
    /// Replaces the whole cluster's state by a file's, after checking that it is whole. On the leader only.
    /// - Parameter done: called once, from any thread, with nil or the reason why nothing was replaced.
    func restoreSnapshot(_ path: String, _ done: @escaping @Sendable (VaultError?) -> Void)
}

/// The cluster port of a node and all that runs over it, for as long as the node is unsealed.
///
/// `start` when the barrier is open, `stop` before it is sealed; both may follow each other any number of
/// times. Consensus, snapshots and forwarded requests share the port, told apart by ALPN, and trust whom the
/// barrier's own authority has vouched for (`ClusterAuthority`).
package final class ClusterService: RequestForwarder {
    private static let protocols = [
        ClusterTransport.protocolName, ClusterForwarder.protocolName, SnapshotSending.protocolName,
    ]
    /// Between two looks at what has to be given up or renewed.
    private static let pause = Duration.milliseconds(100)
    /// Looks at forwarded requests for each one at the members.
    private static let looks = 3

    /// What exists while the node takes part.
    private struct Session: Sendable {
        let port: PeerPort
        let authority: ClusterAuthority
        let transport: ClusterTransport
        let forwarder: ClusterForwarder
        let upkeep: WakeFlag
    }
    private let storage: any ClusterStorage
    private let addresses: ClusterAddresses
    private let limits: PeerLimits
    private let clock: any Clock
    private let random: any RandomSource
    private let log: Log
    private let session = Mutex<Session?>(nil)
    private let front = Mutex<(loops: [EventLoop], handler: any ForwardedRequestHandler)?>(nil)
    /// Members that this node was told of when it joined, before it knows any itself.
    private let seeds = Mutex<[RaftPeer]>([])
    /// Called a few times a second while the node takes part.
    private let onTick = Mutex<[@Sendable (any ConsensusNode) -> Void]>([])

    init(
        storage: any ClusterStorage, addresses: ClusterAddresses, limits: PeerLimits = PeerLimits(),
        clock: any Clock, random: any RandomSource, log: Log
    ) {
        self.storage = storage
        self.addresses = addresses
        self.limits = limits
        self.clock = clock
        self.random = random
        self.log = log
    }

    /// Says who answers forwarded requests. Before, they are refused.
    package func setFront(_ handler: any ForwardedRequestHandler, loops: [EventLoop]) {
        front.withLock { $0 = (loops, handler) }
    }

    /// Members to talk to until this node knows its cluster by itself.
    func setSeeds(_ peers: [RaftPeer]) { seeds.withLock { $0 = peers } }

    /// `work` is called a few times a second while the node takes part. It must not wait long.
    func onTick(_ work: @escaping @Sendable (any ConsensusNode) -> Void) {
        onTick.withLock { $0.append(work) }
    }

    /// The node's part in consensus; nil while it takes none.
    var node: (any ConsensusNode)? { session.withLock { $0 != nil } ? storage.consensus : nil }

    /// Where it listens; empty while this node takes no part.
    var portAddresses: [String] { session.withLock { $0?.port.addresses ?? [] } }

    /// Listens, connects, and takes part in consensus.
    /// Does nothing while it does so already.
    /// - Throws: `.badRequest` when the port cannot be bound, and what the storage says.
    package func start(barrier: UnsealedBarrier, clusterID: String) throws(VaultError) {
        if session.withLock({ $0 != nil }) { return }
        let authority = try ClusterAuthority(
            seed: try barrier.derivedKey(ClusterAuthority.purpose), clusterID: clusterID)
        let transport = ClusterTransport(
            ownID: storage.raftID, authority: authority,
            incomingPath: { [storage] in storage.incomingPath() },
            log: log)
        let forwarder = ClusterForwarder(authority: authority, members: transport, clock: clock)
        let port = try PeerPort(
            addresses: addresses.bind, protocols: Self.protocols, limits: limits, log: log, clock: clock
        ) { [self] hello, link in accept(hello, link, authority, transport) }
        let session = Session(
            port: port, authority: authority, transport: transport, forwarder: forwarder, upkeep: WakeFlag())
        try port.start(issue(authority))
        transport.updatePeers(seeds.withLock { $0 }, removed: [])
        transport.attach(port)
        forwarder.attach(port)
        do throws(VaultError) {
            try storage.start(transport: transport)
            if let node = storage.consensus { transport.attach(node) }
            self.session.withLock { $0 = session }
            session.upkeep.thread = try Thread(name: "cluster-upkeep") { [self] in keepUp(session) }
        } catch {
            end(session)
            throw error
        }
        log.info(
            "cluster port open",
            ["addresses": port.addresses.joined(separator: ", "), "advertised": addresses.advertised])
    }

    /// Takes part no longer. Returns when nothing of it runs any more.
    package func stop() {
        let last = session.withLock { session in
            defer { session = nil }
            return session
        }
        if let last { end(last) }
    }

    private func end(_ session: Session) {
        session.upkeep.stop()
        self.session.withLock { $0 = nil }
        storage.stop()
        session.forwarder.detach()
        session.transport.detach()
        session.port.stop()
    }

    /// As `RequestForwarder` says; `.notSent` at once while this node takes no part.
    package func forward(
        _ request: HTTPRequest, client: ConnectionInfo, to node: ClusterMember,
        done: @escaping @Sendable (ForwardedAnswer) -> Void
    ) {
        guard let forwarder = session.withLock({ $0?.forwarder }) else { return done(.notSent) }
        forwarder.forward(request, client: client, to: node, done: done)
    }

    // MARK: Incoming

    private func accept(
        _ hello: PeerHello, _ link: PeerLink, _ authority: ClusterAuthority, _ transport: ClusterTransport
    ) -> PeerAdmission? {
        guard let raftID = authority.member(of: hello.certificate) else {
            log.warn("cluster port: a certificate of another cluster", ["peer": hello.address])
            return nil
        }
        guard hello.protocolName == ClusterForwarder.protocolName else {
            return transport.accept(hello, link, from: raftID)
        }
        // A member that was removed keeps its keys for a while, but speaks for nobody's clients any more.
        guard let front = front.withLock({ $0 }), let guest = transport.admit(link, from: raftID) else {
            return nil
        }
        return PeerAdmission(
            ForwardedRequests(guest, loops: front.loops, handler: front.handler), frameBytes: .max)
    }

    private func issue(_ authority: ClusterAuthority) throws(VaultError) -> PeerCredentials {
        try authority.issue(
            raftID: storage.raftID, nodeID: storage.nodeID, now: clock.now(), random: random)
    }

    // MARK: Upkeep

    private func keepUp(_ session: Session) {
        var issued = clock.monotonicNanoseconds()
        var looks = 0
        while session.upkeep.wait(Self.pause) {
            let now = clock.monotonicNanoseconds()
            if now - issued > UInt64(ClusterAuthority.rotation.wholeNanoseconds) {
                issued = now
                do throws(VaultError) {
                    try session.port.replace(issue(session.authority))
                } catch {
                    log.error(
                        "no fresh certificate for the cluster port",
                        ["cause": error.privateCause ?? "\(error)"])
                }
            }
            session.transport.endLeaving()
            guard let node = storage.consensus else { continue }
            node.expireCalls()
            let state = node.state
            session.forwarder.expire(leader: state.hasQuorum ? state.leader?.raftID : nil)
            looks += 1
            guard looks % Self.looks == 0 else { continue }
            for work in onTick.withLock({ $0 }) { work(node) }
        }
    }
}
