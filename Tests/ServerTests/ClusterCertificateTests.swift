import Barrier
import Base
import Consensus
import Glibc
import Net
import TestKit
import Testing

@testable import Server

/// Certificates of the port between members, over time that the test moves.
@Suite struct ClusterCertificateTests {
    /// A node that takes no part in anything but listens.
    private final class Listening: ClusterStorage {
        let raftID: UInt64 = 0xA1
        let nodeID = "a"
        let consensus: (any ConsensusNode)? = nil
        func start(transport: any RaftTransport) throws(VaultError) {}
        func stop() {}
        func incomingPath() -> String { "/nonexistent" }
        func saveSnapshot(_ done: @escaping @Sendable (Result<SnapshotFile, VaultError>) -> Void) {
            done(.failure(.internal("none")))
        }
        func restoreSnapshot(_ path: String, _ done: @escaping @Sendable (VaultError?) -> Void) {
            done(.internal("none"))
        }
    }

    private let clock = ManualClock(SystemClock().now())
    private let random = SeededRandom(seed: 7)
    private let log = Log(level: .error)

    /// A service that listens, and another member's port with its own credentials.
    private func pair(
        _ body: (_ address: String, _ member: PeerPort, ClusterAuthority) throws -> Void
    ) throws {
        let backend = MemoryBackend()
        let rootKey = SecretBytes.random(32, from: random)
        try BarrierBootstrap.initialize(
            backend, sealConfig: [1], wrappedRootKey: [1], rootKey: rootKey, clock: clock, random: random)
        let barrier = try BarrierBootstrap.unseal(backend, rootKey: rootKey, clock: clock, random: random)
        var configuration = ServerConfiguration()
        _ = try configuration.apply(
            Array(
                """
                listener "tcp" {
                  address = "127.0.0.1:1"
                  cluster_address = "127.0.0.1:0"
                  tls_disable = true
                }
                """.utf8), from: "server.hcl")
        let service = ClusterService(
            storage: Listening(), addresses: try ClusterAddresses(configuration), clock: clock,
            random: random, log: log)
        try service.start(barrier: barrier, clusterID: "c")
        defer { service.stop() }
        let authority = try ClusterAuthority(
            seed: try barrier.derivedKey(ClusterAuthority.purpose), clusterID: "c")
        let member = try PeerPort(
            addresses: ["127.0.0.1:0"], protocols: [ClusterTransport.protocolName], log: log
        ) { _, _ in nil }
        try member.start(
            authority.issue(raftID: 0xB2, nodeID: "b", now: SystemClock().now(), random: random))
        defer { member.stop() }
        try body(try #require(service.portAddresses.first), member, authority)
    }

    /// The certificate that the service shows now.
    private func certificate(_ address: String, _ member: PeerPort) -> Result<[UInt8], Refused> {
        let answers = BlockingQueue<Result<[UInt8], Refused>>(limit: 1)
        member.dial(
            address, protocol: ClusterTransport.protocolName,
            accept: { hello, _ in
                _ = answers.push(.success(hello.certificate))
                return nil
            }, failed: { _ = answers.push(.failure(Refused(reason: $0))) })
        return answers.take(most: 1).first ?? .failure(Refused(reason: "no answer"))
    }
    private struct Refused: Error, Equatable { let reason: String }

    @Test func certificateIsReplacedTwiceADay() throws {
        try pair { address, member, authority in
            let first = try certificate(address, member).get()
            #expect(authority.member(of: first) == 0xA1)
            clock.advance(ClusterAuthority.rotation - .seconds(60))
            // Upkeep looks ten times a second; that it has looked shows only by what it does later.
            usleep(500_000)
            #expect(try certificate(address, member).get() == first)
            clock.advance(.seconds(61))
            var second = first
            for _ in 0..<200 where second == first {
                usleep(50_000)
                second = try certificate(address, member).get()
            }
            #expect(second != first)
            #expect(authority.member(of: second) == 0xA1)
        }
    }
}
