import Base
import Testing

@testable import Net

/// The outcome of a whole parse, with what a test wants to see of it.
func parseHead(_ text: String, limits: Limits = .standard) -> HTTPHeadParser.Outcome {
    parseHead(Array(text.utf8), limits: limits)
}

func parseHead(_ bytes: [UInt8], limits: Limits = .standard) -> HTTPHeadParser.Outcome {
    let parser = HTTPHeadParser(limits: limits)
    return bytes.withUnsafeBufferPointer { parser.parse($0) }
}

/// The same bytes, given in growing prefixes.
func parseHead(_ bytes: [UInt8], cuts: [Int], limits: Limits = .standard) -> HTTPHeadParser.Outcome {
    let parser = HTTPHeadParser(limits: limits)
    for cut in cuts {
        let outcome = Array(bytes[..<cut]).withUnsafeBufferPointer { parser.parse($0) }
        if outcome != .needMore { return outcome }
    }
    return bytes.withUnsafeBufferPointer { parser.parse($0) }
}

func readRequest(_ text: String) -> HTTPRequest? {
    let parser = HTTPHeadParser(limits: .standard)
    let bytes = Array(text.utf8)
    return bytes.withUnsafeBufferPointer { buffer in
        guard case .complete(let headBytes) = parser.parse(buffer), let start = buffer.baseAddress else {
            return nil
        }
        return HTTPRequest(parser, start, headBytes: headBytes, peer: Connection.nobody)
    }
}

extension HTTPHeadParser.Outcome {
    var status: Int {
        switch self {
        case .needMore: 100
        case .complete: 200
        case .failed(let error): error.status
        }
    }
}

@Suite struct HTTPHeadParserTests {
    static let table: [(String, Int)] = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("LIST /v1/secret?x=1 HTTP/1.1\r\nhost: a:8200\r\nX-Vault-Token: hvs.abc\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 200),
        ("BREW-COFFEE-NOW! / HTTP/1.1\r\nHost: [::1]:8200\r\n\r\n", 200),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 200),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t 33554432 \r\n\r\n", 200),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", 200),
        ("GET /é HTTP/1.1\r\nHost: a\r\nX: é\r\nEmpty:\r\n\r\n", 200),
        // What is missing may still come.
        ("", 100), ("GET", 100), ("GET / HTTP/1.1\r\nHost: a\r\n\r", 100),
        ("GET / HTTP/1.1\r\nHost: a\r\n", 100),
        // The request line.
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400), (" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\r\nHost: a\r\n\r\n", 400), ("GET /a\u{0} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET /a\u{7F} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("\u{16}\u{3}\u{1}", 400),
        // The version.
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505), ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505), ("GET / HTTP/1.12\r\nHost: a\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400), ("GET / HTTQ/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400), ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\rHost: a\r\r", 400),
        // Field lines.
        ("GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\nA\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", 400), ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: b\rC\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: \u{0}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: \u{8}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: \u{7F}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nA@: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\rX", 400), ("GET / HTTP/1.1\r\nHost: a\r\n\nX", 400),
        // Host.
        ("GET / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/1.0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        // Lengths and codings.
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nContent-Length: 9\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9, 9\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +9\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x9\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9 9\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999x\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 33554433\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            400
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{B}chunked\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417),
        // What must stand alone.
        ("GET / HTTP/1.1\r\nHost: a\r\nX-Vault-Token: a\r\nx-vault-token: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400),
    ]

    @Test(arguments: table) func everyRuleHasItsStatus(_ text: String, _ status: Int) {
        #expect(parseHead(text).status == status, "\(text.debugDescription)")
    }

    @Test(arguments: table) func everySplitGivesTheSameResult(_ text: String, _ status: Int) {
        let bytes = Array(text.utf8)
        let whole = parseHead(bytes)
        for cut in 0...bytes.count { #expect(parseHead(bytes, cuts: [cut]) == whole) }
        #expect(parseHead(bytes, cuts: Array(0..<bytes.count)) == whole)
    }

    @Test func headEndsWhereTheBodyBegins() {
        let head = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
        #expect(parseHead(head + "helloGET") == .complete(headBytes: head.utf8.count))
    }

    @Test func headOfExactlyTheLimitPassesAndOneMoreDoesNot() {
        var limits = Limits.standard
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        limits.headBytes = head.utf8.count
        #expect(parseHead(head, limits: limits).status == 200)
        limits.headBytes -= 1
        #expect(parseHead(head, limits: limits).status == 431)
        #expect(parseHead(Array(head.utf8), cuts: Array(0..<head.utf8.count), limits: limits).status == 431)
    }

    @Test func fieldsAreCounted() {
        let filler = String(repeating: "A: b\r\n", count: Limits.standard.headerFields - 1)
        #expect(parseHead("GET / HTTP/1.1\r\nHost: a\r\n\(filler)\r\n").status == 200)
        #expect(parseHead("GET / HTTP/1.1\r\nHost: a\r\n\(filler)B: c\r\n\r\n").status == 431)
    }

    @Test func aParserServesOneRequestAfterAnother() {
        let parser = HTTPHeadParser(limits: .standard)
        func parse(_ text: String) -> Int {
            defer { parser.reset() }
            return Array(text.utf8).withUnsafeBufferPointer { parser.parse($0) }.status
        }
        #expect(
            parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
                == 200)
        #expect(parse("GET / HTTP/1.1\r\n\r\n") == 400)
        #expect(parse("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n") == 200)
        #expect(parser.framing == .none)
        #expect(parser.keepAlive)
    }

    @Test(arguments: [
        ("Connection: close", false), ("Connection: keep-alive", true),
        ("Connection: Upgrade , CLOSE", false),
        ("Connection: closed", true), ("X: close", true),
    ]) func connectionFieldDecides(_ line: String, _ keepAlive: Bool) {
        let parser = HTTPHeadParser(limits: .standard)
        let outcome = Array("GET / HTTP/1.1\r\nHost: a\r\n\(line)\r\n\r\n".utf8).withUnsafeBufferPointer {
            parser.parse($0)
        }
        #expect(outcome.status == 200)
        #expect(parser.keepAlive == keepAlive)
    }
}

@Suite struct HTTPRequestTests {
    @Test func partsAreWhereTheyWere() throws {
        let request = try #require(
            readRequest(
                "LIST /v1/a%20b?list=true&x=%C3%A9 HTTP/1.1\r\nHost: h\r\nX-Vault-Token:  hvs.T \r\n"
                    + "X-Other: 1\r\n"
                    + "Authorization: Bearer t\r\ncontent-type: application/json\r\nx-vault-wrap-ttl: 60s\r\n"
                    + "X-Vault-Namespace: ns\r\nX-Vault-Request: true\r\nx-other: 2\r\n\r\n"))
        #expect(request.method == .list)
        #expect(String(decoding: request.rawPath, as: UTF8.self) == "/v1/a%20b")
        #expect(String(decoding: request.rawQuery, as: UTF8.self) == "list=true&x=%C3%A9")
        #expect(String(decoding: request.rawTarget, as: UTF8.self) == "/v1/a%20b?list=true&x=%C3%A9")
        #expect(request.vaultToken.map { Array($0) } == Array("hvs.T".utf8))
        #expect(request.authorization.map { Array($0) } == Array("Bearer t".utf8))
        #expect(request.contentType == "application/json")
        #expect(request.vaultWrapTTL == "60s")
        #expect(request.vaultNamespace == "ns")
        #expect(request.vaultRequest == "true")
        #expect(request.header("x-other") == "1")
        #expect(request.header("x-othe") == nil)
        #expect(request.header("host") == "h")
        var names: [String] = []
        request.forEachHeader { name, _ in names.append(String(decoding: name, as: UTF8.self)) }
        #expect(names.count == 9)
        #expect(names.last == "x-other")
    }

    @Test func absentPartsAreNil() throws {
        let request = try #require(readRequest("get /? HTTP/1.1\r\nHost: h\r\nX-Vault-Token:\r\n\r\n"))
        #expect(request.method == .other("get"))
        #expect(request.rawQuery.isEmpty)
        #expect(request.vaultToken?.isEmpty == true)
        #expect(request.authorization == nil)
        #expect(request.contentType == nil)
    }
}

@Suite struct PathCodecTests {
    @Test func escapesAreResolvedOnce() throws {
        #expect(try PathCodec.decode("/a%2fb%2520+c".utf8) == Array("/a/b%20+c".utf8))
    }

    @Test(arguments: ["%", "/a%2", "%zz", "%0", "a%00b", "a\u{0}b", "%-1"])
    func badEscapesAndNULAreRefused(_ text: String) {
        #expect(throws: VaultError.self) { try PathCodec.decode(text.utf8) }
    }

    @Test func queriesKeepTheirOrder() throws {
        let query = try PathCodec.query("b=1&a=x%26y+z&flag&b=2&=e".utf8)
        #expect(query.map(\.name) == ["b", "a", "flag", "b", ""])
        #expect(query.map(\.value) == ["1", "x&y z", "", "2", "e"])
        #expect(try PathCodec.query("".utf8).isEmpty)
    }

    @Test(arguments: ["a=%", "a=%00", "a=%FF", "a;b", "%G0=1"]) func badQueriesAreRefused(_ text: String) {
        #expect(throws: VaultError.self) { try PathCodec.query(text.utf8) }
    }
}
