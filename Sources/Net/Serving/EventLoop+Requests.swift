import Base
import CPosix
import Glibc
import Synchronization

/// How a connection lives: bytes in, requests to the handler, answers out.
extension EventLoop {
    /// Bytes of answers that a client may leave untaken before no more of its requests are read.
    private static let mostOutputBytes = 1 << 20
    /// Bytes thrown away behind a last answer; beyond it the connection is cut.
    private static let mostDiscardedBytes = 64 << 20
    private static let lingerSeconds = 5
    /// Answers that wait for each other at most: more would keep the first of them from its client for long.
    private static let mostAnswered = 16

    enum Received {
        case bytes(Int)
        case later
        case ended
        case failed
    }

    /// The socket can be read or written, or has failed.
    func ready(_ c: Connection, _ events: UInt32) {
        let gone = events & EPOLLERR.rawValue != 0
        let hungUp = events & EPOLLHUP.rawValue != 0
        let readable = events & EPOLLIN.rawValue != 0
        if gone || hungUp && (!readable || c.phase == .parked || c.phase == .lingering) { return kill(c) }
        let generation = c.generation
        if events & EPOLLOUT.rawValue != 0 {
            c.tlsWantsWrite = false
            if c.output != nil {
                flush(c)
                if c.generation == generation, c.output == nil, c.phase != .closing { resume(c) }
            } else {
                read(c)
            }
        }
        if readable, c.generation == generation { read(c) }
    }

    /// A limit of the connection's has passed.
    func deadlinePassed(_ c: Connection) {
        switch c.awaiting {
        case .head where c.phase == .head && !c.input.isEmpty, .body:
            refuse(c, .tooSlow)
            flush(c)
        case .request where c.phase == .parked:
            // What the handler still does is its own; its answer will find nobody.
            refuse(c, .tookTooLong)
            flush(c)
        case .nothing, .request: break
        case .streams: streamsExpired(c)
        case .idle: c.http2 == nil ? closeGracefully(c) : endHTTP2(c)
        default: kill(c)
        }
    }

    /// Starts the count for a request that its handler will answer later.
    private func awaitAnswer(_ c: Connection) {
        setDeadline(.request, c, seconds: c.listener.limits.requestSeconds, from: c.requestTick)
    }

    // MARK: Reading

    private func read(_ c: Connection) {
        switch c.phase {
        case .free: return
        case .proxy:
            guard proxyHeaderEnded(c) else { return }
            if c.phase == .handshake, !handshake(c) { return }
        case .handshake: if !handshake(c) { return }
        case .lingering: return discard(c)
        case .parked where c.stream != nil: return readBesideStream(c)
        case .parked, .closing:
            // Watched again when the answer is out.
            return setInterest(c, c.interest & EPOLLOUT.rawValue)
        case .head, .body, .chunked, .http2: break
        }
        if c.phase == .http2 { return readHTTP2(c) }
        let generation = c.generation
        if hasWaitingRequests(c) { consumeInput(c) }
        var rounds = 0
        while mayRead(c) {
            if rounds == 32 {
                if c.tls?.hasPending == true { unfinished.append(c.token) }
                break
            }
            rounds += 1
            guard readOnce(c) else { break }
        }
        if c.generation == generation { flushSoon(c) }
    }

    func mayRead(_ c: Connection) -> Bool {
        switch c.phase {
        case .http2:
            !c.readEnded && target(c).count <= Self.mostOutputBytes && c.http2?.wantsRead == true
        case .head, .body, .chunked:
            !c.readEnded && target(c).count <= Self.mostOutputBytes && !hasWaitingRequests(c)
        default: false
        }
    }

    /// True while requests wait here only because the answers before them were not taken yet.
    private func hasWaitingRequests(_ c: Connection) -> Bool {
        c.phase == .head && c.parser == nil && !c.input.isEmpty
    }

    /// Receives once and works it off; true when there may be more at once.
    private func readOnce(_ c: Connection) -> Bool {
        let isFresh = c.input.isEmpty
        let target = isFresh ? scratch : c.input.room(8 << 10)
        guard let start = target.baseAddress else { return false }
        switch receive(c, start, target.count) {
        case .bytes(let count):
            if isFresh {
                let bytes = UnsafeBufferPointer(start: start, count: count)
                let consumed = consume(c, bytes)
                if consumed < count, c.phase != .free {
                    c.input.append(UnsafeBufferPointer(rebasing: bytes[consumed...]))
                }
                wipe(UnsafeMutableRawBufferPointer(start: start, count: count))
            } else {
                c.input.commit(count)
                consumeInput(c)
            }
            return c.tls.map { $0.hasPending } ?? (count == target.count)
        case .later: return false
        case .ended:
            inputEnded(c)
            return false
        case .failed:
            kill(c)
            return false
        }
    }

    func receive(_ c: Connection, _ target: UnsafeMutablePointer<UInt8>, _ count: Int) -> Received {
        if let tls = c.tls {
            switch tls.read(target, count) {
            case .done(let got): return .bytes(got)
            case .wantsRead: return .later
            case .wantsWrite:
                c.tlsWantsWrite = true
                return .later
            case .ended: return .ended
            case .failed: return .failed
            }
        }
        while true {
            let got = recv(c.descriptor, target, count, 0)
            if got > 0 { return .bytes(got) }
            if got == 0 { return .ended }
            if errno == EINTR { continue }
            return errno == EAGAIN ? .later : .failed
        }
    }

    /// The client will send no more; what it has asked for is still answered.
    private func inputEnded(_ c: Connection) {
        c.readEnded = true
        if c.phase == .head, c.input.isEmpty {
            if c.output == nil, output.isEmpty { kill(c) } else { c.phase = .closing }
        } else {
            refuse(c, .bad("the request ended in its middle"))
        }
    }

    /// Ends the part before HTTP; true once requests can be read.
    private func handshake(_ c: Connection) -> Bool {
        guard let tls = c.tls else { return false }
        if !c.isTLSCertain {
            var first: UInt8 = 0
            if recv(c.descriptor, &first, 1, Int32(MSG_PEEK)) == 1 {
                if isLetter(first) {
                    answerPlainHTTP(c)
                    return false
                }
                c.isTLSCertain = true
            }
        }
        switch tls.handshake() {
        case .done:
            let chain = tls.peerCertificates()
            if !chain.isEmpty {
                c.peer = HTTPPeer(
                    address: c.peer.address, port: c.peer.port, isTLS: true, certificateChain: chain,
                    listener: c.listener.index)
            }
            if tls.hasChosenHTTP2 { beginHTTP2(c) } else { c.phase = .head }
            return c.phase != .free
        case .wantsRead: updateInterest(c)
        case .wantsWrite:
            c.tlsWantsWrite = true
            updateInterest(c)
        case .ended: kill(c)
        case .failed:
            Instruments.tlsHandshakesFailed.add()
            state.log.debug("TLS handshake failed", ["peer": c.peer.address, "cause": drainTLSErrors()])
            kill(c)
        }
        return false
    }

    /// A TLS record starts with a control byte, every HTTP request with a letter.
    private func isLetter(_ byte: UInt8) -> Bool { (byte | 0x20) &- 97 < 26 }

    private func answerPlainHTTP(_ c: Connection) {
        c.tls = nil
        c.discarded = 1
        let text = "Client sent an HTTP request to an HTTPS server.\n"
        let response = HTTPResponse(
            status: 400, contentType: "text/plain; charset=utf-8", body: Array(text.utf8), close: true)
        answer(c, response)
        flush(c)
    }

    // MARK: Requests

    private func consumeInput(_ c: Connection) {
        let generation = c.generation
        let consumed = consume(c, c.input.bytes)
        if c.generation == generation { c.input.consume(consumed) }
    }

    /// Works off `bytes` up to a request that cannot be answered at once; gives back how many it took.
    private func consume(_ c: Connection, _ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        var at = 0
        while at < bytes.count {
            let rest = UnsafeBufferPointer(rebasing: bytes[at...])
            switch c.phase {
            case .head:
                if target(c).count > Self.mostOutputBytes { return at }
                let taken = consumeHead(c, rest)
                if taken == 0 { return at }
                at += taken
            case .body: at += consumeBody(c, rest)
            case .chunked: at += consumeChunks(c, rest)
            case .closing:
                c.discarded = 1
                return bytes.count
            default: return at
            }
        }
        return at
    }

    private func consumeHead(_ c: Connection, _ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        let parser = c.parser ?? freshParser
        parser.mostBodyBytes = c.listener.limits.bodyBytes
        switch parser.parse(bytes) {
        case .needMore:
            if c.parser == nil {
                c.parser = parser
                freshParser = spareParsers.popLast() ?? HTTPHeadParser(limits: state.limits)
                if c.awaiting != .head {
                    c.requestTick = tick
                    setDeadline(.head, c, seconds: c.listener.limits.headerTimeoutSeconds)
                }
            }
            return 0
        case .failed(let error):
            refuse(c, error)
            forgetParser(c)
            return bytes.count
        case .complete(let headBytes):
            if c.awaiting != .head { c.requestTick = tick }
            begin(c, parser, bytes, headBytes)
            forgetParser(c)
            return headBytes
        }
    }

    private func forgetParser(_ c: Connection) {
        if let parser = c.parser {
            c.parser = nil
            keep(parser)
        } else {
            freshParser.reset()
        }
    }

    private func begin(
        _ c: Connection, _ parser: HTTPHeadParser, _ bytes: UnsafeBufferPointer<UInt8>, _ headBytes: Int
    ) {
        guard let start = bytes.baseAddress else { return }
        let request = HTTPRequest(parser, start, headBytes: headBytes, peer: c.peer)
        c.isHead = request.method == .head
        c.keepAlive = parser.keepAlive
        switch parser.framing {
        case .none: return dispatch(c, request)
        case .length(let count):
            c.phase = .body
            c.bodyLeft = count
        case .chunked:
            c.phase = .chunked
            c.decoder = ChunkedDecoder(mostBodyBytes: c.listener.limits.bodyBytes)
        }
        c.request = request
        if bytes.count == headBytes {
            setDeadline(.body, c, seconds: c.listener.limits.readTimeoutSeconds, from: c.requestTick)
            if parser.expectsContinue { target(c).append("HTTP/1.1 100 Continue\r\n\r\n") }
        }
    }

    private func consumeBody(_ c: Connection, _ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        let piece = UnsafeBufferPointer(rebasing: bytes.prefix(c.bodyLeft))
        guard charge(c, piece.count) else { return bytes.count }
        if c.body.isEmpty {
            c.body = Array(piece)
        } else {
            c.body.append(contentsOf: piece)
        }
        c.bodyLeft -= piece.count
        if c.bodyLeft == 0 {
            bodyComplete(c)
        } else if c.awaiting != .body {
            setDeadline(.body, c, seconds: c.listener.limits.readTimeoutSeconds, from: c.requestTick)
        }
        return piece.count
    }

    private func consumeChunks(_ c: Connection, _ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        let before = c.body.count
        let outcome = c.decoder.decode(bytes, into: &c.body)
        guard charge(c, c.body.count - before) else { return bytes.count }
        switch outcome {
        case .complete(let consumed):
            bodyComplete(c)
            return consumed
        case .needMore:
            if c.awaiting != .body {
                setDeadline(.body, c, seconds: c.listener.limits.readTimeoutSeconds, from: c.requestTick)
            }
            return bytes.count
        case .failed(let error):
            refuse(c, error)
            return bytes.count
        }
    }

    /// Counts body bytes against the server's limit; refuses the request when there is no room.
    private func charge(_ c: Connection, _ bytes: Int) -> Bool {
        c.charged += bytes
        if state.bodyBytes.add(bytes, ordering: .relaxed).newValue <= state.limits.bodyBytesInFlight {
            return true
        }
        refuse(c, .tooManyBodies)
        return false
    }

    /// Gives back what the body counted, and the body.
    func release(_ c: Connection) {
        c.request = nil
        if !c.body.isEmpty { c.body.wipe() }
        c.bodyLeft = 0
        if c.charged > 0 { state.bodyBytes.subtract(c.charged, ordering: .relaxed) }
        c.charged = 0
    }

    private func bodyComplete(_ c: Connection) {
        guard var request = c.request else { return }
        c.request = nil
        request.body = c.body
        c.body = []
        dispatch(c, request)
    }

    private func dispatch(_ c: Connection, _ request: HTTPRequest) {
        if let response = run(c, request) {
            answer(c, response)
        } else {
            c.phase = .parked
            c.requestTick = tick
            awaitAnswer(c)
        }
    }

    /// Lets the handler answer; nil when it will do so later.
    func run(_ c: Connection, _ request: HTTPRequest, stream: Int32 = 0) -> HTTPResponse? {
        var responder = spareResponder ?? HTTPResponder(loop: self)
        spareResponder = nil
        responder.arm(slot: c.slot, generation: c.generation, stream: stream)
        current = ObjectIdentifier(responder)
        state.handler.handle(request, context, responder)
        current = nil
        var response = inlineAnswer
        inlineAnswer = nil
        // The handler may have let go of it without an answer.
        if response == nil, isKnownUniquelyReferenced(&responder), responder.disarm() { response = .dropped }
        if response != nil, isKnownUniquelyReferenced(&responder) { spareResponder = responder }
        return response
    }

    // MARK: Answers

    func target(_ c: Connection) -> OutputBuffer { c.output ?? output }

    /// Writes an answer behind those that wait, and readies the connection for the next request.
    private func answer(_ c: Connection, _ response: HTTPResponse) {
        release(c)
        let close = response.close || !c.keepAlive || c.readEnded || state.isStopping.load(ordering: .relaxed)
        target(c).append(response, isHead: c.isHead, close: close, date: date.text)
        c.phase = close ? .closing : .head
        c.isHead = false
        c.hasAnswered = true
        if c.awaiting != .write { awaitNothing(c) }
    }

    private func refuse(_ c: Connection, _ error: HTTPProtocolError) {
        Instruments.requestsRefused.add()
        if state.log.isEnabled(.debug) {
            state.log.debug("request refused", ["peer": c.peer.address, "reason": error.message])
        }
        // What follows is not known to be a request, and must be drained so that the answer gets through.
        c.discarded = 1
        answer(c, HTTPResponse(error))
    }

    /// The answer to a parked request came in.
    func answerParked(_ c: Connection, _ response: HTTPResponse) {
        answer(c, response)
        resume(c)
    }

    /// Goes on with what the connection had sent in the meantime.
    func resume(_ c: Connection) {
        if c.phase == .head, !c.input.isEmpty { consumeInput(c) }
        if c.phase == .closing, !c.input.isEmpty { c.discarded = 1 }
        let generation = c.generation
        flush(c)
        guard c.generation == generation, mayRead(c) else { return }
        if c.tls?.hasPending == true { unfinished.append(c.token) }
    }

    /// Sends when the requests of this turn are answered, or some of them.
    ///
    /// A client that waits is woken by each answer, and takes the processor from us to read it. Answers that
    /// follow each other closely find it awake.
    private func flushSoon(_ c: Connection) {
        guard c.phase == .head, c.output == nil, !output.isEmpty else { return flush(c) }
        c.output = output
        output = spareOutputs.popLast() ?? OutputBuffer()
        answered.append(c.token)
        if answered.count >= Self.mostAnswered { flushAnswered() }
    }

    /// Sends what `flushSoon` has put off.
    func flushAnswered() {
        if answered.isEmpty { return }
        for token in answered {
            if let c = connection(token) { flush(c) }
        }
        answered.removeAll(keepingCapacity: true)
    }

    /// Sends what there is to send, then sees what to wait for.
    func flush(_ c: Connection) {
        guard c.phase != .free else { return }
        let buffer = target(c)
        while true {
            if buffer.isEmpty {
                guard let session = c.http2 else { break }
                guard session.fill(buffer) else { return kill(c) }
                if buffer.isEmpty { break }
            }
            switch transmit(c, buffer.unsent) {
            case .bytes(let count):
                buffer.advance(count)
                continue
            case .later:
                if c.output == nil {
                    c.output = buffer
                    output = OutputBuffer()
                }
                if c.awaiting != .write {
                    setDeadline(.write, c, seconds: c.listener.limits.writeTimeoutSeconds)
                }
                return updateInterest(c)
            case .ended, .failed:
                buffer.reset()
                return kill(c)
            }
        }
        if let spare = c.output {
            c.output = nil
            if spareOutputs.count < Self.mostAnswered { spareOutputs.append(spare) }
        }
        if c.phase == .closing { return closeGracefully(c) }
        if let session = c.http2 { return settleHTTP2(c, session) }
        settle(c)
        updateInterest(c)
    }

    /// Sets the deadline of a connection that has sent everything.
    private func settle(_ c: Connection) {
        if hasWaitingRequests(c) {
            // Their turn comes after that of the other connections.
            unfinished.append(c.token)
            return awaitNothing(c)
        }
        switch c.phase {
        case .head where c.parser == nil && c.input.isEmpty:
            // A connection that has yet to send its first request keeps the deadline that accepting it set.
            if c.hasAnswered { setDeadline(.idle, c, seconds: c.listener.limits.idleTimeoutSeconds) }
        case .head where c.awaiting == .write:
            setDeadline(.head, c, seconds: c.listener.limits.headerTimeoutSeconds, from: c.requestTick)
        case .body where c.awaiting == .write, .chunked where c.awaiting == .write:
            setDeadline(.body, c, seconds: c.listener.limits.readTimeoutSeconds, from: c.requestTick)
        case .parked where c.stream != nil: awaitNothing(c)
        case .parked where c.awaiting == .write: awaitAnswer(c)
        default: break
        }
    }

    private func transmit(_ c: Connection, _ bytes: UnsafeRawBufferPointer) -> Received {
        if let tls = c.tls {
            switch tls.write(bytes) {
            case .done(let count): return .bytes(count)
            case .wantsRead, .wantsWrite: return .later
            case .ended, .failed: return .failed
            }
        }
        while true {
            let sent = send(c.descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
            if sent >= 0 { return .bytes(sent) }
            if errno == EINTR { continue }
            return errno == EAGAIN ? .later : .failed
        }
    }

    func updateInterest(_ c: Connection) {
        guard c.phase != .free else { return }
        var events: UInt32 = 0
        switch c.phase {
        case .proxy, .handshake, .lingering: events |= EPOLLIN.rawValue
        case .parked where c.stream != nil: events |= EPOLLIN.rawValue
        default: if mayRead(c) { events |= EPOLLIN.rawValue }
        }
        // Most clients send nothing before they have their answer: only one that does costs a system call.
        if c.phase == .parked { events |= c.interest & EPOLLIN.rawValue }
        if c.output != nil || c.tlsWantsWrite { events |= EPOLLOUT.rawValue }
        setInterest(c, events)
    }

    // MARK: Closing

    /// Closes behind the last answer. Where more may be coming in, reading goes on for a while: a socket
    /// that is closed with unread bytes sends a reset, which would destroy the answer on its way.
    func closeGracefully(_ c: Connection) {
        c.tls?.shutdown()
        guard c.discarded > 0, !c.readEnded else { return kill(c) }
        c.tls = nil
        c.http2 = nil
        c.input.release()
        shutdown(c.descriptor, Int32(SHUT_WR))
        c.phase = .lingering
        setDeadline(.lingering, c, seconds: Self.lingerSeconds)
        updateInterest(c)
    }

    private func discard(_ c: Connection) {
        guard let start = scratch.baseAddress else { return }
        for _ in 0..<16 {
            let got = recv(c.descriptor, start, scratch.count, 0)
            if got < 0 {
                if errno != EAGAIN, errno != EINTR { kill(c) }
                return
            }
            wipe(UnsafeMutableRawBufferPointer(start: start, count: got))
            c.discarded += got
            if got == 0 || c.discarded > Self.mostDiscardedBytes { return kill(c) }
        }
    }
}
