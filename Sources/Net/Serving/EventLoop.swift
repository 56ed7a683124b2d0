import Base
import CPosix
import Glibc
import Synchronization

/// What the loops of one server share.
final class ServerState: Sendable {
    let limits: Limits
    let log: Log
    let clock: any Clock
    let handler: any HTTPHandler
    let connections = Atomic<Int>(0)
    let bodyBytes = Atomic<Int>(0)
    let isStopping = Atomic<Bool>(false)

    init(limits: Limits, log: Log, clock: any Clock, handler: any HTTPHandler) {
        self.limits = limits
        self.log = log
        self.clock = clock
        self.handler = handler
    }
}

/// One I/O thread: an epoll set, its listening sockets, its connections and their deadlines.
///
/// Everything here belongs to the loop's thread, but for the inbox, through which other threads hand in
/// answers and work. Connections are named by slot and generation, so that an answer or an event that
/// comes too late finds nobody instead of somebody else. Events are level-triggered: a connection that
/// must not be read, because a request of its own is being answered or its answers are not taken, is
/// not watched for input.
package final class EventLoop: @unchecked Sendable {
    // SAFETY: `inbox`, `hasMail` and `thread` are guarded or atomic; `wakeup` never changes; all other
    // state is touched by the thread that runs `run`, and by `init` and `deinit` before and after it.
    let state: ServerState
    private let epoll: Int32
    private let wakeup: Int32
    private let inbox = Mutex(Inbox())
    private let hasMail = Atomic<Bool>(false)
    private let thread = Atomic<UInt>(0)

    var listeners: [Listener] = []
    var connections: [Connection] = []
    private var freeSlots: [Int] = []
    private(set) var openConnections = 0
    private var wheel: TimerWheel
    private var expired: [Int] = []
    private(set) var tick: UInt64 = 0
    private(set) var date = HTTPDate()
    private var acceptsAgainAt: UInt64 = .max
    private var nextAcceptComplaint: UInt64 = 0
    private var forcedEnd: UInt64 = .max
    private var isStopping = false
    /// Connections whose TLS layer holds bytes that epoll does not know of.
    var unfinished: [UInt64] = []

    /// Where input lands; wiped after each use.
    let scratch: UnsafeMutableBufferPointer<UInt8>
    var output = OutputBuffer()
    /// Buffers that connections have given back.
    var spareOutputs: [OutputBuffer] = []
    /// Connections whose answers go out together when this turn's requests are done.
    var answered: [UInt64] = []
    var freshParser: HTTPHeadParser
    var spareParsers: [HTTPHeadParser] = []
    var spareResponder: HTTPResponder?
    var context: AnyObject
    /// The request that the handler is looking at, and its answer if it came at once.
    var current: ObjectIdentifier?
    var inlineAnswer: HTTPResponse?
    /// Runs every ten seconds, on the first loop only.
    var onTimer: (@Sendable () -> Void)?
    private var nextTimer: UInt64 = 0

    struct Listener {
        var descriptor: Int32
        var tls: TLSStore?
        var isUnix: Bool
        var settings: ListenerSettings
    }
    private enum Mail {
        case answer(slot: Int, generation: UInt32, stream: Int32, HTTPResponse)
        case work(@Sendable (AnyObject) -> Void)
    }
    private struct Inbox {
        var mail: [Mail] = []
        var isClosed = false
    }

    /// Ticks are quarters of a second: fine enough for limits in seconds, rare enough to cost nothing.
    static let tickNanoseconds: UInt64 = 250_000_000
    static let ticksPerSecond: UInt64 = 4
    private static let scratchBytes = 64 << 10
    private static let listenerMark: UInt64 = 1 << 63
    private static let wakeupMark = UInt64.max

    init(_ state: ServerState) throws(VaultError) {
        self.state = state
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        wakeup = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        scratch = .allocate(capacity: Self.scratchBytes)
        scratch.initialize(repeating: 0)
        freshParser = HTTPHeadParser(limits: state.limits)
        context = freshParser
        tick = state.clock.monotonicNanoseconds() / Self.tickNanoseconds
        wheel = TimerWheel(now: tick)
        guard epoll >= 0, wakeup >= 0 else {
            throw .internal("no event loop: \(String(cString: strerror(errno)))")
        }
    }

    deinit {
        close(epoll)
        close(wakeup)
        scratch.deallocate()
    }

    /// Runs `work` on this loop's thread with the loop's context, soon; dropped once the loop has ended.
    package func post(_ work: @escaping @Sendable (_ context: AnyObject) -> Void) { deliver(.work(work)) }

    /// Hands in an answer from anywhere.
    func complete(slot: Int, generation: UInt32, stream: Int32, _ response: HTTPResponse) {
        deliver(.answer(slot: slot, generation: generation, stream: stream, response))
    }

    /// Takes the answer of the request that the handler is looking at, on its own thread; false elsewhere.
    @inline(__always)
    func answerInline(_ responder: HTTPResponder, _ response: HTTPResponse) -> Bool {
        guard isOnThread, current == ObjectIdentifier(responder) else { return false }
        inlineAnswer = response
        return true
    }

    private var isOnThread: Bool { thread.load(ordering: .relaxed) == UInt(pthread_self()) }

    private func deliver(_ mail: Mail) {
        let mustWake = inbox.withLock { inbox in
            if inbox.isClosed { return false }
            inbox.mail.append(mail)
            return inbox.mail.count == 1
        }
        guard mustWake else { return }
        hasMail.store(true, ordering: .releasing)
        if isOnThread { return }
        var one: UInt64 = 1
        _ = write(wakeup, &one, 8)
    }

    // MARK: The loop

    /// Serves until it is stopped. Called once, on the loop's own thread.
    func run() {
        thread.store(UInt(pthread_self()), ordering: .relaxed)
        context = state.handler.makeLoopContext()
        watch(wakeup, Self.wakeupMark, EPOLL_CTL_ADD, EPOLLIN.rawValue)
        for index in listeners.indices { watchListener(index, EPOLL_CTL_ADD) }
        nextTimer = tick + 10 * Self.ticksPerSecond
        let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: 256)
        defer { events.deallocate() }
        while !(isStopping && (openConnections == 0 || tick >= forcedEnd)) {
            let count = epoll_wait(epoll, events, 256, waitMilliseconds())
            updateClock()
            for index in 0..<max(0, Int(count)) { handle(events[index]) }
            resumeUnfinished()
            flushAnswered()
            if hasMail.load(ordering: .acquiring) { readMail() }
            runTimers()
            flushAnswered()
        }
        end()
    }

    private func handle(_ event: epoll_event) {
        let token = event.data.u64
        if token == Self.wakeupMark {
            var ignored: UInt64 = 0
            _ = read(wakeup, &ignored, 8)
        } else if token & Self.listenerMark != 0 {
            accept(Int(token & ~Self.listenerMark))
        } else if let connection = connection(token) {
            ready(connection, event.events)
        }
    }

    @inline(__always)
    func connection(_ token: UInt64) -> Connection? {
        let slot = Int(token & 0xFFFF_FFFF)
        guard slot < connections.count else { return nil }
        let connection = connections[slot]
        return connection.token == token && connection.phase != .free ? connection : nil
    }

    private func waitMilliseconds() -> Int32 {
        if !unfinished.isEmpty || hasMail.load(ordering: .acquiring) { return 0 }
        if openConnections > 0 || acceptsAgainAt != .max || isStopping {
            let now = state.clock.monotonicNanoseconds()
            let next = (tick + 1) * Self.tickNanoseconds
            return next <= now ? 0 : Int32(min((next - now) / 1_000_000 + 1, 1_000))
        }
        return onTimer == nil ? -1 : 10_000
    }

    private func updateClock() {
        tick = state.clock.monotonicNanoseconds() / Self.tickNanoseconds
        date.update(state.clock.now())
    }

    private func readMail() {
        hasMail.store(false, ordering: .relaxed)
        let mail = inbox.withLock { inbox in
            let mail = inbox.mail
            inbox.mail = []
            return mail
        }
        for item in mail {
            switch item {
            case .answer(let slot, let generation, let stream, let response):
                guard let connection = connection(UInt64(generation) << 32 | UInt64(slot)) else { break }
                switch connection.phase {
                case .parked where stream == 0: answerParked(connection, response)
                case .http2 where stream != 0: answerStream(connection, stream, response)
                default: break
                }
            case .work(let work):
                work(context)
                // It may have been told that the server is sealed.
                wipeDeadStack(256 << 10)
            }
        }
    }

    private func resumeUnfinished() {
        guard !unfinished.isEmpty else { return }
        let tokens = unfinished
        unfinished.removeAll(keepingCapacity: true)
        for token in tokens {
            if let connection = connection(token) { ready(connection, EPOLLIN.rawValue) }
        }
    }

    // MARK: Deadlines

    private func runTimers() {
        if tick > wheel.current || openConnections == 0 { wipeDeadStack() }
        if tick > wheel.current {
            expired.removeAll(keepingCapacity: true)
            wheel.advance(to: tick, expired: &expired)
            for slot in expired where connections[slot].phase != .free { deadlinePassed(connections[slot]) }
        }
        if tick >= acceptsAgainAt {
            acceptsAgainAt = .max
            for index in listeners.indices { watchListener(index, EPOLL_CTL_MOD) }
        }
        if let onTimer, tick >= nextTimer {
            nextTimer = tick + 10 * Self.ticksPerSecond
            onTimer()
        }
    }

    /// Starts the count for what the connection is now waiting for.
    func setDeadline(
        _ awaiting: Connection.Awaiting, _ connection: Connection, seconds: Int, from start: UInt64? = nil
    ) {
        connection.awaiting = awaiting
        wheel.set(
            connection.slot, deadline: (start ?? tick) + UInt64(max(seconds, 0)) * Self.ticksPerSecond + 1)
    }

    /// The same for a moment that is known.
    func setDeadline(_ awaiting: Connection.Awaiting, _ connection: Connection, at tick: UInt64) {
        connection.awaiting = awaiting
        wheel.set(connection.slot, deadline: tick)
    }

    func awaitNothing(_ connection: Connection) {
        connection.awaiting = .nothing
        wheel.set(connection.slot, deadline: .max)
    }

    // MARK: Connections

    private func watch(_ descriptor: Int32, _ token: UInt64, _ operation: Int32, _ events: UInt32) {
        var event = epoll_event()
        event.events = events
        event.data.u64 = token
        epoll_ctl(epoll, operation, descriptor, &event)
    }

    /// Changes what epoll watches the connection for.
    func setInterest(_ connection: Connection, _ events: UInt32) {
        guard connection.interest != events else { return }
        connection.interest = events
        watch(connection.descriptor, connection.token, EPOLL_CTL_MOD, events)
    }

    private func watchListener(_ index: Int, _ operation: Int32, paused: Bool = false) {
        // A unix socket is shared: without EXCLUSIVE every loop would wake for each connection.
        let exclusive = listeners[index].isUnix ? UInt32(1) << 28 : 0
        if exclusive != 0, operation == EPOLL_CTL_MOD {
            // An exclusive watch cannot be changed, only removed and made again.
            watch(listeners[index].descriptor, 0, EPOLL_CTL_DEL, 0)
            if !paused {
                let token = Self.listenerMark | UInt64(index)
                watch(listeners[index].descriptor, token, EPOLL_CTL_ADD, EPOLLIN.rawValue | exclusive)
            }
            return
        }
        let events = paused ? 0 : EPOLLIN.rawValue | exclusive
        watch(listeners[index].descriptor, Self.listenerMark | UInt64(index), operation, events)
    }

    private func accept(_ index: Int) {
        guard index < listeners.count else { return }
        for _ in 0..<64 {
            guard state.connections.load(ordering: .relaxed) < state.limits.connections else {
                return pauseAccepting("the limit on connections is reached")
            }
            let (descriptor, peer) = SocketAddress.accept(listeners[index].descriptor)
            if descriptor < 0 {
                switch errno {
                case EINTR, ECONNABORTED, EPROTO: continue
                case EAGAIN: return
                default: return pauseAccepting(String(cString: strerror(errno)))
                }
            }
            open(descriptor, peer, listeners[index])
        }
    }

    /// Leaves further connections in the kernel's queue for a quarter of a second.
    private func pauseAccepting(_ reason: String) {
        acceptsAgainAt = tick + 1
        for index in listeners.indices { watchListener(index, EPOLL_CTL_MOD, paused: true) }
        if tick >= nextAcceptComplaint {
            nextAcceptComplaint = tick + 60 * Self.ticksPerSecond
            state.log.warn("new connections have to wait", ["reason": reason])
        }
    }

    private func open(_ descriptor: Int32, _ address: SocketAddress, _ listener: Listener) {
        let settings = listener.settings
        if let rules = settings.proxyProtocol, rules.behavior == .denyUnauthorized,
            !rules.trusts(address.host)
        {
            state.log.debug("connection refused: not a proxy of ours", ["peer": address.host])
            close(descriptor)
            return
        }
        setOption(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        var session: TLSSession?
        if let store = listener.tls {
            session = store.context.makeSession(socket: descriptor)
            if session == nil {
                close(descriptor)
                return
            }
        }
        if freeSlots.isEmpty {
            freeSlots.append(connections.count)
            connections.append(Connection(slot: connections.count))
            wheel.grow(to: connections.count)
        }
        let connection = connections[freeSlots.removeLast()]
        connection.descriptor = descriptor
        connection.tls = session
        connection.listener = settings
        connection.peer = HTTPPeer(
            address: address.host, port: address.port, isTLS: session != nil, listener: settings.index)
        connection.phase = settings.proxyProtocol != nil ? .proxy : session == nil ? .head : .handshake
        connection.interest = EPOLLIN.rawValue
        connection.requestTick = tick
        openConnections += 1
        Instruments.connectionsAccepted.add()
        state.connections.add(1, ordering: .relaxed)
        watch(descriptor, connection.token, EPOLL_CTL_ADD, EPOLLIN.rawValue)
        // From here on, not from the first byte: who says nothing costs no less than who is slow.
        setDeadline(.head, connection, seconds: settings.limits.headerTimeoutSeconds)
    }

    /// Closes at once and forgets everything.
    func kill(_ connection: Connection) {
        guard connection.phase != .free else { return }
        wheel.clear(connection.slot)
        release(connection)
        connection.input.release()
        // An answer of this connection's that was not sent must not go out on the next one's.
        if !output.isEmpty { output.reset() }
        connection.tls = nil
        close(connection.descriptor)
        if let parser = connection.parser { keep(parser) }
        connection.recycle()
        freeSlots.append(connection.slot)
        openConnections -= 1
        state.connections.subtract(1, ordering: .relaxed)
    }

    func keep(_ parser: HTTPHeadParser) {
        parser.reset()
        if spareParsers.count < 64 { spareParsers.append(parser) }
    }

    // MARK: The end

    /// Stops accepting, closes what is idle, and ends when all is answered or `graceSeconds` are over.
    ///
    /// Who is connected already has reason to expect an answer: what waits in the kernel's queue is still
    /// accepted, what has arrived is still read, and a new connection gets a moment for its first request.
    func stop(graceSeconds: Int) {
        post { [self] _ in
            guard !isStopping else { return }
            isStopping = true
            forcedEnd = tick + UInt64(max(graceSeconds, 0)) * Self.ticksPerSecond
            for index in listeners.indices { for _ in 0..<Self.lastAccepts { accept(index) } }
            for listener in listeners {
                watch(listener.descriptor, 0, EPOLL_CTL_DEL, 0)
                if !listener.isUnix { close(listener.descriptor) }
            }
            listeners = []
            acceptsAgainAt = .max
            for connection in connections {
                if let session = connection.http2, connection.phase == .http2 {
                    session.goAway()
                    flush(connection)
                } else if isIdle(connection) {
                    dismiss(connection)
                }
            }
        }
    }

    /// Closes an idle connection, but not in the face of a request.
    private func dismiss(_ connection: Connection) {
        if connection.phase == .head { ready(connection, EPOLLIN.rawValue) }
        guard isIdle(connection) else { return }
        if !connection.hasAnswered, connection.phase != .lingering,
            tick - connection.requestTick <= Self.freshTicks
        {
            return setDeadline(.idle, connection, seconds: 1)
        }
        closeGracefully(connection)
    }

    /// Turns of at most 64 connections that are still accepted when the loop stops.
    private static let lastAccepts = 4
    /// Age in ticks up to which a connection without a request counts as a new one.
    private static let freshTicks: UInt64 = 2

    private func isIdle(_ connection: Connection) -> Bool {
        switch connection.phase {
        case .head: connection.input.isEmpty && connection.output == nil
        case .proxy, .handshake, .lingering: true
        default: false
        }
    }

    private func end() {
        for connection in connections where connection.phase != .free { kill(connection) }
        let left = inbox.withLock { inbox in
            inbox.isClosed = true
            let left = inbox.mail
            inbox.mail = []
            return left
        }
        // Dropping these may drop responders, whose answers then find the inbox closed.
        _ = consume left
        spareResponder = nil
        context = freshParser
    }
}
