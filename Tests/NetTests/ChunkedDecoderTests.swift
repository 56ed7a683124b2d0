import Testing

@testable import Net

/// What decoding the pieces of `bytes` between `cuts` gives: status, body, and where the body ended.
func decodeChunks(_ bytes: [UInt8], cuts: [Int] = [], most: Int = 1 << 20) -> (
    status: Int, body: [UInt8], end: Int
) {
    var decoder = ChunkedDecoder(mostBodyBytes: most)
    var body: [UInt8] = []
    var start = 0
    for cut in cuts + [bytes.count] {
        let outcome = Array(bytes[start..<cut]).withUnsafeBufferPointer { decoder.decode($0, into: &body) }
        switch outcome {
        case .needMore: start = cut
        case .complete(let consumed): return (200, body, start + consumed)
        case .failed(let error): return (error.status, [], 0)
        }
    }
    return (100, [], 0)
}

@Suite struct ChunkedDecoderTests {
    static let table: [(String, Int, String)] = [
        ("0\r\n\r\n", 200, ""),
        ("5\r\nhello\r\n0\r\n\r\n", 200, "hello"),
        ("5\r\nhello\r\n00A\r\n, big world\r\n0\r\n\r\n", 400, ""),
        ("5\r\nhello\r\n00B\r\n, big world\r\n0\r\n\r\n", 200, "hello, big world"),
        ("5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n", 200, "hello"),
        ("0\r\nX-Trailer: a\r\nB:\r\n\r\n", 200, ""),
        ("5\r\nhello\r\n0\r\n", 100, ""), ("5\r\nhel", 100, ""), ("", 100, ""), ("5", 100, ""),
        ("\r\n", 400, ""), ("zz\r\n", 400, ""), ("-1\r\n", 400, ""), ("+9\r\n", 400, ""),
        ("0x9\r\n", 400, ""),
        (" 9\r\n", 400, ""), ("9 \r\n", 400, ""), ("9_0\r\n", 400, ""), (";a\r\n", 400, ""), ("9\n", 400, ""),
        ("9\r9", 400, ""), ("9;\nx\r\n", 400, ""), ("9;\u{1}\r\n", 400, ""), ("5\r\nhelloX\r\n", 400, ""),
        ("5\r\nhello\n0\r\n\r\n", 400, ""), ("5\r\nhello\rX", 400, ""), ("0\r\n\n", 400, ""),
        ("0\r\n\rX", 400, ""),
        ("0\r\nA : b\r\n\r\n", 400, ""), ("0\r\n: b\r\n\r\n", 400, ""), ("0\r\n b\r\n\r\n", 400, ""),
        ("0\r\nA\r\n\r\n", 400, ""), ("0\r\nA: b\n\r\n", 400, ""), ("0\r\nA: \u{0}\r\n\r\n", 400, ""),
        ("FFFFFFFFFFFFFFFF\r\n", 413, ""), ("FFFFFFFFFFFFFFFFF\r\n", 413, ""),
        ("00000000000000000\r\n", 400, ""),
        ("0000000000000005\r\nhello\r\n0\r\n\r\n", 200, "hello"), ("100001\r\n", 413, ""),
    ]

    @Test(arguments: table) func everyRuleHasItsStatus(_ text: String, _ status: Int, _ body: String) {
        let result = decodeChunks(Array(text.utf8))
        #expect(result.status == status, "\(text.debugDescription)")
        #expect(String(decoding: result.body, as: UTF8.self) == body)
    }

    @Test(arguments: table) func everySplitGivesTheSameResult(_ text: String, _ status: Int, _ body: String) {
        let bytes = Array(text.utf8)
        for cut in 0...bytes.count { #expect(decodeChunks(bytes, cuts: [cut]).status == status) }
        let dripped = decodeChunks(bytes, cuts: Array(0..<bytes.count))
        #expect(dripped.status == status)
        #expect(String(decoding: dripped.body, as: UTF8.self) == body)
    }

    @Test func theNextRequestIsNotTouched() {
        let body = "5\r\nhello\r\n0\r\nA: b\r\n\r\n"
        #expect(decodeChunks(Array((body + "GET / HTTP/1.1").utf8)).end == body.utf8.count)
    }

    @Test func theSumOfChunksIsLimited() {
        let text = Array(String(repeating: "4\r\nabcd\r\n", count: 3).utf8)
        #expect(decodeChunks(text, most: 12).status == 100)
        #expect(decodeChunks(text, most: 11).status == 413)
    }

    @Test func extensionsAndTrailersAreLimited() {
        let long = String(repeating: "e", count: 300)
        let many = String(repeating: "1;\(long)\r\nx\r\n", count: 20)
        #expect(decodeChunks(Array(many.utf8)).status == 400)
        let trailers = "0\r\n" + String(repeating: "A: \(long)\r\n", count: 40)
        #expect(decodeChunks(Array(trailers.utf8)).status == 431)
    }
}
