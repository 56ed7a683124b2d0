import Base
import Consensus
import Foundation
import PluginKit
import StorageBackends
import Synchronization
import TestKit
import Testing

/// Nodes of one process, and the wires between them.
final class Wires: Sendable {
    private let backends = Mutex<[UInt64: RaftBackend]>([:])
    private let silent = Mutex<Set<UInt64>>([])
    /// Whom each node's transport was told not to listen to.
    let removed = Mutex<[UInt64: [UInt64]]>([:])

    func connect(_ backend: RaftBackend) {
        backends.withLock { $0[backend.identity.raftID] = backend }
    }
    func disconnect(_ backend: RaftBackend) {
        backends.withLock { $0[backend.identity.raftID] = nil }
    }
    /// Nothing comes from or to this node any more, until it is heard again.
    func silence(_ backend: RaftBackend, _ isSilent: Bool) {
        silent.withLock { silent in
            if isSilent {
                silent.insert(backend.identity.raftID)
            } else {
                silent.remove(backend.identity.raftID)
            }
        }
    }

    func backend(_ id: UInt64, from sender: UInt64) -> RaftBackend? {
        if silent.withLock({ $0.contains(id) || $0.contains(sender) }) { return nil }
        return backends.withLock { $0[id] }
    }
}

final class WireTransport: RaftTransport {
    private let id: UInt64
    private let wires: Wires

    init(_ backend: RaftBackend, _ wires: Wires) {
        id = backend.identity.raftID
        self.wires = wires
        wires.connect(backend)
    }

    func send(_ messages: [OutboundMessage]) {
        for message in messages {
            wires.backend(message.to, from: id)?.node?.receive(message.bytes, from: id)
        }
    }

    func sendSnapshot(
        to peer: UInt64, message: [UInt8], file: SnapshotFile, done: @escaping @Sendable (Bool) -> Void
    ) {
        guard let backend = wires.backend(peer, from: id), let node = backend.node else { return done(false) }
        let path = backend.incomingPath()
        do {
            let (id, file) = (id, file)
            _ = try Thread(name: "snapshot") {
                do {
                    try FileManager.default.copyItem(atPath: file.path, toPath: path)
                    node.receiveSnapshot(message: message, path: path, from: id, done: done)
                } catch { done(false) }
            }
        } catch { done(false) }
    }

    func updatePeers(_ peers: [RaftPeer], removed: [UInt64]) {
        wires.removed.withLock { $0[id] = removed }
    }
}

/// Real nodes with real threads, logs and stores; only the network is a function call.
@Suite(.serialized) struct RaftClusterTests {
    /// A cluster of this many voters in directories of its own.
    final class Cluster {
        let wires = Wires()
        let scratches: [Scratch]
        var backends: [RaftBackend] = []

        init(_ size: Int, settings: [String: String] = [:]) throws {
            scratches = (0..<size).map { _ in Scratch() }
            for number in 0..<size { try open(number, settings) }
            _ = try backends[0].commit(batch("first", "1"))
            try start(0)
            for number in 1..<size { try join(number) }
        }

        func open(_ number: Int, _ settings: [String: String] = [:]) throws {
            let own = ["path": scratches[number].path, "node_id": "n\(number)"]
            let backend = try RaftBackend.open(own.merging(settings) { $1 }, log: quiet)
            if backends.count > number { backends[number] = backend } else { backends.append(backend) }
        }

        func start(_ number: Int) throws {
            try backends[number].start(WireTransport(backends[number], wires))
        }

        func join(_ number: Int) throws {
            try start(number)
            let joiner = backends[number].identity
            try change(.addLearner(joiner))
            try wait("the joiner has the state") { self.backends[number].hasCluster }
            try change(.promote(raftID: joiner.raftID))
        }

        func change(_ change: MembershipChange) throws {
            let node = try #require(try leader().node)
            let answer = BlockingQueue<Result<UInt64, RaftError>>(limit: 1)
            node.changeMembership(change) { _ = answer.push($0) }
            _ = try #require(answer.take(most: 1).first).get()
        }

        func leader() throws -> RaftBackend {
            var found: RaftBackend?
            try wait("there is a leader") {
                found = self.backends.first {
                    $0.node?.state.isLeader == true && $0.node?.state.hasQuorum == true
                }
                return found != nil
            }
            return try #require(found)
        }

        func commit(_ key: String, _ value: String) throws {
            for _ in 0..<50 {
                do {
                    _ = try leader().commit(batch(key, value))
                    return
                } catch { usleep(50_000) }
            }
            Issue.record("no write of \(key) was accepted")
        }

        /// The value of a key through a node, after a read index.
        func read(_ key: String, through backend: RaftBackend) throws -> String? {
            let node = try #require(backend.node)
            let answer = BlockingQueue<RaftError?>(limit: 1)
            node.readIndex { _ = answer.push($0) }
            if let error = answer.take(most: 1).first ?? nil { throw error }
            let reader = try backend.makeReader()
            try reader.refresh()
            return try reader.copy(.entries, Array(key.utf8)).map { String(decoding: $0, as: UTF8.self) }
        }

        func wait(_ what: String, _ condition: () -> Bool) throws {
            if Patience.sees(condition) { return }
            Issue.record("never came: \(what)")
            throw Violation()
        }
        struct Violation: Error {}

        deinit { for backend in backends { backend.close() } }
    }

    @Test func everyNodeReadsWhatWasWritten() throws {
        let cluster = try Cluster(3)
        for number in 0..<20 {
            try cluster.commit("k", "\(number)")
            for backend in cluster.backends {
                #expect(try cluster.read("k", through: backend) == "\(number)")
            }
        }
        #expect(Set(cluster.backends.map(\.appliedIndex)).count == 1)
        #expect(cluster.backends.allSatisfy { $0.members.count(where: \.isVoter) == 3 })
    }

    @Test func aLostLeaderIsReplacedAndNothingIsLost() throws {
        let cluster = try Cluster(3)
        for number in 0..<30 { try cluster.commit("k\(number)", "v") }
        let first = try cluster.leader()
        cluster.wires.disconnect(first)
        first.close()
        cluster.backends.removeAll { $0 === first }
        try cluster.commit("after", "v")
        for backend in cluster.backends {
            for number in 0..<30 { #expect(try cluster.read("k\(number)", through: backend) == "v") }
            #expect(try cluster.read("after", through: backend) == "v")
        }
    }

    @Test func aNodeWithoutItsLeaderRefusesReadsInTime() throws {
        let cluster = try Cluster(3)
        try cluster.commit("k", "old")
        let leader = try cluster.leader()
        cluster.wires.silence(leader, true)
        let began = Date()
        #expect(throws: RaftError.self) { try cluster.read("k", through: leader) }
        #expect(Date().timeIntervalSince(began) < 1.5)
        try cluster.wait("it knows that it is alone") { leader.node?.state.hasQuorum == false }
        try cluster.wait("another leads") {
            cluster.backends.contains { $0 !== leader && $0.node?.state.isLeader == true }
        }
        cluster.wires.silence(leader, false)
        try cluster.commit("k", "new")
        #expect(try cluster.read("k", through: leader) == "new")
    }

    @Test func leadershipIsHandedOver() throws {
        let cluster = try Cluster(3)
        var outcome: RaftError? = .timedOut
        // On a machine that is busy with other things the others may take too long.
        for _ in 0..<20 where outcome == .timedOut {
            let leader = try cluster.leader()
            let answer = BlockingQueue<RaftError?>(limit: 1)
            try #require(leader.node).transferLeadership(to: nil) { _ = answer.push($0) }
            outcome = try #require(answer.take(most: 1).first)
            if outcome == nil { #expect(leader.node?.state.isLeader == false) }
        }
        #expect(outcome == nil)
        try cluster.commit("k", "v")
    }

    @Test func aRestartedNodeCatchesUp() throws {
        let cluster = try Cluster(3)
        let leader = try cluster.leader()
        let number = try #require(cluster.backends.firstIndex { $0 !== leader })
        cluster.wires.disconnect(cluster.backends[number])
        cluster.backends[number].close()
        for round in 0..<50 { _ = try leader.commit(batch("k", "\(round)")) }
        try cluster.open(number)
        #expect(cluster.backends[number].node == nil, "a node with peers waits until it is started")
        try cluster.start(number)
        #expect(try cluster.read("k", through: cluster.backends[number]) == "49")
    }

    @Test func aNodeBehindTheLogGetsTheState() throws {
        let settings = ["trailing_logs": "10", "snapshot_threshold": "10"]
        let cluster = try Cluster(3, settings: settings)
        let leader = try cluster.leader()
        let number = try #require(cluster.backends.firstIndex { $0 !== leader })
        cluster.wires.silence(cluster.backends[number], true)
        for round in 0..<300 { _ = try leader.commit(batch("k\(round % 70)", "\(round)")) }
        cluster.wires.silence(cluster.backends[number], false)
        #expect(try cluster.read("k19", through: cluster.backends[number]) == "299")
        let left = try FileManager.default.contentsOfDirectory(
            atPath: cluster.scratches[number].path + "/raft-copies")
        #expect(left.isEmpty, "\(left)")
    }

    @Test func membersComeAndGo() throws {
        let cluster = try Cluster(3)
        let leader = try cluster.leader()
        let other = try #require(cluster.backends.first { $0 !== leader })
        #expect(throws: RaftError.self) { try cluster.change(.addLearner(other.identity)) }
        #expect(throws: RaftError.self) { try cluster.change(.remove(raftID: leader.identity.raftID)) }
        #expect(throws: RaftError.self) { try cluster.change(.promote(raftID: 12345)) }
        try cluster.change(.demote(raftID: other.identity.raftID))
        #expect(leader.members.count(where: \.isVoter) == 2)
        try cluster.change(.promote(raftID: other.identity.raftID))
        var moved = other.identity
        moved.clusterAddress = "elsewhere:1"
        try cluster.change(.update(moved))
        try cluster.wait("all know the new address") {
            cluster.backends.allSatisfy { $0.members.contains { $0.clusterAddress == "elsewhere:1" } }
        }
        try cluster.change(.remove(raftID: other.identity.raftID))
        #expect(leader.members.count == 2)
        try cluster.commit("k", "v")
    }

    @Test func aRemovedMemberStaysOutAlsoBehindARestart() throws {
        let cluster = try Cluster(3)
        let leader = try cluster.leader()
        let out = try #require(cluster.backends.first { $0 !== leader })
        let outsider = out.identity
        // It never learns by itself.
        cluster.wires.silence(out, true)
        try cluster.change(.remove(raftID: outsider.raftID))
        let staying = cluster.backends.indices.filter { cluster.backends[$0] !== out }
        try cluster.wait("both know") { staying.allSatisfy { cluster.backends[$0].members.count == 2 } }
        #expect(throws: RaftError.self) { try cluster.change(.addLearner(outsider)) }
        for number in staying { cluster.backends[number].close() }
        for number in staying {
            try cluster.open(number)
            try cluster.start(number)
            let id = cluster.backends[number].identity.raftID
            try cluster.wait("its transport is told") {
                cluster.wires.removed.withLock { $0[id] } == [outsider.raftID]
            }
        }
        cluster.wires.silence(out, false)
        try cluster.commit("k", "v")
        #expect(out.node?.state.isRemoved == false && !out.isRemoved)
        #expect(throws: RaftError.self) { try cluster.read("k", through: out) }
        let node = try #require(out.node)
        node.receive(RaftNode.farewell, from: 12_345)
        #expect(throws: RaftError.timedOut) { try cluster.read("k", through: out) }
        node.receive(RaftNode.farewell, from: try cluster.leader().identity.raftID)
        try cluster.wait("a member's word counts") { node.state.isRemoved && out.isRemoved }
        #expect(throws: RaftError.removed) { try cluster.read("k", through: out) }
        #expect(cluster.wires.removed.withLock { $0[outsider.raftID] } == [outsider.raftID])
    }

    @Test func whoHasAQuorumIsNotTalkedOutOfIt() throws {
        // A pause of this process must not look like a lost leader.
        let cluster = try Cluster(3, settings: ["performance_multiplier": "10"])
        let leader = try cluster.leader()
        let others = cluster.backends.filter { $0 !== leader }
        // The last one joined a moment ago, and may have yet to hear its leader.
        try cluster.wait("all follow") { others.allSatisfy { $0.node?.state.hasQuorum == true } }
        try #require(leader.node).receive(RaftNode.farewell, from: others[0].identity.raftID)
        try #require(others[1].node).receive(RaftNode.farewell, from: others[0].identity.raftID)
        try cluster.commit("k", "v")
        for backend in cluster.backends { #expect(try cluster.read("k", through: backend) == "v") }
        #expect(!cluster.backends.contains { $0.isRemoved })
        // The leader would not say so if the others did not agree.
        try #require(others[1].node).receive(
            RaftNode.farewell, from: try cluster.leader().identity.raftID)
        try cluster.wait("its leader's word counts") { others[1].isRemoved }
    }

    @Test func oneSurvivorOfALostQuorumGoesOnAlone() throws {
        let cluster = try Cluster(3)
        for number in 0..<20 { try cluster.commit("k", "\(number)") }
        // Two of three make a commit: the survivor need not have the last one yet.
        #expect(try cluster.read("k", through: cluster.backends[1]) == "19")
        for backend in cluster.backends { backend.close() }
        let outcome = try RaftBackend.recover(["path": cluster.scratches[1].path], log: quiet)
        #expect(outcome.dropped.count == 2)
        let survivor = try RaftBackend.open(["path": cluster.scratches[1].path], log: quiet)
        defer { survivor.close() }
        #expect(survivor.members.map(\.nodeID) == ["n1"])
        let reader = try survivor.makeReader()
        try reader.refresh()
        #expect(try reader.copy(.entries, Array("k".utf8)) == Array("19".utf8))
        reader.release()
        _ = try survivor.commit(batch("k", "alone"))
        let scratch = Scratch()
        #expect(throws: VaultError.self) { try RaftBackend.recover(["path": scratch.path], log: quiet) }
    }

    /// Lays a `peers.json` into a node's directory.
    private func name(_ survivors: [String], in scratch: Scratch) throws {
        let entries = survivors.map { #"{"id":"\#($0)","address":"\#($0).example.com:8201"}"# }
        try Data("[\(entries.joined(separator: ","))]".utf8).write(
            to: URL(fileURLWithPath: scratch.path + "/raft/peers.json"))
    }

    @Test func survivorsNamedByAFileFollowTheOneThatKnowsMost() throws {
        let cluster = try Cluster(5)
        for number in 0..<20 { try cluster.commit("k\(number)", "early") }
        // The last two survive; one of them has missed something.
        let leader = try cluster.leader()
        let last = cluster.backends.indices.filter { cluster.backends[$0] !== leader }.suffix(2)
        let (most, least) = (try #require(last.first), try #require(last.last))
        cluster.wires.silence(cluster.backends[least], true)
        for number in 0..<20 { try cluster.commit("k\(number)", "late") }
        try cluster.wait("the first has all") {
            cluster.backends[most].appliedIndex == leader.appliedIndex
        }
        cluster.wires.silence(cluster.backends[least], false)
        for backend in cluster.backends {
            cluster.wires.disconnect(backend)
            backend.close()
        }
        for number in [least, most] {
            try name(["n\(most)", "n\(least)"], in: cluster.scratches[number])
            try cluster.open(number)
            try cluster.start(number)
        }
        let survivors = [cluster.backends[most], cluster.backends[least]]
        cluster.backends = survivors
        #expect(try cluster.leader() === survivors[0])
        for number in 0..<20 {
            for backend in survivors {
                #expect(try cluster.read("k\(number)", through: backend) == "late")
            }
        }
        for backend in survivors {
            #expect(backend.members.map(\.nodeID).sorted() == ["n\(most)", "n\(least)"].sorted())
            #expect(backend.members.allSatisfy { $0.clusterAddress.hasSuffix(".example.com:8201") })
            #expect(cluster.wires.removed.withLock { $0[backend.identity.raftID] }?.count == 3)
            #expect(!FileManager.default.fileExists(atPath: backend.directory + "/raft/peers.json"))
        }
        try cluster.commit("k", "v")
    }

    @Test(arguments: [
        ("[", "expected an array"), (#"[{"id":"n1"}]"#, "'address'"), (#"[{"address":"a:1"}]"#, "'id'"),
        (#"[{"id":"n1","address":"a"}]"#, "host:port"), (#"[{"id":"n1","address":"a:0"}]"#, "host:port"),
        (#"[{"id":"zz","address":"a:1"}]"#, "no member 'zz'"),
        (#"[{"id":"n0","address":"a:1"}]"#, "does not name this node"),
        (#"[{"id":"n1","address":"a:1"},{"id":"n1","address":"a:1"}]"#, "twice"),
        (#"[{"id":"n1","address":"a:1","non_voter":true}]"#, "without non_voter"),
    ])
    func aFileThatMakesNoSenseKeepsTheNodeFromStarting(text: String, reason: String) throws {
        let cluster = try Cluster(2)
        for backend in cluster.backends { backend.close() }
        let path = cluster.scratches[1].path
        try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/raft/peers.json"))
        let refusal = #expect(throws: VaultError.self) { try RaftBackend.open(["path": path], log: quiet) }
        let message = refusal?.messages.first ?? ""
        #expect(message.contains(reason) && message.contains(path + "/raft/peers.json"), "\(message)")
    }

    @Test func aRebuiltNodeKeepsItsNameAndNothingElse() throws {
        let cluster = try Cluster(3)
        try cluster.commit("k", "v")
        let leader = try cluster.leader()
        let number = try #require(cluster.backends.firstIndex { $0 !== leader })
        let (old, path) = (cluster.backends[number].identity, cluster.scratches[number].path)
        #expect(throws: VaultError.self, "its server runs") {
            try RaftRebuild(examining: ["path": path], log: quiet)
        }
        cluster.wires.disconnect(cluster.backends[number])
        cluster.backends[number].close()
        let rebuild = try RaftRebuild(examining: ["path": path], log: quiet)
        #expect(rebuild.nodeID == old.nodeID && rebuild.members?.count == 3 && rebuild.damage == nil)
        let outcome = try rebuild.run(at: Timestamp(seconds: 0), log: quiet)
        #expect(outcome.aside == path + "/set-aside-1970-01-01T00-00-00Z" && outcome.nodeID == old.nodeID)
        // The name was in the old files only.
        let backend = try RaftBackend.open(["path": path], log: quiet)
        cluster.backends[number] = backend
        #expect(backend.identity.nodeID == old.nodeID && backend.identity.raftID != old.raftID)
        #expect(!backend.hasCluster && !backend.isRemoved)
        try cluster.change(.remove(raftID: old.raftID))
        try cluster.join(number)
        #expect(try cluster.read("k", through: backend) == "v")
    }

    @Test(arguments: ["data.mdb", "raft"])
    func aNodeThatLostAPartOfItsFilesIsRebuilt(part: String) throws {
        let cluster = try Cluster(2)
        for backend in cluster.backends { backend.close() }
        let path = cluster.scratches[1].path
        try FileManager.default.removeItem(atPath: path + "/" + part)
        let refusal = #expect(throws: VaultError.self) { try RaftBackend.open(["path": path], log: quiet) }
        #expect(
            refusal?.privateCause?.contains("operator raft rebuild") == true, "\(String(describing: refusal))"
        )
        let rebuild = try RaftRebuild(examining: ["path": path, "node_id": "n1"], log: quiet)
        #expect(rebuild.damage != nil && rebuild.nodeID == "n1")
        _ = try rebuild.run(at: Timestamp(seconds: 0), log: quiet)
        let backend = try RaftBackend.open(["path": path], log: quiet)
        defer { backend.close() }
        #expect(backend.identity.nodeID == "n1" && !backend.hasCluster)
    }

    @Test func whoHoldsTheOnlyCopyIsNotRebuilt() throws {
        let scratch = Scratch()
        #expect(throws: VaultError.self, "there is nothing") {
            try RaftRebuild(examining: ["path": scratch.path], log: quiet)
        }
        let alone = try RaftBackend.open(["path": scratch.path], log: quiet)
        _ = try alone.commit(batch("k", "v"))
        alone.close()
        #expect(throws: VaultError.self) { try RaftRebuild(examining: ["path": scratch.path], log: quiet) }
        let again = try RaftBackend.open(["path": scratch.path], log: quiet)
        again.close()
    }

    @Test func aRestoreReachesEveryNode() throws {
        let cluster = try Cluster(3)
        try cluster.commit("k", "old")
        let leader = try cluster.leader()
        let made = BlockingQueue<Result<SnapshotFile, VaultError>>(limit: 1)
        leader.makeSnapshot { _ = made.push($0) }
        let file = try #require(made.take(most: 1).first).get()
        try cluster.commit("k", "new")
        try cluster.commit("more", "x")
        let outcome = BlockingQueue<VaultError?>(limit: 1)
        leader.restore(snapshot: file.path) { _ = outcome.push($0) }
        #expect(outcome.take(most: 1) == [nil])
        for backend in cluster.backends {
            #expect(try cluster.read("k", through: backend) == "old")
            #expect(try cluster.read("more", through: backend) == nil)
        }
        try cluster.commit("k", "newer")
    }
}
