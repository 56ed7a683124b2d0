import Synchronization

/// What answers requests. `handle` runs on an I/O thread and must not block it: where it has to wait, it
/// keeps the responder, returns, and answers later from any thread.
package protocol HTTPHandler: Sendable {
    /// Called once on each loop's own thread before its first request: what a loop keeps for itself,
    /// such as a storage reader. It is given to every `handle` on that loop and never leaves its thread.
    func makeLoopContext() -> AnyObject

    /// Answers `request` through `responder`, now or later.
    func handle(_ request: HTTPRequest, _ context: AnyObject, _ responder: HTTPResponder)
}

/// The way back for one request. It may be answered once, from any thread; further answers are dropped.
/// Let go without an answer, it answers 500 and closes the connection. When the client has gone in the
/// meantime, an answer goes nowhere.
package final class HTTPResponder: @unchecked Sendable {
    // SAFETY: `slot`, `generation` and `stream` change only in `arm`, which the loop calls while it is the
    // sole
    // owner; everything else is immutable or atomic.
    /// The loop that the request came in on; work posted there runs beside its connection.
    package let loop: EventLoop
    private(set) var slot = 0
    private(set) var generation: UInt32 = 0
    /// The HTTP/2 stream; 0 where the connection has one request at a time.
    private(set) var stream: Int32 = 0
    private let isAnswered = Atomic<Bool>(true)
    /// Where the answer goes when no connection of this server's waits for it.
    private let sink: Sink?

    /// Takes an answer that no connection of this server's waits for. From any thread, once.
    package typealias Sink = @Sendable (HTTPResponse) -> Void

    init(loop: EventLoop) {
        self.loop = loop
        sink = nil
    }

    /// For a request that came in some other way than on a connection of `loop`, on whose thread it shall be
    /// handled all the same.
    package init(loop: EventLoop, sink: @escaping Sink) {
        self.loop = loop
        self.sink = sink
        isAnswered.store(false, ordering: .relaxed)
    }

    deinit {
        if !isAnswered.exchange(true, ordering: .acquiringAndReleasing) {
            if let sink { return sink(.dropped) }
            loop.complete(slot: slot, generation: generation, stream: stream, HTTPResponse.dropped)
        }
    }

    /// True once there was an answer.
    package var hasAnswer: Bool { isAnswered.load(ordering: .acquiring) }

    /// Sends the answer. Within `handle`, on its thread, it goes straight to the connection; otherwise it
    /// is queued for the loop, which is woken.
    package func send(_ response: HTTPResponse) {
        guard !isAnswered.exchange(true, ordering: .acquiringAndReleasing) else { return }
        if let sink { return sink(response) }
        if !loop.answerInline(self, response) {
            loop.complete(slot: slot, generation: generation, stream: stream, response)
        }
    }

    /// Begins an answer whose body comes bit by bit; nil when there was an answer already.
    package func stream(_ head: HTTPResponse) -> HTTPStream? {
        guard !isAnswered.exchange(true, ordering: .acquiringAndReleasing) else { return nil }
        if let sink {
            // Another node's client waits, which should have asked this node itself.
            sink(.notForwarded)
            return nil
        }
        let place = StreamPlace(slot: slot, generation: generation, id: self.stream)
        let stream = HTTPStream(loop: loop, place: place)
        loop.post { [loop] _ in loop.begin(place, head) }
        return stream
    }

    /// Readies a responder that nobody else holds for the next request.
    func arm(slot: Int, generation: UInt32, stream: Int32) {
        self.stream = stream
        self.slot = slot
        self.generation = generation
        isAnswered.store(false, ordering: .relaxed)
    }

    /// Takes back the right to answer; false when an answer was given.
    func disarm() -> Bool { !isAnswered.exchange(true, ordering: .relaxed) }
}

extension HTTPResponse {
    /// For a forwarded request whose answer would come bit by bit.
    static let notForwarded = HTTPResponse(
        HTTPProtocolError(503, "this answer cannot be passed on: ask the active node itself"))
    /// For a request that its handler forgot.
    static let dropped = HTTPResponse(HTTPProtocolError(500, "internal error; the request was given up"))
}
