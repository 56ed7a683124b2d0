import Base
import Synchronization

/// Answers that come bit by bit. While one lasts, its HTTP/1 connection is parked without a deadline but that
/// of writing. The answer goes in chunks (RFC 9112 §7.1), so that its client knows whether it is whole, and
/// the connection serves the next request; one that the client wanted closed ends with the answer instead. An
/// HTTP/2 connection goes on with its other streams.
extension EventLoop {
    /// Bytes that a client may leave untaken before it is let go.
    static let mostUntakenBytes = 1 << 20
    /// Bytes that a client may send while its answer streams.
    private static let mostIgnoredBytes = 64 << 10

    func begin(_ stream: StreamPlace, _ head: HTTPResponse) {
        guard let c = connection(at: stream) else { return stream.lose() }
        if let session = c.http2, c.phase == .http2 {
            session.answer(stream.id, head, date: date.text, source: stream)
            c.requestTick = tick
            return flush(c)
        }
        guard c.phase == .parked, stream.id == 0 else { return stream.lose() }
        release(c)
        c.stream = stream
        c.hasAnswered = true
        // A client of HTTP/1.0 knows no chunks; its connections are never kept.
        c.sendsChunks = c.keepAlive && !c.readEnded
        var head = head
        if c.sendsChunks { head.headers.append(("Transfer-Encoding", "chunked")) }
        target(c).append(headOf: head, length: nil, close: !c.sendsChunks, date: date.text)
        awaitNothing(c)
        flush(c)
    }

    func append(_ bytes: [UInt8], to stream: StreamPlace) {
        guard let c = connection(at: stream) else { return stream.lose() }
        if let session = c.http2, c.phase == .http2 {
            session.append(bytes, to: stream, tick: tick)
            return flush(c)
        }
        guard c.stream === stream else { return stream.lose() }
        if target(c).count > Self.mostUntakenBytes { return kill(c) }
        // An empty chunk would be the last.
        if bytes.isEmpty { return }
        if c.sendsChunks { target(c).append(Array((String(bytes.count, radix: 16) + "\r\n").utf8)) }
        target(c).append(bytes)
        if c.sendsChunks { target(c).append("\r\n") }
        flush(c)
    }

    /// Bytes of the answer that the client has not taken; nil when there is no such answer.
    func untaken(at place: StreamPlace) -> Int? {
        guard let c = connection(at: place), !place.isLost.load(ordering: .acquiring) else { return nil }
        if let session = c.http2, c.phase == .http2 { return session.untaken(place) }
        return c.stream === place ? c.output?.count ?? 0 : nil
    }

    func endStream(at place: StreamPlace) {
        guard let c = connection(at: place) else { return }
        if let session = c.http2, c.phase == .http2 {
            session.endAnswer(place.id, tick: tick)
            return flush(c)
        }
        guard c.stream === place else { return }
        c.stream = nil
        if c.sendsChunks {
            c.sendsChunks = false
            target(c).append("0\r\n\r\n")
            // What a client sent beside the answer is lost, and with it where the next request would begin.
            if c.discarded == 0, !state.isStopping.load(ordering: .relaxed) {
                c.phase = .head
                c.isHead = false
                return resume(c)
            }
        }
        c.phase = .closing
        // What else the client sent is not read any more, and must not destroy the end of the answer.
        if !c.input.isEmpty { c.discarded = 1 }
        flush(c)
    }

    /// While an answer streams, a client has nothing to say but that it goes.
    func readBesideStream(_ c: Connection) {
        guard let start = scratch.baseAddress else { return kill(c) }
        while true {
            switch receive(c, start, scratch.count) {
            case .bytes(let count):
                wipe(UnsafeMutableRawBufferPointer(start: start, count: count))
                c.discarded += count
                if c.discarded > Self.mostIgnoredBytes { return kill(c) }
            case .later: return
            case .ended, .failed: return kill(c)
            }
        }
    }

    private func connection(at place: StreamPlace) -> Connection? {
        connection(UInt64(place.generation) << 32 | UInt64(place.slot))
    }
}
