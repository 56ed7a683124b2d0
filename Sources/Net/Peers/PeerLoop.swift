import Base
import CPosix
import Glibc

/// The thread behind a port between members: accepts, connects, shakes hands, carries frames.
///
/// All state belongs to the thread that calls `run`. A stranger costs next to nothing until its first byte is
/// one of TLS, a bounded handshake then, and never an earlier connection: of too many strangers the oldest
/// makes room. Nothing that a peer sends is allocated for before it has come. Members are served in turns,
/// each for a bounded time.
final class PeerLoop {
    private let mailbox: PeerMailbox
    private let listeners: [Int32]
    private let limits: PeerLimits
    private let accept: PeerAcceptor
    private let names: PeerNames
    private let log: Log
    private let clock: any Clock
    private var contexts: PeerContexts

    private let epoll: Int32
    private var connections: [UInt64: PeerConnection] = [:]
    /// Tokens of strangers, the oldest first.
    private var strangers: [UInt64] = []
    private var nextToken: UInt64 = 1
    /// Connections whose TLS layer, or whose last turn, has left bytes that epoll does not tell of.
    private var unfinished: Set<UInt64> = []
    private let scratch: UnsafeMutableRawBufferPointer
    /// Connections that shall be made later, with the moment in monotonic milliseconds.
    private var waiting: [(due: UInt64, dial: PeerDial)] = []
    private var nextComplaint: UInt64 = 0
    private var isStopped = false

    private static let wakeupMark = UInt64.max
    private static let listenerMark: UInt64 = 1 << 63
    /// Bytes that one connection may bring in one turn.
    private static let turnBytes = 512 << 10
    /// Connections accepted in one turn.
    private static let turnAccepts = 16
    private static let tickMilliseconds: Int32 = 100

    init(
        mailbox: PeerMailbox, listeners: [Int32], contexts: PeerContexts, limits: PeerLimits,
        names: PeerNames,
        log: Log, clock: any Clock, accept: @escaping PeerAcceptor
    ) {
        self.mailbox = mailbox
        self.listeners = listeners
        self.contexts = contexts
        self.limits = limits
        self.names = names
        self.log = log
        self.clock = clock
        self.accept = accept
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        scratch = .allocate(byteCount: 64 << 10, alignment: 16)
    }

    deinit {
        close(epoll)
        scratch.deallocate()
    }

    /// Serves until it is told to stop.
    func run() {
        watch(mailbox.wakeup, Self.wakeupMark, EPOLL_CTL_ADD, EPOLLIN.rawValue)
        for (index, listener) in listeners.enumerated() {
            watch(listener, Self.listenerMark | UInt64(index), EPOLL_CTL_ADD, EPOLLIN.rawValue)
        }
        let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: 64)
        defer { events.deallocate() }
        while !isStopped {
            let count = epoll_wait(epoll, events, 64, waitMilliseconds())
            let left = unfinished
            unfinished = []
            for index in 0..<max(0, Int(count)) { handle(events[index]) }
            for token in left { if let connection = connections[token] { read(connection) } }
            expire()
        }
        end()
    }

    private func waitMilliseconds() -> Int32 {
        if !unfinished.isEmpty { return 0 }
        var wait: Int32 = connections.isEmpty ? -1 : Self.tickMilliseconds
        if !waiting.isEmpty {
            let now = now
            let next = waiting.reduce(UInt64.max) { min($0, $1.due) }
            let left = next > now ? Int32(clamping: next - now) : 0
            wait = wait < 0 ? left : min(wait, left)
        }
        return wait
    }

    private func handle(_ event: epoll_event) {
        let token = event.data.u64
        if token == Self.wakeupMark { return readMail() }
        if token & Self.listenerMark != 0 { return acceptSome(Int(token & ~Self.listenerMark)) }
        guard let connection = connections[token] else { return }
        let bits = event.events
        switch connection.phase {
        case .connecting: finishConnect(connection)
        case .silent: look(connection)
        case .handshaking: shakeHands(connection)
        case .open:
            if bits & EPOLLOUT.rawValue != 0 {
                flush(connection)
                if connection.readWantsWrite, connections[token] != nil { return read(connection) }
            }
            if bits & (EPOLLIN.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0,
                connections[token] != nil
            {
                read(connection)
            }
        }
    }

    private func readMail() {
        var touched: Set<UInt64> = []
        for mail in mailbox.take() {
            switch mail {
            case .send(let token, let frame):
                guard let connection = connections[token] else { break }
                connection.append(frame, fullAt: limits.queuedBytes)
                touched.insert(token)
            case .pause(let token, let isPaused):
                guard let connection = connections[token] else { break }
                connection.isPaused = isPaused
                if isPaused { updateInterest(connection) } else { unfinished.insert(token) }
            case .close(let token):
                if let connection = connections[token] { finish(connection, "closed here") }
            case .dial(let dial):
                if dial.delayMilliseconds > 0 {
                    waiting.append((now + UInt64(dial.delayMilliseconds), dial))
                } else {
                    dialNow(dial)
                }
            case .connect(let dial, let place): connect(dial, place)
            case .replace(let fresh): contexts = fresh
            case .stop: isStopped = true
            }
        }
        for token in touched { if let connection = connections[token] { flush(connection) } }
    }

    private var now: UInt64 { clock.monotonicNanoseconds() / 1_000_000 }

    private func watch(_ descriptor: Int32, _ token: UInt64, _ operation: Int32, _ events: UInt32) {
        var event = epoll_event()
        event.events = events
        event.data.u64 = token
        epoll_ctl(epoll, operation, descriptor, &event)
    }

    private func updateInterest(_ connection: PeerConnection) {
        var events: UInt32 = 0
        if connection.phase == .open {
            if !connection.isPaused { events |= EPOLLIN.rawValue }
            if connection.hasOutput || connection.readWantsWrite { events |= EPOLLOUT.rawValue }
        } else {
            events = connection.interest
        }
        setInterest(connection, events)
    }

    private func setInterest(_ connection: PeerConnection, _ events: UInt32) {
        guard connection.interest != events else { return }
        connection.interest = events
        watch(connection.descriptor, connection.token, EPOLL_CTL_MOD, events)
    }

    // MARK: Accepting

    private func acceptSome(_ index: Int) {
        for _ in 0..<Self.turnAccepts {
            let (descriptor, peer) = SocketAddress.accept(listeners[index])
            if descriptor < 0 {
                if errno == EMFILE || errno == ENFILE, let oldest = strangers.first {
                    if let connection = connections[oldest] { finish(connection, "no more descriptors") }
                }
                return
            }
            if strangers.count >= limits.strangers, let oldest = connections[strangers[0]] {
                complain("too many connections without a certificate", peer.host)
                finish(oldest, "made room for another")
            }
            let connection = add(
                descriptor, address: peer.text, .silent, dial: nil, within: limits.handshakeMilliseconds)
            strangers.append(connection.token)
            connection.interest = EPOLLIN.rawValue
            watch(descriptor, connection.token, EPOLL_CTL_ADD, EPOLLIN.rawValue)
        }
    }

    private func add(
        _ descriptor: Int32, address: String, _ phase: PeerConnection.Phase, dial: PeerDial?,
        within milliseconds: Int
    ) -> PeerConnection {
        let token = nextToken
        nextToken += 1
        let connection = PeerConnection(
            token: token, descriptor: descriptor, address: address, phase: phase, dial: dial,
            link: PeerLink(token: token, mailbox: mailbox, most: limits.queuedBytes),
            deadline: now + UInt64(milliseconds))
        setOption(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        setOption(descriptor, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, Int32(limits.silenceMilliseconds))
        setOption(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
        setOption(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, 2)
        setOption(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, 1)
        connections[token] = connection
        return connection
    }

    /// The first byte of a stranger: only a handshake's is worth a TLS session.
    private func look(_ connection: PeerConnection) {
        var first: UInt8 = 0
        let got = recv(connection.descriptor, &first, 1, Int32(MSG_PEEK))
        if got < 0, errno == EAGAIN || errno == EINTR { return }
        guard got == 1, first == 0x16 else { return finish(connection, "does not speak TLS") }
        guard let session = contexts.accepting.makeSession(socket: connection.descriptor) else {
            return finish(connection, "no memory for a TLS session")
        }
        connection.session = session
        connection.phase = .handshaking
        shakeHands(connection)
    }

    // MARK: Connecting

    private func dialNow(_ dial: PeerDial) {
        if let place = SocketAddress(numeric: dial.address) { return connect(dial, place) }
        names.resolve(dial, for: mailbox)
    }

    private func connect(_ dial: PeerDial, _ place: SocketAddress) {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(place.family, kind, 0)
        guard descriptor >= 0 else { return dial.failed(String(cString: strerror(errno))) }
        let code = place.withPointer { Glibc.connect(descriptor, $0, $1) }
        guard code == 0 || errno == EINPROGRESS else {
            let cause = String(cString: strerror(errno))
            close(descriptor)
            return dial.failed(cause)
        }
        let connection = add(
            descriptor, address: place.text, .connecting, dial: dial, within: limits.dialMilliseconds)
        connection.interest = EPOLLOUT.rawValue
        watch(descriptor, connection.token, EPOLL_CTL_ADD, EPOLLOUT.rawValue)
    }

    private func finishConnect(_ connection: PeerConnection) {
        var cause: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(connection.descriptor, SOL_SOCKET, SO_ERROR, &cause, &size)
        guard cause == 0 else { return finish(connection, String(cString: strerror(cause))) }
        let offer = PeerProtocols.encoded([connection.dial?.protocolName ?? ""])
        guard
            let session = contexts.connecting.makeSession(socket: connection.descriptor, offering: offer)
        else { return finish(connection, "no memory for a TLS session") }
        connection.session = session
        connection.phase = .handshaking
        shakeHands(connection)
    }

    // MARK: Handshake

    private func shakeHands(_ connection: PeerConnection) {
        guard let session = connection.session else { return }
        switch session.handshake() {
        case .wantsRead: setInterest(connection, EPOLLIN.rawValue)
        case .wantsWrite: setInterest(connection, EPOLLOUT.rawValue)
        case .done: admit(connection, session)
        case .ended, .failed:
            let cause = drainTLSErrors()
            if connection.dial == nil { complain("a handshake failed: \(cause)", connection.address) }
            finish(connection, "TLS: \(cause)")
        }
    }

    private func admit(_ connection: PeerConnection, _ session: TLSSession) {
        let name = session.selectedProtocol
        guard !name.isEmpty, connection.dial.map({ $0.protocolName == name }) ?? true else {
            return finish(connection, "no protocol in common")
        }
        guard let certificate = session.peerCertificates().first else {
            return finish(connection, "no certificate")
        }
        let hello = PeerHello(protocolName: name, certificate: certificate, address: connection.address)
        let accept = connection.dial?.accept ?? self.accept
        guard let admission = accept(hello, connection.link) else {
            return finish(connection, "not a member that is expected here")
        }
        if connection.isStranger { strangers.removeAll { $0 == connection.token } }
        connection.phase = .open
        connection.deadline = .max
        connection.handler = admission.handler
        connection.frameBytes = min(admission.frameBytes, limits.frameBytes)
        // The acceptor may have sent something already, and the peer as well.
        unfinished.insert(connection.token)
        updateInterest(connection)
    }

    // MARK: Frames

    private func read(_ connection: PeerConnection) {
        guard connection.phase == .open, let session = connection.session else { return }
        connection.readWantsWrite = false
        var taken = 0
        while !connection.isPaused {
            if taken >= Self.turnBytes {
                unfinished.insert(connection.token)
                break
            }
            guard let target = scratch.bindMemory(to: UInt8.self).baseAddress else { return }
            switch session.read(target, scratch.count) {
            case .done(let count):
                taken += count
                let bytes = UnsafeMutableRawBufferPointer(rebasing: scratch[..<count])
                let frames = connection.take(UnsafeRawBufferPointer(bytes))
                wipe(bytes)
                guard let frames else {
                    return finish(
                        connection, "a frame is empty or longer than \(connection.frameBytes) bytes")
                }
                for frame in frames {
                    connection.handler?.received(frame)
                    // What it did may have ended the connection.
                    guard connections[connection.token] != nil else { return }
                }
                continue
            case .wantsRead: break
            case .wantsWrite: connection.readWantsWrite = true
            case .ended: return finish(connection, "ended by the peer")
            case .failed: return finish(connection, "broken: \(drainTLSErrors())")
            }
            break
        }
        if taken > 0 { setDeadline(connection) }
        updateInterest(connection)
    }

    private func flush(_ connection: PeerConnection) {
        guard connection.phase == .open else { return }
        var hasProgress = false
        let outcome = connection.flush { hasProgress = true }
        if outcome == .failed { return finish(connection, "broken: \(drainTLSErrors())") }
        if hasProgress || connection.deadline == .max { setDeadline(connection) }
        updateInterest(connection)
        if connection.noteDrained(fullAt: limits.queuedBytes) { connection.handler?.drained() }
    }

    /// Starts the count anew while something is under way.
    private func setDeadline(_ connection: PeerConnection) {
        let isBusy = connection.hasOutput || connection.hasPartialInput && !connection.isPaused
        connection.deadline = isBusy ? now + UInt64(limits.stallMilliseconds) : .max
    }

    // MARK: The end

    private func expire() {
        let now = now
        for connection in connections.values where connection.deadline <= now {
            finish(connection, connection.phase == .open ? "stalled" : "took too long to connect")
        }
        guard waiting.contains(where: { $0.due <= now }) else { return }
        let due = waiting.filter { $0.due <= now }
        waiting.removeAll { $0.due <= now }
        for (_, dial) in due { dialNow(dial) }
    }

    private func finish(_ connection: PeerConnection, _ reason: String) {
        guard connections.removeValue(forKey: connection.token) != nil else { return }
        if connection.isStranger { strangers.removeAll { $0 == connection.token } }
        connection.link.noteClosed()
        connection.end()
        if let handler = connection.handler {
            connection.handler = nil
            handler.closed(reason)
        } else {
            connection.dial?.failed(reason)
        }
    }

    private func end() {
        mailbox.close()
        for connection in connections.values { finish(connection, "this node stops") }
        for listener in listeners { close(listener) }
    }

    /// At most one line in ten seconds: a flood must not fill the log.
    private func complain(_ what: String, _ address: String) {
        let now = now
        guard now >= nextComplaint else { return }
        nextComplaint = now + 10_000
        log.warn("cluster port: \(what)", ["peer": address])
    }
}
