package import Base
import CPosix
import Glibc
import Synchronization

/// One member of a cluster, with the thread that runs it.
///
/// The thread is lent to the core for good, for calls are much cheaper so. Everything that it works on
/// belongs to it alone; others hand over commands and read a state that it publishes after each turn.
package final class RaftNode: ConsensusNode {
    /// Commands that may wait; what comes from peers beyond it is dropped, calls are refused.
    private static let mostCommands = 65_536
    /// Bytes of peers' frames that may wait.
    private static let mostFrameBytes = 128 << 20

    private let configuration: RaftConfiguration
    private let machine: any RaftStateMachine & Sendable
    private let clock: any Clock
    private let log: Log
    private let inbox: Inbox
    private let published: Mutex<Published>
    private let thread = Mutex<Thread?>(nil)
    private let reads = Mutex(OpenCalls<RaftError?>())
    private let proposals = Mutex(OpenCalls<Result<UInt64, RaftError>>())
    /// When the thread began what it is at, in nanoseconds on the node's clock; 0 while it waits for work.
    private let turnBegan = Atomic<UInt64>(0)

    private struct Published {
        var state = RaftState()
        var observers: [@Sendable (RaftState) -> Void] = []
        var transport: (any RaftTransport)?
        var hasNewTransport = false
        var hasNewObserver = false
    }

    /// Opens the log and begins to take part.
    /// - Parameter transport: nil for a node that is alone.
    /// - Parameter onFailure: called once, on the raft thread, when the node stops because of a failure.
    /// - Throws: `.corrupted` when the log is damaged or contradicts the state.
    package init(
        _ configuration: RaftConfiguration, disk: any RaftDisk & Sendable,
        machine: any RaftStateMachine & Sendable, transport: (any RaftTransport)?, clock: any Clock,
        random: any RandomSource, log: Log, onFailure: @escaping @Sendable (VaultError) -> Void
    ) throws(VaultError) {
        self.configuration = configuration
        self.machine = machine
        self.clock = clock
        self.log = log
        let inbox = try Inbox(most: Self.mostCommands, mostBytes: Self.mostFrameBytes)
        self.inbox = inbox
        published = Mutex(Published(transport: transport, hasNewTransport: true))
        let opened = BlockingQueue<VaultError?>(limit: 1)
        let started = try Thread(name: "raft") { [self] in
            RaftCore.lendThread {
                do throws(VaultError) {
                    let engine = try RaftEngine(
                        configuration, disk: disk, machine: machine, clock: clock, random: random,
                        log: log, post: { _ = inbox.push($0) })
                    self.publish(engine, true)
                    _ = opened.push(nil)
                    self.run(engine, onFailure)
                } catch {
                    _ = opened.push(error)
                }
            }
        }
        thread.withLock { $0 = started }
        if let failure = opened.take(most: 1).first ?? nil {
            stop()
            throw failure
        }
    }

    /// Ends the thread; whoever waits gets `.stopped`. Called once or more.
    package func stop() {
        inbox.close()
        thread.withLock { thread in
            thread?.join()
            thread = nil
        }
    }

    /// Gives a node that was alone a way to its peers, or takes it away.
    package func use(_ transport: (any RaftTransport)?) {
        published.withLock { published in
            published.transport = transport
            published.hasNewTransport = true
        }
        inbox.wake()
    }

    // MARK: - ConsensusNode

    /// Drops the frame when too many wait.
    package func receive(_ frame: [UInt8], from peer: UInt64) {
        _ = inbox.push(.receive(frame, from: peer), bytes: frame.count)
    }

    /// Looks through the file on the calling thread, which may take long.
    package func receiveSnapshot(
        message: [UInt8], path: String, from peer: UInt64, done: @escaping @Sendable (Bool) -> Void
    ) {
        let finish: @Sendable (Bool) -> Void = { isTaken in
            unlink(path)
            done(isTaken)
        }
        // On the caller's thread: it may take long, and the raft thread must answer heartbeats.
        do throws(VaultError) {
            let found = try machine.checkSnapshot(path: path)
            hand(
                .receiveSnapshot(message: message, path: path, progress: found, from: peer, done: finish))
        } catch {
            log.error("a received state is damaged", ["cause": error.privateCause ?? "\(error)"])
            finish(false)
        }
    }

    /// Fails at once on others than the leader, and while the node's own thread waits for its disk.
    package func propose(
        _ payload: [UInt8], done: @escaping @Sendable (Result<UInt64, RaftError>) -> Void
    ) {
        let now = clock.monotonicNanoseconds()
        let began = turnBegan.load(ordering: .relaxed)
        if began != 0, now > began + configuration.timing.stallLimit.nanoseconds {
            return done(.failure(.stalled))
        }
        let proposal = OpenCall(done, since: now)
        proposals.withLock { $0.add(proposal) }
        proposePatiently(payload) { proposal.finish($0) }
    }

    /// The same, however long it takes: for what replaces the whole state.
    package func proposePatiently(
        _ payload: [UInt8], done: @escaping @Sendable (Result<UInt64, RaftError>) -> Void
    ) {
        hand(.propose(payload, done: done))
    }

    /// Answers within a second.
    package func readIndex(_ done: @escaping @Sendable (RaftError?) -> Void) {
        let read = OpenCall(done, since: clock.monotonicNanoseconds())
        reads.withLock { $0.add(read) }
        hand(.read(done: { read.finish($0) }))
    }

    /// A node whose thread waits for its disk, or replaces its whole state, answers by this alone.
    package func expireCalls() {
        let (timing, now) = (configuration.timing, clock.monotonicNanoseconds())
        for read in reads.withLock({ $0.late(timing.readLimit.nanoseconds, at: now) }) {
            read.finish(.timedOut)
        }
        for proposal in proposals.withLock({ $0.late(timing.proposalLimit.nanoseconds, at: now) }) {
            proposal.finish(.failure(.outcomeUnknown))
        }
    }

    /// Fails at once on others than the leader, and while another change is on its way.
    package func changeMembership(
        _ change: MembershipChange, done: @escaping @Sendable (Result<UInt64, RaftError>) -> Void
    ) {
        hand(.change(change, done: done))
    }

    /// Fails when no other leads within two election timeouts.
    package func transferLeadership(
        to peer: UInt64?, done: @escaping @Sendable (RaftError?) -> Void
    ) {
        hand(.transfer(peer, done: done))
    }

    /// As of the last turn, but for the quorum, which is as of now.
    package var state: RaftState {
        judged(published.withLock { $0.state })
    }

    /// Several may observe; none can be taken back.
    package func observe(_ observer: @escaping @Sendable (RaftState) -> Void) {
        published.withLock { published in
            published.observers.append(observer)
            published.hasNewObserver = true
        }
        inbox.wake()
    }

    /// The core's configuration of a cluster of these voters: for a cluster's first state.
    package static func configuration(voters: [UInt64]) -> [UInt8] {
        RaftCore.configuration(voters: voters)
    }

    /// Looks through the log of a node that does not run yet.
    /// - Throws: `.corrupted` when it is damaged or contradicts the state.
    package static func check(
        _ configuration: RaftConfiguration, disk: any RaftDisk, machine: any RaftStateMachine
    ) throws(VaultError) {
        let (log, found) = try WriteAheadLog.open(
            disk, identity: configuration.logIdentity, segmentBytes: configuration.segmentBytes,
            stepBytes: configuration.stepBytes)
        _ = try RaftStart(found, progress: try machine.progress(), log: log, place: disk.place)
    }

    /// What a transport answers a removed member with, so that it need not go on trying.
    package static let farewell = RaftFrame.farewell.bytes

    /// Begins an election at once: for a node that is alone.
    package func campaign() { hand(.campaign) }

    // MARK: - The raft thread

    private func hand(_ command: RaftCommand) {
        if !inbox.push(command) { command.refuse() }
    }

    private func run(_ engine: RaftEngine, _ onFailure: (VaultError) -> Void) {
        var failure: VaultError?
        while failure == nil, let commands = inbox.take(until: engine.deadline, clock) {
            turnBegan.store(clock.monotonicNanoseconds(), ordering: .relaxed)
            takeTransport(engine)
            do throws(VaultError) {
                try engine.turn(commands)
                publish(engine, false)
            } catch {
                failure = error
                for command in engine.untaken { command.refuse() }
            }
            turnBegan.store(0, ordering: .relaxed)
        }
        inbox.close()
        engine.transport = nil
        if let failure {
            let cause = failure.privateCause ?? failure.messages.joined(separator: "; ")
            engine.state.role = .follower
            engine.state.leader = nil
            engine.state.failure = cause
            publish(engine, true)
            log.error("This node takes no part in the cluster any more.", ["cause": cause])
            onFailure(failure)
        }
        engine.stop()
        for command in inbox.drain() { command.refuse() }
    }

    private func takeTransport(_ engine: RaftEngine) {
        let news = published.withLock { published -> (isNew: Bool, transport: (any RaftTransport)?) in
            defer { published.hasNewTransport = false }
            return (published.hasNewTransport, published.transport)
        }
        guard news.isNew else { return }
        engine.transport = news.transport
        engine.tellTransport()
    }

    private func judged(_ state: RaftState) -> RaftState {
        state.judged(
            at: clock.monotonicNanoseconds(), window: configuration.timing.election.nanoseconds,
            ownID: configuration.identity.raftID)
    }

    /// Shows the engine's state to others, and tells the observers when it is news.
    private func publish(_ engine: RaftEngine, _ isForced: Bool) {
        let now = judged(engine.state)
        let observers = published.withLock { published -> [@Sendable (RaftState) -> Void] in
            let isNews = isForced || published.hasNewObserver || now.isNews(to: published.state)
            published.state = now
            published.hasNewObserver = false
            return isNews ? published.observers : []
        }
        for observer in observers { observer(now) }
    }
}

extension RaftState {
    /// Whether observers want to know.
    fileprivate func isNews(to other: RaftState) -> Bool {
        role != other.role || term != other.term || leader != other.leader
            || hasQuorum != other.hasQuorum || failure != other.failure
            || isRemoved != other.isRemoved
            || members.count != other.members.count
            || !zip(members, other.members).allSatisfy { $0.peer == $1.peer }
    }
}

/// Commands for the raft thread, which waits for them or for a moment.
private final class Inbox: Sendable {
    private let event: Int32
    private let most: Int
    private let mostBytes: Int
    private let waiting = Mutex(Waiting())

    private struct Waiting {
        var commands: [RaftCommand] = []
        var bytes = 0
        var isClosed = false
    }

    init(most: Int, mostBytes: Int) throws(VaultError) {
        event = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        guard event >= 0 else { throw .internal("the system gives no more descriptors") }
        self.most = most
        self.mostBytes = mostBytes
    }

    deinit { close(event) }

    /// False when there is no room, or the inbox is closed: the command was not taken then.
    func push(_ command: RaftCommand, bytes: Int = 0) -> Bool {
        let (taken, isFirst) = waiting.withLock { waiting in
            guard !waiting.isClosed, waiting.commands.count < most, waiting.bytes + bytes <= mostBytes else {
                return (false, false)
            }
            waiting.commands.append(command)
            waiting.bytes += bytes
            return (true, waiting.commands.count == 1)
        }
        if isFirst { wake() }
        return taken
    }

    func wake() { eventfd_write(event, 1) }

    func close() {
        waiting.withLock { $0.isClosed = true }
        wake()
    }

    /// What has arrived, at the latest at a moment of the clock; nil when the inbox is closed.
    func take(until deadline: UInt64, _ clock: any Clock) -> [RaftCommand]? {
        let now = clock.monotonicNanoseconds()
        if deadline > now {
            var wait = pollfd(fd: event, events: Int16(POLLIN), revents: 0)
            poll(&wait, 1, Int32(min(1000, (deadline - now + 999_999) / 1_000_000)))
        }
        var count: UInt64 = 0
        eventfd_read(event, &count)
        return waiting.withLock { waiting in
            if waiting.isClosed { return nil }
            defer {
                waiting.commands = []
                waiting.bytes = 0
            }
            return waiting.commands
        }
    }

    /// What is left in a closed inbox.
    func drain() -> [RaftCommand] {
        waiting.withLock { waiting in
            defer { waiting.commands = [] }
            return waiting.commands
        }
    }

    private func close(_ descriptor: Int32) { Glibc.close(descriptor) }
}
