import Barrier
import Base
import PluginKit
import TestKit
import Testing

@testable import Core

/// Rotation of the barrier's key, asked for and by itself.
@Suite struct RotationTests {
    private func term(_ server: InProcessServer) async throws -> Int {
        try await server.call(.read, "sys/key-status")["data/term"]?.int ?? 0
    }

    /// One look of the background work.
    private func look(_ rotation: KeyRotation, _ server: InProcessServer) throws {
        let active = try #require(server.core.active)
        try rotation.run(active, server.backend, server.clock, Log(level: .error))
    }

    @Test func aKeyIsReplacedWhenItIsOldEnough() async throws {
        let server = try InProcessServer()
        let rotation = KeyRotation()
        _ = try await server.call(.update, "sys/rotate/config", #"{"interval":"24h"}"#)
        try look(rotation, server)
        server.clock.advance(.seconds(86_399))
        try look(rotation, server)
        #expect(try await term(server) == 1)
        server.clock.advance(KeyRotation.pause)
        try look(rotation, server)
        #expect(try await term(server) == 2)
        server.clock.advance(KeyRotation.pause)
        try look(rotation, server)
        #expect(try await term(server) == 2)
    }

    @Test func aKeyIsReplacedWhenItHasEncryptedEnough() async throws {
        var config = RotationConfig()
        config.maxOperations = 1_000_000
        let server = try InProcessServer()
        let status = try #require(try server.core.active?.barrier.keyStatus())
        #expect(!config.isDue(status, at: server.clock.now()))
        config.maxOperations = status.encryptions
        #expect(config.isDue(status, at: server.clock.now()))
        config.isEnabled = false
        #expect(!config.isDue(status, at: server.clock.now()))
    }

    @Test func nothingIsReplacedWhenItIsSwitchedOff() async throws {
        let server = try InProcessServer()
        _ = try await server.call(.update, "sys/rotate/config", #"{"interval":"24h","enabled":false}"#)
        server.clock.advance(.seconds(1_000_000))
        try look(KeyRotation(), server)
        #expect(try await term(server) == 1)
    }

    @Test func theCountOfUsesSurvivesACrashAndASeal() async throws {
        let server = try InProcessServer(shares: 1, threshold: 1)
        let rotation = KeyRotation()
        try look(rotation, server)
        for _ in 0..<20 { _ = try await server.call(.update, "cubbyhole/a", #"{"v":"1"}"#) }
        let counted = try #require(try server.core.active?.barrier.keyStatus().encryptions)
        server.clock.advance(KeyRotation.pause)
        try look(rotation, server)
        // The store as a crash would leave it, while the first server is still there. Another commit is in
        // front of the copy: when it has come, so has the one that stored the count.
        _ = try await server.call(.update, "cubbyhole/b", #"{"v":"1"}"#)
        let again = try InProcessServer(backend: server.backend, shares: 0)
        try again.seal.enter(share: SecretBytes(copying: server.keys[0].utf8))
        #expect(try #require(try again.core.active?.barrier.keyStatus().encryptions) >= counted)
        withExtendedLifetime(server) {}
    }

    @Test func rotationsAtTheSameTimeEachMakeAKey() async throws {
        let server = try InProcessServer(shares: 1, threshold: 1)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    _ = try? await server.call(.update, "sys/rotate")
                    _ = try? await server.call(.update, "cubbyhole/a", #"{"v":"1"}"#)
                }
            }
        }
        #expect(try await term(server) == 9)
        server.core.seal()
        try server.seal.enter(share: SecretBytes(copying: server.keys[0].utf8))
        #expect(try await server.call(.read, "cubbyhole/a").text("data/v") == "1")
        #expect(try await term(server) == 9)
    }
}
