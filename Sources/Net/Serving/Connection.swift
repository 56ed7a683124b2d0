import Glibc

/// One accepted socket and all that belongs to it. Owned by its loop, touched by that thread only, and
/// kept for the next connection once closed; `generation` tells the lives of one object apart.
///
/// A silent connection holds no buffers: requests are parsed in the loop's own memory, and only what is
/// left over (half a head, or requests behind one that is not answered yet) is copied here.
final class Connection {
    enum Phase {
        /// Not in use.
        case free
        /// Waiting for the PROXY header that must come before anything else.
        case proxy
        case handshake
        /// Waiting for a head, or in the middle of one.
        case head
        /// In the middle of a body of known length.
        case body
        case chunked
        /// Many requests at once; what each waits for, `http2` knows.
        case http2
        /// The handler has the request and will answer later.
        case parked
        /// The last answer is being sent; nothing more is read.
        case closing
        /// The last answer is out; what still comes in is thrown away so that it does not destroy it.
        case lingering
    }
    /// Which limit the connection's deadline stands for.
    enum Awaiting {
        case nothing, head, body, request, streams, idle, write, lingering
    }

    let slot: Int
    var generation: UInt32 = 1
    var descriptor: Int32 = -1
    var tls: TLSSession?
    var http2: HTTP2Session?
    var peer = Connection.nobody
    var listener = ListenerSettings.none
    var phase = Phase.free
    var awaiting = Awaiting.nothing
    /// What epoll watches for.
    var interest: UInt32 = 0
    /// When the request's first byte came, in ticks.
    var requestTick: UInt64 = 0

    /// Bytes that wait to be parsed.
    var input = InputBuffer()
    /// Set while half a head is here.
    var parser: HTTPHeadParser?
    /// The request whose body is coming in.
    var request: HTTPRequest?
    var body: [UInt8] = []
    var bodyLeft = 0
    var decoder = ChunkedDecoder(mostBodyBytes: 0)
    /// Bytes of the current body that count against the server's limit.
    var charged = 0

    /// Answers that the socket did not take yet.
    var output: OutputBuffer?
    var isHead = false
    var keepAlive = true
    var readEnded = false
    /// Bytes thrown away while lingering.
    var discarded = 0
    /// The answer that comes bit by bit.
    var stream: StreamPlace?
    /// It goes out in chunks; otherwise the connection ends with it.
    var sendsChunks = false
    /// At least one answer was written.
    var hasAnswered = false
    /// The first byte was seen, and it was not that of a plain request.
    var isTLSCertain = false
    /// TLS wants to write before it can read on.
    var tlsWantsWrite = false

    static let nobody = HTTPPeer(address: "", port: 0, isTLS: false)

    init(slot: Int) { self.slot = slot }

    /// What epoll hands back.
    var token: UInt64 { UInt64(generation) << 32 | UInt64(slot) }

    /// Readies the object for its next life.
    func recycle() {
        generation = generation == .max ? 1 : generation + 1
        descriptor = -1
        tls = nil
        http2 = nil
        peer = Self.nobody
        listener = .none
        phase = .free
        awaiting = .nothing
        interest = 0
        parser = nil
        request = nil
        body = []
        bodyLeft = 0
        charged = 0
        output = nil
        stream?.lose()
        stream = nil
        sendsChunks = false
        isHead = false
        keepAlive = true
        readEnded = false
        discarded = 0
        hasAnswered = false
        isTLSCertain = false
        tlsWantsWrite = false
    }
}
