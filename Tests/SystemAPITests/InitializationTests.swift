import Base
import Barrier
import PluginKit
import TestKit
import Testing

@testable import Core

/// A new server's storage: all of it or nothing.
@Suite struct InitializationTests {
    @Test func everythingIsWrittenInOneCommit() throws {
        let backend = FailingBackend()
        let server = try InProcessServer(backend: backend, shares: 0)
        _ = try server.seal.initialize(shares: 1, threshold: 1)
        #expect(backend.commits == 1)
    }

    @Test func aServerWhoseFirstCommitFailsIsAsItWas() throws {
        let backend = FailingBackend()
        let server = try InProcessServer(backend: backend, shares: 0)
        backend.fail(after: 0)
        #expect(throws: VaultError.self) { try server.seal.initialize(shares: 1, threshold: 1) }
        #expect(!server.seal.status.isInitialized)
        #expect(try !BarrierBootstrap.isInitialized(backend))
        backend.recover()
        let keys = try server.seal.initialize(shares: 1, threshold: 1)
        try server.seal.enter(share: Hex.encode(keys.shares[0]))
        #expect(!server.seal.status.isSealed)
    }

    @Test func aBadPGPKeyForTheRootTokenLeavesNothingBehind() throws {
        let backend = FailingBackend()
        let server = try InProcessServer(backend: backend, shares: 0)
        #expect(throws: VaultError.self) {
            try server.seal.initialize(shares: 1, threshold: 1, rootTokenPGPKey: "junk")
        }
        #expect(backend.commits == 0)
        #expect(!server.seal.status.isInitialized)
    }

    @Test func theFirstEntriesCanBeReadAfterUnsealing() async throws {
        let server = try InProcessServer()
        #expect(try await server.call(.read, "auth/token/lookup-self").text("data/display_name") == "root")
        #expect(try await server.call(.read, "sys/mounts").status == 200)
        // What initialising encrypted was counted into the stored keyring.
        #expect(try await server.call(.read, "sys/key-status")["data/encryptions"]?.int ?? 0 > 0)
    }
}
