import Base

/// Who belongs to the cluster, and who leads it.
extension RaftEngine {
    private var members: [RaftPeer] { progress.members }

    /// Why a change cannot be made now; nil when it can.
    func refusal(of change: MembershipChange) -> RaftError? {
        guard state.isLeader else { return .notLeader(state.leader) }
        // The core would turn a second change into an empty entry, without a word.
        guard self.change == nil, progress.index >= leaderSince else { return .busy }
        func member(_ id: UInt64) -> RaftPeer? { members.first { $0.raftID == id } }
        switch change {
        case .addLearner(let peer):
            if peer.raftID == 0 { return .refused("a member's raft id must not be 0") }
            if member(peer.raftID) != nil { return .refused("node \(peer.nodeID) is a member already") }
            if progress.removed.contains(peer.raftID) {
                return .refused(
                    "node \(peer.nodeID) was removed from this cluster: empty its data directory before it "
                        + "joins again")
            }
            if let other = members.first(where: { $0.nodeID == peer.nodeID }) {
                return .refused("another member is named \(other.nodeID): remove it first")
            }
        case .promote(let id):
            guard let peer = member(id) else { return .refused("there is no such member") }
            if peer.isVoter { return .refused("node \(peer.nodeID) votes already") }
        case .demote(let id), .remove(let id):
            guard let peer = member(id) else { return .refused("there is no such member") }
            if id == ownID {
                return .refused("node \(peer.nodeID) leads the cluster: transfer leadership first")
            }
            if case .demote = change, !peer.isVoter {
                return .refused("node \(peer.nodeID) does not vote")
            }
        case .update(let peer):
            guard member(peer.raftID) != nil else { return .refused("there is no such member") }
        }
        return nil
    }

    /// Takes over a committed change of the membership.
    /// - Returns: the number of the waiting call, when it is one of this node.
    func applyChange(_ entry: LogEntry) throws(VaultError) -> UInt64? {
        let applied = try core.apply(entry)
        progress.configuration = applied.configuration
        var peer: RaftPeer?
        var number: UInt64?
        if !applied.context.isEmpty {
            var reader = WireReader(applied.context)
            let proposer = try reader.number(UInt64.self)
            let count = try reader.number(UInt64.self)
            if proposer == nonce { number = count }
            if reader.count > 0 { peer = try RaftPeer(from: &reader) }
        }
        if let number, change?.number == number { change = nil }
        let known = members.firstIndex { $0.raftID == applied.id }
        switch applied.kind {
        case RaftCore.AppliedChange.addVoter, RaftCore.AppliedChange.addLearner:
            let isVoter = applied.kind == RaftCore.AppliedChange.addVoter
            if let known {
                progress.members[known].isVoter = isVoter
            } else {
                var added = peer ?? RaftPeer(raftID: applied.id, nodeID: "")
                added.isVoter = isVoter
                progress.members.append(added)
                progress.members.sort { $0.raftID < $1.raftID }
            }
        case RaftCore.AppliedChange.remove: if known != nil { progress.remove(applied.id) }
        default: break
        }
        return number
    }

    func updateMember(_ payload: [UInt8]) throws(VaultError) {
        var reader = WireReader(payload)
        var peer = try RaftPeer(from: &reader)
        guard let at = members.firstIndex(where: { $0.raftID == peer.raftID }) else { return }
        peer.isVoter = members[at].isVoter
        progress.members[at] = peer
    }

    func membersChanged() throws(VaultError) {
        tellTransport()
        state.leader = state.leader.flatMap { old in members.first { $0.raftID == old.raftID } }
        contacts = contacts.filter { id, _ in members.contains { $0.raftID == id } }
        if hasLeft { leave() }
        try showMembers()
    }

    /// Tells the transport whom to talk to.
    func tellTransport() {
        transport?.updatePeers(members, removed: progress.removed + (hasLeft ? [ownID] : []))
    }

    /// Brings the members in the published state up to date.
    func showMembers() throws(VaultError) {
        let matches = state.isLeader ? try core.peers() : []
        state.members = members.map { peer in
            var member = RaftState.Member(peer: peer)
            member.matchIndex = matches.first { $0.id == peer.raftID }?.match ?? 0
            member.lastContact = contacts[peer.raftID, default: 0]
            return member
        }
    }

    // MARK: - Transfer

    func beginTransfer(
        _ wanted: UInt64?, _ done: @escaping @Sendable (RaftError?) -> Void, _ input: inout CoreInput,
        _ now: UInt64
    ) throws(VaultError) {
        guard state.isLeader else { return done(.notLeader(state.leader)) }
        guard transfer == nil else { return done(.busy) }
        let others = members.filter { $0.isVoter && $0.raftID != ownID }
        let target: UInt64
        if let wanted {
            guard others.contains(where: { $0.raftID == wanted }) else {
                return done(.refused("leadership can only be transferred to another voter"))
            }
            target = wanted
        } else {
            let matches = try core.peers().filter { peer in others.contains { $0.raftID == peer.id } }
            let recent = now.subtractingReportingOverflow(configuration.timing.election.nanoseconds)
            let alive = matches.filter { contacts[$0.id, default: 0] >= recent.partialValue }
            guard let best = (alive.isEmpty ? matches : alive).max(by: { $0.match < $1.match }) else {
                return done(.refused("there is no other voter to lead"))
            }
            target = best.id
        }
        transfer = (now + 2 * configuration.timing.election.nanoseconds, done)
        input.transfer(to: target)
    }

    func settleTransfer(_ now: UInt64) {
        guard let waiting = transfer else { return }
        if !state.isLeader, state.leader != nil {
            transfer = nil
            waiting.done(nil)
        } else if now >= waiting.deadline {
            transfer = nil
            waiting.done(.timedOut)
        }
    }
}

extension MembershipChange {
    /// As entry data. Behind the head stands the member, where others do not know it yet.
    func encoded(nonce: UInt64, number: UInt64) -> [UInt8] {
        var context = WireWriter()
        context.put(nonce)
        context.put(number)
        switch self {
        case .addLearner(let peer):
            peer.encode(to: &context)
            return RaftCore.change(
                RaftCore.AppliedChange.addLearner, peer.raftID, context: context.bytes)
        case .promote(let id):
            return RaftCore.change(RaftCore.AppliedChange.addVoter, id, context: context.bytes)
        case .demote(let id):
            return RaftCore.change(RaftCore.AppliedChange.addLearner, id, context: context.bytes)
        case .remove(let id):
            return RaftCore.change(RaftCore.AppliedChange.remove, id, context: context.bytes)
        case .update(let peer):
            return RaftCore.change(RaftCore.AppliedChange.update, peer.raftID, context: context.bytes)
        }
    }
}

extension RaftState {
    /// The same with `hasQuorum` as of a moment.
    func judged(at now: UInt64, window: UInt64, ownID: UInt64) -> RaftState {
        var judged = self
        let oldest = now > window ? now - window : 0
        func isRecent(_ member: Member) -> Bool { member.lastContact > 0 && member.lastContact >= oldest }
        if role == .leader {
            let voters = members.filter(\.peer.isVoter)
            let heard = voters.count { $0.peer.raftID == ownID || isRecent($0) }
            judged.hasQuorum = heard > voters.count / 2
        } else {
            judged.hasQuorum = members.contains { $0.peer.raftID == leader?.raftID && isRecent($0) }
        }
        return judged
    }
}
