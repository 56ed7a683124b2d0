import Base
import CPosix
import Crypto
import Foundation
import Glibc
import Synchronization
import TestKit
import Testing

@testable import Net

/// Credentials of a made-up cluster, which a byte stands for.
func credentials(cluster: UInt8, member: String) throws -> PeerCredentials {
    let now = SystemClock().now()
    let seed = SecretBytes(copying: [UInt8](repeating: cluster, count: CertificateKey.seedBytes))
    let root = try CertificateKey(seed: seed)
    let authority = try root.selfSigned(
        CertificateTemplate(
            .authority, commonName: "test", notBefore: now - .seconds(3600), notAfter: now + .seconds(3600),
            serial: [1]))
    let key = try CertificateKey()
    let leaf = try root.issue(
        CertificateTemplate(
            .tlsPeer, commonName: member, uri: "test://\(member)", notBefore: now - .seconds(60),
            notAfter: now + .seconds(600), serial: SystemRandom().bytes(8)), for: key, authority: authority)
    return PeerCredentials(certificate: leaf, key: try key.privateKeyDER(), authority: authority)
}

/// What a member has seen, for tests to wait on.
final class PeerDiary: Sendable {
    struct State {
        var hellos: [PeerHello] = []
        var links: [PeerLink] = []
        var frames: [[UInt8]] = []
        var endings: [String] = []
        var drains = 0
        var failures: [String] = []
    }
    let state = Mutex(State())
    let frameBytes: Int
    let isPausing: Bool

    /// - Parameter isPausing: stops reading as soon as a connection is there.
    init(frameBytes: Int = 64 << 20, isPausing: Bool = false) {
        self.frameBytes = frameBytes
        self.isPausing = isPausing
    }

    var accept: PeerAcceptor {
        { [self] hello, link in
            state.withLock { state in
                state.hellos.append(hello)
                state.links.append(link)
            }
            if isPausing { link.setPaused(true) }
            return PeerAdmission(Handler(diary: self), frameBytes: frameBytes)
        }
    }
    var failed: @Sendable (String) -> Void {
        { [self] reason in state.withLock { $0.failures.append(reason) } }
    }

    private final class Handler: PeerLinkHandler {
        let diary: PeerDiary
        init(diary: PeerDiary) { self.diary = diary }
        func received(_ frame: [UInt8]) { diary.state.withLock { $0.frames.append(frame) } }
        func drained() { diary.state.withLock { $0.drains += 1 } }
        func closed(_ reason: String) { diary.state.withLock { $0.endings.append(reason) } }
    }

    /// Waits until something holds.
    func wait(_ what: String, until isTrue: (State) -> Bool) {
        #expect(Patience.sees { state.withLock { isTrue($0) } }, "never came: \(what)")
    }
}

/// A port with a diary, stopped by its owner.
final class PeerMember {
    let port: PeerPort
    let diary: PeerDiary

    init(
        cluster: UInt8 = 1, name: String, diary: PeerDiary = PeerDiary(), limits: PeerLimits = PeerLimits(),
        protocols: [String] = ["a/1", "b/1"]
    ) throws {
        self.diary = diary
        port = try PeerPort(
            addresses: ["127.0.0.1:0"], protocols: protocols, limits: limits,
            log: Log(level: .error), accept: diary.accept)
        try port.start(credentials(cluster: cluster, member: name))
    }

    deinit { port.stop() }

    var address: String { port.addresses[0] }

    func dial(_ other: PeerMember, _ name: String = "a/1") {
        port.dial(other.address, protocol: name, accept: diary.accept, failed: diary.failed)
    }
}

/// A plain socket to a port, and TLS over it when a test wants to speak by hand.
final class RawPeer {
    let descriptor: Int32
    private var session: TLSSession?

    init(_ address: String) throws {
        let place = try #require(SocketAddress(numeric: address))
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        let code = place.withPointer { connect(descriptor, $0, $1) }
        try #require(code == 0)
        var span = timeval(tv_sec: Patience.seconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &span, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    func shakeHands(cluster: UInt8 = 1, _ name: String = "a/1") throws {
        let contexts = try PeerContexts(credentials(cluster: cluster, member: "raw"), protocols: ["x"])
        session = contexts.connecting.makeSession(
            socket: descriptor, offering: PeerProtocols.encoded([name]))
        guard case .done? = session?.handshake() else { throw VaultError.internal("no handshake") }
    }

    func write(_ bytes: [UInt8]) {
        if let session {
            bytes.withUnsafeBytes { _ = session.write($0) }
        } else {
            _ = Glibc.write(descriptor, bytes, bytes.count)
        }
    }

    /// True when the other end closes the connection.
    func isClosed() -> Bool {
        var byte = [UInt8](repeating: 0, count: 4_096)
        while true {
            let got = recv(descriptor, &byte, byte.count, 0)
            if got == 0 || got < 0 && errno == ECONNRESET { return true }
            if got < 0 { return false }
        }
    }
}
