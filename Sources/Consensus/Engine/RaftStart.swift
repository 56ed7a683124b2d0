import Base

/// Where a node begins: what the log and the state say together.
///
/// The state may be ahead of the log: a snapshot replaces the state first, and the crash came before the log
/// followed. The log may be ahead of the state: its entries are applied again.
struct RaftStart {
    let base: LogPosition
    let entries: [LogEntry]
    let hard: HardState
    let progress: RaftProgress

    /// - Throws: `.corrupted` when they contradict each other.
    init(
        _ found: WriteAheadLog.Contents, progress: RaftProgress?, log: WriteAheadLog, place: String
    ) throws(VaultError) {
        var contents = found
        guard let progress else {
            guard found.base.index == 0, found.entries.isEmpty else {
                throw Self.contradiction(place, "holds entries, but the store beside it is empty")
            }
            // A node that is to join: the leader sends it a state.
            self.progress = RaftProgress(index: 0, term: 0, configuration: [], members: [])
            base = LogPosition()
            entries = []
            hard = HardState(term: found.hard.term, vote: found.hard.vote, commit: 0)
            if found.isNew { try Self.begin(log, hard) }
            return
        }
        // The first state of a cluster is made before its log; every later one has a log.
        guard !found.isNew || progress.index <= 1 else {
            throw Self.contradiction(place, "is missing, and with it this node's votes")
        }
        guard found.base.index <= progress.index else {
            throw Self.contradiction(
                place, "begins behind entry \(found.base.index), but the store ends at \(progress.index)")
        }
        let term = found.term(at: progress.index)
        if term != progress.term {
            // The entries are from before a snapshot, or there are none.
            contents.base = LogPosition(index: progress.index, term: progress.term)
            contents.entries = []
            contents.hard.commit = progress.index
        }
        if contents.hard.term < progress.term {
            contents.hard.term = progress.term
            contents.hard.vote = 0
        }
        contents.hard.commit = max(contents.hard.commit, progress.index)
        guard contents.hard.commit <= contents.last.index else {
            throw Self.contradiction(
                place, "ends at entry \(contents.last.index), but \(contents.hard.commit) was committed")
        }
        if contents != found {
            if term != progress.term { log.reset(to: contents.base) }
            try Self.begin(log, contents.hard)
        }
        self.progress = progress
        base = contents.base
        entries = contents.entries
        hard = contents.hard
    }

    private static func begin(_ log: WriteAheadLog, _ hard: HardState) throws(VaultError) {
        log.append(hard)
        try log.flush(sync: true)
    }

    private static func contradiction(_ place: String, _ what: String) -> VaultError {
        .corrupted(
            place: "the log of consensus in \(place) \(what). This node must not vote with it")
    }
}

extension WriteAheadLog.Contents {
    /// The term of an entry; nil when it is not in the log.
    func term(at index: UInt64) -> UInt64? {
        if index == base.index { return base.term }
        guard let first = entries.first?.index, index >= first, index - first < UInt64(entries.count) else {
            return nil
        }
        return entries[Int(index - first)].term
    }
}
