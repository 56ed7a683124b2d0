import Base
import Consensus
import Net
import Synchronization

/// Carries consensus between members over the cluster port: one connection each way, made anew when it
/// breaks.
///
/// Frames are opaque here. Who sent one is known by its certificate. What cannot be sent at once is dropped:
/// consensus sends it again, and an old message is worth less than a new one. A member whose address is wrong
/// or not known yet is answered over the connection that it has made itself.
final class ClusterTransport: RaftTransport {
    static let protocolName = "holdfast-raft/1"

    private struct Member {
        var peer: RaftPeer
        var outgoing: PeerLink?
        var isDialling = false
        /// Failures in a row.
        var failures = 0
    }
    private struct State {
        var members: [UInt64: Member] = [:]
        var incoming: [UInt64: PeerLink] = [:]
        /// Members that have left: nobody listens to them any more. With this node among them it has nobody
        /// to talk to.
        var removed: Set<UInt64> = []
        /// What members have asked for besides consensus, on connections of their own.
        var guests: [UInt64: [PeerGuest]] = [:]
        /// Connections whose member has left, until their last answers are out.
        var leaving: [PeerGuest] = []
        var port: PeerPort?
        var node: (any ConsensusNode)?

        /// The way to a member: our own connection, or else the one that it has made.
        func link(to raftID: UInt64) -> PeerLink? {
            if let link = members[raftID]?.outgoing, link.isOpen { return link }
            if let link = incoming[raftID], link.isOpen { return link }
            return nil
        }

        mutating func take(_ guest: PeerGuest, _ raftID: UInt64) {
            guests[raftID] = guests[raftID, default: []].filter(\.link.isOpen) + [guest]
        }

        /// Forgets a member. - Returns: the connections to end.
        mutating func drop(_ raftID: UInt64) -> [PeerLink] {
            let guests = guests.removeValue(forKey: raftID) ?? []
            for guest in guests { guest.leave() }
            leaving += guests
            let links = [members.removeValue(forKey: raftID)?.outgoing, incoming.removeValue(forKey: raftID)]
            return links.compactMap { $0 }
        }
    }

    let ownID: UInt64
    let authority: ClusterAuthority
    private let state = Mutex(State())
    private let log: Log
    private let incomingPath: @Sendable () -> String

    /// Pauses between attempts at a member: short enough that one that was restarted is back within a second.
    private static let pausesMilliseconds = [50, 100, 200, 400, 800, 1_000]

    init(
        ownID: UInt64, authority: ClusterAuthority, incomingPath: @escaping @Sendable () -> String, log: Log
    ) {
        self.ownID = ownID
        self.authority = authority
        self.incomingPath = incomingPath
        self.log = log
    }

    /// Begins to connect.
    func attach(_ port: PeerPort) {
        state.withLock { $0.port = port }
        dialAll()
    }

    /// Who gets what comes in; before, it is dropped.
    func attach(_ node: any ConsensusNode) { state.withLock { $0.node = node } }

    /// Lets go of everything; the port is stopped by its owner.
    func detach() {
        state.withLock { state in
            state.port = nil
            state.node = nil
            state.members = [:]
            state.incoming = [:]
            state.guests = [:]
            state.leaving = []
        }
    }

    // MARK: RaftTransport

    func send(_ messages: [OutboundMessage]) {
        state.withLock { state in
            for message in messages { _ = state.link(to: message.to)?.send(message.bytes) }
        }
    }

    func updatePeers(_ peers: [RaftPeer], removed: [UInt64]) {
        let hasLeft = removed.contains(ownID)
        let lost: [PeerLink] = state.withLock { state in
            var lost: [PeerLink] = []
            state.removed.formUnion(removed)
            // A member that does not know itself to be one yet keeps those that it was told of when it
            // joined.
            if hasLeft || peers.contains(where: { $0.raftID == ownID }) {
                let ids = hasLeft ? [] : Set(peers.map(\.raftID))
                for id in state.members.keys where !ids.contains(id) { lost += state.drop(id) }
                // One that was added behind this node's back may have connected already: it stays.
                let others = Set(state.incoming.keys).union(state.guests.keys)
                for id in others where hasLeft || state.removed.contains(id) { lost += state.drop(id) }
            }
            for peer in peers where peer.raftID != ownID && !hasLeft {
                let old = state.members[peer.raftID]
                state.members[peer.raftID, default: Member(peer: peer)].peer = peer
                guard let old, old.peer.clusterAddress != peer.clusterAddress else { continue }
                if let link = old.outgoing { lost.append(link) }
                state.members[peer.raftID]?.outgoing = nil
            }
            return lost
        }
        for link in lost { link.close() }
        dialAll()
    }

    func sendSnapshot(
        to peer: UInt64, message: [UInt8], file: SnapshotFile, done: @escaping @Sendable (Bool) -> Void
    ) {
        let (address, port) = state.withLock { ($0.members[peer]?.peer.clusterAddress ?? "", $0.port) }
        guard let port, !address.isEmpty else { return done(false) }
        let sending = SnapshotSending(message: message, file: file, log: log, done: done)
        port.dial(
            address, protocol: SnapshotSending.protocolName,
            accept: { [authority] hello, link in
                guard authority.member(of: hello.certificate) == peer else { return nil }
                return sending.begin(link)
            }, failed: { sending.finish(false, $0) })
    }

    // MARK: Who is there

    /// The member of this name or of this id, as last told.
    func member(named nodeID: String) -> RaftPeer? {
        state.withLock { $0.members.values.first { $0.peer.nodeID == nodeID }?.peer }
    }
    func member(_ raftID: UInt64) -> RaftPeer? { state.withLock { $0.members[raftID]?.peer } }

    /// Whether anything can be sent to this member now.
    func isConnected(to raftID: UInt64) -> Bool {
        state.withLock { $0.link(to: raftID) != nil }
    }

    // MARK: Incoming

    /// Takes a connection that another member has made for consensus or for a snapshot; nil refuses it.
    func accept(_ hello: PeerHello, _ link: PeerLink, from raftID: UInt64) -> PeerAdmission? {
        if raftID == ownID { return nil }
        let (isRemoved, hasLeft) = state.withLock {
            ($0.removed.contains(raftID), $0.removed.contains(ownID))
        }
        if hasLeft { return nil }
        if isRemoved { return hello.protocolName == Self.protocolName ? dismiss(link, raftID) : nil }
        if hello.protocolName == SnapshotSending.protocolName {
            let guest = PeerGuest(link)
            state.withLock { $0.take(guest, raftID) }
            let handler = SnapshotReceiving(link: link, path: incomingPath(), log: log) {
                [self] message, path, done in
                guard !guest.hasLeft, let node = state.withLock({ $0.node }) else { return done(false) }
                node.receiveSnapshot(message: message, path: path, from: raftID, done: done)
            }
            return PeerAdmission(handler, frameBytes: SnapshotSending.mostFrameBytes)
        }
        let old = state.withLock { state in
            let old = state.incoming[raftID]
            state.incoming[raftID] = link
            return old
        }
        old?.close()
        return PeerAdmission(Line(self, raftID, link, isOutgoing: false), frameBytes: .max)
    }

    /// Takes a connection over which a member asks for something else; nil for who is none.
    func admit(_ link: PeerLink, from raftID: UInt64) -> PeerGuest? {
        state.withLock { state in
            guard state.members[raftID] != nil else { return nil }
            let guest = PeerGuest(link)
            state.take(guest, raftID)
            return guest
        }
    }

    /// Ends what members have left behind. To be called now and then: their last answers may be on their way.
    func endLeaving() {
        let gone = state.withLock { state in
            for guest in state.leaving { guest.age() }
            let gone = state.leaving.filter(\.isLate)
            state.leaving.removeAll(where: \.isLate)
            return gone
        }
        for guest in gone { guest.link.close() }
    }

    /// Tells a removed member that it is one. It ends the connection, and makes no other.
    private func dismiss(_ link: PeerLink, _ raftID: UInt64) -> PeerAdmission? {
        guard link.send(RaftNode.farewell) else { return nil }
        let guest = PeerGuest(link)
        guest.leave()
        state.withLock { $0.leaving.append(guest) }
        return PeerAdmission(Dismissed(), frameBytes: .max)
    }

    fileprivate func received(_ frame: [UInt8], from raftID: UInt64) {
        let isFarewell = frame == RaftNode.farewell
        let node = state.withLock { state in
            // There is no hurry to be told again.
            if isFarewell { state.members[raftID]?.failures = Self.pausesMilliseconds.count }
            return state.node
        }
        node?.receive(frame, from: raftID)
    }

    fileprivate func ended(_ link: PeerLink, of raftID: UInt64, isOutgoing: Bool, _ reason: String) {
        state.withLock { state in
            if isOutgoing, state.members[raftID]?.outgoing === link {
                state.members[raftID]?.outgoing = nil
            } else if state.incoming[raftID] === link {
                state.incoming[raftID] = nil
            }
        }
        if isOutgoing {
            log.debug("connection to a member ended", ["member": nameOf(raftID), "reason": reason])
            dial(raftID)
        }
    }

    // MARK: Outgoing

    private func dialAll() {
        for raftID in state.withLock({ Array($0.members.keys) }) { dial(raftID) }
    }

    private func dial(_ raftID: UInt64) {
        let attempt: (PeerPort, String, Int)? = state.withLock { state in
            guard let port = state.port, let member = state.members[raftID], member.outgoing == nil,
                !member.isDialling, !member.peer.clusterAddress.isEmpty
            else { return nil }
            state.members[raftID]?.isDialling = true
            let pauses = Self.pausesMilliseconds
            let pause = member.failures == 0 ? 0 : pauses[min(member.failures, pauses.count) - 1]
            return (port, member.peer.clusterAddress, pause)
        }
        guard let (port, address, pause) = attempt else { return }
        port.dial(
            address, protocol: Self.protocolName, after: .milliseconds(pause),
            accept: { [self] hello, link in opened(raftID, hello, link, address) },
            failed: { [self] reason in failed(raftID, address, reason) })
    }

    private func opened(
        _ raftID: UInt64, _ hello: PeerHello, _ link: PeerLink, _ address: String
    ) -> PeerAdmission? {
        // Whoever lives at a member's address now must be that member: an address may have a new owner.
        guard authority.member(of: hello.certificate) == raftID else { return nil }
        let isWanted = state.withLock { state in
            guard let member = state.members[raftID], member.peer.clusterAddress == address else {
                return false
            }
            state.members[raftID]?.isDialling = false
            // One that ends at once must not be made again at once for ever.
            state.members[raftID]?.failures = 1
            state.members[raftID]?.outgoing = link
            return true
        }
        guard isWanted else { return nil }
        log.debug("connected to a member", ["member": nameOf(raftID), "address": address])
        return PeerAdmission(Line(self, raftID, link, isOutgoing: true), frameBytes: .max)
    }

    private func failed(_ raftID: UInt64, _ address: String, _ reason: String) {
        let failures: Int? = state.withLock { state in
            guard state.members[raftID] != nil else { return nil }
            state.members[raftID]?.isDialling = false
            state.members[raftID]?.failures += 1
            return state.members[raftID]?.failures
        }
        guard let failures else { return }
        // The first time, and then now and then: a member may be away for days.
        if failures == 2 || failures % 300 == 0 {
            log.warn(
                "a member cannot be reached",
                ["member": nameOf(raftID), "address": address, "reason": reason])
        }
        dial(raftID)
    }

    private func nameOf(_ raftID: UInt64) -> String {
        state.withLock { $0.members[raftID]?.peer.nodeID } ?? String(raftID, radix: 16)
    }

    /// A connection of which nothing is heard.
    private final class Dismissed: PeerLinkHandler {
        func received(_ frame: [UInt8]) {}
        func drained() {}
        func closed(_ reason: String) {}
    }

    /// One connection with a member, seen from the port.
    private final class Line: PeerLinkHandler {
        private let transport: ClusterTransport
        private let raftID: UInt64
        private let link: PeerLink
        private let isOutgoing: Bool

        init(_ transport: ClusterTransport, _ raftID: UInt64, _ link: PeerLink, isOutgoing: Bool) {
            self.transport = transport
            self.raftID = raftID
            self.link = link
            self.isOutgoing = isOutgoing
        }

        func received(_ frame: [UInt8]) { transport.received(frame, from: raftID) }
        func drained() {}
        func closed(_ reason: String) {
            transport.ended(link, of: raftID, isOutgoing: isOutgoing, reason)
        }
    }
}
