import Base
import Net
import PluginKit

/// What members say to each other over a forwarding connection: HTTP requests and answers, many at once, each
/// in one frame under a number that the asking side gives.
///
/// Numbers are in network order; texts and lists have their length in front. Whatever does not read as a
/// whole frame is refused: it comes from a member, but perhaps from one of another version.
enum ForwardFrame {
    /// Do this, for that client.
    case request(id: UInt64, ForwardedRequest)
    /// The whole answer.
    case response(id: UInt64, HTTPResponse)
    /// This node is not the active one, and nothing has been done.
    case refused(id: UInt64)

    private enum Kind: UInt8 {
        case request = 1
        case response, refused
    }
    private static let mostHeaders = 256
    private static let mostCertificates = 16

    // MARK: Encoding

    /// The frame's bytes. They may hold secrets.
    var encoded: [UInt8] {
        switch self {
        case .request(let id, let request):
            var out = Self.begin(.request, id, room: request.head.count + request.body.count + 4_096)
            out.append(request.isTLS ? 1 : 0)
            out.appendNumber(UInt16(clamping: request.listener))
            out.appendNumber(UInt16(clamping: request.client.remotePort))
            out.appendShort(Array(request.client.remoteAddress.utf8))
            let certificates = request.client.peerCertificates.prefix(Self.mostCertificates)
            out.append(UInt8(certificates.count))
            for certificate in certificates { out.appendLong(certificate) }
            out.appendLong(request.head)
            out.append(contentsOf: request.body)
            return out
        case .response(let id, let response): return Self.encode(id, response)
        case .refused(let id): return Self.begin(.refused, id, room: 0)
        }
    }

    private static func begin(_ kind: Kind, _ id: UInt64, room: Int) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(9 + room)
        out.append(kind.rawValue)
        out.appendNumber(id)
        return out
    }

    private static func encode(_ id: UInt64, _ response: HTTPResponse) -> [UInt8] {
        var out = begin(.response, id, room: response.body.count + 1_024)
        out.appendNumber(UInt16(clamping: response.status))
        out.append(response.close ? 1 : 0)
        out.append(response.contentType == nil ? 0 : 1)
        out.appendShort(Array((response.contentType ?? "").utf8))
        let headers = response.headers.prefix(mostHeaders)
        out.appendNumber(UInt16(headers.count))
        for (name, value) in headers {
            out.appendShort(Array(name.utf8))
            out.appendShort(Array(value.utf8))
        }
        out.append(contentsOf: response.body)
        return out
    }

    // MARK: Decoding

    /// Nil when this is no frame of this protocol.
    init?(_ bytes: [UInt8]) {
        var reader = ForwardReader(bytes)
        guard let kind = reader.byte().flatMap({ Kind(rawValue: $0) }), let id: UInt64 = reader.number()
        else {
            return nil
        }
        switch kind {
        case .request:
            guard let request = Self.request(&reader) else { return nil }
            self = .request(id: id, request)
        case .response:
            guard let response = Self.response(&reader) else { return nil }
            self = .response(id: id, response)
        case .refused: self = .refused(id: id)
        }
    }

    private static func request(_ reader: inout ForwardReader) -> ForwardedRequest? {
        guard let isTLS = reader.byte(), let listener: UInt16 = reader.number(),
            let port: UInt16 = reader.number(), let address = reader.short(), let count = reader.byte(),
            count <= mostCertificates
        else { return nil }
        var certificates: [[UInt8]] = []
        for _ in 0..<count {
            guard let certificate = reader.long() else { return nil }
            certificates.append(certificate)
        }
        guard let head = reader.long() else { return nil }
        return ForwardedRequest(
            head: head, body: reader.rest(),
            client: ConnectionInfo(
                remoteAddress: String(decoding: address, as: UTF8.self), remotePort: Int(port),
                peerCertificates: certificates), isTLS: isTLS == 1, listener: Int(listener))
    }

    private static func response(_ reader: inout ForwardReader) -> HTTPResponse? {
        guard let status: UInt16 = reader.number(), (200...599).contains(status), let close = reader.byte(),
            let hasType = reader.byte(), let type = reader.short(), let count: UInt16 = reader.number(),
            count <= mostHeaders
        else { return nil }
        var headers: [(name: String, value: String)] = []
        for _ in 0..<count {
            guard let name = reader.short(), let value = reader.short(), isClean(name), isClean(value) else {
                return nil
            }
            headers.append((String(decoding: name, as: UTF8.self), String(decoding: value, as: UTF8.self)))
        }
        guard isClean(type) else { return nil }
        return HTTPResponse(
            status: Int(status), contentType: hasType == 1 ? String(decoding: type, as: UTF8.self) : nil,
            headers: headers, body: reader.rest(), close: close == 1)
    }

    /// What may stand in a header: no line may begin in it.
    private static func isClean(_ text: [UInt8]) -> Bool {
        text.allSatisfy { $0 >= 32 && $0 != 127 || $0 == 9 }
    }
}

/// A client's request as it came in at the standby that forwards it. Holds secrets.
struct ForwardedRequest: Sendable {
    /// The head in HTTP/1.1.
    var head: [UInt8]
    var body: [UInt8]
    /// Who asks, as the standby's listener found it.
    var client: ConnectionInfo
    var isTLS: Bool
    /// The standby's listener, which the active node's of the same place stands for.
    var listener: Int

    /// As a request of the HTTP front; nil when the head makes no sense.
    func httpRequest() -> HTTPRequest? {
        HTTPRequest(
            forwardedHead: head, body: body,
            peer: HTTPPeer(
                address: client.remoteAddress, port: client.remotePort, isTLS: isTLS,
                certificateChain: client.peerCertificates, listener: listener))
    }
}

/// Reads a frame from its front.
private struct ForwardReader {
    private let bytes: [UInt8]
    private var at = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func byte() -> UInt8? {
        guard at < bytes.count else { return nil }
        defer { at += 1 }
        return bytes[at]
    }

    mutating func number<Number: FixedWidthInteger>() -> Number? {
        let size = Number.bitWidth / 8
        guard bytes.count - at >= size else { return nil }
        defer { at += size }
        return bytes[at..<(at + size)].reduce(0) { $0 << 8 | Number($1) }
    }

    mutating func short() -> [UInt8]? {
        guard let count: UInt16 = number() else { return nil }
        return take(Int(count))
    }

    mutating func long() -> [UInt8]? {
        guard let count: UInt32 = number() else { return nil }
        return take(Int(count))
    }

    mutating func rest() -> [UInt8] { take(bytes.count - at) ?? [] }

    private mutating func take(_ count: Int) -> [UInt8]? {
        guard bytes.count - at >= count else { return nil }
        defer { at += count }
        return Array(bytes[at..<(at + count)])
    }
}

extension [UInt8] {
    fileprivate mutating func appendNumber(_ number: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: number.bigEndian) { append(contentsOf: $0) }
    }

    /// At most 65,535 bytes, which is more than any head may have.
    fileprivate mutating func appendShort(_ text: [UInt8]) {
        appendNumber(UInt16(clamping: text.count))
        append(contentsOf: text.prefix(Int(UInt16.max)))
    }

    fileprivate mutating func appendLong(_ text: [UInt8]) {
        appendNumber(UInt32(text.count))
        append(contentsOf: text)
    }
}
