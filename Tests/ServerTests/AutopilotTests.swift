import Base
import Consensus
import SystemAPI
import Testing

@testable import Server

/// What autopilot wants, over time that the test tells it.
@Suite struct AutopilotTests {
    /// A leader, `n1`, and others of whom each is heard or not.
    private struct Cluster {
        var raft = RaftState()
        var watch = AutopilotWatch()
        var seconds: Int64 = 1_000
        var silent: Set<UInt64> = []

        init(_ size: Int) {
            raft.role = .leader
            raft.lastIndex = 5_000
            for id in 1...UInt64(size) {
                var member = RaftState.Member(
                    peer: RaftPeer(raftID: id, nodeID: "n\(id)", clusterAddress: "n\(id):8201"))
                member.matchIndex = 5_000
                raft.members.append(member)
            }
            watch.configuration.cleansUp = true
            watch.configuration.minQuorum = 3
            watch.configuration.deadServerThreshold = .seconds(60)
        }

        var clock: UInt64 { UInt64(seconds) * 1_000_000_000 }

        /// Lets time go by, with a look each second. - Returns: the first change that is wanted.
        mutating func pass(_ span: Int) -> MembershipChange? {
            for _ in 0..<span {
                seconds += 1
                for at in raft.members.indices where !silent.contains(raft.members[at].peer.raftID) {
                    raft.members[at].lastContact = clock
                }
                let me = raft.members[0].peer
                let now = Timestamp(seconds: seconds)
                if let change = watch.look(at: raft, as: me, now, monotonic: clock).1 { return change }
            }
            return nil
        }
    }

    @Test func deadMemberIsRemovedBehindItsThreshold() {
        var cluster = Cluster(4)
        #expect(cluster.pass(100) == nil)
        cluster.silent = [3]
        // It counts as silent ten seconds after it was last heard.
        #expect(cluster.pass(70) == nil)
        #expect(cluster.pass(5) == .remove(raftID: 3))
    }

    @Test func nobodyIsRemovedUnlessThatIsWanted() {
        var cluster = Cluster(4)
        cluster.watch.configuration.cleansUp = false
        cluster.silent = [3]
        #expect(cluster.pass(500) == nil)
    }

    @Test func whoComesBackStays() {
        var cluster = Cluster(4)
        for _ in 0..<10 {
            cluster.silent = [3]
            #expect(cluster.pass(60) == nil)
            cluster.silent = []
            #expect(cluster.pass(2) == nil)
        }
    }

    @Test func whoLagsIsNotDead() {
        var cluster = Cluster(4)
        cluster.raft.members[2].matchIndex = 0
        #expect(cluster.pass(300) == nil)
        // However long it lagged before, its silence is what counts.
        cluster.silent = [3]
        #expect(cluster.pass(70) == nil)
        #expect(cluster.pass(5) == .remove(raftID: 3))
    }

    @Test func neverHeardByThisLeaderCountsFromItsFirstLook() {
        var cluster = Cluster(4)
        cluster.silent = [3]
        #expect(cluster.raft.members[2].lastContact == 0)
        #expect(cluster.pass(60) == nil)
        #expect(cluster.pass(1) == .remove(raftID: 3))
    }

    @Test func theLeastNumberOfMembersStays() {
        var cluster = Cluster(3)
        cluster.silent = [3]
        #expect(cluster.pass(500) == nil)
    }

    @Test func aMajorityIsNeverRemoved() {
        var cluster = Cluster(5)
        cluster.watch.configuration.minQuorum = 3
        cluster.silent = [3, 4, 5]
        #expect(cluster.pass(500) == nil)
        cluster.silent = [4, 5]
        #expect(cluster.pass(2) == .remove(raftID: 4))
    }

    @Test func learnerVotesWhenItHasKeptUp() {
        var cluster = Cluster(3)
        cluster.raft.members[1].peer.isVoter = false
        #expect(cluster.pass(10) == nil)
        #expect(cluster.pass(1) == .promote(raftID: 2))
        cluster.watch.nonVoters = ["n2"]
        #expect(cluster.pass(100) == nil)
        cluster.watch.nonVoters = []
        cluster.raft.members[1].matchIndex = 3_000
        #expect(cluster.pass(100) == nil)
        cluster.raft.members[1].matchIndex = 4_500
        #expect(cluster.pass(10) == nil)
        #expect(cluster.pass(1) == .promote(raftID: 2))
    }
}
