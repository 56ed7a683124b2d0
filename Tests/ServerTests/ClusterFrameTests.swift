import Base
import Net
import PluginKit
import TestKit
import Testing

@testable import Server

/// What members say to each other over a forwarding connection.
@Suite struct ClusterFrameTests {
    private static let head = Array("PUT /v1/kv/a?x=1 HTTP/1.1\r\nHost: h\r\nX-Vault-Token: t\r\n\r\n".utf8)

    private func request() -> ForwardedRequest {
        ForwardedRequest(
            head: Self.head, body: Array("{\"a\":1}".utf8),
            client: ConnectionInfo(
                remoteAddress: "2001:db8::1", remotePort: 54_321, peerCertificates: [[1, 2, 3], [4]]),
            isTLS: true, listener: 2)
    }

    @Test func aRequestArrivesAsItsClientSentIt() throws {
        let bytes = ForwardFrame.request(id: 7, request()).encoded
        guard case .request(let id, let found)? = ForwardFrame(bytes) else {
            Issue.record("no request")
            return
        }
        #expect(id == 7)
        #expect(found.client == request().client)
        let http = try #require(found.httpRequest())
        #expect(http.method == .put)
        #expect(String(decoding: http.rawTarget, as: UTF8.self) == "/v1/kv/a?x=1")
        #expect(http.vaultToken.map { Array($0) } == Array("t".utf8))
        #expect(http.body == request().body)
        #expect(http.peer.address == "2001:db8::1" && http.peer.port == 54_321 && http.peer.isTLS)
        #expect(http.peer.certificateChain == [[1, 2, 3], [4]])
        #expect(http.peer.listener == 2)
    }

    @Test func anAnswerArrivesWhole() {
        let answer = HTTPResponse(
            status: 404, contentType: "application/json", headers: [("X-Vault-Index", "4"), ("Empty", "")],
            body: [0, 255], close: true)
        guard case .response(let id, let found)? = ForwardFrame(ForwardFrame.response(id: 9, answer).encoded)
        else {
            Issue.record("no response")
            return
        }
        #expect(id == 9)
        #expect(found.status == 404 && found.contentType == "application/json" && found.close)
        #expect(found.headers.map { "\($0.name)=\($0.value)" } == ["X-Vault-Index=4", "Empty="])
        #expect(found.body == [0, 255])
    }

    @Test func aRefusalArrives() {
        guard case .refused(let id)? = ForwardFrame(ForwardFrame.refused(id: .max).encoded) else {
            Issue.record("no refusal")
            return
        }
        #expect(id == .max)
    }

    @Test func aHeadThatIsNoneIsRefused() {
        var broken = request()
        broken.head = Array("GET / HTTP/1.1\r\n".utf8)
        #expect(broken.httpRequest() == nil)
        broken.head = Self.head + Self.head
        #expect(broken.httpRequest() == nil)
    }

    @Test func aHeaderCannotBringAnotherWithIt() {
        let answer = HTTPResponse(status: 200, headers: [("A", "x\r\nB: y")])
        #expect(ForwardFrame(ForwardFrame.response(id: 1, answer).encoded) == nil)
    }

    @Test func everyCutFrameIsRefusedOrShorter() {
        let whole = ForwardFrame.request(id: 1, request()).encoded
        let fixed = whole.count - request().body.count
        for count in 0..<fixed { #expect(ForwardFrame(Array(whole[..<count])) == nil) }
    }

    @Test func noBytesCrashTheDecoder() {
        let corpus = [
            ForwardFrame.request(id: 1, request()).encoded,
            ForwardFrame.response(id: 2, HTTPResponse(status: 200, headers: [("A", "b")], body: [1])).encoded,
            ForwardFrame.refused(id: 3).encoded,
        ]
        for input in Fuzz("forwarded requests", corpus: corpus) {
            if case .request(_, let found)? = ForwardFrame(input.bytes) { _ = found.httpRequest() }
        }
    }
}
