import Base
import Glibc
import TestKit
import Testing

@testable import Net

@Suite struct ProxyHeaderTests {
    func parse(_ bytes: [UInt8]) -> ProxyHeader.Outcome {
        bytes.withUnsafeBufferPointer { ProxyHeader.parse($0) }
    }

    static func binary(command: UInt8, family: UInt8, _ rest: [UInt8], length: Int? = nil) -> [UInt8] {
        let length = length ?? rest.count
        return [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10, command, family]
            + [UInt8(length >> 8), UInt8(length & 0xFF)] + rest
    }

    private static let sixteen: [UInt8] = [0x20, 0x01, 0x0D, 0xB8] + Array(repeating: 0, count: 11) + [1]

    @Test(arguments: [
        ("PROXY TCP4 192.0.2.1 10.0.0.1 5555 8200\r\n", "192.0.2.1", 5555),
        ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", "2001:db8::1", 1),
        ("PROXY TCP6 ::ffff:192.0.2.9 ::1 0 1\r\n", "192.0.2.9", 0),
    ])
    func linesNameTheClient(_ text: String, _ address: String, _ port: Int) {
        let bytes = Array(text.utf8)
        let source = ProxyHeader.Source(address: address, port: port)
        #expect(parse(bytes + Array("GET /".utf8)) == .complete(bytes: bytes.count, source: source))
        for count in 0..<bytes.count { #expect(parse(Array(bytes.prefix(count))) == .needMore, "\(count)") }
    }

    @Test(arguments: [
        "PROXY TCP4 192.0.2.1 10.0.0.1 5555 8200\n", "PROXY TCP4 192.0.2.1 10.0.0.1 5555\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 5555 99999\r\n", "PROXY TCP4 192.0.2.1 10.0.0.1 05 8200\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 192.0.2.256 10.0.0.1 5555 8200\r\n", "PROXY TCP4  192.0.2.1 10.0.0.1 5555 8200\r\n",
        "PROXY \r\n", "PROXY TCP4 192.0.2.1 10.0.0.1 -1 2\r\n",
        "PROXY UNKNOWN " + String(repeating: "x", count: 100) + "\r\n",
    ])
    func badLinesAreMalformed(_ text: String) { #expect(parse(Array(text.utf8)) == .malformed) }

    @Test func unknownAndLocalKeepTheAddress() {
        #expect(parse(Array("PROXY UNKNOWN x y\r\n".utf8)) == .complete(bytes: 19, source: nil))
        let local = Self.binary(command: 0x20, family: 0, [])
        #expect(parse(local) == .complete(bytes: 16, source: nil))
        let unix = Self.binary(command: 0x21, family: 0x31, Array(repeating: 0, count: 216))
        #expect(parse(unix) == .complete(bytes: 232, source: nil))
    }

    @Test func binaryHeadersNameTheClient() {
        let four = Self.binary(
            command: 0x21, family: 0x11, [192, 0, 2, 7, 10, 0, 0, 1, 0x1F, 0x90, 0, 80] + [3, 0, 1, 9])
        let expected = ProxyHeader.Source(address: "192.0.2.7", port: 8080)
        #expect(parse(four + [1, 2]) == .complete(bytes: four.count, source: expected))
        for count in 0..<four.count { #expect(parse(Array(four.prefix(count))) == .needMore, "\(count)") }
        let six = Self.binary(command: 0x21, family: 0x21, Self.sixteen + Self.sixteen + [0, 1, 0, 2])
        #expect(
            parse(six) == .complete(bytes: 52, source: ProxyHeader.Source(address: "2001:db8::1", port: 1)))
    }

    @Test func badBinaryHeadersAreMalformed() {
        #expect(parse(Self.binary(command: 0x11, family: 0x11, Array(repeating: 1, count: 12))) == .malformed)
        #expect(parse(Self.binary(command: 0x22, family: 0x11, Array(repeating: 1, count: 12))) == .malformed)
        #expect(parse(Self.binary(command: 0x21, family: 0x11, Array(repeating: 1, count: 11))) == .malformed)
        #expect(parse(Self.binary(command: 0x21, family: 0x21, Array(repeating: 1, count: 35))) == .malformed)
        #expect(parse(Self.binary(command: 0x21, family: 0x12, Array(repeating: 1, count: 12))) == .malformed)
        #expect(parse(Self.binary(command: 0x21, family: 0x11, [], length: 65_535)) == .malformed)
    }

    @Test(arguments: ["GET / HTTP/1.1\r\n", "PUT /", "POST", "\u{16}\u{3}\u{1}", "PROXX", "\r\n\r\nG"])
    func anythingElseIsAbsent(_ text: String) { #expect(parse(Array(text.utf8)) == .absent) }
}

@Suite(.timeLimit(.minutes(10))) struct ProxyProtocolTests {
    private func live(
        _ behavior: ProxyProtocolRules.Behavior, _ networks: [String] = [], tls: TLSConfiguration? = nil
    ) throws -> LiveServer {
        try LiveServer(tls: tls) {
            $0.proxyProtocol = ProxyProtocolRules(behavior, networks: networks.compactMap { CIDRBlock($0) })
        }
    }

    private let line = "PROXY TCP4 192.0.2.1 10.0.0.1 5555 8200\r\n"
    private let get = "GET /peer HTTP/1.1\r\nHost: a\r\n\r\n"

    @Test func theClientBehindAProxyIsKnown() throws {
        let live = try live(.useAlways)
        let client = try live.connect()
        client.send(line + get + get)
        #expect(client.answer()?.body == "192.0.2.1 false 0")
        #expect(client.answer()?.body == "192.0.2.1 false 0")
        let binary = try live.connect()
        let header = ProxyHeaderTests.binary(
            command: 0x21, family: 0x11, [192, 0, 2, 7, 10, 0, 0, 1, 0x1F, 0x90, 0, 80])
        binary.send(header + Array(get.utf8))
        #expect(binary.answer()?.body == "192.0.2.7 false 0")
    }

    @Test func headersMayComeInPiecesAndMayBeAbsent() throws {
        let live = try live(.useAlways)
        let client = try live.connect()
        for byte in (line + get).utf8 {
            client.send([byte])
            usleep(500)
        }
        #expect(client.answer()?.body == "192.0.2.1 false 0")
        let plain = try live.connect()
        for byte in "PUT /peer HTTP/1.1\r\nHost: a\r\n\r\n".utf8 {
            plain.send([byte])
            usleep(500)
        }
        #expect(plain.answer()?.body == "127.0.0.1 false 0")
    }

    @Test func aBadHeaderEndsItsConnectionOnly() throws {
        let live = try live(.useAlways)
        let good = try live.connect()
        good.send(line + get)
        #expect(good.answer()?.body == "192.0.2.1 false 0")
        for bad in [
            "PROXY TCP9 x\r\n", "PROXY " + String(repeating: "a", count: 200), "PROXY TCP4 1 2 3 4\r\n",
        ] {
            let client = try live.connect()
            client.send(bad + get)
            #expect(client.answer() == nil)
        }
        let binary = try live.connect()
        binary.send(ProxyHeaderTests.binary(command: 0x2F, family: 0, []) + Array(get.utf8))
        #expect(binary.answer() == nil)
        good.send(get)
        #expect(good.answer()?.body == "192.0.2.1 false 0")
        let after = try live.connect()
        after.send(line + get)
        #expect(after.answer()?.body == "192.0.2.1 false 0")
    }

    @Test func onlyAuthorizedProxiesAreBelieved() throws {
        let unbelieved = try live(.allowAuthorized, ["10.0.0.0/8"])
        let client = try unbelieved.connect()
        client.send(line + get)
        #expect(client.answer()?.body == "127.0.0.1 false 0")
        let believed = try live(.allowAuthorized, ["127.0.0.0/8"])
        let other = try believed.connect()
        other.send(line + get)
        #expect(other.answer()?.body == "192.0.2.1 false 0")
        let denying = try live(.denyUnauthorized, ["10.0.0.0/8"])
        let refused = try denying.connect()
        refused.send(line + get)
        #expect(refused.answer() == nil)
    }

    @Test func whoSaysNothingIsCutOff() throws {
        var limits = Limits.standard
        limits.headerTimeoutSeconds = 1
        let live = try LiveServer(limits) { $0.proxyProtocol = ProxyProtocolRules(.useAlways, networks: []) }
        let silent = try live.connect()
        let half = try live.connect()
        half.send("PROXY TC")
        #expect(silent.isEnded())
        #expect(half.isEnded())
    }
}

@Suite(.timeLimit(.minutes(10))) struct ListenerLimitTests {
    @Test func eachListenerHasItsOwnLimits() throws {
        var small = Limits.standard
        small.bodyBytes = 10
        var listeners = [
            ListenerConfiguration(address: "127.0.0.1:0"), ListenerConfiguration(address: "127.0.0.1:0"),
        ]
        listeners[1].limits = small
        let server = try HTTPServer(
            handler: ScriptedHandler(), listeners: listeners, loopCount: 1, log: Log(level: .error))
        try server.start()
        defer { server.stop(graceSeconds: 0) }
        let request = "PUT /size HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n01234567890"
        for (address, status) in zip(server.addresses, [200, 413]) {
            let client = try Client(port: Int(address.split(separator: ":")[1]) ?? 0)
            client.send(request)
            #expect(client.answer()?.status == status)
            let chunked = try Client(port: Int(address.split(separator: ":")[1]) ?? 0)
            chunked.send(
                "PUT /size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"
            )
            #expect(chunked.answer()?.status == status)
        }
    }

    @Test func aBodyLimitThatIsOffOverflowsNothing() throws {
        var limits = Limits.standard
        limits.bodyBytes = .max
        let live = try LiveServer(limits)
        for length in ["99999999999999999999999999", "9223372036854775807"] {
            let client = try live.connect()
            client.send("PUT /size HTTP/1.1\r\nHost: a\r\nContent-Length: \(length)\r\n\r\n")
            #expect(client.answer()?.status == 413)
            let chunked = try live.connect()
            chunked.send(
                "PUT /size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n")
            #expect(chunked.answer()?.status == 413)
        }
    }

    @Test func requestsThatTakeTooLongAreAnswered() throws {
        var limits = Limits.standard
        limits.requestSeconds = 1
        let live = try LiveServer(limits)
        let client = try live.connect()
        client.send("GET /park HTTP/1.1\r\nHost: a\r\n\r\n")
        let responders = live.handler.takeParked(1)
        let answer = client.answer()
        #expect(answer?.status == 504)
        #expect(answer?.body.hasPrefix("{\"errors\":[\"") == true)
        #expect(client.isEnded())
        // An answer that comes after all finds nobody, and harms no other connection.
        for responder in responders { responder.send(HTTPResponse(status: 200, body: [1])) }
        let other = try live.connect()
        other.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(other.answer()?.body == "GET /a ")
    }
}
