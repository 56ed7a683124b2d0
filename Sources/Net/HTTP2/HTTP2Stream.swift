import Base

/// One request of an HTTP/2 connection and its answer. Owned by its session.
///
/// Its header list is written down as the head of an HTTP/1.1 request and read by the one parser that
/// reads those: the same limits and the same strictness hold, and the request is of the same kind.
final class HTTP2Stream {
    enum Phase {
        /// Header fields are coming in.
        case head
        /// The head is read, and the body is coming in.
        case body
        /// The handler has the request and will answer later.
        case parked
        /// The answer is being sent.
        case answering
    }

    let id: Int32
    var phase = Phase.head
    /// The tick at which what the stream waits for has taken too long.
    var deadline = UInt64.max
    /// When its first bytes came, in ticks.
    let started: UInt64

    /// Why it cannot be served: the answer follows as soon as it may.
    var refusal: HTTPProtocolError?
    /// Set when the head was read.
    var request: HTTPRequest?
    var isHead = false
    /// The client has sent all of it.
    var hasEnded = false
    var body: [UInt8] = []
    /// Bytes of the body that count against the server's limit.
    var charged = 0

    /// The answer's body, and how much of it went out.
    var answer: [UInt8] = []
    var sent = 0
    /// What gives the answer bit by bit; nil for one that is whole.
    var source: StreamPlace?

    private var method: [UInt8] = []
    private var path: [UInt8] = []
    private var authority: [UInt8] = []
    private var host: [UInt8]?
    private var fields: [UInt8] = []
    private var fieldCount = 0
    private var listBytes = 0

    /// What each field counts besides its name and value (RFC 9113 §6.5.2).
    private static let fieldOverhead = 32

    init(id: Int32, started: UInt64) {
        self.id = id
        self.started = started
    }

    /// Takes one field of the header list. Their order and their bytes were checked by nghttp2.
    func take(_ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>, _ limits: Limits) {
        guard refusal == nil else { return }
        listBytes += name.count + value.count + Self.fieldOverhead
        fieldCount += 1
        if listBytes > limits.headBytes || fieldCount > limits.headerFields {
            return refuse(HTTPProtocolError(431, "the headers are longer or more than allowed"))
        }
        // A line break here would make a header of its own below.
        guard name.allSatisfy({ $0 > 32 && $0 < 127 }), value.allSatisfy({ $0 >= 32 || $0 == 9 }) else {
            return refuse(.bad("a header field has a byte that is not allowed"))
        }
        if name.first == UInt8(ascii: ":") {
            takePseudo(name, value)
        } else if name.equals("host") {
            if host != nil { return refuse(.bad("more than one Host header")) }
            host = Array(value)
        } else if name.equals("expect") {
            return
        } else {
            fields.append(contentsOf: name)
            fields.append(contentsOf: ": ".utf8)
            fields.append(contentsOf: value)
            fields.append(contentsOf: "\r\n".utf8)
        }
    }

    private func takePseudo(_ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
        if value.contains(32) { return refuse(.bad("a pseudo header field has a space")) }
        if name.equals(":method") {
            method = Array(value)
        } else if name.equals(":path") {
            path = Array(value)
        } else if name.equals(":authority") {
            authority = Array(value)
        } else if !name.equals(":scheme") {
            refuse(.bad("an unknown pseudo header field"))
        }
    }

    func refuse(_ error: HTTPProtocolError) {
        if refusal == nil { refusal = error }
        wipeHead()
        body.wipe()
    }

    /// Reads what was taken; sets `request` or `refusal`.
    func readHead(_ parser: HTTPHeadParser, _ limits: Limits, peer: HTTPPeer) {
        defer { wipeHead() }
        guard refusal == nil else { return }
        if !authority.isEmpty, let host, host != authority {
            return refuse(.bad("Host and :authority name two different servers"))
        }
        var head = method
        head.append(32)
        head += path
        head += Array(" HTTP/1.1\r\nhost: ".utf8)
        head += authority.isEmpty ? host ?? [] : authority
        head += Array("\r\n".utf8)
        head += fields
        head += Array("\r\n".utf8)
        defer { head.wipe() }
        parser.reset()
        defer { parser.reset() }
        parser.mostBodyBytes = limits.bodyBytes
        head.withUnsafeBufferPointer { bytes in
            switch parser.parse(bytes) {
            case .complete(let count):
                guard count == bytes.count, let start = bytes.baseAddress else {
                    return refuse(.bad("malformed header list"))
                }
                let request = HTTPRequest(parser, start, headBytes: count, peer: peer)
                isHead = request.method == .head
                self.request = request
            case .failed(let error): refuse(error)
            case .needMore:
                refuse(HTTPProtocolError(431, "the request line and headers are longer than allowed"))
            }
        }
    }

    private func wipeHead() {
        fields.wipe()
        path.wipe()
        fields = []
        path = []
    }
}
