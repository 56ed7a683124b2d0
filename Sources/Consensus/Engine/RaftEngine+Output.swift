import Base

/// What follows from a turn of the core.
extension RaftEngine {
    /// Takes up role, term and leader, and answers those whose wait has lost its sense.
    func note(_ output: CoreOutput, _ now: UInt64) {
        let before = (state.role, state.term, state.leader?.raftID ?? 0)
        state.role = hasLeft ? .follower : output.role
        state.term = output.current.term
        state.leader = hasLeft ? nil : progress.members.first { $0.raftID == output.leader }
        state.committed = output.current.commit
        state.lastIndex = output.lastIndex
        let after = (state.role, state.term, state.leader?.raftID ?? 0)
        guard before != after else { return }
        if before.0 == .leader, state.role != .leader || state.term != before.1 {
            // Entries on their way may be committed by the next leader, or lost.
            failProposals(.outcomeUnknown)
            change = nil
        }
        if state.role == .leader, before.0 != .leader || state.term != before.1 {
            leaderSince = output.lastIndex
            contacts = [:]
            snapshots.forget()
        }
        reads.startAnew()
        for (level, line) in core.takeLog() {
            if level == "E" || level == "W" {
                journal.warn("consensus", ["line": line])
            } else {
                journal.debug("consensus", ["line": line])
            }
        }
    }

    /// Persists, sends and applies, in this order.
    func process(_ output: CoreOutput) throws(VaultError) {
        let isEarly =
            output.role == .leader && output.current.term == stored.term
            && output.current.vote == stored.vote
        if isEarly { send(output.messages.filter(\.mayPrecedeSync), output.current.term) }
        if let snapshot = output.snapshot { try install(snapshot) }
        for entry in output.entries {
            log.append(entry)
            tail.append(entry)
        }
        if output.hasHardState { log.append(output.current) }
        if !output.entries.isEmpty || output.hasHardState || output.snapshot != nil {
            try log.flush(sync: output.mustSync || output.snapshot != nil)
        }
        if output.hasHardState { stored = output.current }
        send(
            isEarly ? output.messages.filter { !$0.mayPrecedeSync } : output.messages,
            output.current.term)
        try apply(output.committed)
        for (index, context) in output.reads {
            for (number, peer) in reads.settled(context, index: index) {
                send(.readAnswer(number, index: index), to: peer)
            }
        }
        try compactWhenDue()
    }

    private func send(_ messages: [CoreOutput.Message], _ term: UInt64) {
        var outbound: [OutboundMessage] = []
        for message in messages {
            if message.isSnapshot {
                wantSnapshot(message)
            } else {
                let frame = RaftFrame.message(
                    kind: UInt8(truncatingIfNeeded: message.kind), term: term, bytes: message.bytes)
                outbound.append(OutboundMessage(to: message.to, bytes: frame.bytes))
            }
        }
        if !outbound.isEmpty, !hasLeft { transport?.send(outbound) }
    }

    func send(_ frame: RaftFrame, to peer: UInt64) {
        if hasLeft { return }
        transport?.send([OutboundMessage(to: peer, bytes: frame.bytes)])
    }

    private func apply(_ entries: [LogEntry]) throws(VaultError) {
        guard let last = entries.last else { return }
        var batch: [CommittedEntry] = []
        batch.reserveCapacity(entries.count)
        var answers: [(IndexDone, UInt64)] = []
        let members = progress.members
        for entry in entries {
            guard entry.index == progress.index + 1 else {
                throw .internal("entry \(entry.index) was to be applied behind \(progress.index)")
            }
            var payload: [UInt8] = []
            var number: UInt64?
            if entry.kind != 0 {
                number = try applyChange(entry)
            } else if !entry.data.isEmpty {
                let proposal = try Proposal(entry.data, index: entry.index)
                if proposal.nonce == nonce { number = proposal.number }
                switch proposal.kind {
                case .payload: payload = proposal.payload
                case .member: try updateMember(proposal.payload)
                }
            }
            if let number, let done = proposals.removeValue(forKey: number) {
                answers.append((done, entry.index))
            }
            progress.index = entry.index
            batch.append(
                CommittedEntry(
                    index: entry.index, term: entry.term, payload: payload, isOwn: number != nil))
        }
        progress.term = last.term
        try machine.apply(batch, progress)
        state.applied = last.index
        if progress.members != members { try membersChanged() }
        for (done, index) in answers { done(.success(index)) }
    }

    func failProposals(_ error: RaftError) {
        let waiting = proposals.sorted { $0.key < $1.key }
        proposals = [:]
        for (_, done) in waiting { done(.failure(error)) }
    }

    /// Forgets entries that no peer will need soon. What is not durable in the state stays.
    private func compactWhenDue() throws(VaultError) {
        let limit = min(machine.durableIndex, progress.index, snapshots.oldestNeeded)
        guard
            let target = tail.compaction(
                upTo: limit, trailing: configuration.trailingEntries,
                trailingBytes: configuration.trailingBytes, due: configuration.compactionEntries)
        else { return }
        try core.compact(to: target.index)
        try log.compact(to: target)
        tail.dropFirst(through: target)
    }
}

/// Terms and sizes of the entries in the log.
struct LogTail {
    private(set) var base: LogPosition
    private var entries: [(term: UInt64, bytes: Int)]
    private(set) var bytes: Int

    init(_ base: LogPosition, _ entries: [LogEntry]) {
        self.base = base
        self.entries = entries.map { ($0.term, $0.data.count) }
        bytes = entries.reduce(0) { $0 + $1.data.count }
    }

    var last: LogPosition {
        LogPosition(index: base.index + UInt64(entries.count), term: entries.last?.term ?? base.term)
    }

    /// Replaces what stands at the entry's index and behind.
    mutating func append(_ entry: LogEntry) {
        let at = Int(entry.index - base.index) - 1
        while entries.count > at, let dropped = entries.popLast() { bytes -= dropped.bytes }
        entries.append((entry.term, entry.data.count))
        bytes += entry.data.count
    }

    mutating func dropFirst(through position: LogPosition) {
        let count = Int(position.index - base.index)
        bytes -= entries[..<count].reduce(0) { $0 + $1.bytes }
        entries.removeFirst(count)
        base = position
    }

    mutating func reset(to position: LogPosition) { self = LogTail(position, []) }

    /// Where the log shall begin, when that is worth its cost.
    func compaction(
        upTo limit: UInt64, trailing: UInt64, trailingBytes: Int, due: UInt64
    ) -> LogPosition? {
        guard limit > base.index else { return nil }
        let held = UInt64(entries.count)
        guard held >= trailing + due || bytes >= 2 * trailingBytes else { return nil }
        var kept = bytes
        var at = 0
        let most = min(Int(limit - base.index), entries.count)
        while at < most, held - UInt64(at) > trailing || kept > trailingBytes {
            kept -= entries[at].bytes
            at += 1
        }
        guard at > 0 else { return nil }
        return LogPosition(index: base.index + UInt64(at), term: entries[at - 1].term)
    }
}
