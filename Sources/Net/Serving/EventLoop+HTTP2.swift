import Base
import Glibc
import Synchronization

/// HTTP/2 connections: many requests at once, each of which goes the way of any other.
extension EventLoop {
    /// Takes up HTTP/2 on a connection whose client has chosen it in the TLS handshake.
    func beginHTTP2(_ c: Connection) {
        guard let session = HTTP2Session(state, limits: c.listener.limits, tick: tick) else { return kill(c) }
        c.http2 = session
        c.phase = .http2
    }

    func readHTTP2(_ c: Connection) {
        guard let session = c.http2, let start = scratch.baseAddress else { return kill(c) }
        var rounds = 0
        while mayRead(c) {
            if rounds == 16 {
                if c.tls?.hasPending == true { unfinished.append(c.token) }
                break
            }
            rounds += 1
            switch receive(c, start, scratch.count) {
            case .bytes(let count):
                let isGood = session.receive(UnsafeBufferPointer(start: start, count: count), tick: tick)
                wipe(UnsafeMutableRawBufferPointer(start: start, count: count))
                serveStreams(c, session)
                if !isGood {
                    c.discarded = 1
                    return endHTTP2(c, isFailure: true)
                }
                continue
            case .later: break
            case .ended: c.readEnded = true
            case .failed: return kill(c)
            }
            break
        }
        flush(c)
    }

    /// Hands requests that became whole to the handler.
    func serveStreams(_ c: Connection, _ session: HTTP2Session) {
        while let stream = session.takeReady() {
            if stream.phase == .body, stream.request == nil, stream.refusal == nil {
                stream.readHead(freshParser, c.listener.limits, peer: c.peer)
            }
            if let refusal = stream.refusal {
                guard stream.phase == .body else { continue }
                Instruments.requestsRefused.add()
                session.answer(stream.id, HTTPResponse(refusal), date: date.text)
                c.hasAnswered = true
                continue
            }
            guard stream.phase == .body, stream.hasEnded, var request = stream.request else { continue }
            request.body = stream.body
            stream.request = nil
            stream.body = []
            if let response = run(c, request, stream: stream.id) {
                session.answer(stream.id, response, date: date.text)
            } else {
                session.park(stream)
            }
            c.hasAnswered = true
            c.requestTick = tick
        }
    }

    /// The answer to a request that was parked came in.
    func answerStream(_ c: Connection, _ id: Int32, _ response: HTTPResponse) {
        c.http2?.answer(id, response, date: date.text)
        c.requestTick = tick
        flush(c)
        if c.phase == .http2, mayRead(c), c.tls?.hasPending == true { unfinished.append(c.token) }
    }

    /// Sets the deadline of a connection that has sent all that it could, or ends it.
    func settleHTTP2(_ c: Connection, _ session: HTTP2Session) {
        if state.isStopping.load(ordering: .relaxed), session.isIdle { session.goAway() }
        if session.isOver || session.isIdle && c.readEnded {
            if session.hasFailed { c.discarded = 1 }
            c.phase = .closing
            return closeGracefully(c)
        }
        let nearest = session.nearestDeadline
        if nearest != .max {
            setDeadline(.streams, c, at: nearest)
        } else if !session.isIdle {
            // An answer that comes bit by bit may be silent for as long as it likes.
            awaitNothing(c)
        } else if c.hasAnswered {
            // Pings do not count: a connection is idle from its last request on.
            setDeadline(.idle, c, seconds: c.listener.limits.idleTimeoutSeconds, from: c.requestTick)
        }
        updateInterest(c)
    }

    /// Some stream has taken too long.
    func streamsExpired(_ c: Connection) {
        guard let session = c.http2 else { return kill(c) }
        guard session.expire(tick: tick, date: date.text) else { return endHTTP2(c, isFailure: true) }
        flush(c)
    }

    /// Says goodbye and closes.
    func endHTTP2(_ c: Connection, isFailure: Bool = false) {
        c.http2?.terminate(isFailure: isFailure)
        c.phase = .closing
        flush(c)
    }
}
