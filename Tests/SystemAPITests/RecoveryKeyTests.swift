import Barrier
import Base
import PluginKit
import TestKit
import Testing

@testable import Core

/// Recovery keys: root tokens, and new keys of both kinds.
@Suite struct RecoveryKeyTests {
    private func enter(
        _ server: InProcessServer, _ key: String, _ nonce: String, _ path: String
    ) async throws -> InProcessServer.Answer {
        try await server.call(.update, path, #"{"key":"\#(key)","nonce":"\#(nonce)"}"#)
    }

    @Test func aQuorumMakesARootToken() async throws {
        let server = try InProcessServer(seals: AutoUnsealTests.set([("k", FakeKMS())]))
        let started = try await server.call(.update, "sys/generate-root/attempt", token: "")
        #expect(started["required"]?.int == 2)
        let nonce = started.text("nonce")
        let path = "sys/generate-root/update"
        #expect(try await enter(server, server.keys[0], nonce, path)["progress"]?.int == 1)
        let foreign = try InProcessServer()
        #expect(try await enter(server, foreign.keys[1], nonce, path).status == 400)
        _ = try await enter(server, server.keys[0], nonce, path)
        let done = try await enter(server, server.keys[1], nonce, path)
        #expect(done["complete"]?.bool == true)
        let pad = Array(started.text("otp").utf8)
        let covered = try #require(Base64.standardUnpadded.decode(done.text("encoded_token")))
        let token = String(decoding: zip(covered, pad).map { $0 ^ $1 }, as: UTF8.self)
        #expect(try await server.call(.read, "auth/token/lookup-self", token: token).status == 200)
    }

    @Test(arguments: [false, true])
    func newRecoveryKeysReplaceTheOldOnes(isVerified: Bool) async throws {
        let kms = FakeKMS()
        let server = try InProcessServer(seals: AutoUnsealTests.set([("k", kms)]))
        let base = "sys/rekey-recovery-key"
        let started = try await server.call(
            .update, "\(base)/init",
            #"{"secret_shares":4,"secret_threshold":3,"require_verification":\#(isVerified)}"#)
        #expect(started["required"]?.int == 2)
        let nonce = started.text("nonce")
        _ = try await enter(server, server.keys[0], nonce, "\(base)/update")
        let done = try await enter(server, server.keys[2], nonce, "\(base)/update")
        #expect(done["complete"]?.bool == true)
        let fresh = done.texts("keys")
        #expect(fresh.count == 4)
        if isVerified {
            #expect(server.seal.status.shares == 3)
            let proof = done.text("verification_nonce")
            for key in fresh.prefix(2) { _ = try await enter(server, key, proof, "\(base)/verify") }
            #expect(try await enter(server, fresh[3], proof, "\(base)/verify")["complete"]?.bool == true)
        }
        #expect(server.seal.status.shares == 4)
        server.seal.seal()
        for key in server.keys { try? server.seal.enter(share: SecretBytes(copying: key.utf8)) }
        #expect(server.seal.status.isSealed)
        server.seal.resetProgress()
        for key in fresh.prefix(3) { try server.seal.enter(share: SecretBytes(copying: key.utf8)) }
        #expect(!server.seal.status.isSealed)
    }

    @Test func theBackupOfRecoveryKeysHasItsOwnPlace() async throws {
        let server = try InProcessServer(seals: AutoUnsealTests.set([("k", FakeKMS())]))
        let key = PGPFixture.publicKey
        let started = try await server.call(
            .update, "sys/rekey-recovery-key/init",
            #"{"secret_shares":1,"secret_threshold":1,"backup":true,"pgp_keys":["\#(key)"]}"#)
        for share in server.keys.prefix(2) {
            _ = try await enter(server, share, started.text("nonce"), "sys/rekey-recovery-key/update")
        }
        #expect(try await server.call(.read, "sys/rekey/recovery-key-backup").status == 200)
        #expect(try await server.call(.read, "sys/rekey/backup").status == 400)
        #expect(try await server.call(.delete, "sys/rekey/recovery-key-backup").status == 204)
        #expect(try await server.call(.read, "sys/rekey/recovery-key-backup").status == 400)
    }

    @Test func rekeyingTheBarrierGivesNoSharesAndANewRootKey() async throws {
        let kms = FakeKMS()
        let server = try InProcessServer(seals: AutoUnsealTests.set([("k", kms)]))
        _ = try await server.call(.update, "cubbyhole/a", #"{"v":"before"}"#)
        let old = try #require(try server.core.active?.barrier.rootKey())
        let started = try await server.call(
            .update, "sys/rekey/init", #"{"secret_shares":5,"secret_threshold":3}"#)
        #expect(started["n"]?.int == 1)
        let nonce = started.text("nonce")
        _ = try await enter(server, server.keys[0], nonce, "sys/rekey/update")
        let done = try await enter(server, server.keys[1], nonce, "sys/rekey/update")
        #expect(done["complete"]?.bool == true)
        #expect(done.texts("keys") == [])
        #expect(try server.core.active?.barrier.isRootKey(old) == false)
        let second = try AutoUnsealTests.restarted(server, AutoUnsealTests.set([("k", kms)]))
        try second.seal.unsealAutomatically()
        #expect(
            try await second.call(.read, "cubbyhole/a", token: server.rootToken).text("data/v") == "before")
        #expect(second.seal.status.shares == 3)
    }

    @Test(arguments: [
        #"{"pgp_keys":["x"]}"#, #"{"require_verification":true}"#, #"{"backup":true}"#,
        #"{"stored_shares":2}"#,
    ])
    func theBarriersKeyHasNoShares(body: String) async throws {
        let server = try InProcessServer(seals: AutoUnsealTests.set([("k", FakeKMS())]))
        #expect(try await server.call(.update, "sys/rekey/init", body).status == 400)
    }

    @Test func rekeyingKeepsBreakGlassInStep() async throws {
        let kms = FakeKMS()
        let first = try InProcessServer(seals: AutoUnsealTests.set([("k", kms)]))
        let started = try await first.call(
            .update, "sys/rekey-recovery-key/init",
            #"{"secret_shares":1,"secret_threshold":1,"break_glass":true}"#)
        _ = try await enter(first, first.keys[0], started.text("nonce"), "sys/rekey-recovery-key/update")
        let made = try await enter(
            first, first.keys[1], started.text("nonce"), "sys/rekey-recovery-key/update")
        let key = try #require(made.texts("keys").first)
        // A new root key must be under the same recovery key.
        let again = try await first.call(.update, "sys/rekey/init")
        #expect(
            try await enter(first, key, again.text("nonce"), "sys/rekey/update")["complete"]?.bool == true)
        let second = try AutoUnsealTests.restarted(first, AutoUnsealTests.set([("k", kms)]))
        kms.fail(.unavailable("gone", retryAfterSeconds: 0))
        try second.seal.enter(share: SecretBytes(copying: key.utf8))
        #expect(!second.seal.status.isSealed)
    }
}

/// From one seal to another.
@Suite struct SealMigrationTests {
    private func enter(_ server: InProcessServer, _ keys: ArraySlice<String>) throws {
        for key in keys { try server.seal.enter(share: SecretBytes(copying: key.utf8), migrate: true) }
    }

    @Test func fromSharesToAKMSAndBack() async throws {
        let kms = FakeKMS()
        let first = try InProcessServer()
        _ = try await first.call(.update, "cubbyhole/a", #"{"v":"before"}"#)
        let old = try #require(try first.core.active?.barrier.rootKey())

        let second = try AutoUnsealTests.restarted(first, AutoUnsealTests.set([("k", kms)]))
        #expect(second.seal.status.isMigrating)
        #expect(throws: VaultError.self) {
            try second.seal.enter(share: SecretBytes(copying: first.keys[0].utf8))
        }
        try enter(second, first.keys[0...1])
        #expect(!second.seal.status.isSealed)
        #expect(second.seal.status.isAutomatic)
        #expect(try second.core.active?.barrier.isRootKey(old) == false)

        let third = try AutoUnsealTests.restarted(second, AutoUnsealTests.set([("k", kms)]))
        try third.seal.unsealAutomatically()
        #expect(try await third.call(.read, "cubbyhole/a", token: first.rootToken).text("data/v") == "before")

        let fourth = try AutoUnsealTests.restarted(third, AutoUnsealTests.set([], disabled: [("k", kms)]))
        #expect(fourth.seal.status.isMigrating)
        try enter(fourth, first.keys[1...2])
        #expect(!fourth.seal.status.isSealed)
        #expect(fourth.seal.status.type == "shamir")

        let fifth = try AutoUnsealTests.restarted(fourth, AutoUnsealTests.set([]))
        for key in first.keys.prefix(2) { try fifth.seal.enter(share: SecretBytes(copying: key.utf8)) }
        #expect(try await fifth.call(.read, "cubbyhole/a", token: first.rootToken).text("data/v") == "before")
    }

    @Test func fromOneKMSToAnother() throws {
        let (a, b) = (FakeKMS(), FakeKMS())
        let first = try InProcessServer(seals: AutoUnsealTests.set([("a", a)]))
        let second = try AutoUnsealTests.restarted(
            first, AutoUnsealTests.set([("b", b)], disabled: [("a", a)]))
        b.fail(.unavailable("away", retryAfterSeconds: 0))
        #expect(throws: VaultError.self) { try enter(second, first.keys[0...1]) }
        #expect(second.seal.status.isSealed)
        b.fail(nil)
        try enter(second, first.keys[0...1])
        #expect(!second.seal.status.isSealed)
        let third = try AutoUnsealTests.restarted(second, AutoUnsealTests.set([("b", b)]))
        try third.seal.unsealAutomatically()
        #expect(!third.seal.status.isSealed)
        #expect(a.calls > 0)
    }

    @Test func anOldSealThatIsAwayChangesNothing() throws {
        let (a, b) = (FakeKMS(), FakeKMS())
        let first = try InProcessServer(seals: AutoUnsealTests.set([("a", a)]))
        a.fail(.unavailable("away", retryAfterSeconds: 0))
        let second = try AutoUnsealTests.restarted(
            first, AutoUnsealTests.set([("b", b)], disabled: [("a", a)]))
        let record = try #require(second.seal.config?.record)
        #expect(throws: VaultError.self) { try enter(second, first.keys[0...1]) }
        #expect(second.seal.status.isSealed)
        try second.seal.reload()
        #expect(second.seal.config?.record == record)
    }

    @Test func wrongSharesMigrateNothing() throws {
        let (a, b) = (FakeKMS(), FakeKMS())
        let foreign = try InProcessServer()
        let first = try InProcessServer(seals: AutoUnsealTests.set([("a", a)]))
        let second = try AutoUnsealTests.restarted(
            first, AutoUnsealTests.set([("b", b)], disabled: [("a", a)]))
        #expect(throws: VaultError.self) { try enter(second, foreign.keys[0...1]) }
        #expect(second.seal.status.isSealed)
        #expect(second.seal.config?.automatic?.copies.map(\.name) == ["a"])
    }

    @Test func migrationThatNobodyConfiguredIsRefused() throws {
        let kms = FakeKMS()
        let first = try InProcessServer(seals: AutoUnsealTests.set([("a", kms)]))
        let second = try AutoUnsealTests.restarted(first, AutoUnsealTests.set([("a", kms)]))
        #expect(throws: VaultError.self) { try enter(second, first.keys[0...1]) }
        // A configuration without the seal says what is missing.
        let third = try AutoUnsealTests.restarted(second, AutoUnsealTests.set([("b", FakeKMS())]))
        #expect { try enter(third, first.keys[0...1]) } throws: { error in
            (error as? VaultError)?.messages.first?.contains("fake named 'a'") == true
        }
    }
}
