import Barrier
import Base
import Consensus
import Core
import PluginKit
import SystemAPI

/// The leader's side of joining: makes challenges, judges answers, and changes the membership.
struct ClusterAdmission: Sendable {
    /// Silence after which a member's name may be taken over by an empty node: that of a lost disk.
    private static let silence = Duration.seconds(5)
    /// Silence after which it may become so.
    private static let doubt = Duration.seconds(1)

    let core: VaultCore
    let membership: MembershipChanges

    func challenge(serverID: String) throws(VaultError) -> JoinChallenge {
        guard let active = core.active else { throw .sealed }
        let challenges = JoinChallenges(key: try active.barrier.derivedKey(JoinChallenges.purpose))
        guard let config = try BarrierBootstrap.readSealConfig(core.backend),
            let rootKey = try BarrierBootstrap.readWrappedRootKey(core.backend)
        else { throw .notInitialized }
        return JoinChallenge(
            challenge: challenges.make(for: serverID, now: core.clock.now(), random: core.random),
            sealConfig: config, wrappedRootKey: rootKey)
    }

    func admit(
        _ answer: JoinAnswer, _ transactions: any Transactions
    ) async throws(VaultError) -> JoinReply {
        guard let active = core.active else { throw .sealed }
        let challenges = JoinChallenges(key: try active.barrier.derivedKey(JoinChallenges.purpose))
        let proof = JoinProof(rootKey: try active.barrier.rootKey())
        // One answer for all reasons: whoever cannot prove anything learns nothing.
        guard challenges.isGood(answer.challenge, for: answer.serverID, now: core.clock.now()),
            constantTimeEqual(answer.proof, proof.proof(of: answer))
        else { throw .forbidden("the answer does not prove the cluster's root key, or came too late") }
        guard hostAndPort(answer.clusterAddress) != nil else {
            throw .badRequest("cluster_addr: expected host:port, found '\(answer.clusterAddress)'")
        }
        if answer.isNonVoter {
            _ = try await transactions.run { (tx: inout Transaction) throws(VaultError) in
                tx.put(AutopilotConfiguration.nonVoters + answer.serverID, [])
            }
        }
        let isNews = try await take(
            RaftPeer(
                raftID: answer.raftID, nodeID: answer.serverID, clusterAddress: answer.clusterAddress,
                apiAddress: answer.apiAddress, hostName: answer.hostName, version: answer.version,
                isVoter: false))
        guard let keyring = try BarrierBootstrap.readKeyring(core.backend) else { throw .notInitialized }
        let members = try membership.node().state.members.map(\.peer)
        let record = JoinReplyRecord(clusterID: active.cluster.id, keyring: keyring, members: members)
        if isNews {
            core.log.info(
                "a node joins the cluster",
                ["node": answer.serverID, "address": answer.clusterAddress])
        }
        return JoinReply(
            members: RaftMembership(try membership.node().state).servers,
            sealed: try proof.seal(record.encoded, for: answer, random: core.random))
    }

    /// - Returns: whether the membership has changed by it; a node that asks again is a member already.
    private func take(_ peer: RaftPeer) async throws(VaultError) -> Bool {
        let members = try membership.node().state.members
        if let known = members.first(where: { $0.peer.raftID == peer.raftID })?.peer {
            var fresh = peer
            fresh.isVoter = known.isVoter
            if fresh == known { return false }
            try await membership.make(.update(fresh))
            return true
        }
        if let namesake = members.first(where: { $0.peer.nodeID == peer.nodeID }) {
            let silent = core.clock.monotonicNanoseconds() &- namesake.lastContact
            guard silent > UInt64(Self.silence.wholeNanoseconds) else {
                if silent > UInt64(Self.doubt.wholeNanoseconds) {
                    throw .unavailable(
                        "a member named '\(peer.nodeID)' was heard a moment ago", retryAfterSeconds: 5)
                }
                throw .badRequest(
                    "server_id: '\(peer.nodeID)' is the name of a member that is alive: give this node "
                        + "another node_id, or remove that one first")
            }
            core.log.warn("an empty node takes over a silent member's name", ["node": peer.nodeID])
            try await membership.make(.remove(raftID: namesake.peer.raftID))
        }
        try await membership.make(.addLearner(peer))
        return true
    }
}

/// Changes of the membership, one after the other, by the leader.
struct MembershipChanges: Sendable {
    private static let attempts = 40
    private static let pauseMilliseconds: Int64 = 50

    let service: ClusterService

    /// - Throws: `.unavailable` while this node takes no part.
    func node() throws(VaultError) -> any ConsensusNode {
        guard let node = service.node else {
            throw .unavailable("this node takes no part in the cluster", retryAfterSeconds: 1)
        }
        return node
    }

    /// Returns when the change is applied here.
    /// - Throws: as `RaftError.vaultError`.
    func make(_ change: MembershipChange) async throws(VaultError) {
        let node = try node()
        for _ in 0..<Self.attempts {
            let result = await withCheckedContinuation { continuation in
                node.changeMembership(change) { continuation.resume(returning: $0) }
            }
            switch result {
            case .success: return
            case .failure(.busy): try? await Task.sleep(for: .milliseconds(Self.pauseMilliseconds))
            case .failure(let error): throw error.vaultError
            }
        }
        throw RaftError.busy.vaultError
    }
}

extension RaftMembership {
    init(_ state: RaftState) {
        self.init()
        index = state.applied
        servers = state.members.map { member in
            var server = Server()
            server.nodeID = member.peer.nodeID
            server.address = member.peer.clusterAddress
            server.isLeader = member.peer.raftID == state.leader?.raftID
            server.isVoter = member.peer.isVoter
            return server
        }.sorted { $0.nodeID.utf8.lexicographicallyPrecedes($1.nodeID.utf8) }
    }
}
