import Base
import Consensus
import Net
import Synchronization
import TestKit
import Testing

@testable import Server

/// What the port between members grants to one that was removed.
@Suite struct RemovedMemberTests {
    /// What one end of a connection sees.
    private final class Diary: PeerLinkHandler, Sendable {
        let frames = Mutex<[[UInt8]]>([])
        let isClosed = Mutex(false)
        func received(_ frame: [UInt8]) { frames.withLock { $0.append(frame) } }
        func drained() {}
        func closed(_ reason: String) { isClosed.withLock { $0 = true } }
    }

    /// A member's transport behind its port, and the port of another that speaks to it.
    private final class Pair {
        static let protocols = [
            ClusterTransport.protocolName, ClusterForwarder.protocolName, SnapshotSending.protocolName,
        ]
        let own = RaftPeer(raftID: 0xA1, nodeID: "a")
        let other = RaftPeer(raftID: 0xB2, nodeID: "b")
        let transport: ClusterTransport
        private let taken = Guests()
        private let ports: [PeerPort]

        init() throws {
            let log = Log(level: .error)
            let random = SystemRandom()
            let authority = try ClusterAuthority(seed: .random(32, from: random), clusterID: "c")
            let transport = ClusterTransport(
                ownID: own.raftID, authority: authority, incomingPath: { "/nonexistent" }, log: log)
            self.transport = transport
            let taken = self.taken
            let here = try PeerPort(addresses: ["127.0.0.1:0"], protocols: Self.protocols, log: log) {
                hello, link in
                guard let raftID = authority.member(of: hello.certificate) else { return nil }
                guard hello.protocolName == ClusterForwarder.protocolName else {
                    return transport.accept(hello, link, from: raftID)
                }
                guard let guest = transport.admit(link, from: raftID) else { return nil }
                taken.all.withLock { $0.append(guest) }
                return PeerAdmission(Diary(), frameBytes: 1_024)
            }
            let there = try PeerPort(addresses: ["127.0.0.1:0"], protocols: Self.protocols, log: log) {
                _, _ in nil
            }
            ports = [here, there]
            for (port, id) in zip(ports, [own.raftID, other.raftID]) {
                try port.start(
                    authority.issue(raftID: id, nodeID: "n", now: SystemClock().now(), random: random))
            }
            transport.updatePeers([own, other], removed: [])
        }

        deinit { for port in ports { port.stop() } }

        /// The connections that are no consensus'.
        var guests: [PeerGuest] { taken.all.withLock { $0 } }

        /// Connects as the other member.
        func dial(_ name: String) -> Diary {
            let diary = Diary()
            ports[1].dial(
                ports[0].addresses[0], protocol: name,
                accept: { _, _ in PeerAdmission(diary, frameBytes: 1_024) },
                failed: { _ in diary.closed("") })
            return diary
        }
    }

    private final class Guests: Sendable {
        let all = Mutex<[PeerGuest]>([])
    }

    private func wait(_ what: String, _ condition: () -> Bool) async throws {
        let came = try await Patience.awaits(condition)
        #expect(came, "never came: \(what)")
    }

    @Test func itsConnectionsEndAndItIsToldWhy() async throws {
        let pair = try Pair()
        let raft = pair.dial(ClusterTransport.protocolName)
        try await wait("a connection") { pair.transport.isConnected(to: pair.other.raftID) }
        _ = pair.dial(ClusterForwarder.protocolName)
        try await wait("a way for requests") { pair.guests.count == 1 }
        let guest = try #require(pair.guests.first)
        #expect(!guest.hasLeft)
        pair.transport.updatePeers([pair.own], removed: [pair.other.raftID])
        #expect(guest.hasLeft, "its requests are refused from now on")
        try await wait("the end of consensus") { raft.isClosed.withLock { $0 } }
        #expect(raft.frames.withLock { $0.isEmpty })
        let again = pair.dial(ClusterTransport.protocolName)
        try await wait("a farewell") { again.frames.withLock { $0 } == [RaftNode.farewell] }
        #expect(!pair.transport.isConnected(to: pair.other.raftID))
        // Its last answers were on their way; then that connection ends, too.
        #expect(guest.link.isOpen)
        for _ in 0..<20 { pair.transport.endLeaving() }
        try await wait("the end of requests") { !guest.link.isOpen }
        try await wait("the end behind the farewell") { again.isClosed.withLock { $0 } }
    }

    @Test(arguments: [ClusterForwarder.protocolName, SnapshotSending.protocolName])
    func behindARestartItIsRefused(name: String) async throws {
        let pair = try Pair()
        pair.transport.updatePeers([pair.own], removed: [pair.other.raftID])
        let diary = pair.dial(name)
        try await wait("a refusal") { diary.isClosed.withLock { $0 } }
        #expect(pair.guests.isEmpty && diary.frames.withLock { $0.isEmpty })
    }

    @Test func whoWasRemovedItselfTalksToNobody() async throws {
        let pair = try Pair()
        let before = pair.dial(ClusterTransport.protocolName)
        try await wait("a connection") { pair.transport.isConnected(to: pair.other.raftID) }
        pair.transport.updatePeers([pair.own, pair.other], removed: [pair.own.raftID])
        try await wait("its end") { before.isClosed.withLock { $0 } }
        let again = pair.dial(ClusterTransport.protocolName)
        try await wait("a refusal") { again.isClosed.withLock { $0 } }
        #expect(pair.transport.member(pair.other.raftID) == nil)
    }
}
