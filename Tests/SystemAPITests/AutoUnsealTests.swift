import Base
import PluginKit
import TestKit
import Testing

@testable import Core

/// Seals that unseal the server without a person.
@Suite struct AutoUnsealTests {
    static func set(_ kms: [(String, FakeKMS)], disabled: [(String, FakeKMS)] = []) -> SealSet {
        SealSet(
            kms.map { SealSet.Member(name: $0.0, seal: FakeSeal($0.1)) }
                + disabled.map { SealSet.Member(name: $0.0, isDisabled: true, seal: FakeSeal($0.1)) },
            log: Log(level: .error))
    }

    /// A second process over the same storage.
    static func restarted(_ server: InProcessServer, _ seals: SealSet) throws -> InProcessServer {
        server.core.seal()
        return try InProcessServer(backend: server.backend, shares: 0, seals: seals)
    }

    private static let away = VaultError.unavailable("the KMS is away", retryAfterSeconds: 0)

    static func wait(_ what: String, _ condition: () -> Bool) async throws {
        let came = try await Patience.awaits(condition)
        #expect(came, "never came: \(what)")
    }

    // MARK: Initialising

    @Test func initialisingGivesRecoveryKeysAndUnseals() async throws {
        let server = try InProcessServer(shares: 0, seals: Self.set([("k", FakeKMS())]))
        let before = try await server.call(.read, "sys/seal-status", token: "")
        #expect(before["recovery_seal"]?.bool == true)
        #expect(before.text("type") == "fake")
        let answer = try await server.call(
            .update, "sys/init", #"{"recovery_shares":5,"recovery_threshold":3,"stored_shares":1}"#, token: ""
        )
        #expect(answer.status == 200)
        #expect(answer.texts("keys") == [])
        #expect(answer.texts("recovery_keys").count == 5)
        #expect(answer.texts("recovery_keys_base64").count == 5)
        let status = try await server.call(.read, "sys/seal-status", token: "")
        #expect(status["sealed"]?.bool == false)
        #expect(status.text("recovery_seal_type") == "shamir")
        #expect(status["t"]?.int == 3)
        #expect(status["n"]?.int == 5)
        let token = answer.text("root_token")
        #expect(try await server.call(.read, "auth/token/lookup-self", token: token).status == 200)
    }

    @Test func aKMSThatIsAwayLeavesTheServerUninitialised() async throws {
        let kms = FakeKMS()
        let server = try InProcessServer(shares: 0, seals: Self.set([("k", kms)]))
        kms.fail(Self.away)
        let body = #"{"recovery_shares":1,"recovery_threshold":1}"#
        let refused = try await server.call(.update, "sys/init", body, token: "")
        #expect(refused.status == 503)
        #expect(refused.texts("errors").first?.contains("seal k: the KMS is away") == true)
        #expect(try await server.call(.read, "sys/init", token: "")["initialized"]?.bool == false)
        kms.fail(nil)
        #expect(try await server.call(.update, "sys/init", body, token: "").status == 200)
    }

    @Test(arguments: [
        #"{"secret_shares":5,"secret_threshold":3}"#, "{}", #"{"recovery_shares":2,"recovery_threshold":1}"#,
        #"{"recovery_shares":300,"recovery_threshold":3}"#,
        #"{"recovery_shares":1,"recovery_threshold":1,"stored_shares":2}"#,
        #"{"recovery_shares":1,"recovery_threshold":1,"pgp_keys":["x"]}"#,
        #"{"recovery_shares":1,"recovery_threshold":1,"recovery_pgp_keys":["x"]}"#,
        #"{"recovery_shares":1,"recovery_threshold":1,"break_glass":"maybe"}"#,
    ])
    func impossibleRequestsAreRefused(body: String) async throws {
        let server = try InProcessServer(shares: 0, seals: Self.set([("k", FakeKMS())]))
        #expect(try await server.call(.update, "sys/init", body, token: "").status == 400)
        #expect(!server.seal.status.isInitialized)
    }

    @Test func recoverySharesMayBeEncryptedToPGPKeys() async throws {
        let server = try InProcessServer(shares: 0, seals: Self.set([("k", FakeKMS())]))
        let key = PGPFixture.publicKey
        let answer = try await server.call(
            .update, "sys/init",
            #"{"recovery_shares":1,"recovery_threshold":1,"recovery_pgp_keys":["\#(key)"]}"#, token: "")
        #expect(answer.status == 200)
        #expect(answer.texts("recovery_keys")[0].count > 200)
    }

    // MARK: Starting

    @Test func aRestartUnsealsWithoutAPerson() async throws {
        let kms = FakeKMS()
        let first = try InProcessServer(seals: Self.set([("k", kms)]))
        _ = try await first.call(.update, "cubbyhole/a", #"{"v":"before"}"#)
        let second = try Self.restarted(first, Self.set([("k", kms)]))
        #expect(second.seal.status.isSealed)
        try second.seal.start()
        defer { second.seal.stop() }
        try await Self.wait("unsealing") { !second.seal.status.isSealed }
        let answer = try await second.call(.read, "cubbyhole/a", token: first.rootToken)
        #expect(answer.text("data/v") == "before")
    }

    @Test func anAbsentKMSKeepsTheServerSealedAndAnsweringUntilItIsBack() async throws {
        let kms = FakeKMS()
        let first = try InProcessServer(seals: Self.set([("k", kms)]))
        let second = try Self.restarted(first, Self.set([("k", kms)]))
        kms.fail(Self.away)
        try second.seal.start()
        defer { second.seal.stop() }
        try await Self.wait("a reason") { !second.seal.status.reason.isEmpty }
        let status = try await second.call(.read, "sys/seal-status", token: "")
        #expect(status["sealed"]?.bool == true)
        #expect(status.text("sealed_reason") == "seal k: the KMS is away")
        let health = try await second.call(.read, "sys/health", token: "")
        #expect(health.status == 503)
        #expect(health.text("sealed_reason") == "seal k: the KMS is away")
        let backends = try await second.call(.read, "sys/seal-backend-status", token: "")
        #expect(backends["healthy"]?.bool == false)
        kms.fail(nil)
        try await Self.wait("unsealing") { !second.seal.status.isSealed }
        #expect(second.seal.status.reason == "")
    }

    @Test func damageOfTheStoredCopyIsToldAndNothingIsOverwritten() async throws {
        let kms = FakeKMS()
        let first = try InProcessServer(seals: Self.set([("k", kms)]))
        first.core.seal()
        let before = try #require(first.seal.config?.record)
        let second = try Self.restarted(first, Self.set([("k", FakeKMS()), ("other", FakeKMS())]))
        var config = try #require(second.seal.config)
        let copy = try #require(config.automatic?.copies.first)
        var bytes = copy.wrapped.ciphertext
        bytes[3] ^= 1
        config.automatic?.copies = [
            SealConfig.SealKeyCopy(
                name: copy.name, type: copy.type,
                wrapped: WrappedKey(keyID: copy.wrapped.keyID, ciphertext: bytes))
        ]
        second.seal.adopt(config)
        #expect { try second.seal.unsealAutomatically() } throws: { error in
            (error as? VaultError)?.messages.first?.contains("does not open the root key") == true
        }
        try second.seal.reload()
        #expect(second.seal.config?.record == before)
        try second.seal.unsealAutomatically()
        #expect(!second.seal.status.isSealed)
    }

    @Test func anOperatorsSealHoldsUntilAQuorumComes() async throws {
        let server = try InProcessServer(seals: Self.set([("k", FakeKMS())]))
        try server.seal.start()
        defer { server.seal.stop() }
        #expect(try await server.call(.update, "sys/seal").status == 204)
        server.seal.wake()
        try await Task.sleep(for: .milliseconds(100))
        #expect(server.seal.status.isSealed)
        #expect(server.seal.status.reason.contains("operator"))
        try server.seal.enter(share: SecretBytes(copying: server.keys[0].utf8))
        try server.seal.enter(share: SecretBytes(copying: server.keys[2].utf8))
        #expect(!server.seal.status.isSealed)
    }

    @Test func wrongRecoverySharesOpenNothing() async throws {
        let server = try InProcessServer(seals: Self.set([("k", FakeKMS())]))
        let foreign = try InProcessServer()
        server.seal.seal()
        try server.seal.enter(share: SecretBytes(copying: server.keys[0].utf8))
        #expect(throws: VaultError.self) {
            try server.seal.enter(share: SecretBytes(copying: foreign.keys[1].utf8))
        }
        #expect(server.seal.status.isSealed)
        #expect(server.seal.status.progress == 0)
    }

    /// It is read before anything is authenticated.
    @Test func fuzzOfStoredSealConfigurations() throws {
        let server = try InProcessServer(seals: Self.set([("k", FakeKMS()), ("l", FakeKMS())]))
        let fuzz = Fuzz(
            "seal configurations", corpus: [try #require(server.seal.config?.record)],
            pieces: ["\"", "{", "}", "[", "]", ":", ",", "auto", "shamir", "copies", "null"].map {
                Array($0.utf8)
            }, inputs: 20_000)
        for input in fuzz {
            guard let config = try? SealConfig(record: input.bytes) else { continue }
            let again = try SealConfig(record: config.record)
            #expect(again.record == config.record, "\(input)")
        }
        #expect(fuzz.isWhole)
    }

    // MARK: Several seals, and rotation

    @Test func anyOfSeveralSealsUnseals() throws {
        let (a, b) = (FakeKMS(), FakeKMS())
        let first = try InProcessServer(seals: Self.set([("a", a), ("b", b)]))
        for lost in [a, b] {
            let server = try Self.restarted(first, Self.set([("a", a), ("b", b)]))
            lost.fail(Self.away)
            try server.seal.unsealAutomatically()
            #expect(!server.seal.status.isSealed)
            lost.fail(nil)
            server.core.seal()
        }
        let server = try Self.restarted(first, Self.set([("a", a), ("b", b)]))
        a.fail(Self.away)
        b.fail(.forbidden("not you"))
        #expect { try server.seal.unsealAutomatically() } throws: { error in
            (error as? VaultError)?.messages == ["seal a: the KMS is away; seal b: not you"]
        }
    }

    @Test func aRotatedKMSKeyWrapsAnew() async throws {
        let kms = FakeKMS()
        let server = try InProcessServer(seals: Self.set([("k", kms)]))
        kms.rotate()
        let done = try await server.call(.update, "sys/sealwrap/rewrap")
        #expect(done["data/fully_wrapped"]?.bool == true)
        #expect(server.seal.config?.automatic?.copies.map(\.wrapped.keyID) == ["v2"])
        kms.lose(version: 1)
        let second = try Self.restarted(server, Self.set([("k", kms)]))
        try second.seal.unsealAutomatically()
        #expect(!second.seal.status.isSealed)
    }

    @Test func aRunningServerSurvivesTheLossOfTheKeyVersion() throws {
        let kms = FakeKMS()
        let server = try InProcessServer(seals: Self.set([("k", kms)]))
        kms.rotate()
        kms.lose(version: 1)
        #expect(server.seal.checkSeals())
        let second = try Self.restarted(server, Self.set([("k", kms)]))
        try second.seal.unsealAutomatically()
        #expect(!second.seal.status.isSealed)
    }

    @Test func aSealThatIsAddedGetsItsCopyAndOneThatIsTakenAwayLosesIt() throws {
        let (a, b) = (FakeKMS(), FakeKMS())
        let first = try InProcessServer(seals: Self.set([("a", a)]))
        let second = try Self.restarted(first, Self.set([("a", a), ("b", b)]))
        try second.seal.unsealAutomatically()
        #expect(second.seal.checkSeals())
        #expect(second.seal.config?.automatic?.copies.map(\.name) == ["a", "b"])
        let third = try Self.restarted(second, Self.set([("b", b)]))
        try third.seal.unsealAutomatically()
        let old = try third.seal.wrappedRootKey()
        #expect(third.seal.checkSeals())
        #expect(third.seal.config?.automatic?.copies.map(\.name) == ["b"])
        #expect(try third.seal.wrappedRootKey() != old)
        let fourth = try Self.restarted(third, Self.set([("a", a)]))
        #expect { try fourth.seal.unsealAutomatically() } throws: { error in
            (error as? VaultError)?.messages.first?.contains("no configured seal") == true
        }
    }

    @Test func aFailedWriteLeavesTheOldCopyInForce() throws {
        let kms = FakeKMS()
        let backend = FailingBackend()
        let server = try InProcessServer(backend: backend, seals: Self.set([("k", kms)]))
        kms.rotate()
        backend.fail(after: 0)
        #expect(!server.seal.checkSeals())
        backend.recover()
        let second = try Self.restarted(server, Self.set([("k", kms)]))
        try second.seal.unsealAutomatically()
        #expect(!second.seal.status.isSealed)
    }

    @Test func theKeeperLooksAfterTheSeals() async throws {
        let kms = FakeKMS()
        let server = try InProcessServer(
            seals: Self.set([("k", kms)]), sealCheckInterval: .milliseconds(20))
        try server.seal.start()
        defer { server.seal.stop() }
        kms.rotate()
        try await Self.wait("wrapping anew") {
            server.clock.advance(.milliseconds(20))
            return server.seal.config?.automatic?.copies.first?.wrapped.keyID == "v2"
        }
        kms.fail(Self.away)
        try await Self.wait("the failure's notice") {
            server.clock.advance(.milliseconds(20))
            return !server.seal.seals.health[0].isHealthy
        }
        #expect(!server.seal.status.isSealed)
        kms.fail(nil)
        try await Self.wait("the recovery's notice") {
            server.clock.advance(.seconds(1))
            return server.seal.seals.health[0].isHealthy
        }
    }

    // MARK: Break glass

    @Test func breakGlassIsOffUnlessItIsAskedFor() throws {
        let kms = FakeKMS()
        let server = try InProcessServer(seals: Self.set([("k", kms)]))
        #expect(!server.seal.status.hasBreakGlass)
        let second = try Self.restarted(server, Self.set([("k", kms)]))
        kms.fail(Self.away)
        try second.seal.enter(share: SecretBytes(copying: server.keys[0].utf8))
        #expect { try second.seal.enter(share: SecretBytes(copying: server.keys[1].utf8)) } throws: { error in
            (error as? VaultError)?.status == 503
                && (error as? VaultError)?.messages.first?.contains("the KMS is away") == true
        }
        #expect(second.seal.status.isSealed)
    }

    @Test func withBreakGlassAQuorumUnsealsWithoutTheKMS() async throws {
        let kms = FakeKMS()
        let first = try InProcessServer(shares: 0, seals: Self.set([("k", kms)]))
        let keys = try await first.call(
            .update, "sys/init", #"{"recovery_shares":3,"recovery_threshold":2,"break_glass":true}"#,
            token: "")
        let shares = keys.texts("recovery_keys")
        let second = try Self.restarted(first, Self.set([("k", kms)]))
        kms.fail(Self.away)
        let status = try await second.call(.read, "sys/seal-status", token: "")
        #expect(status["recovery_break_glass"]?.bool == true)
        for share in shares.prefix(2) { try second.seal.enter(share: SecretBytes(copying: share.utf8)) }
        #expect(!second.seal.status.isSealed)
        let token = keys.text("root_token")
        #expect(try await second.call(.read, "auth/token/lookup-self", token: token).status == 200)
        // And away from the lost KMS, for good.
        let fresh = FakeKMS()
        let third = try Self.restarted(second, Self.set([("new", fresh)], disabled: [("k", kms)]))
        #expect(third.seal.status.isMigrating)
        for share in shares.suffix(2) {
            try third.seal.enter(share: SecretBytes(copying: share.utf8), migrate: true)
        }
        #expect(!third.seal.status.isSealed)
        let fourth = try Self.restarted(third, Self.set([("new", fresh)]))
        try fourth.seal.unsealAutomatically()
        #expect(!fourth.seal.status.isSealed)
    }
}
