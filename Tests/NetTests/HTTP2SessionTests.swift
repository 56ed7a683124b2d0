import Base
import Synchronization
import TestKit
import Testing

@testable import Net

/// One session without a socket: frames in, frames out, and a handler that is the test itself.
final class SessionHarness {
    let state: ServerState
    let session: HTTP2Session
    let parser: HTTPHeadParser
    let limits: Limits
    var tick: UInt64 = 1_000
    private(set) var isAlive = true
    private(set) var answers: [Frames.Frame] = []
    private(set) var requests: [(id: Int32, request: HTTPRequest)] = []

    init(_ adjust: (inout Limits) -> Void = { _ in }) throws {
        var limits = Limits.standard
        adjust(&limits)
        self.limits = limits
        state = ServerState(
            limits: limits, log: Log(level: .error), clock: SystemClock(), handler: ScriptedHandler())
        parser = HTTPHeadParser(limits: limits)
        guard let session = HTTP2Session(state, limits: limits, tick: tick) else {
            throw VaultError.internal("no session")
        }
        self.session = session
        send(Frames.preface + Frames.settings)
    }

    /// Feeds the bytes, takes what became ready, and gathers what goes out.
    func send(_ bytes: [UInt8]) {
        guard isAlive else { return }
        isAlive = bytes.withUnsafeBufferPointer { session.receive($0, tick: tick) }
        while let stream = session.takeReady() {
            if stream.phase == .body, stream.request == nil, stream.refusal == nil {
                stream.readHead(parser, limits, peer: HTTPPeer(address: "1.2.3.4", port: 1, isTLS: true))
            }
            if let refusal = stream.refusal {
                if stream.phase == .body { session.answer(stream.id, HTTPResponse(refusal), date: []) }
            } else if stream.phase == .body, stream.hasEnded, var request = stream.request {
                request.body = stream.body
                requests.append((stream.id, request))
                session.park(stream)
            }
        }
        drain()
    }

    func answer(_ id: Int32, _ response: HTTPResponse) {
        session.answer(id, response, date: [])
        drain()
    }

    func expire() {
        _ = session.expire(tick: tick, date: [])
        drain()
    }

    private func drain() {
        while true {
            let buffer = OutputBuffer()
            if !session.fill(buffer) { isAlive = false }
            if buffer.isEmpty { return }
            answers += Frames.read(Array(buffer.unsent))
        }
    }

    /// The code of the GOAWAY that was sent; nil without one.
    var goAway: UInt32? { answers.first { $0.type == 7 }?.errorCode }
    /// The code of the reset of a stream.
    func reset(_ stream: UInt32) -> UInt32? {
        answers.first { $0.type == 3 && $0.stream == stream }?.errorCode
    }
    /// The status of a stream's answer; nil without one.
    func status(_ stream: UInt32) -> Int? {
        guard let head = answers.first(where: { $0.type == 1 && $0.stream == stream }) else { return nil }
        // The first block starts with a change of the table's size.
        let block = Array(head.payload.drop { $0 & 0xE0 == 0x20 })
        // Statuses of the static table, and literals behind `:status`.
        switch block.first {
        case 0x88: return 200
        case 0x89: return 204
        case 0x8B: return 304
        case 0x8C: return 400
        case 0x8D: return 404
        case 0x8E: return 500
        default: return Int(String(decoding: Huffman.digits(block), as: UTF8.self))
        }
    }
    func body(_ stream: UInt32) -> [UInt8] {
        answers.filter { $0.type == 0 && $0.stream == stream }.flatMap(\.payload)
    }
}

/// Just enough of HPACK's code to read three digits.
enum Huffman {
    private static let codes: [(bits: Int, code: Int)] = [
        (5, 0x0), (5, 0x1), (5, 0x2), (6, 0x19), (6, 0x1A), (6, 0x1B), (6, 0x1C), (6, 0x1D), (6, 0x1E),
        (6, 0x1F),
    ]

    /// The value of a literal field with an indexed name at the start of a block.
    static func digits(_ block: [UInt8]) -> [UInt8] {
        guard block.count > 2 else { return [] }
        let length = Int(block[1] & 0x7F)
        let value = block.dropFirst(2).prefix(length)
        if block[1] & 0x80 == 0 { return Array(value) }
        var bits = value.flatMap { byte in (0..<8).reversed().map { Int(byte >> UInt8($0) & 1) } }[...]
        var found: [UInt8] = []
        while found.count < 3 {
            let digit = codes.firstIndex { code in
                bits.count >= code.bits && bits.prefix(code.bits).reduce(0) { $0 << 1 | $1 } == code.code
            }
            guard let digit else { break }
            found.append(UInt8(48 + digit))
            bits = bits.dropFirst(codes[digit].bits)
        }
        return found
    }
}

@Suite struct HTTP2SessionTests {
    @Test func aRequestIsAnswered() throws {
        let peer = try SessionHarness()
        peer.send(
            Frames.headers(1, Frames.get("/v1/a?x=1", [("x-vault-token", "hvs.abc"), ("x-custom", "b")])))
        let request = try #require(peer.requests.first?.request)
        #expect(request.method == .get)
        #expect(String(decoding: request.rawPath, as: UTF8.self) == "/v1/a")
        #expect(String(decoding: request.rawQuery, as: UTF8.self) == "x=1")
        #expect(request.vaultToken.map { Array($0) } == Array("hvs.abc".utf8))
        #expect(request.header("x-custom") == "b")
        #expect(request.header("host") == "a")
        peer.answer(1, HTTPResponse(status: 200, body: Array("hello".utf8)))
        #expect(peer.status(1) == 200)
        #expect(peer.body(1) == Array("hello".utf8))
        #expect(peer.session.isIdle)
    }

    @Test func bodiesComeInFramesAndAnswersLeaveInFrames() throws {
        let peer = try SessionHarness()
        peer.send(Frames.headers(1, Frames.get("/v1/a", method: "PUT"), end: false))
        for _ in 0..<10 { peer.send(Frames.data(1, Array(repeating: 7, count: 16_384), end: false)) }
        peer.send(Frames.data(1, [8], end: true))
        #expect(peer.requests.first?.request.body.count == 163_841)
        #expect(peer.state.bodyBytes.load(ordering: .relaxed) == 163_841)
        // The client's window is 65,535: the rest waits until it opens.
        peer.answer(1, HTTPResponse(status: 200, body: Array(repeating: 9, count: 100_000)))
        #expect(peer.state.bodyBytes.load(ordering: .relaxed) == 0)
        #expect(peer.body(1).count == 65_535)
        peer.send(Frames.frame(8, flags: 0, stream: 0, Frames.big(50_000)))
        peer.send(Frames.frame(8, flags: 0, stream: 1, Frames.big(50_000)))
        #expect(peer.body(1).count == 100_000)
    }

    @Test func streamsAreAnsweredInAnyOrder() throws {
        let peer = try SessionHarness()
        for id in [1, 3, 5] as [UInt32] { peer.send(Frames.headers(id, Frames.get("/\(id)"))) }
        for id in [5, 1, 3] as [Int32] { peer.answer(id, HTTPResponse(status: 200, body: [UInt8(id)])) }
        #expect(peer.answers.filter { $0.type == 0 }.map(\.payload) == [[5], [1], [3]])
    }

    @Test func headHasNoBodyAndNeitherHas204() throws {
        let peer = try SessionHarness()
        peer.send(Frames.headers(1, Frames.get("/a", method: "HEAD")) + Frames.headers(3, Frames.get("/b")))
        peer.answer(1, HTTPResponse(status: 200, body: [1, 2, 3]))
        peer.answer(3, HTTPResponse(status: 204, body: [1, 2, 3]))
        #expect(peer.status(1) == 200)
        #expect(peer.status(3) == 204)
        #expect(peer.body(1).isEmpty && peer.body(3).isEmpty)
    }

    @Test(arguments: [
        [(":method", "GET"), (":scheme", "https"), (":authority", "a")],
        [(":method", "GET"), (":path", "/"), (":authority", "a")],
        [(":scheme", "https"), (":path", "/"), (":authority", "a")],
        Frames.get("/", [(":path", "/b")]), Frames.get("/", [("x", "1"), (":extra", "b")]),
        Frames.get("/", [("connection", "close")]), Frames.get("/", [("transfer-encoding", "chunked")]),
        Frames.get("/", [("X-Upper", "a")]), Frames.get("/", [("te", "gzip")]),
        Frames.get("/", [("content-length", "5")]), Frames.get("/", [("a", "b\r\nx-vault-token: c")]),
        Frames.get("/", [("a\r\nb", "c")]), Frames.get("/", [("a", "b\0c")]), Frames.get(""),
        [("x", "1")] + Frames.get("/"),
    ])
    func malformedMessagesNeverReachTheHandler(_ fields: [(String, String)]) throws {
        let peer = try SessionHarness()
        peer.send(Frames.headers(1, fields))
        #expect(peer.requests.isEmpty)
        #expect(peer.reset(1) != nil || peer.goAway != nil || peer.status(1) == 400)
        // The connection itself goes on, unless it was closed for it.
        if peer.goAway == nil {
            peer.send(Frames.headers(3, Frames.get("/after")))
            #expect(peer.requests.count == 1)
        }
    }

    @Test(arguments: [
        Frames.get("no-slash"), Frames.get("*"), Frames.get("/a b"), Frames.get("/a#b"),
        Frames.get("/", [("host", "b")]), Frames.get("/", [("x-vault-token", "a"), ("x-vault-token", "b")]),
        [(":method", "GET"), (":scheme", "https"), (":path", "/")],
        [(":method", "G T"), (":scheme", "https"), (":path", "/"), (":authority", "a")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "u@a")],
        [(":method", "CONNECT"), (":authority", "a")],
    ])
    func whatHTTP1RefusesIsRefusedHereToo(_ fields: [(String, String)]) throws {
        let peer = try SessionHarness()
        peer.send(Frames.headers(1, fields))
        #expect(peer.requests.isEmpty)
        #expect(peer.status(1) == 400 || peer.reset(1) != nil)
    }

    @Test func headersHaveTheLimitsOfHTTP1() throws {
        let peer = try SessionHarness { $0.headBytes = 4_000 }
        peer.send(Frames.headers(1, Frames.get("/", [("a", String(repeating: "b", count: 4_000))])))
        #expect(peer.status(1) == 431)
        peer.send(Frames.headers(3, Frames.get("/", (0..<200).map { ("h\($0)", "") })))
        #expect(peer.status(3) == 431)
        #expect(peer.requests.isEmpty)
        peer.send(Frames.headers(5, Frames.get("/")))
        #expect(peer.requests.count == 1)
    }

    @Test func bodiesHaveTheLimitsOfHTTP1() throws {
        let peer = try SessionHarness {
            $0.bodyBytes = 1_000
            $0.bodyBytesInFlight = 1_500
        }
        peer.send(Frames.headers(1, Frames.get("/", [("content-length", "1001")], method: "PUT"), end: false))
        #expect(peer.status(1) == 413)
        #expect(peer.reset(1) == nil)
        peer.send(Frames.data(1, Array(repeating: 1, count: 1_001), end: true))
        peer.send(Frames.headers(3, Frames.get("/", method: "PUT"), end: false))
        peer.send(Frames.data(3, Array(repeating: 1, count: 1_001), end: false))
        #expect(peer.status(3) == 413)
        peer.send(Frames.headers(5, Frames.get("/", method: "PUT"), end: false))
        peer.send(Frames.data(5, Array(repeating: 1, count: 1_000), end: true))
        #expect(peer.requests.count == 1)
        peer.send(Frames.headers(7, Frames.get("/", method: "PUT"), end: false))
        peer.send(Frames.data(7, Array(repeating: 1, count: 1_000), end: true))
        #expect(peer.status(7) == 503)
        peer.answer(5, HTTPResponse(status: 200))
        #expect(peer.state.bodyBytes.load(ordering: .relaxed) == 0)
    }

    @Test func slowStreamsEnd() throws {
        let peer = try SessionHarness {
            $0.requestSeconds = 5
            $0.readTimeoutSeconds = 2
            $0.writeTimeoutSeconds = 1
        }
        peer.send(Frames.headers(1, Frames.get("/", method: "PUT"), end: false))
        peer.send(Frames.headers(3, Frames.get("/")))
        peer.tick += 12
        peer.expire()
        #expect(peer.status(1) == 408)
        #expect(peer.status(3) == nil)
        peer.tick += 12
        peer.expire()
        #expect(peer.status(3) == 504)
        // A client that does not take its answer loses it.
        peer.send(Frames.headers(5, Frames.get("/")))
        peer.answer(5, HTTPResponse(status: 200, body: Array(repeating: 1, count: 100_000)))
        peer.tick += 12
        peer.expire()
        #expect(peer.reset(5) == 8)
        #expect(peer.session.isIdle)
    }

    @Test func rapidResetsEndTheConnection() throws {
        let peer = try SessionHarness()
        var id: UInt32 = 1
        for _ in 0..<100_000 where peer.isAlive && peer.goAway == nil {
            peer.send(Frames.headers(id, Frames.get("/")) + Frames.reset(id))
            id += 2
        }
        #expect(peer.goAway == 11)
        #expect(peer.requests.count <= 210)
        #expect(id < 500)
    }

    @Test func resetsThatWeAreMadeToSendCountToo() throws {
        let peer = try SessionHarness()
        var id: UInt32 = 1
        for _ in 0..<100_000 where peer.isAlive && peer.goAway == nil {
            // A window update of zero is a stream error: the request runs, and its stream is reset.
            peer.send(
                Frames.headers(id, Frames.get("/")) + Frames.frame(8, flags: 0, stream: id, Frames.big(0)))
            id += 2
        }
        #expect(peer.goAway == 11 || peer.goAway == 1)
        #expect(id < 1_000)
    }

    @Test func fewResetsAreForgiven() throws {
        let peer = try SessionHarness()
        var id: UInt32 = 1
        for _ in 0..<500 {
            peer.send(Frames.headers(id, Frames.get("/")) + Frames.reset(id))
            peer.answer(Int32(id), HTTPResponse(status: 200))
            id += 2
            peer.tick += 1
        }
        #expect(peer.goAway == nil)
    }

    @Test func streamsAtOnceAreBounded() throws {
        let peer = try SessionHarness()
        // The client has seen the limit, and that there is no table for compression.
        peer.send(Frames.frame(4, flags: 1, stream: 0, []))
        for index in 0..<200 as Range<UInt32> {
            let block = (index == 0 ? [0x20] : []) + Frames.block(Frames.get("/"))
            peer.send(Frames.frame(1, flags: 5, stream: index * 2 + 1, block))
        }
        #expect(peer.requests.count == HTTP2Session.mostStreams)
    }

    @Test func endlessContinuationsEnd() throws {
        let peer = try SessionHarness()
        peer.send(Frames.frame(1, flags: 0, stream: 1, Frames.block(Frames.get("/"))))
        var sent = 0
        while peer.isAlive, peer.goAway == nil, sent < 10_000 {
            peer.send(Frames.frame(9, flags: 0, stream: 1, Frames.block([("a", "b")])))
            sent += 1
        }
        #expect(sent < 10_000)
        #expect(peer.requests.isEmpty)
    }

    @Test(arguments: [
        Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8), Array(repeating: 0, count: 100),
        Frames.frame(1, flags: 5, stream: 2, Frames.block(Frames.get("/"))),
        Frames.frame(0, flags: 1, stream: 9, [1]), Frames.frame(6, flags: 0, stream: 0, [1]),
        Frames.frame(4, flags: 0, stream: 0, [0, 4, 0xFF, 0xFF, 0xFF, 0xFF]),
        Frames.frame(1, flags: 5, stream: 1, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        Frames.frame(5, flags: 4, stream: 1, Frames.big(2)), Frames.frame(9, flags: 4, stream: 1, []),
        [0xFF, 0xFF, 0xFF, 1, 5, 0, 0, 0, 1],
    ])
    func brokenFramingEndsTheConnection(_ bytes: [UInt8]) throws {
        let peer = try SessionHarness()
        peer.send(bytes)
        peer.send(Frames.headers(11, Frames.get("/")))
        #expect(!peer.isAlive || peer.goAway != nil)
        #expect(peer.requests.isEmpty)
    }
}
