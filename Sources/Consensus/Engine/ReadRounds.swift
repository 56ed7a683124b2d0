import Base

/// Calls that wait for a read index. All that come in one turn share a round.
///
/// On the leader a round is one question to the core, which asks a quorum whether it still leads; its context
/// is a number that is never used again, for a late answer to an earlier question proves nothing. On a
/// follower a round is one question to the leader. Rounds get lost without a word, by a change of roles or by
/// the network: then the calls are asked for anew, until their time is over.
struct ReadRounds {
    typealias Done = @Sendable (RaftError?) -> Void

    private struct Waiter {
        let done: Done
        let deadline: UInt64
    }
    private struct Round {
        let number: UInt64
        let askedAt: UInt64
        /// Whom a follower has asked; 0 on the leader.
        let peer: UInt64
        let waiters: [Waiter]
        /// Followers' questions that the leader answers with this round.
        let questions: [(number: UInt64, peer: UInt64)]
    }

    /// Rounds in flight: more would only make each of them smaller.
    private static let mostRounds = 4
    /// Followers' questions that wait; more come from no honest peer.
    private static let mostQuestions = 1_024

    private let nonce: UInt64
    private let limit: UInt64
    private let retry: UInt64
    /// Begins at random: after a restart a late answer to an earlier question must not fit.
    private var lastNumber: UInt64
    private var waiting: [Waiter] = []
    private var questions: [(number: UInt64, peer: UInt64)] = []
    private var rounds: [Round] = []
    private var applying: [(index: UInt64, waiters: [Waiter])] = []

    /// - Parameter limit: nanoseconds that a call may wait.
    /// - Parameter retry: nanoseconds after which a round is taken for lost.
    init(nonce: UInt64, limit: UInt64, retry: UInt64) {
        self.nonce = nonce
        lastNumber = nonce
        self.limit = limit
        self.retry = retry
    }

    mutating func add(_ done: @escaping Done, most: Int, now: UInt64) {
        guard waiting.count < most else { return done(.busy) }
        waiting.append(Waiter(done: done, deadline: now + limit))
    }

    mutating func add(question number: UInt64, from peer: UInt64) {
        if questions.count < Self.mostQuestions { questions.append((number, peer)) }
    }

    /// Whether there is something to ask, and room for it.
    var wantsRound: Bool {
        rounds.count < Self.mostRounds && !(waiting.isEmpty && questions.isEmpty)
    }

    /// Begins a round with all that waits.
    /// - Parameter peer: the leader that is asked; 0 for the own core.
    /// - Returns: its number.
    mutating func begin(asking peer: UInt64, now: UInt64) -> UInt64 {
        lastNumber &+= 1
        rounds.append(
            Round(
                number: lastNumber, askedAt: now, peer: peer, waiters: waiting,
                questions: peer == 0 ? questions : []))
        waiting = []
        questions = []
        return lastNumber
    }

    /// The core's context of a round.
    func context(_ number: UInt64) -> [UInt8] {
        var writer = WireWriter(reserving: 16)
        writer.put(nonce)
        writer.put(number)
        return writer.bytes
    }

    /// The core has answered a round.
    /// - Returns: the followers' questions that are answered with it.
    mutating func settled(_ context: [UInt8], index: UInt64) -> [(number: UInt64, peer: UInt64)] {
        guard let at = rounds.firstIndex(where: { $0.peer == 0 && self.context($0.number) == context })
        else { return [] }
        let round = rounds.remove(at: at)
        if !round.waiters.isEmpty { applying.append((index, round.waiters)) }
        return round.questions
    }

    /// The leader has answered a round.
    mutating func answered(_ number: UInt64, index: UInt64, by peer: UInt64) {
        guard let at = rounds.firstIndex(where: { $0.number == number && $0.peer == peer && peer != 0 })
        else { return }
        applying.append((index, rounds.remove(at: at).waiters))
    }

    /// Answers calls whose index is applied, and those whose time is over; takes up lost rounds again.
    mutating func settle(applied: UInt64, now: UInt64) {
        let done = applying.filter { $0.index <= applied }
        if !done.isEmpty { applying.removeAll { $0.index <= applied } }
        for (_, waiters) in done { for waiter in waiters { waiter.done(nil) } }
        for round in rounds where now >= round.askedAt + retry { waiting += round.waiters }
        rounds.removeAll { now >= $0.askedAt + retry }
        let late = waiting.filter { now >= $0.deadline }
        if !late.isEmpty { waiting.removeAll { now >= $0.deadline } }
        // An index was given, but the entries do not come.
        let stuck = applying.flatMap(\.waiters).filter { now >= $0.deadline }
        if !stuck.isEmpty {
            applying = applying.map { ($0.index, $0.waiters.filter { now < $0.deadline }) }
            applying.removeAll { $0.waiters.isEmpty }
        }
        for waiter in late + stuck { waiter.done(.timedOut) }
    }

    /// Role or leader have changed: what was asked gets no answer any more.
    mutating func startAnew() {
        for round in rounds { waiting += round.waiters }
        rounds = []
        questions = []
    }

    mutating func failAll(_ error: RaftError) {
        startAnew()
        let all = waiting + applying.flatMap(\.waiters)
        waiting = []
        applying = []
        for waiter in all { waiter.done(error) }
    }
}

extension RaftEngine {
    /// Begins a round for the calls that wait, when there is somebody to ask.
    func askForReads(_ input: inout CoreInput, _ now: UInt64) {
        guard reads.wantsRound else { return }
        if state.isLeader {
            input.read(reads.context(reads.begin(asking: 0, now: now)))
        } else if let leader = state.leader {
            send(.readQuestion(reads.begin(asking: leader.raftID, now: now)), to: leader.raftID)
        }
    }
}
