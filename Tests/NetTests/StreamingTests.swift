import Base
import Glibc
import Synchronization
import TestKit
import Testing

@testable import Net

/// Answers that come bit by bit.
@Suite(.timeLimit(.minutes(10))) struct StreamingTests {
    private static let request = "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"

    private func stream(_ live: LiveServer) throws -> HTTPStream {
        #expect(Patience.sees { !live.handler.streams.withLock { $0.isEmpty } })
        return try #require(live.handler.streams.withLock { $0.popLast() })
    }

    @Test func bytesArriveInChunksAsTheyAreSentAndTheConnectionGoesOn() throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send(Self.request)
        let stream = try stream(live)
        let head = client.answer()?.head ?? ""
        #expect(head.contains("Transfer-Encoding: chunked") && !head.contains("Content-Length"))
        #expect(!head.contains("Connection: close"))
        #expect(stream.send(Array("one".utf8)))
        #expect(client.take(atLeast: 8) == "3\r\none\r\n")
        #expect(stream.send([]))
        #expect(stream.send(Array("seventeen letters".utf8)))
        #expect(client.take(atLeast: 23) == "11\r\nseventeen letters\r\n")
        stream.end()
        #expect(client.take(atLeast: 5) == "0\r\n\r\n")
        #expect(!stream.send(Array("late".utf8)))
        client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(client.answer()?.body == "GET /a ")
        withExtendedLifetime(live) {}
    }

    /// What was sent with the request that streams waits for its turn.
    @Test func requestsBehindAStreamAreServedAfterIt() throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send(Self.request + "GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        let stream = try stream(live)
        #expect(client.answer()?.status == 200)
        #expect(stream.send(Array("one".utf8)))
        #expect(client.take(atLeast: 8) == "3\r\none\r\n")
        stream.end()
        let rest = client.take(atLeast: 30)
        #expect(rest.hasPrefix("0\r\n\r\nHTTP/1.1 200 "), "\(rest)")
        withExtendedLifetime(live) {}
    }

    /// HTTP/1.0 knows no chunks, and who asks for a close gets one.
    @Test(arguments: [
        "GET /stream HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ])
    func aConnectionThatIsNotKeptEndsWithItsStream(_ request: String) throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send(request)
        let stream = try stream(live)
        let head = client.answer()?.head ?? ""
        #expect(!head.contains("chunked") && head.contains("Connection: close"))
        #expect(stream.send(Array("one".utf8)))
        #expect(client.take(atLeast: 3) == "one")
        stream.end()
        #expect(client.isEnded())
        withExtendedLifetime(live) {}
    }

    @Test func aStreamThatIsLetGoEnds() throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send(Self.request)
        do {
            let stream = try stream(live)
            #expect(stream.send(Array("last words".utf8)))
        }
        #expect(client.answer()?.status == 200)
        #expect(client.take(atLeast: 20) == "a\r\nlast words\r\n0\r\n\r\n")
        withExtendedLifetime(live) {}
    }

    @Test func aClientThatGoesIsNoticed() throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send(Self.request)
        let stream = try stream(live)
        #expect(client.answer()?.status == 200)
        #expect(stream.isOpen)
        client.close()
        #expect(Patience.sees { !stream.isOpen })
        withExtendedLifetime(live) {}
    }

    @Test func aClientThatTakesNothingIsLetGo() throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send(Self.request)
        let stream = try stream(live)
        let piece = [UInt8](repeating: UInt8(ascii: "a"), count: 64 << 10)
        var sent = 0
        while stream.send(piece), sent < 1_000 {
            sent += 1
            usleep(1_000)
        }
        #expect(sent < 1_000)
        withExtendedLifetime((live, client)) {}
    }

    @Test func whatAClientSendsBesideIsNotARequest() throws {
        let live = try LiveServer()
        let client = try live.connect()
        client.send(Self.request)
        let stream = try stream(live)
        #expect(client.answer()?.status == 200)
        client.send("GET /other HTTP/1.1\r\nHost: a\r\n\r\n")
        usleep(50_000)
        #expect(stream.send(Array("still".utf8)))
        #expect(client.take(atLeast: 10) == "5\r\nstill\r\n")
        stream.end()
        #expect(client.take(atLeast: 5) == "0\r\n\r\n")
        #expect(client.isEnded())
        withExtendedLifetime(live) {}
    }
}
