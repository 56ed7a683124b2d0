import Synchronization

/// An answer whose body comes bit by bit, from any thread, until its source ends it or its client goes. Let
/// go without an end, it ends.
package final class HTTPStream: Sendable {
    /// Bytes that may wait for the loop. A source that is faster than its client must not fill the memory.
    private static let mostWaitingBytes = 1 << 20

    private let place: StreamPlace
    private let loop: EventLoop

    init(loop: EventLoop, place: StreamPlace) {
        self.loop = loop
        self.place = place
    }

    deinit { loop.post { [loop, place] _ in loop.endStream(at: place) } }

    /// Sends bytes behind those before.
    /// - Returns: false when the client has gone or is too slow: nothing more gets through.
    package func send(_ bytes: [UInt8]) -> Bool {
        guard isOpen else { return false }
        if place.waiting.add(bytes.count, ordering: .relaxed).newValue > Self.mostWaitingBytes {
            place.lose()
            return false
        }
        loop.post { [loop, place] _ in
            place.waiting.subtract(bytes.count, ordering: .relaxed)
            loop.append(bytes, to: place)
        }
        return true
    }

    /// Tells how many of the bytes the client has not taken yet.
    /// - Parameter done: called once, on the loop's thread; with nil when nothing more gets through.
    package func untaken(_ done: @escaping @Sendable (Int?) -> Void) {
        loop.post { [loop, place] _ in done(loop.untaken(at: place)) }
    }

    /// False when nothing more gets through.
    package var isOpen: Bool { !place.isLost.load(ordering: .acquiring) }

    /// Ends the answer.
    package func end() {
        place.lose()
        loop.post { [loop, place] _ in loop.endStream(at: place) }
    }
}

/// Where a streamed answer goes; what its source and its connection share.
final class StreamPlace: Sendable {
    /// The connection, and which of its lives.
    let slot: Int
    let generation: UInt32
    /// The HTTP/2 stream; 0 where the connection has one request at a time.
    let id: Int32
    /// Bytes that were sent and have not reached the loop.
    let waiting = Atomic<Int>(0)
    let isLost = Atomic<Bool>(false)

    init(slot: Int, generation: UInt32, id: Int32) {
        self.slot = slot
        self.generation = generation
        self.id = id
    }

    /// Nothing more gets through.
    func lose() { isLost.store(true, ordering: .releasing) }
}
