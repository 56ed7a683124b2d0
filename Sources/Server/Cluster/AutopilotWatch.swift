import Base
import Consensus
import SystemAPI

/// What autopilot makes of the members, look by look, and which change is due. Time comes in as values.
struct AutopilotWatch: Sendable {
    private struct Health {
        var isHealthy: Bool
        var since: Timestamp
    }
    var configuration = AutopilotConfiguration()
    /// Names of those that shall never vote.
    var nonVoters: Set<String> = []
    private var health: [UInt64: Health] = [:]
    /// Since when a member has not been heard. Who lags behind is not healthy, but there.
    private var silentSince: [UInt64: Timestamp] = [:]

    /// - Parameters:
    ///   - raft: as the leader sees the members.
    ///   - me: the leader, with the addresses that it has now.
    ///   - clock: nanoseconds on the clock of `raft`.
    /// - Returns: how the members do, and the one change that is due, if any.
    mutating func look(
        at raft: RaftState, as me: RaftPeer, _ now: Timestamp, monotonic clock: UInt64
    ) -> (AutopilotState, MembershipChange?) {
        var shown = AutopilotState()
        for member in raft.members {
            shown.servers.append(judge(member, raft, isOwn: member.peer.raftID == me.raftID, now, clock))
        }
        let ids = Set(raft.members.map(\.peer.raftID))
        health = health.filter { ids.contains($0.key) }
        silentSince = silentSince.filter { ids.contains($0.key) }
        shown.servers.sort { $0.nodeID.utf8.lexicographicallyPrecedes($1.nodeID.utf8) }
        return (shown, fresh(raft, me) ?? promotion(raft, now) ?? removal(raft, now))
    }

    private mutating func judge(
        _ member: RaftState.Member, _ raft: RaftState, isOwn: Bool, _ now: Timestamp, _ clock: UInt64
    ) -> AutopilotState.Server {
        let peer = member.peer
        var server = AutopilotState.Server()
        server.nodeID = peer.nodeID
        server.address = peer.clusterAddress
        server.hostName = peer.hostName
        server.version = peer.version
        server.isVoter = peer.isVoter
        server.isLeader = isOwn
        let silence = member.lastContact == 0 || clock < member.lastContact ? 0 : clock - member.lastContact
        server.lastContact = isOwn ? .zero : .nanoseconds(Int64(clamping: silence))
        server.lastTerm = raft.term
        server.lastIndex = isOwn ? raft.lastIndex : member.matchIndex
        server.isAlive = isOwn || member.lastContact > 0 && server.lastContact <= configuration.lastContact
        silentSince[peer.raftID] = server.isAlive ? nil : silentSince[peer.raftID] ?? now
        let lag = raft.lastIndex > server.lastIndex ? raft.lastIndex - server.lastIndex : 0
        server.isHealthy = server.isAlive && lag <= UInt64(configuration.maxTrailingLogs)
        if health[peer.raftID]?.isHealthy != server.isHealthy {
            health[peer.raftID] = Health(isHealthy: server.isHealthy, since: now)
        }
        server.stableSince = health[peer.raftID]?.since ?? now
        return server
    }

    /// This node's addresses have changed.
    private func fresh(_ raft: RaftState, _ me: RaftPeer) -> MembershipChange? {
        guard let own = raft.members.first(where: { $0.peer.raftID == me.raftID })?.peer else { return nil }
        var fresh = me
        fresh.isVoter = own.isVoter
        return fresh != own && !fresh.clusterAddress.isEmpty ? .update(fresh) : nil
    }

    private func promotion(_ raft: RaftState, _ now: Timestamp) -> MembershipChange? {
        let ready = raft.members.first { member in
            guard !member.peer.isVoter, !nonVoters.contains(member.peer.nodeID), member.matchIndex > 0,
                let health = health[member.peer.raftID]
            else { return false }
            return health.isHealthy && now - health.since >= configuration.stabilization
        }
        return ready.map { .promote(raftID: $0.peer.raftID) }
    }

    private func removal(_ raft: RaftState, _ now: Timestamp) -> MembershipChange? {
        guard configuration.cleansUp, raft.members.count > max(configuration.minQuorum, 1) else { return nil }
        let dead = raft.members.filter { member in
            guard let since = silentSince[member.peer.raftID] else { return false }
            return now - since >= configuration.deadServerThreshold
        }
        // Never so many that those who remain could not have decided it.
        guard let first = dead.first,
            dead.count(where: \.peer.isVoter) * 2 < raft.members.count(where: \.peer.isVoter)
        else { return nil }
        return .remove(raftID: first.peer.raftID)
    }
}
