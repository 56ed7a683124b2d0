import Base
import Consensus
import SystemAPI
import TestKit
import Testing

@testable import Server

@Suite struct JoinProofTests {
    private let random = SeededRandom(seed: 5)
    private let now = Timestamp(seconds: 1_700_000_000)

    private func key(_ byte: UInt8) -> SecretBytes {
        SecretBytes(copying: [UInt8](repeating: byte, count: 32))
    }

    private func answer() -> JoinAnswer {
        var answer = JoinAnswer()
        answer.serverID = "n1"
        answer.challenge = [1, 2, 3]
        answer.raftID = 77
        answer.clusterAddress = "10.0.0.2:8201"
        answer.apiAddress = "http://10.0.0.2:8200"
        answer.hostName = "host"
        answer.version = "1"
        return answer
    }

    @Test func aProofBelongsToAllThatWasSaid() {
        let proof = JoinProof(rootKey: key(1))
        let whole = proof.proof(of: answer())
        #expect(whole == proof.proof(of: answer()))
        #expect(whole != JoinProof(rootKey: key(2)).proof(of: answer()))
        let changes: [(inout JoinAnswer) -> Void] = [
            { $0.serverID = "n2" }, { $0.challenge = [1, 2] }, { $0.raftID = 78 },
            { $0.clusterAddress = "10.0.0.9:8201" }, { $0.apiAddress = "" }, { $0.hostName = "h" },
            { $0.version = "2" }, { $0.isNonVoter = true },
            // The same bytes, cut elsewhere.
            {
                $0.serverID = "n110.0.0.2"
                $0.clusterAddress = ":8201"
            },
        ]
        for change in changes {
            var other = answer()
            change(&other)
            #expect(proof.proof(of: other) != whole)
        }
    }

    @Test func onlyWhoHoldsTheKeyReadsTheReply() throws {
        let proof = JoinProof(rootKey: key(1))
        let sealed = try proof.seal([9, 8, 7], for: answer(), random: random)
        #expect(try proof.open(sealed, for: answer()) == [9, 8, 7])
        #expect(try JoinProof(rootKey: key(2)).open(sealed, for: answer()) == nil)
        var other = answer()
        other.challenge = [4]
        #expect(try proof.open(sealed, for: other) == nil)
        var damaged = sealed
        damaged[damaged.count - 1] ^= 1
        #expect(try proof.open(damaged, for: answer()) == nil)
        #expect(try proof.open([], for: answer()) == nil)
    }

    @Test func aChallengeIsKnownAgainByItsCodeAlone() {
        let challenges = JoinChallenges(key: key(3))
        let made = challenges.make(for: "n1", now: now, random: random)
        #expect(challenges.isGood(made, for: "n1", now: now + .seconds(299)))
        #expect(!challenges.isGood(made, for: "n1", now: now + .seconds(301)))
        #expect(!challenges.isGood(made, for: "n2", now: now))
        #expect(!JoinChallenges(key: key(4)).isGood(made, for: "n1", now: now))
        for index in made.indices {
            var changed = made
            changed[index] ^= 0x10
            #expect(!challenges.isGood(changed, for: "n1", now: now))
        }
        #expect(!challenges.isGood([], for: "n1", now: now))
        #expect(!challenges.isGood(made + [0], for: "n1", now: now))
    }

    @Test func whatTheClusterTellsIsReadBack() throws {
        let peer = RaftPeer(
            raftID: 0xFFFF_0000_0000_0001, nodeID: "n0", clusterAddress: "h:1", apiAddress: "http://h:2",
            hostName: "h", version: "1.8", isVoter: true)
        let record = JoinReplyRecord(clusterID: "c", keyring: [1, 2], members: [peer])
        let read = try #require(JoinReplyRecord(record.encoded))
        #expect(read.clusterID == "c" && read.keyring == [1, 2] && read.members == [peer])
        #expect(JoinReplyRecord([]) == nil)
        #expect(JoinReplyRecord(Array("{\"cluster_id\":\"c\"}".utf8)) == nil)
    }
}
