package import Base

/// Makes some survivors the only members of their cluster, when a quorum is lost for good.
///
/// Only the membership changes, on each survivor by itself; entries and votes stay as they are. So the
/// survivors elect the one whose log goes furthest, as ever, and the others follow it: whatever one of them
/// knew to be committed is in that log. What only the lost nodes had is lost, and what a leader had sent to
/// the elected one only, and nobody was told of, is kept. Changes of the membership that lie in the log have
/// lost their sense: they are emptied, the same way on every survivor. The lost nodes are struck off, so that
/// nobody listens to them should they come back with their data.
package enum RaftRecovery {
    /// What was done.
    package struct Outcome: Sendable, Equatable {
        /// The last entry of the log.
        package let index: UInt64
        /// How many of its entries this node did not know to be committed.
        package let unconfirmedEntries: Int
        /// The members that were dropped.
        package let dropped: [RaftPeer]
    }

    /// Works on the files of a node that does not run. Done again, it comes to the same.
    /// - Parameters:
    ///   - ownID: the node's own raft id.
    ///   - survivors: all members that go on, this node among them; the same on each of them.
    /// - Throws: `.badRequest` when the node belongs to no such cluster, `.corrupted` when its log is
    ///   damaged.
    package static func run(
        ownID: UInt64, _ survivors: [RaftPeer], disk: any RaftDisk, logIdentity: UInt64,
        machine: any RaftStateMachine
    ) throws(VaultError) -> Outcome {
        guard let progress = try machine.progress(),
            progress.members.contains(where: { $0.raftID == ownID })
        else { throw .badRequest("this node belongs to no cluster: there is nothing to recover") }
        guard survivors.contains(where: { $0.raftID == ownID }), survivors.contains(where: \.isVoter) else {
            throw .badRequest("the survivors must include this node, and one that votes")
        }
        let standard = RaftConfiguration(identity: survivors[0], logIdentity: logIdentity)
        let (log, found) = try WriteAheadLog.open(
            disk, identity: logIdentity, segmentBytes: standard.segmentBytes,
            stepBytes: standard.stepBytes)
        let start = try RaftStart(found, progress: progress, log: log, place: disk.place)
        let dropped = progress.members.filter { old in !survivors.contains { $0.raftID == old.raftID } }
        var fresh = progress
        for peer in dropped { fresh.remove(peer.raftID) }
        fresh.members = survivors.sorted { $0.raftID < $1.raftID }
        fresh.configuration = RaftCore.configuration(
            voters: fresh.members.filter(\.isVoter).map(\.raftID),
            learners: fresh.members.filter { !$0.isVoter }.map(\.raftID))
        try machine.apply([], fresh)
        try machine.makeDurable()
        // One frame: all of it is on the disk, or none.
        if let first = start.entries.firstIndex(where: { $0.kind != 0 }) {
            for entry in start.entries[first...] {
                log.append(
                    entry.kind == 0
                        ? entry : LogEntry(index: entry.index, term: entry.term, kind: 0, data: []))
            }
            log.append(start.hard)
            try log.flush(sync: true)
        }
        return Outcome(
            index: start.entries.last?.index ?? start.base.index,
            unconfirmedEntries: start.entries.count { $0.index > start.hard.commit }, dropped: dropped)
    }
}
