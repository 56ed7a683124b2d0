import Base
import Synchronization
import TestKit
import Testing

@testable import Net

/// What clients and proxies send before anybody knows them. What the codecs accept is checked against a
/// second reading that shares nothing with them.
@Suite struct HTTPFuzzTests {
    private static let heads = [
        "GET /v1/secret/data/a?x=1 HTTP/1.1\r\nHost: a:8200\r\nX-Vault-Token: hvs.abc\r\n\r\nGET",
        "PUT /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{}",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n0\r\n",
    ]
    private static let bodies = [
        "5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
        "a\r\n0123456789\r\n0\r\nTrailer: x\r\nB: c\r\n\r\n5\r\nafter",
        "0\r\n\r\n0\r\n\r\n", "0003\r\n\r\n\r\r\n0\r\n\r\n",
    ]
    private static let pieces = [
        "\r\n", "\r", "\n", "\r\n\r\n", "\t", " ", ":", ";", ",", "=", "0", "5", "a", "F", "x", "\"", "\u{0}",
        "\u{7F}", "/",
        "?", "#", "%", "é", "Transfer-Encoding: chunked\r\n", "Content-Length: 4\r\n", "Host: b\r\n",
    ]

    @Test func headsAreReadTheSameHoweverTheyComeAndNeverLoosely() {
        let fuzz = Fuzz("HTTP heads", texts: Self.heads, pieces: Self.pieces)
        var accepted = 0
        for input in fuzz {
            let bytes = input.bytes
            let whole = parseHead(bytes)
            let split = parseHead(bytes, cuts: input.cuts)
            guard whole == split else {
                Issue.record("split differs: \(whole), \(split): \(input)")
                return
            }
            guard case .complete(let headBytes) = whole else { continue }
            accepted += 1
            if !Self.isStrictHead(bytes[..<headBytes]) {
                Issue.record("accepted: \(input)")
                return
            }
            if let request = readRequest(input.text) { Self.look(at: request) }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 10)
    }

    @Test func chunkedBodiesEndWhereASecondReaderSaysTheyDo() {
        let fuzz = Fuzz("chunked bodies", texts: Self.bodies, pieces: Self.pieces)
        var accepted = 0
        for input in fuzz {
            let bytes = input.bytes
            let whole = decodeChunks(bytes)
            let split = decodeChunks(bytes, cuts: input.cuts)
            guard whole == split else {
                Issue.record("split differs: \(input)")
                return
            }
            let second = Self.readChunks(bytes)
            if whole.status == 200 {
                accepted += 1
                guard let second, second.body == whole.body, second.end == whole.end else {
                    Issue.record("accepted: \(input)")
                    return
                }
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 10)
    }

    /// Escapes are resolved once: what comes out has no NUL, and written anew without escapes it stays.
    @Test func targetsAreDecodedOnce() {
        let fuzz = Fuzz(
            "targets",
            texts: [
                "/v1/secret/data/a%20b?list=true&x=%41+b", "/v1/%E2%82%AC%2f%2e%2e?a&b=&=c&%00", "/?;=1",
            ],
            pieces: ["%", "%2", "%00", "%2e", "%2F", "%25", "+", "&", "=", ";", "?", "/../", "%C0%80", "é"])
        var accepted = 0
        for input in fuzz {
            do throws(VaultError) {
                let path = try PathCodec.decode(input.bytes)
                accepted += 1
                if path.contains(0) || path.count > input.bytes.count {
                    Issue.record("\(input)")
                    return
                }
                if !input.bytes.contains(UInt8(ascii: "%")), path != input.bytes {
                    Issue.record("\(input)")
                    return
                }
                for (name, value) in try PathCodec.query(input.bytes) where (name + value).utf8.contains(0) {
                    Issue.record("a NUL: \(input)")
                    return
                }
            } catch {
                if error.status != 400 {
                    Issue.record("\(error): \(input)")
                    return
                }
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 10)
    }

    @Test func proxyHeadersNeverReachBeyondTheirEnd() {
        let fuzz = Fuzz(
            "PROXY headers",
            corpus: [
                Array("PROXY TCP4 192.0.2.1 10.0.0.1 5555 8200\r\nGET".utf8),
                Array("PROXY TCP6 2001:db8::1 ::1 5555 8200\r\n".utf8), Array("PROXY UNKNOWN\r\n".utf8),
                ProxyHeaderTests.binary(command: 0x21, family: 0x11, Array(repeating: 9, count: 12)),
                ProxyHeaderTests.binary(command: 0x21, family: 0x21, Array(repeating: 9, count: 40)),
                ProxyHeaderTests.binary(command: 0x20, family: 0x00, []),
                ProxyHeaderTests.binary(command: 0x21, family: 0x31, Array(repeating: 0x2F, count: 216)),
            ],
            pieces: [[13, 10], [32], [0xFF, 0xFF], [0], [0x21], Array("PROXY".utf8), Array("65536".utf8)])
        var accepted = 0
        for input in fuzz {
            let whole = ProxyHeaderTests().parse(input.bytes)
            guard case .complete(let count, _) = whole else { continue }
            accepted += 1
            guard count <= input.bytes.count else {
                Issue.record("\(count) bytes: \(input)")
                return
            }
            // What follows is not its business.
            let cut = ProxyHeaderTests().parse(Array(input.bytes.prefix(count)))
            guard cut == whole else {
                Issue.record("\(cut), \(whole): \(input)")
                return
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 20)
    }

    @Test func framesNeverBringASessionDown() throws {
        let head = Frames.headers(1, Frames.get("/v1/a", [("x-vault-token", "t")], method: "PUT"), end: false)
        let whole =
            head + Frames.data(1, [1, 2, 3], end: true) + Frames.headers(3, Frames.get("/b"))
            + Frames.reset(3) + Frames.frame(6, flags: 0, stream: 0, Array(repeating: 1, count: 8))
            + Frames.frame(8, flags: 0, stream: 0, Frames.big(70_000))
        let split =
            Frames.frame(1, flags: 0, stream: 5, Array(Frames.block(Frames.get("/c")).prefix(9)))
            + Frames.frame(9, flags: 4, stream: 5, Array(Frames.block(Frames.get("/c")).dropFirst(9)))
            + Frames.frame(4, flags: 0, stream: 0, [0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0x10, 0])
            + Frames.frame(7, flags: 0, stream: 0, Array(repeating: 0, count: 8))
        let fuzz = Fuzz(
            "HTTP/2 frames", corpus: [whole, split, head + split],
            pieces: [
                [0, 0, 0], [0xFF, 0xFF, 0xFF], [0, 0, 0, 1], [0x7F, 0xFF, 0xFF, 0xFF], [0x82], [0x40], [0xBE],
                Frames.settings, Frames.reset(1), Frames.data(1, [], end: true), Frames.preface,
            ], inputs: 5_000)
        var answered = 0
        for input in fuzz {
            let peer = try SessionHarness()
            var at = 0
            for cut in input.cuts + [input.bytes.count] {
                peer.send(Array(input.bytes[at..<cut]))
                at = cut
            }
            for (id, request) in peer.requests {
                Self.look(at: request)
                peer.answer(id, HTTPResponse(status: 200, body: [1]))
                answered += 1
            }
            peer.expire()
            if peer.state.bodyBytes.load(ordering: .relaxed) < 0 {
                Issue.record("\(input)")
                return
            }
        }
        #expect(!fuzz.isWhole || answered > fuzz.tried / 20)
    }

    /// Reads all of a request, as its handlers do.
    private static func look(at request: HTTPRequest) {
        _ = (
            request.rawPath.count, request.rawQuery.count, request.rawTarget.count, request.vaultToken?.count
        )
        _ = (request.authorization?.count, request.contentType, request.vaultWrapTTL, request.vaultNamespace)
        _ = (request.header("x-forwarded-for"), request.vaultRequest)
        request.forEachHeader { name, value in _ = name.count + value.count }
    }

    /// The first empty line ends the head, no CR or LF stands alone, every line is a field, one is Host.
    private static func isStrictHead(_ head: ArraySlice<UInt8>) -> Bool {
        guard head.suffix(4).elementsEqual([13, 10, 13, 10]) else { return false }
        var lines: [[UInt8]] = [[]]
        var previous: UInt8 = 0
        for byte in head {
            if byte == 10 {
                guard previous == 13 else { return false }
                lines[lines.count - 1].removeLast()
                lines.append([])
            } else {
                if previous == 13 || byte == 0 { return false }
                lines[lines.count - 1].append(byte)
            }
            previous = byte
        }
        // Behind the last CRLF stands nothing, before it an empty line, and no other.
        guard lines.count >= 4, lines.suffix(2).allSatisfy(\.isEmpty), !lines.dropLast(2).contains([]) else {
            return false
        }
        let fields = lines[1..<lines.count - 2].map { String(decoding: $0, as: UTF8.self).lowercased() }
        let names = fields.map { $0.prefix { $0 != ":" } }
        let start = String(decoding: lines[0], as: UTF8.self)
        return names.filter { $0 == "host" }.count == 1
            && names.filter { $0 == "content-length" || $0 == "transfer-encoding" }.count <= 1
            && zip(fields, names).allSatisfy { $0.count > $1.count && !$1.isEmpty && !$1.contains(" ") }
            && (start.hasSuffix(" HTTP/1.1") || start.hasSuffix(" HTTP/1.0")) && start.contains(" /")
    }

    /// Reads a chunked body line by line; nil when it is not whole or not well formed.
    private static func readChunks(_ bytes: [UInt8]) -> (body: [UInt8], end: Int)? {
        var at = 0
        func line() -> [UInt8]? {
            guard let end = bytes[at...].firstIndex(of: 10), end > at, bytes[end - 1] == 13 else {
                return nil
            }
            let text = Array(bytes[at..<end - 1])
            at = end + 1
            return text.contains(13) ? nil : text
        }
        var body: [UInt8] = []
        while let header = line() {
            let digits = header.prefix { $0 != UInt8(ascii: ";") }
            let isHex = digits.allSatisfy { "0123456789abcdefABCDEF".utf8.contains($0) }
            guard isHex, let size = Int(String(decoding: digits, as: UTF8.self), radix: 16) else {
                return nil
            }
            if size == 0 {
                while let trailer = line() {
                    if trailer.isEmpty { return (body, at) }
                }
                return nil
            }
            guard size < bytes.count, at + size + 2 <= bytes.count else { return nil }
            body += bytes[at..<at + size]
            guard bytes[at + size] == 13, bytes[at + size + 1] == 10 else { return nil }
            at += size + 2
        }
        return nil
    }
}
