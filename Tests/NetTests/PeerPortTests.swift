import Base
import Crypto
import Foundation
import Glibc
import Synchronization
import Testing

@testable import Net

@Suite(.timeLimit(.minutes(10))) struct PeerPortTests {
    @Test func membersExchangeFramesBothWaysAndInOrder() throws {
        let (a, b) = (try PeerMember(name: "a"), try PeerMember(name: "b"))
        a.dial(b, "b/1")
        a.diary.wait("a's connection") { $0.links.count == 1 }
        b.diary.wait("b's connection") { $0.links.count == 1 }
        let there = a.diary.state.withLock { $0.links[0] }
        let back = b.diary.state.withLock { $0.links[0] }
        for number in 0..<500 { #expect(there.send(Array("frame \(number)".utf8))) }
        #expect(back.send([7]))
        b.diary.wait("all frames") { $0.frames.count == 500 }
        b.diary.state.withLock { state in
            #expect(state.frames == (0..<500).map { Array("frame \($0)".utf8) })
            #expect(state.hellos[0].protocolName == "b/1")
            #expect(Certificate(der: state.hellos[0].certificate)?.onlyURI == "test://a")
        }
        a.diary.wait("the way back") { $0.frames == [[7]] }
        #expect(a.diary.state.withLock { Certificate(der: $0.hellos[0].certificate)?.onlyURI } == "test://b")
    }

    @Test func aLargeFrameArrivesWhole() throws {
        let (a, b) = (try PeerMember(name: "a"), try PeerMember(name: "b"))
        a.dial(b)
        a.diary.wait("a connection") { $0.links.count == 1 }
        let frame = (0..<(9 << 20)).map { UInt8(truncatingIfNeeded: $0 ^ $0 >> 9) }
        #expect(a.diary.state.withLock { $0.links[0] }.send(frame))
        b.diary.wait("the frame") { $0.frames.count == 1 }
        #expect(b.diary.state.withLock { $0.frames[0] } == frame)
        a.diary.wait("an empty queue") { $0.links[0].queuedBytes == 0 }
    }

    @Test func aMemberOfAnotherClusterIsRefusedAtBothEnds() throws {
        let (a, b) = (try PeerMember(name: "a"), try PeerMember(cluster: 2, name: "b"))
        a.dial(b)
        a.diary.wait("a failure") { $0.failures.count == 1 }
        #expect(a.diary.state.withLock { $0.links.isEmpty })
        #expect(b.diary.state.withLock { $0.links.isEmpty })
    }

    @Test func aServerRefusesACertificateOfAnotherAuthority() throws {
        let b = try PeerMember(name: "b")
        // TLS 1.3 tells a client of its refusal only behind the handshake; and this one would believe b no
        // more.
        let raw = try RawPeer(b.address)
        #expect(throws: (any Error).self) { try raw.shakeHands(cluster: 3) }
        #expect(raw.isClosed())
        #expect(b.diary.state.withLock { $0.links.isEmpty })
    }

    @Test func aProtocolThatIsNotSpokenIsRefused() throws {
        let (a, b) = (try PeerMember(name: "a"), try PeerMember(name: "b"))
        a.dial(b, "other/1")
        a.diary.wait("a failure") { $0.failures.count == 1 }
        #expect(b.diary.state.withLock { $0.links.isEmpty })
    }

    @Test func plainTextIsClosedAtItsFirstByte() throws {
        let b = try PeerMember(name: "b")
        let raw = try RawPeer(b.address)
        raw.write(Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8))
        #expect(raw.isClosed())
    }

    @Test func garbageInTLSsClothesIsClosed() throws {
        let b = try PeerMember(name: "b")
        let raw = try RawPeer(b.address)
        raw.write([0x16, 3, 1, 0, 4, 9, 9, 9, 9])
        #expect(raw.isClosed())
        #expect(b.diary.state.withLock { $0.links.isEmpty })
    }

    @Test func strangersAreForgottenAndKeepNobodyOut() throws {
        var limits = PeerLimits()
        limits.strangers = 8
        let (a, b) = (try PeerMember(name: "a"), try PeerMember(name: "b", limits: limits))
        let first = try RawPeer(b.address)
        var others: [RawPeer] = []
        for _ in 0..<40 { others.append(try RawPeer(b.address)) }
        #expect(first.isClosed())
        a.dial(b)
        b.diary.wait("the member") { $0.links.count == 1 }
        withExtendedLifetime(others) {}
    }

    @Test func aSilentStrangerIsClosedInTime() throws {
        var limits = PeerLimits()
        limits.handshakeMilliseconds = 300
        let b = try PeerMember(name: "b", limits: limits)
        let (silent, half) = (try RawPeer(b.address), try RawPeer(b.address))
        half.write([0x16, 3, 1, 2])
        #expect(silent.isClosed())
        #expect(half.isClosed())
    }

    @Test(arguments: [[UInt8]([0xFF, 0xFF, 0xFF, 0xFF]), [0, 0, 0, 0], [0, 0, 4, 1]])
    func aFrameBeyondTheLimitEndsTheConnection(head: [UInt8]) throws {
        let b = try PeerMember(name: "b", diary: PeerDiary(frameBytes: 1_024))
        let raw = try RawPeer(b.address)
        try raw.shakeHands()
        b.diary.wait("the peer") { $0.links.count == 1 }
        raw.write(head + [1, 2, 3])
        b.diary.wait("the end") { $0.endings.count == 1 }
        #expect(b.diary.state.withLock { $0.frames.isEmpty })
        #expect(b.diary.state.withLock { $0.endings[0].contains("longer than 1024") })
    }

    @Test func aFrameThatNeverEndsIsGivenUp() throws {
        var limits = PeerLimits()
        limits.stallMilliseconds = 300
        let b = try PeerMember(name: "b", limits: limits)
        let raw = try RawPeer(b.address)
        try raw.shakeHands()
        raw.write([0, 0, 1, 0, 42])
        b.diary.wait("the end") { $0.endings == ["stalled"] }
    }

    @Test func aPeerThatTakesNothingFillsItsOwnQueueOnly() throws {
        var limits = PeerLimits()
        limits.queuedBytes = 4 << 20
        limits.stallMilliseconds = 3_000
        let a = try PeerMember(name: "a", limits: limits)
        let b = try PeerMember(name: "b", diary: PeerDiary(isPausing: true))
        let c = try PeerMember(name: "c")
        a.dial(b)
        a.diary.wait("b") { $0.links.count == 1 }
        let slow = a.diary.state.withLock { $0.links[0] }
        let frame = [UInt8](repeating: 5, count: 256 << 10)
        var taken = 0
        while slow.send(frame) { taken += 1 }
        // The kernel's buffers take a few megabytes, too.
        #expect(taken >= 15 && taken < 200)
        a.dial(c)
        a.diary.wait("c") { $0.links.count == 2 }
        #expect(a.diary.state.withLock { $0.links[1] }.send([1]))
        c.diary.wait("a frame beside it") { $0.frames == [[1]] }
        a.diary.wait("the end of the slow one") { $0.endings.contains("stalled") }
        #expect(!slow.send([1]))
    }

    @Test func aReaderThatPausedGoesOnWhereItWas() throws {
        let a = try PeerMember(name: "a")
        let b = try PeerMember(name: "b", diary: PeerDiary(isPausing: true))
        a.dial(b)
        a.diary.wait("a connection") { $0.links.count == 1 }
        let link = a.diary.state.withLock { $0.links[0] }
        b.diary.wait("its connection") { $0.links.count == 1 }
        // What it sends comes behind its pause: when this is here, that one reads no more.
        #expect(b.diary.state.withLock { $0.links[0] }.send([1]))
        a.diary.wait("a sign of the pause") { $0.frames == [[1]] }
        for number in 0..<100 { #expect(link.send([UInt8(number)])) }
        usleep(50_000)
        #expect(b.diary.state.withLock { $0.frames.isEmpty })
        b.diary.state.withLock { $0.links[0] }.setPaused(false)
        b.diary.wait("all frames") { $0.frames == (0..<100).map { [UInt8($0)] } }
    }

    @Test func whatWasRecordedCannotBePlayedAgain() throws {
        let (a, b) = (try PeerMember(name: "a"), try PeerMember(name: "b"))
        let recorder = try Recorder(to: b.address)
        a.port.dial(recorder.address, protocol: "a/1", accept: a.diary.accept, failed: a.diary.failed)
        a.diary.wait("a connection") { $0.links.count == 1 }
        #expect(a.diary.state.withLock { $0.links[0] }.send(Array("do it".utf8)))
        b.diary.wait("the frame") { $0.frames.count == 1 }
        let raw = try RawPeer(b.address)
        raw.write(recorder.recorded)
        #expect(raw.isClosed())
        b.diary.state.withLock { state in
            #expect(state.links.count == 1)
            #expect(state.frames.count == 1)
        }
    }

    @Test func freshCredentialsHoldForNewConnections() throws {
        let (a, b) = (try PeerMember(cluster: 1, name: "a"), try PeerMember(cluster: 2, name: "b"))
        a.dial(b)
        a.diary.wait("a refusal") { $0.failures.count == 1 }
        try b.port.replace(credentials(cluster: 1, member: "b2"))
        a.dial(b)
        a.diary.wait("a connection") { $0.links.count == 1 }
        #expect(a.diary.state.withLock { Certificate(der: $0.hellos[0].certificate)?.onlyURI } == "test://b2")
    }

    @Test func aNameIsLookedUpAndAWrongOneFails() throws {
        let (a, b) = (try PeerMember(name: "a"), try PeerMember(name: "b"))
        let port = b.address.split(separator: ":")[1]
        a.port.dial("localhost:\(port)", protocol: "a/1", accept: a.diary.accept, failed: a.diary.failed)
        a.diary.wait("a connection") { $0.links.count == 1 }
        a.port.dial("no-such-host.invalid:1", protocol: "a/1", accept: a.diary.accept, failed: a.diary.failed)
        a.diary.wait("a failure") { $0.failures.count == 1 }
    }

    @Test func stoppingEndsWhatIsOpen() throws {
        let a = try PeerMember(name: "a")
        do {
            let b = try PeerMember(name: "b")
            a.dial(b)
            a.diary.wait("a connection") { $0.links.count == 1 }
        }
        a.diary.wait("its end") { $0.endings.count == 1 }
    }
}

/// Passes one connection on and keeps what its client sent.
private final class Recorder: Sendable {
    let address: String
    private let bytes = Mutex<[UInt8]>([])

    init(to target: String) throws {
        let socket = try ListeningSocket(ListenerConfiguration(address: "127.0.0.1:0"), loops: 1)
        address = socket.address
        let listener = socket.descriptors[0]
        Foundation.Thread.detachNewThread { [self] in
            var wait = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
            poll(&wait, 1, 5_000)
            let (client, _) = SocketAddress.accept(listener)
            guard client >= 0, let server = try? RawPeer(target) else { return }
            var buffer = [UInt8](repeating: 0, count: 64 << 10)
            var ends = [
                pollfd(fd: client, events: Int16(POLLIN), revents: 0),
                pollfd(fd: server.descriptor, events: Int16(POLLIN), revents: 0),
            ]
            while poll(&ends, 2, 10_000) > 0 {
                for (from, to) in [(0, 1), (1, 0)] where ends[from].revents != 0 {
                    let got = read(ends[from].fd, &buffer, buffer.count)
                    guard got > 0 else {
                        close(client)
                        close(listener)
                        return
                    }
                    if from == 0 { bytes.withLock { $0 += buffer[..<got] } }
                    _ = write(ends[to].fd, buffer, got)
                }
            }
        }
    }

    var recorded: [UInt8] { bytes.withLock { $0 } }
}
