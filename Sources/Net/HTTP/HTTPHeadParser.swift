package import Base

/// A strict, incremental parser of one HTTP/1.x request head (RFC 9112), without a socket.
///
/// `parse` is given all bytes from the start of the head each time, every time with more, and resumes
/// where it stopped, so that a head that comes byte by byte costs no more than one that comes whole.
/// It refuses what two parsers could read differently: bare CR or LF, folded lines, space before the
/// colon, control bytes, more than one Host or length, a length together with a transfer coding.
/// It keeps offsets, never bytes. One parser serves one request at a time; `reset` readies it again.
package final class HTTPHeadParser {
    /// What the bytes so far amount to.
    package enum Outcome: Sendable, Equatable {
        case needMore
        /// A whole head of this many bytes, the empty line included.
        case complete(headBytes: Int)
        case failed(HTTPProtocolError)
    }

    /// How the body's end is found (RFC 9112 §6.3).
    package enum Framing: Sendable, Equatable {
        case none
        case length(Int)
        case chunked
    }

    /// Where in the head a piece of it stands.
    struct Span {
        var start: UInt32 = 0
        var count: UInt32 = 0
    }
    struct Field {
        var name = Span()
        var value = Span()
    }
    /// Fields that every request is asked for; a zero count with a zero start means absent.
    struct HotFields {
        var token = Span()
        var authorization = Span()
        var contentType = Span()
        var wrapTTL = Span()
        var namespace = Span()
        var vaultRequest = Span()
    }
    private enum State {
        case method, target, version, lineStart, name, space, value, valueEnd, end
    }

    let fields: UnsafeMutablePointer<Field>
    private(set) var fieldCount = 0
    private(set) var method = Span()
    private(set) var target = Span()
    /// Offset of the `?` in the target, or of its end where there is none.
    private(set) var queryMark = 0
    private(set) var hot = HotFields()
    package private(set) var framing = Framing.none
    package private(set) var keepAlive = true
    package private(set) var expectsContinue = false

    private let classes = ByteClass.shared
    private let mostHeadBytes: Int
    private let mostFields: Int
    /// Bytes that a body may have: the limit of the listener that the request came in on.
    var mostBodyBytes: Int {
        didSet { mostBodyBytes = min(mostBodyBytes, Self.mostCountedBytes) }
    }
    /// Beyond any body, and far from where adding a digit would overflow.
    private static let mostCountedBytes = 1 << 48
    private var state = State.method
    private var at = 0
    private var mark = 0
    private var field = Field()
    private var isHTTP10 = false
    private var hosts = 0
    private var lengths = 0
    private var length = 0
    private var codings = 0
    private var sawClose = false
    private var failure: HTTPProtocolError?

    package init(limits: Limits) {
        mostHeadBytes = limits.headBytes
        mostFields = limits.headerFields
        mostBodyBytes = min(limits.bodyBytes, Self.mostCountedBytes)
        fields = .allocate(capacity: limits.headerFields)
        fields.initialize(repeating: Field(), count: limits.headerFields)
    }

    deinit { fields.deallocate() }

    /// Forgets the request, for the next one.
    package func reset() {
        fieldCount = 0
        hot = HotFields()
        framing = .none
        keepAlive = true
        expectsContinue = false
        state = .method
        at = 0
        mark = 0
        isHTTP10 = false
        hosts = 0
        lengths = 0
        length = 0
        codings = 0
        sawClose = false
        failure = nil
    }

    /// Reads on. `bytes` starts with the head's first byte and may run past its end.
    package func parse(_ bytes: UnsafeBufferPointer<UInt8>) -> Outcome {
        if let failure { return .failed(failure) }
        // A head is measured against its limit wherever it ends, so that how it was split is no matter.
        let window = UnsafeBufferPointer(rebasing: bytes.prefix(mostHeadBytes))
        do throws(HTTPProtocolError) {
            while try step(window) {
                if state == .end {
                    try finish()
                    return .complete(headBytes: at)
                }
            }
            if bytes.count >= mostHeadBytes {
                throw HTTPProtocolError(431, "the request line and headers are longer than allowed")
            }
            return .needMore
        } catch {
            failure = error
            return .failed(error)
        }
    }

    /// Consumes one piece; false when it needs bytes that are not there yet.
    @inline(__always)
    private func step(_ b: UnsafeBufferPointer<UInt8>) throws(HTTPProtocolError) -> Bool {
        switch state {
        case .method: try readMethod(b)
        case .target: try readTarget(b)
        case .version: try readVersion(b)
        case .lineStart: try readLineStart(b)
        case .name: try readName(b)
        case .space: readSpace(b)
        case .value: try readValue(b)
        case .valueEnd: try readValueEnd(b)
        case .end: false
        }
    }

    private func readMethod(_ b: UnsafeBufferPointer<UInt8>) throws(HTTPProtocolError) -> Bool {
        var i = at
        while i < b.count, classes.isToken(b[i]) { i += 1 }
        at = i
        if i > 16 { throw .bad("the request's method is longer than 16 bytes") }
        if i == b.count { return false }
        guard i > 0, b[i] == 32 else {
            throw .bad("malformed request line: a method and one space must come first")
        }
        method = Span(start: 0, count: UInt32(i))
        at = i + 1
        mark = i + 1
        queryMark = 0
        state = .target
        return true
    }

    private func readTarget(_ b: UnsafeBufferPointer<UInt8>) throws(HTTPProtocolError) -> Bool {
        var i = at
        while i < b.count, classes.isTarget(b[i]) {
            if b[i] == UInt8(ascii: "?"), queryMark == 0 { queryMark = i }
            i += 1
        }
        at = i
        if i > mark, b[mark] != UInt8(ascii: "/") {
            throw .bad("the request target must be a path that starts with /")
        }
        if i == b.count { return false }
        guard b[i] == 32, i > mark else {
            throw .bad("malformed request line: bad byte in the request target")
        }
        target = Span(start: UInt32(mark), count: UInt32(i - mark))
        if queryMark == 0 { queryMark = i }
        mark = i
        state = .version
        return true
    }

    private func readVersion(_ b: UnsafeBufferPointer<UInt8>) throws(HTTPProtocolError) -> Bool {
        // " HTTP/d.d\r\n", judged byte by byte so that how it was split is no matter.
        while at < b.count {
            let byte = b[at]
            let place = at - mark
            switch place {
            case 0...5, 7:
                guard byte == Self.versionPattern.utf8Start[place] else {
                    throw .bad("malformed HTTP version")
                }
            case 6, 8: guard byte &- 48 < 10 else { throw .bad("malformed HTTP version") }
            case 9: guard byte == 13 else { throw .bad("malformed HTTP version") }
            default:
                guard byte == 10 else { throw .bad("a line must end with CR LF") }
                let minor = b[mark + 8]
                guard b[mark + 6] == UInt8(ascii: "1"), minor == 48 || minor == 49 else {
                    throw HTTPProtocolError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
                }
                isHTTP10 = minor == 48
                at += 1
                state = .lineStart
                return true
            }
            at += 1
        }
        return false
    }
    private static let versionPattern: StaticString = " HTTP/d."

    private func readLineStart(_ b: UnsafeBufferPointer<UInt8>) throws(HTTPProtocolError) -> Bool {
        guard at < b.count else { return false }
        if b[at] == 13 {
            guard at + 1 < b.count else { return false }
            guard b[at + 1] == 10 else { throw .bad("a line must end with CR LF") }
            at += 2
            state = .end
            return true
        }
        if b[at] == 32 || b[at] == 9 { throw .bad("folded header lines are not allowed") }
        if fieldCount == mostFields { throw HTTPProtocolError(431, "more header fields than allowed") }
        mark = at
        state = .name
        return true
    }

    private func readName(_ b: UnsafeBufferPointer<UInt8>) throws(HTTPProtocolError) -> Bool {
        var i = at
        while i < b.count, classes.isToken(b[i]) { i += 1 }
        at = i
        if i == b.count { return false }
        guard b[i] == UInt8(ascii: ":"), i > mark else { throw .bad("malformed header field name") }
        field.name = Span(start: UInt32(mark), count: UInt32(i - mark))
        at = i + 1
        state = .space
        return true
    }

    private func readSpace(_ b: UnsafeBufferPointer<UInt8>) -> Bool {
        while at < b.count, b[at] == 32 || b[at] == 9 { at += 1 }
        if at == b.count { return false }
        mark = at
        state = .value
        return true
    }

    private func readValue(_ b: UnsafeBufferPointer<UInt8>) throws(HTTPProtocolError) -> Bool {
        var i = at
        while i < b.count, classes.isValue(b[i]) { i += 1 }
        at = i
        if i == b.count { return false }
        guard b[i] == 13 else { throw .bad("a header field's value has a byte that is not allowed") }
        at = i + 1
        state = .valueEnd
        return true
    }

    private func readValueEnd(_ b: UnsafeBufferPointer<UInt8>) throws(HTTPProtocolError) -> Bool {
        guard at < b.count else { return false }
        guard b[at] == 10 else { throw .bad("a line must end with CR LF") }
        var end = at - 1
        while end > mark, b[end - 1] == 32 || b[end - 1] == 9 { end -= 1 }
        at += 1
        field.value = Span(start: UInt32(mark), count: UInt32(end - mark))
        fields[fieldCount] = field
        fieldCount += 1
        state = .lineStart
        let name = UnsafeBufferPointer(
            rebasing: b[Int(field.name.start)..<Int(field.name.start + field.name.count)])
        try take(name, UnsafeBufferPointer(rebasing: b[mark..<end]))
        return true
    }

    /// Looks at one field: those that frame the message, and those that every request is asked for.
    private func take(
        _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>
    ) throws(HTTPProtocolError) {
        switch name.count {
        case 4 where name.equalsIgnoringCase("host"):
            hosts += 1
            guard hosts == 1 else { throw .bad("more than one Host header") }
            guard !value.isEmpty, value.allSatisfy({ classes.isHost($0) }) else {
                throw .bad("malformed Host header")
            }
        case 6 where name.equalsIgnoringCase("expect"):
            guard value.equalsIgnoringCase("100-continue") else {
                throw HTTPProtocolError(417, "the only expectation that can be met is 100-continue")
            }
            expectsContinue = true
        case 10 where name.equalsIgnoringCase("connection"): readConnection(value)
        case 12 where name.equalsIgnoringCase("content-type"): try keep(&hot.contentType, field.value)
        case 13 where name.equalsIgnoringCase("x-vault-token"): try keep(&hot.token, field.value)
        case 13 where name.equalsIgnoringCase("authorization"): try keep(&hot.authorization, field.value)
        case 14 where name.equalsIgnoringCase("content-length"): try readLength(value)
        case 15 where name.equalsIgnoringCase("x-vault-request"): try keep(&hot.vaultRequest, field.value)
        case 16 where name.equalsIgnoringCase("x-vault-wrap-ttl"): try keep(&hot.wrapTTL, field.value)
        case 17 where name.equalsIgnoringCase("x-vault-namespace"): try keep(&hot.namespace, field.value)
        case 17 where name.equalsIgnoringCase("transfer-encoding"):
            codings += 1
            guard codings == 1 else { throw .bad("more than one Transfer-Encoding header") }
            guard value.equalsIgnoringCase("chunked") else {
                throw HTTPProtocolError(501, "the only transfer coding that can be read is chunked")
            }
        default: break
        }
    }

    private func keep(_ slot: inout Span, _ value: Span) throws(HTTPProtocolError) {
        // Two tokens or two types could be read differently here and by whatever stands in front.
        guard slot.start == 0 else { throw .bad("a header that must stand alone came twice") }
        slot = value
    }

    private func readLength(_ value: UnsafeBufferPointer<UInt8>) throws(HTTPProtocolError) {
        lengths += 1
        guard lengths == 1 else { throw .bad("more than one Content-Length header") }
        guard !value.isEmpty else { throw .bad("malformed Content-Length") }
        var total = 0
        var tooLarge = false
        for byte in value {
            guard byte &- 48 < 10 else { throw .bad("malformed Content-Length") }
            total = total * 10 + Int(byte - 48)
            if total > mostBodyBytes {
                tooLarge = true
                total = 0
            }
        }
        guard !tooLarge else { throw .bodyTooLarge }
        length = total
    }

    private func readConnection(_ value: UnsafeBufferPointer<UInt8>) {
        for part in value.split(separator: UInt8(ascii: ",")) {
            var piece = part
            while let first = piece.first, first == 32 || first == 9 { piece.removeFirst() }
            while let last = piece.last, last == 32 || last == 9 { piece.removeLast() }
            if UnsafeBufferPointer(rebasing: piece).equalsIgnoringCase("close") { sawClose = true }
        }
    }

    /// The rules that need the whole head.
    private func finish() throws(HTTPProtocolError) {
        guard hosts == 1 else { throw .bad("missing required Host header") }
        if codings > 0 {
            guard lengths == 0 else { throw .bad("Content-Length together with Transfer-Encoding") }
            guard !isHTTP10 else { throw .bad("HTTP/1.0 knows no Transfer-Encoding") }
            framing = .chunked
        } else if lengths > 0, length > 0 {
            framing = .length(length)
        }
        keepAlive = !sawClose && !isHTTP10
        if isHTTP10 || framing == .none { expectsContinue = false }
    }
}
