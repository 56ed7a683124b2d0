import Base
import Glibc
import Testing

@testable import Net

@Suite(.timeLimit(.minutes(10))) struct HTTPServerTests {
    private func get(_ path: String, _ more: String = "") -> String {
        "GET \(path) HTTP/1.1\r\nHost: a\r\n\(more)\r\n"
    }

    @Test func aConnectionServesOneRequestAfterAnother() throws {
        let live = try LiveServer()
        let client = try live.connect()
        for index in 0..<100 {
            client.send("PUT /\(index) HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
            let answer = client.answer()
            #expect(answer?.body == "PUT /\(index) abc")
            #expect(answer?.head.contains("\r\nContent-Type: text/plain\r\n") == true)
            #expect(answer?.head.contains("\r\nDate: ") == true)
        }
    }

    @Test func requestsMayComeInAnyPieces() throws {
        let live = try LiveServer()
        let client = try live.connect()
        let text =
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + "3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n"
        for byte in text.utf8 { client.send([byte]) }
        #expect(client.answer()?.body == "POST /a abcde")
        client.send("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        usleep(20_000)
        client.send("cde" + get("/c") + "GET /d HT")
        #expect(client.answer()?.body == "POST /b abcde")
        #expect(client.answer()?.body == "GET /c ")
        client.send("TP/1.1\r\nHost: a\r\n\r\n")
        #expect(client.answer()?.body == "GET /d ")
    }

    @Test func pipelinedRequestsAreAnsweredInOrderBehindAParkedOne() throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send(get("/1") + get("/park") + get("/2") + get("/park") + get("/3"))
        #expect(client.answer()?.body == "GET /1 ")
        for name in ["x", "y"] {
            let responders = live.handler.takeParked(1)
            #expect(responders.count == 1)
            client.send(get("/after-\(name)"))
            responders[0].send(HTTPResponse(status: 200, body: Array(name.utf8)))
            #expect(client.answer()?.body == name)
            #expect(client.answer()?.body == (name == "x" ? "GET /2 " : "GET /3 "))
        }
        #expect(client.answer()?.body == "GET /after-x ")
        #expect(client.answer()?.body == "GET /after-y ")
    }

    @Test func answersMayComeFromAnyThread() throws {
        let live = try LiveServer(loopCount: 2)
        let clients = try (0..<8).map { _ in try live.connect() }
        for _ in 0..<50 {
            for client in clients { client.send(get("/later") + get("/loop")) }
            for client in clients {
                #expect(client.answer()?.body == "later")
                #expect(client.answer()?.body == "loop")
            }
        }
    }

    @Test func onlyTheFirstAnswerCounts() throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send(get("/twice") + get("/next"))
        #expect(client.answer()?.body == "first")
        #expect(client.answer()?.body == "GET /next ")
    }

    @Test func aForgottenRequestIsAnsweredWith500() throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send(get("/drop"))
        #expect(client.answer()?.status == 500)
        #expect(client.isEnded())
        let other = try live.connect()
        other.send(get("/park"))
        do { #expect(live.handler.takeParked(1).count == 1) }
        #expect(other.answer()?.status == 500)
        #expect(other.isEnded())
    }

    @Test func aClientThatLeavesWhileParkedDoesNoHarm() throws {
        let live = try LiveServer()
        for _ in 0..<20 {
            let client = try live.connect()
            client.send(get("/park"))
            let responders = live.handler.takeParked(1)
            client.send("GET /more")
            client.close()
            usleep(2_000)
            for responder in responders { responder.send(HTTPResponse(status: 200)) }
        }
        let client = try live.connect()
        client.send(get("/alive"))
        #expect(client.answer()?.body == "GET /alive ")
    }

    @Test func headAndEmptyAnswersHaveNoBody() throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(client.answer(toHead: true)?.head.contains("Content-Length: 8\r\n") == true)
        client.send(get("/empty") + get("/inject"))
        let empty = client.answer()
        #expect(empty?.status == 204)
        #expect(empty?.head.contains("Content-Length") == false)
        #expect(client.answer()?.head.contains("\r\nX-A: b??X-B: c\r\n") == true)
    }

    @Test func connectionCloseIsObeyed() throws {
        let live = try LiveServer()
        for head in [
            "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET /a HTTP/1.0\r\nHost: a\r\n\r\n",
        ] {
            let client = try live.connect()
            client.send(head + get("/b"))
            let answer = client.answer()
            #expect(answer?.body == "GET /a ")
            #expect(answer?.head.contains("Connection: close") == true)
            #expect(client.isEnded())
        }
    }

    @Test func whatCannotBeReadIsAnsweredAndClosed() throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send(get("/a") + "GET /b HTTP/1.1\nHost: a\n\n" + get("/c"))
        #expect(client.answer()?.status == 200)
        let refusal = client.answer()
        #expect(refusal?.status == 400)
        #expect(refusal?.body.hasPrefix("{\"errors\":[\"") == true)
        #expect(refusal?.head.contains("Connection: close") == true)
        #expect(client.isEnded())
    }

    @Test func halfClosedClientsGetTheirAnswer() throws {
        let live = try LiveServer()
        let whole = try live.connect()
        whole.send(get("/later"))
        whole.endSending()
        #expect(whole.answer()?.body == "later")
        #expect(whole.isEnded())
        let cut = try live.connect()
        cut.send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        cut.endSending()
        #expect(cut.answer()?.status == 400)
        #expect(cut.isEnded())
    }

    @Test func continueIsSentBeforeTheBody() throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send("PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        #expect(client.answer()?.status == 100)
        client.send("abc")
        #expect(client.answer()?.body == "PUT /a abc")
    }

    @Test func bodiesHaveALimit() throws {
        var limits = Limits.standard
        limits.bodyBytes = 100_000
        let live = try LiveServer(limits)
        let declared = try live.connect()
        declared.send("PUT /size HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n")
        declared.send([UInt8](repeating: 97, count: 100_001))
        #expect(declared.answer()?.status == 413)
        let chunked = try live.connect()
        chunked.send("PUT /size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in 0..<40 { chunked.send("1000\r\n" + String(repeating: "a", count: 4_096) + "\r\n") }
        #expect(chunked.answer()?.status == 413)
        let allowed = try live.connect()
        allowed.send("PUT /size HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        allowed.send([UInt8](repeating: 97, count: 100_000))
        #expect(allowed.answer()?.body == "100000")
    }

    @Test func bodiesInFlightHaveALimitTogether() throws {
        var limits = Limits.standard
        limits.bodyBytesInFlight = 150_000
        let live = try LiveServer(limits)
        let first = try live.connect()
        first.send("PUT /park HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        first.send([UInt8](repeating: 97, count: 100_000))
        let responders = live.handler.takeParked(1)
        #expect(responders.count == 1)
        let second = try live.connect()
        second.send("PUT /size HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        second.send([UInt8](repeating: 97, count: 100_000))
        let refusal = second.answer()
        #expect(refusal?.status == 503)
        #expect(refusal?.head.contains("Retry-After: 1\r\n") == true)
        for responder in responders { responder.send(HTTPResponse(status: 200)) }
        #expect(first.answer()?.status == 200)
        let third = try live.connect()
        third.send("PUT /size HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        third.send([UInt8](repeating: 97, count: 100_000))
        #expect(third.answer()?.body == "100000")
    }

    @Test func bigAnswersArriveWholeToSlowReaders() throws {
        let live = try LiveServer()
        let client = try live.connect()
        for _ in 0..<4 { client.send(get("/big")) }
        client.send(get("/end"))
        usleep(100_000)
        for _ in 0..<4 { #expect(client.answer()?.body.utf8.count == 8 << 20) }
        #expect(client.answer()?.body == "GET /end ")
    }

    @Test func slowHeadsAndBodiesAndSilenceEnd() throws {
        var limits = Limits.standard
        limits.headerTimeoutSeconds = 2
        limits.readTimeoutSeconds = 2
        limits.idleTimeoutSeconds = 2
        let live = try LiveServer(limits)
        let silent = try live.connect()
        let dripping = try live.connect()
        let body = try live.connect()
        let idle = try live.connect()
        idle.send(get("/a"))
        #expect(idle.answer()?.status == 200)
        dripping.send("GET /")
        body.send("PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        for _ in 0..<40 {
            dripping.send("a")
            body.send("x")
            usleep(100_000)
        }
        #expect(dripping.answer()?.status == 408)
        #expect(body.answer()?.status == 408)
        #expect(silent.isEnded())
        #expect(idle.isEnded())
    }

    @Test func connectionsBeyondTheLimitWaitTheirTurn() throws {
        var limits = Limits.standard
        limits.connections = 2
        let live = try LiveServer(limits)
        let first = try live.connect()
        let second = try live.connect()
        for client in [first, second] {
            client.send(get("/a"))
            #expect(client.answer()?.status == 200)
        }
        let third = try live.connect()
        third.send(get("/b"))
        usleep(100_000)
        #expect(live.server.connectionCount == 2)
        first.close()
        #expect(third.answer()?.body == "GET /b ")
    }

    @Test func stopLetsRunningRequestsFinish() throws {
        let live = try LiveServer()
        let idle = try live.connect()
        idle.send(get("/a"))
        #expect(idle.answer()?.status == 200)
        let busy = try live.connect()
        busy.send(get("/park"))
        let responders = live.handler.takeParked(1)
        let server = live.server
        let stopping = StopThread { server.stop(graceSeconds: 60) }
        #expect(idle.isEnded())
        for responder in responders { responder.send(HTTPResponse(status: 200, body: [111, 107])) }
        let answer = busy.answer()
        #expect(answer?.body == "ok")
        #expect(answer?.head.contains("Connection: close") == true)
        stopping.join()
        #expect(throws: VaultError.self) { _ = try live.connect() }
    }

    @Test func connectionMadeBeforeTheStopIsAnswered() throws {
        let live = try LiveServer()
        let busy = try live.connect()
        busy.send(get("/park"))
        let responders = live.handler.takeParked(1)
        let fresh = try live.connect()
        let server = live.server
        let stopping = StopThread { server.stop(graceSeconds: 60) }
        while (try? live.connect()) != nil {}
        fresh.send(get("/a"))
        #expect(fresh.answer()?.status == 200)
        #expect(fresh.isEnded())
        for responder in responders { responder.send(HTTPResponse(status: 200)) }
        stopping.join()
    }

    @Test func stopDoesNotWaitForever() throws {
        let live = try LiveServer()
        let busy = try live.connect()
        busy.send(get("/park"))
        let responders = live.handler.takeParked(1)
        live.server.stop(graceSeconds: 1)
        #expect(busy.isEnded())
        for responder in responders { responder.send(HTTPResponse(status: 200)) }
    }

    @Test func aTakenPortIsAClearError() throws {
        let live = try LiveServer()
        do throws(VaultError) {
            _ = try HTTPServer(
                handler: ScriptedHandler(),
                listeners: [ListenerConfiguration(address: "127.0.0.1:\(live.port)")],
                log: Log(level: .error))
            Issue.record("two servers on one port")
        } catch {
            #expect(error.messages[0].contains("address already in use"))
        }
    }

    @Test(arguments: ["nonsense", "127.0.0.1:99999", "no.such.host.invalid:1", "1::2:80", "unix:"])
    func wrongAddressesAreRefused(_ address: String) {
        #expect(throws: VaultError.self) {
            _ = try HTTPServer(
                handler: ScriptedHandler(), listeners: [ListenerConfiguration(address: address)],
                log: Log(level: .error))
        }
    }
}

/// A plain thread that can be waited for.
final class StopThread {
    private let thread: pthread_t

    init(_ body: @escaping @Sendable () -> Void) {
        var thread = pthread_t()
        let box = Unmanaged.passRetained(Box(body))
        pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, box.toOpaque())
        self.thread = thread
    }

    func join() { pthread_join(thread, nil) }

    private final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}
