import Base

/// What is known of the peer at the other end of a connection; one per connection, shared by its requests.
package final class HTTPPeer: Sendable {
    /// The peer's address as text without a port; empty on a unix socket.
    package let address: String
    /// The peer's port; 0 on a unix socket.
    package let port: Int
    /// True when the request came through TLS.
    package let isTLS: Bool
    /// The certificates that the peer sent, DER, the leaf first; empty without one. Unless the listener
    /// verifies them, nothing but possession of the leaf's key is proven.
    package let certificateChain: [[UInt8]]
    /// The place of the listener among those that the server was given.
    package let listener: Int

    package init(
        address: String, port: Int, isTLS: Bool, certificateChain: [[UInt8]] = [], listener: Int = 0
    ) {
        self.address = address
        self.port = port
        self.isTLS = isTLS
        self.certificateChain = certificateChain
        self.listener = listener
    }
}

/// One whole request. The head's bytes were copied once, into one array that also holds the table of
/// the fields' places; nothing is decoded and no name is lower-cased in memory.
package struct HTTPRequest: Sendable {
    /// As the client wrote it.
    package let method: HTTPMethod
    /// Who is at the other end.
    package let peer: HTTPPeer
    /// The body with its transfer coding undone.
    package internal(set) var body: [UInt8] = []

    /// The head, then from `headBytes` on four 32-bit numbers for each field: place and length of its
    /// name and of its value.
    private let head: [UInt8]
    private let headBytes: Int
    private let fieldCount: Int
    private let pathRange: Range<Int>
    private let queryStart: Int
    private let targetEnd: Int
    private let hot: HTTPHeadParser.HotFields

    /// Copies what `parser` has found in `bytes`, where the head begins.
    init(_ parser: HTTPHeadParser, _ bytes: UnsafePointer<UInt8>, headBytes: Int, peer: HTTPPeer) {
        let method = parser.method
        self.method = HTTPMethod(token: UnsafeBufferPointer(start: bytes, count: Int(method.count)))
        self.peer = peer
        self.headBytes = headBytes
        fieldCount = parser.fieldCount
        let start = Int(parser.target.start)
        targetEnd = start + Int(parser.target.count)
        pathRange = start..<parser.queryMark
        queryStart = min(parser.queryMark + 1, targetEnd)
        hot = parser.hot
        let tableBytes = parser.fieldCount * MemoryLayout<HTTPHeadParser.Field>.stride
        head = [UInt8](unsafeUninitializedCapacity: headBytes + tableBytes) { target, count in
            let raw = UnsafeMutableRawBufferPointer(target)
            raw.copyMemory(from: UnsafeRawBufferPointer(start: bytes, count: headBytes))
            UnsafeMutableRawBufferPointer(rebasing: raw[headBytes...])
                .copyMemory(from: UnsafeRawBufferPointer(start: parser.fields, count: tableBytes))
            count = headBytes + tableBytes
        }
    }

    /// A request that another member has taken in and forwards: the head as it came there, and its body.
    /// - Returns: nil when this is no whole head and nothing but it.
    package init?(forwardedHead head: [UInt8], body: [UInt8], peer: HTTPPeer) {
        let parser = HTTPHeadParser(limits: .standard)
        let made: HTTPRequest? = head.withUnsafeBufferPointer { bytes in
            guard case .complete(let count) = parser.parse(bytes), count == bytes.count,
                let start = bytes.baseAddress
            else { return nil }
            return HTTPRequest(parser, start, headBytes: count, peer: peer)
        }
        guard var made else { return nil }
        made.body = body
        self = made
    }

    /// The head as it came, or what an HTTP/2 request would look like in HTTP/1.1. Holds secrets.
    package var headForForwarding: ArraySlice<UInt8> { head[..<headBytes] }

    /// The target up to its `?`, as it came: not decoded, starts with `/`.
    package var rawPath: ArraySlice<UInt8> { head[pathRange] }
    /// The target behind its `?`, as it came; empty without one.
    package var rawQuery: ArraySlice<UInt8> { head[queryStart..<targetEnd] }
    /// The target as it came, for access logs and forwarding.
    package var rawTarget: ArraySlice<UInt8> { head[pathRange.lowerBound..<targetEnd] }

    /// `X-Vault-Token`; nil when absent. Secret: it must not become a `String`.
    package var vaultToken: ArraySlice<UInt8>? { slice(hot.token) }
    /// `Authorization`; nil when absent. Secret: it must not become a `String`.
    package var authorization: ArraySlice<UInt8>? { slice(hot.authorization) }
    /// `Content-Type`; nil when absent.
    package var contentType: String? { text(hot.contentType) }
    /// `X-Vault-Wrap-TTL`; nil when absent.
    package var vaultWrapTTL: String? { text(hot.wrapTTL) }
    /// `X-Vault-Namespace`; nil when absent.
    package var vaultNamespace: String? { text(hot.namespace) }
    /// `X-Vault-Request`; nil when absent.
    package var vaultRequest: String? { text(hot.vaultRequest) }

    /// The value of the first field called `lowerCaseName`, as text; nil when there is none.
    package func header(_ lowerCaseName: String) -> String? {
        headerBytes(lowerCaseName).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The value of the first field called `lowerCaseName`; nil when there is none.
    package func headerBytes(_ lowerCaseName: String) -> ArraySlice<UInt8>? {
        var name = lowerCaseName
        let found: Range<Int>? = name.withUTF8 { wanted in
            head.withUnsafeBytes { bytes in firstField(named: wanted, from: 0, bytes)?.value }
        }
        return found.map { head[$0] }
    }

    /// Every field in its order, for headers that may repeat and for forwarding.
    package func forEachHeader(_ body: (_ name: ArraySlice<UInt8>, _ value: ArraySlice<UInt8>) -> Void) {
        for index in 0..<fieldCount {
            let (name, value) = head.withUnsafeBytes { field(index, $0) }
            body(head[name], head[value])
        }
    }

    private func firstField(
        named wanted: UnsafeBufferPointer<UInt8>, from start: Int, _ bytes: UnsafeRawBufferPointer
    ) -> (name: Range<Int>, value: Range<Int>)? {
        for index in start..<fieldCount {
            let found = field(index, bytes)
            guard found.name.count == wanted.count else { continue }
            var same = true
            for offset in 0..<wanted.count
            where asciiLower(bytes[found.name.lowerBound + offset]) != wanted[offset] {
                same = false
                break
            }
            if same { return found }
        }
        return nil
    }

    private func field(_ index: Int, _ bytes: UnsafeRawBufferPointer) -> (name: Range<Int>, value: Range<Int>)
    {
        let place = headBytes + index * MemoryLayout<HTTPHeadParser.Field>.stride
        let entry = bytes.loadUnaligned(fromByteOffset: place, as: HTTPHeadParser.Field.self)
        return (range(entry.name), range(entry.value))
    }

    private func range(_ span: HTTPHeadParser.Span) -> Range<Int> {
        Int(span.start)..<Int(span.start) + Int(span.count)
    }

    private func slice(_ span: HTTPHeadParser.Span) -> ArraySlice<UInt8>? {
        span.start == 0 ? nil : head[range(span)]
    }

    private func text(_ span: HTTPHeadParser.Span) -> String? {
        slice(span).map { String(decoding: $0, as: UTF8.self) }
    }
}
