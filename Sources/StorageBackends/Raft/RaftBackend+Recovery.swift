package import Base
package import Consensus
internal import Glibc

/// Going on when a quorum is lost for good.
extension RaftBackend {
    /// Makes the node of a stopped server and other survivors the only members of their cluster. The others
    /// must join anew, with empty directories.
    /// - Parameter others: names of the other survivors; the same is to be done on each of them.
    /// - Throws: `.badRequest` when the directory is in use, belongs to no cluster, or a name is no member's;
    ///   `.corrupted` when it is damaged.
    package static func recover(
        _ settings: [String: String], with others: [String] = [], log: Log
    ) throws(VaultError) -> RaftRecovery.Outcome {
        let backend = try openIdle(settings, clock: SystemClock(), random: SystemRandom(), log: log)
        defer { backend.close() }
        let own = backend.knownIdentity
        let members = backend.members
        var survivors = members.filter { $0.raftID == own.raftID || others.contains($0.nodeID) }
        if let stranger = others.first(where: { name in !survivors.contains { $0.nodeID == name } }) {
            throw .badRequest("-with: the cluster has no member '\(stranger)', as far as this node knows")
        }
        // Alone it must be able to decide.
        if survivors.count == 1 { survivors[0].isVoter = true }
        return try backend.recover(survivors)
    }

    /// What the node of a stopped server knows: the members, itself, and the last entry that it has applied.
    /// - Throws: as `recover`.
    package static func look(
        _ settings: [String: String], log: Log
    ) throws(VaultError) -> (members: [RaftPeer], own: RaftPeer, appliedIndex: UInt64) {
        let backend = try openIdle(settings, clock: SystemClock(), random: SystemRandom(), log: log)
        defer { backend.close() }
        return (backend.members, backend.identity, backend.appliedIndex)
    }

    /// Does what the file asks for that an operator has laid into the log's directory, and removes it.
    func adoptPeersFile() throws(VaultError) {
        let path = "\(directory)/raft/\(PeersFile.name)"
        guard access(path, F_OK) == 0 else { return }
        let file = try PeersFile(path)
        let outcome = try recover(try file.survivors(of: members, ownID: identity.raftID))
        guard unlink(path) == 0 else {
            throw .unavailable(
                "\(path) cannot be removed: \(String(cString: strerror(errno)))", retryAfterSeconds: 0)
        }
        try logDirectory().syncNames()
        log.warn(
            "The members are those of \(PeersFile.name) now. Writes that only the others had are lost; these "
                + "must never come back with their data.",
            [
                "last_entry": String(outcome.index),
                "dropped": outcome.dropped.map(\.nodeID).joined(separator: ", "),
            ])
    }

    private func recover(_ survivors: [RaftPeer]) throws(VaultError) -> RaftRecovery.Outcome {
        try RaftRecovery.run(
            ownID: identity.raftID, survivors, disk: try logDirectory(), logIdentity: logIdentity,
            machine: store)
    }
}
