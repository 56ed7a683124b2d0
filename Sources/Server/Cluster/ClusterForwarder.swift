import Base
import Consensus
import Net
import PluginKit
import Synchronization

/// Sends clients' requests from a standby to the active node, over one connection that all of them share, and
/// brings the answers back.
final class ClusterForwarder: RequestForwarder {
    static let protocolName = "holdfast-forward/1"
    /// Requests that may wait for a connection, or for their answers.
    private static let mostPending = 4_096
    /// Nanoseconds after which requests are given up while the active node is not heard.
    private static let mostSilence: UInt64 = 1_000_000_000

    private typealias Done = @Sendable (ForwardedAnswer) -> Void
    private struct Pending: Sendable {
        let done: Done
        let raftID: UInt64
        let began: UInt64
        /// Whether asking again would do no harm.
        let isRead: Bool
        /// Set while there is no connection to send it on.
        var frame: [UInt8]?
        /// Whether it was last seen waiting for a node that does not lead any more.
        var isOrphan = false
    }
    private struct State {
        var pending: [UInt64: Pending] = [:]
        var nextID: UInt64 = 1
        var links: [UInt64: PeerLink] = [:]
        var dialling: Set<UInt64> = []
        var port: PeerPort?
    }
    private let state = Mutex(State())
    private let authority: ClusterAuthority
    private let members: ClusterTransport
    private let clock: any Clock

    init(authority: ClusterAuthority, members: ClusterTransport, clock: any Clock) {
        self.authority = authority
        self.members = members
        self.clock = clock
    }

    func attach(_ port: PeerPort) { state.withLock { $0.port = port } }

    /// Gives up all that waits.
    func detach() {
        state.withLock { $0.port = nil }
        fail { _ in true }
    }

    /// As `RequestForwarder` says; `.notSent` at once for a node that is no member.
    package func forward(
        _ request: HTTPRequest, client: ConnectionInfo, to node: ClusterMember,
        done: @escaping @Sendable (ForwardedAnswer) -> Void
    ) {
        guard let peer = members.member(named: node.nodeID) else { return done(.notSent) }
        let forwarded = ForwardedRequest(
            head: Array(request.headForForwarding), body: request.body, client: client,
            isTLS: request.peer.isTLS, listener: request.peer.listener)
        let isRead = request.method == .get || request.method == .head || request.method == .list
        var entry = Pending(
            done: done, raftID: peer.raftID, began: clock.monotonicNanoseconds(), isRead: isRead)
        enum Step { case sent, dial(PeerPort), refused }
        let step: Step = state.withLock { state in
            guard state.pending.count < Self.mostPending, let port = state.port else { return .refused }
            let id = state.nextID
            state.nextID += 1
            let frame = ForwardFrame.request(id: id, forwarded).encoded
            if let link = state.links[peer.raftID], link.isOpen {
                // Held until the answer can find it.
                state.pending[id] = entry
                if link.send(frame) { return .sent }
                state.pending[id] = nil
                return .refused
            }
            entry.frame = frame
            state.pending[id] = entry
            return state.dialling.insert(peer.raftID).inserted ? .dial(port) : .sent
        }
        switch step {
        case .sent: break
        case .refused: done(.notSent)
        case .dial(let port): dial(peer, port)
        }
    }

    /// Gives up what has waited for too long while no active node is heard, and what waits for one that has
    /// been followed by another: a node that steps down hands its requests back at once, any other will not
    /// answer. To be called several times a second.
    /// - Parameter leader: the raft id of the leader that is heard; nil while none is.
    func expire(leader: UInt64?) {
        let now = clock.monotonicNanoseconds()
        guard let leader else { return fail { now - $0.began > Self.mostSilence } }
        fail { $0.isOrphan && $0.raftID != leader }
        state.withLock { state in
            for (id, entry) in state.pending { state.pending[id]?.isOrphan = entry.raftID != leader }
        }
    }

    // MARK: The connection

    private func dial(_ peer: RaftPeer, _ port: PeerPort) {
        let raftID = peer.raftID
        port.dial(
            peer.clusterAddress, protocol: Self.protocolName,
            accept: { [self] hello, link in
                guard authority.member(of: hello.certificate) == raftID else { return nil }
                return opened(raftID, link)
            },
            failed: { [self] _ in
                state.withLock { _ = $0.dialling.remove(raftID) }
                fail { $0.raftID == raftID && $0.frame != nil }
            })
    }

    private func opened(_ raftID: UInt64, _ link: PeerLink) -> PeerAdmission? {
        let refused: [Done]? = state.withLock { state in
            state.dialling.remove(raftID)
            guard state.port != nil else { return nil }
            state.links[raftID] = link
            var refused: [Done] = []
            for (id, entry) in state.pending.sorted(by: { $0.key < $1.key }) where entry.raftID == raftID {
                guard let frame = entry.frame else { continue }
                state.pending[id]?.frame = nil
                if !link.send(frame) {
                    state.pending[id] = nil
                    refused.append(entry.done)
                }
            }
            return refused
        }
        guard let refused else { return nil }
        for done in refused { done(.notSent) }
        return PeerAdmission(Line(self, raftID, link), frameBytes: .max)
    }

    private func closed(_ raftID: UInt64, _ link: PeerLink) {
        let isCurrent = state.withLock { state in
            guard state.links[raftID] === link else { return false }
            state.links[raftID] = nil
            return true
        }
        if isCurrent { fail { $0.raftID == raftID && $0.frame == nil } }
    }

    private func fail(where isConcerned: (Pending) -> Bool) {
        let lost: [Pending] = state.withLock { state in
            let lost = state.pending.filter { isConcerned($0.value) }
            for id in lost.keys { state.pending[id] = nil }
            return Array(lost.values)
        }
        for entry in lost { entry.done(entry.frame == nil && !entry.isRead ? .unknown : .notSent) }
    }

    private func received(_ frame: ForwardFrame, _ link: PeerLink) {
        switch frame {
        case .response(let id, let response): take(id)?(.response(response))
        case .refused(let id): take(id)?(.notSent)
        case .request: link.close()
        }
    }

    private func take(_ id: UInt64) -> Done? {
        state.withLock { $0.pending.removeValue(forKey: id)?.done }
    }

    /// The connection, seen from the port.
    private final class Line: PeerLinkHandler {
        private let forwarder: ClusterForwarder
        private let raftID: UInt64
        private let link: PeerLink

        init(_ forwarder: ClusterForwarder, _ raftID: UInt64, _ link: PeerLink) {
            self.forwarder = forwarder
            self.raftID = raftID
            self.link = link
        }

        func received(_ frame: [UInt8]) {
            guard let frame = ForwardFrame(frame) else { return link.close() }
            forwarder.received(frame, link)
        }
        func drained() {}
        func closed(_ reason: String) { forwarder.closed(raftID, link) }
    }
}
