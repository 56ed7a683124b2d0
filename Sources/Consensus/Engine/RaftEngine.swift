import Base

/// One node's consensus without a thread of its own: a turn takes what has arrived and does what follows from
/// it, in the one order that is safe:
///
/// 1. a received state replaces the own one, durably;
/// 2. entries and votes go to the log, in one write and one sync;
/// 3. messages leave. Only a leader's entries and heartbeats may leave before its own sync, and only when
///    its term and vote are on the disk already;
/// 4. committed entries are applied, and whoever waits is answered.
///
/// Time, disk, network and state come through seams: the simulation drives this very code. It must not
/// depend on the order of a dictionary, nor on anything else that another run would do differently.
///
/// What it throws ends the node: a disk that failed, or an invariant that does not hold.
final class RaftEngine {
    typealias IndexDone = @Sendable (Result<UInt64, RaftError>) -> Void

    /// Ticks that are made up for at most.
    private static let mostTicks: UInt64 = 5

    let configuration: RaftConfiguration
    let core: RaftCore
    let log: WriteAheadLog
    let machine: any RaftStateMachine
    let journal: Log
    var transport: (any RaftTransport)?
    /// Hands a command back to this engine, from any thread.
    let post: @Sendable (RaftCommand) -> Void
    private let clock: any Clock

    var state = RaftState()
    var progress: RaftProgress
    /// Votes as they are on the disk.
    var stored: HardState
    /// What is in the log, but for the bytes.
    var tail: LogTail
    /// When each peer was last heard of, as a follower of this leader or as the leader.
    var contacts: [UInt64: UInt64] = [:]
    /// The last entry of the log when this node became the leader: until it is applied, the core refuses
    /// changes of the membership without a word.
    var leaderSince: UInt64 = 0

    let nonce: UInt64
    /// Calls that wait for their entry, by the number in it.
    var proposals: [UInt64: IndexDone] = [:]
    /// Which input of this turn carries which of them.
    private var offered: [(input: Int, number: UInt64)] = []
    private var lastNumber: UInt64 = 0
    /// The change of the membership that is on its way.
    var change: (number: UInt64, deadline: UInt64)?
    var transfer: (deadline: UInt64, done: @Sendable (RaftError?) -> Void)?
    var reads: ReadRounds
    var snapshots = SnapshotTraffic()

    /// Whether a member has said that this node was removed. The entry itself may never reach it.
    private var isExpelled = false
    /// Who has said so in vain, and how often.
    private var doubted: [UInt64: Int] = [:]
    /// Commands of the last turn that it did not come to: `stop` answers only those that it has taken.
    private(set) var untaken: ArraySlice<RaftCommand> = []
    private var pace = LeaderPace()
    private var nextTick: UInt64
    private var isReady = true

    /// Opens the log and puts the node in the place where it stopped.
    /// - Throws: `.corrupted` when the log is damaged, or contradicts the state.
    init(
        _ configuration: RaftConfiguration, disk: any RaftDisk, machine: any RaftStateMachine,
        clock: any Clock, random: any RandomSource, log journal: Log,
        post: @escaping @Sendable (RaftCommand) -> Void
    ) throws(VaultError) {
        self.configuration = configuration
        self.clock = clock
        self.machine = machine
        self.journal = journal
        self.post = post
        let (log, found) = try WriteAheadLog.open(
            disk, identity: configuration.logIdentity, segmentBytes: configuration.segmentBytes,
            stepBytes: configuration.stepBytes)
        let start = try RaftStart(found, progress: try machine.progress(), log: log, place: disk.place)
        self.log = log
        progress = start.progress
        stored = start.hard
        tail = LogTail(start.base, start.entries)
        let timing = configuration.timing
        core = try RaftCore(
            RaftCore.Start(
                id: configuration.identity.raftID, electionTicks: timing.electionTicks,
                heartbeatTicks: timing.heartbeatTicks, hard: start.hard, applied: start.progress.index,
                base: start.base, configuration: start.progress.configuration, entries: start.entries,
                seed: configuration.seed))
        nonce = random.bytes(8).reduce(0) { $0 << 8 | UInt64($1) }
        reads = ReadRounds(
            nonce: nonce, limit: timing.readLimit.nanoseconds, retry: timing.election.nanoseconds)
        nextTick = clock.monotonicNanoseconds() + timing.tick.nanoseconds
        state.term = start.hard.term
        state.committed = start.hard.commit
        state.applied = start.progress.index
        state.lastIndex = tail.last.index
        if hasLeft { leave() }
        try showMembers()
    }

    var ownID: UInt64 { configuration.identity.raftID }

    /// Whether this node has been removed from its cluster, and knows it. The core of a leader that has applied
    /// its own removal would go on leading, and take no more entries: from then on the node neither sends nor
    /// hears anything, so that the others elect another.
    var hasLeft: Bool {
        isExpelled || !progress.members.isEmpty && !progress.members.contains { $0.raftID == ownID }
    }

    /// When `turn` wants to be called again, on the clock.
    var deadline: UInt64 { isReady ? 0 : nextTick }

    /// Takes what has arrived and does what follows from it.
    func turn(_ commands: [RaftCommand]) throws(VaultError) {
        let now = clock.monotonicNanoseconds()
        var input = CoreInput()
        untaken = commands[...]
        while let command = untaken.first {
            try take(command, &input, now)
            untaken.removeFirst()
        }
        askForReads(&input, now)
        // Behind the messages: what has arrived in time must count before time has passed.
        let hasTicked = tick(&input, now)
        let (output, outcomes) = try core.turn(input)
        isReady = output.hasReady
        note(output, now)
        for (at, number) in offered where outcomes[at] != .taken {
            if change?.number == number { change = nil }
            proposals.removeValue(forKey: number)?(
                .failure(state.isLeader ? .busy : .notLeader(state.leader)))
        }
        offered.removeAll(keepingCapacity: true)
        if output.hasReady { try process(output) }
        dropUnusedSnapshot()
        reads.settle(applied: progress.index, now: now)
        settleTransfer(now)
        if let change, now >= change.deadline {
            self.change = nil
            proposals.removeValue(forKey: change.number)?(.failure(.timedOut))
        }
        if hasTicked { try showMembers() }
    }

    /// Answers everybody who waits; the engine is not used any more.
    func stop() {
        // Their entries may be in the log, here or elsewhere.
        failProposals(.outcomeUnknown)
        reads.failAll(.stopped)
        transfer?.done(.stopped)
        transfer = nil
        snapshots.failAll()
    }

    /// Falls silent: this node was removed. What waits here would wait in vain.
    func leave() {
        guard !state.isRemoved else { return }
        journal.warn(
            "This node has been removed from its cluster. Stop it, empty its data directory, and let it join "
                + "again.")
        state.isRemoved = true
        state.role = .follower
        state.leader = nil
        reads.failAll(.removed)
        failProposals(.outcomeUnknown)
        change = nil
        tellTransport()
    }

    // MARK: - Input

    private func tick(_ input: inout CoreInput, _ now: UInt64) -> Bool {
        guard now >= nextTick else { return false }
        let timing = configuration.timing
        let standard = timing.tick.nanoseconds
        pace.tick()
        let tick =
            state.isLeader
            ? standard : pace.tickLength(standard, electionTicks: UInt64(timing.electionTicks))
        let due = (now - nextTick) / tick + 1
        // After a pause the node must hear the leader before it may call it gone.
        if due > Self.mostTicks { pace.wasAway() }
        for _ in 0..<min(due, Self.mostTicks) { input.tick() }
        nextTick += due * tick
        return true
    }

    private func take(
        _ command: RaftCommand, _ input: inout CoreInput, _ now: UInt64
    ) throws(VaultError) {
        switch command {
        case .receive(let frame, let peer): receive(frame, from: peer, &input, now)
        case .propose(let payload, let done): propose(.payload, payload, done, &input)
        case .read(let done) where hasLeft: done(.removed)
        case .read(let done): reads.add(done, most: configuration.waitingCalls, now: now)
        case .change(let change, let done): begin(change, done, &input, now)
        case .transfer(let peer, let done): try beginTransfer(peer, done, &input, now)
        case .receiveSnapshot(let message, let path, let found, let peer, let done):
            arrived(message, path, found, from: peer, done, &input)
        case .snapshotMade(let result): try send(result, &input)
        case .snapshotSent(let peer, let arrived):
            snapshots.sending[peer] = nil
            input.snapshot(arrived: arrived, at: peer)
        case .campaign: input.campaign()
        }
    }

    private func receive(_ bytes: [UInt8], from peer: UInt64, _ input: inout CoreInput, _ now: UInt64) {
        // Whoever has left still has the cluster's keys, perhaps, and must not vote with them.
        if hasLeft || progress.removed.contains(peer) { return }
        switch RaftFrame(bytes) {
        case .message(let kind, let term, let message):
            // A state comes by another way, with its file.
            if kind == RaftFrame.snapshot { return }
            if term >= state.term, RaftFrame.provesLeadership(kind) { contacts[peer] = now }
            if RaftFrame.isHeartbeat(kind), peer == state.leader?.raftID {
                pace.heard(peer, term: term, at: now)
            }
            input.message(message, from: peer)
        case .readQuestion(let number):
            // Who has left the cluster must not go on showing its state.
            if state.isLeader, progress.members.contains(where: { $0.raftID == peer }) {
                reads.add(question: number, from: peer)
            }
        case .readAnswer(let number, let index): reads.answered(number, index: index, by: peer)
        case .farewell: dismissed(by: peer, now)
        case nil: break
        }
    }

    /// A member says that this node was removed. One may be wrong, when it was made to go on alone while the
    /// others were well: so whoever has a quorum believes nobody but its leader.
    private func dismissed(by peer: UInt64, _ now: UInt64) {
        guard let sender = progress.members.first(where: { $0.raftID == peer }) else { return }
        let window = configuration.timing.election.nanoseconds
        if state.leader?.raftID == peer || !state.judged(at: now, window: window, ownID: ownID).hasQuorum {
            isExpelled = true
            return leave()
        }
        // Once or twice it may only be faster than the leader.
        doubted[peer, default: 0] += 1
        if doubted[peer] == 3 {
            journal.warn(
                "A member says that this node was removed, but the others do not: was that one recovered by "
                    + "itself? Remove it, or all others.", ["member": sender.nodeID])
        }
    }

    private func propose(
        _ kind: Proposal.Kind, _ payload: [UInt8], _ done: @escaping IndexDone, _ input: inout CoreInput
    ) {
        guard let number = admit(payload.count, done, input.count) else { return }
        input.propose(Proposal(kind, nonce: nonce, number: number, payload: payload).bytes)
    }

    /// Gives a waiting call its number; nil when it was refused.
    private func admit(_ bytes: Int, _ done: @escaping IndexDone, _ input: Int) -> UInt64? {
        var refusal: RaftError?
        if !state.isLeader { refusal = .notLeader(state.leader) }
        if bytes > configuration.payloadBytes { refusal = .tooLarge }
        if proposals.count >= configuration.waitingCalls { refusal = .busy }
        if let refusal {
            done(.failure(refusal))
            return nil
        }
        lastNumber += 1
        proposals[lastNumber] = done
        offered.append((input, lastNumber))
        return lastNumber
    }

    private func begin(
        _ wanted: MembershipChange, _ done: @escaping IndexDone, _ input: inout CoreInput, _ now: UInt64
    ) {
        if let refusal = refusal(of: wanted) { return done(.failure(refusal)) }
        if case .update(let peer) = wanted {
            var writer = WireWriter()
            peer.encode(to: &writer)
            return propose(.member, writer.bytes, done, &input)
        }
        guard let number = admit(0, done, input.count) else { return }
        change = (number, now + Duration.seconds(10).nanoseconds)
        input.change(wanted.encoded(nonce: nonce, number: number))
    }
}

extension Duration {
    /// For a span that is known to be positive and short.
    var nanoseconds: UInt64 { UInt64(max(0, wholeNanoseconds)) }
}
