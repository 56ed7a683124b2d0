import Base
import PluginKit
import TestKit
import Testing

@testable import Core

/// `sys/rekey/*`.
@Suite struct RekeyTests {
    private func start(
        _ server: InProcessServer, _ body: String = #"{"secret_shares":3,"secret_threshold":2}"#
    ) async throws -> String {
        let answer = try await server.call(.update, "sys/rekey/init", body)
        #expect(answer.status == 200)
        return answer.text("nonce")
    }

    private func enter(
        _ server: InProcessServer, _ key: String, _ nonce: String, _ path: String = "sys/rekey/update"
    ) async throws -> InProcessServer.Answer {
        try await server.call(.update, path, #"{"key":"\#(key)","nonce":"\#(nonce)"}"#)
    }

    private func unseal(_ server: InProcessServer, _ keys: ArraySlice<String>) {
        server.core.seal()
        for key in keys { try? server.seal.enter(share: SecretBytes(copying: key.utf8)) }
    }

    @Test func newSharesReplaceTheOldOnes() async throws {
        let server = try InProcessServer()
        let nonce = try await start(server, #"{"secret_shares":4,"secret_threshold":3}"#)
        #expect(try await enter(server, server.keys[0], nonce)["progress"]?.int == 1)
        let done = try await enter(server, server.keys[2], nonce)
        #expect(done["complete"]?.bool == true)
        let fresh = done.texts("keys")
        #expect(fresh.count == 4)
        unseal(server, server.keys[0...2])
        #expect(server.seal.status.isSealed)
        server.seal.resetProgress()
        unseal(server, fresh[1...3])
        #expect(!server.seal.status.isSealed)
        #expect(server.seal.status.threshold == 3)
        #expect(try await server.call(.read, "auth/token/lookup-self").status == 200)
    }

    @Test func whatWasWrittenBeforeIsReadableAfterRekeyingAndRotating() async throws {
        let server = try InProcessServer(shares: 1, threshold: 1)
        _ = try await server.call(.update, "cubbyhole/a", #"{"v":"before"}"#)
        _ = try await server.call(.update, "sys/rotate")
        let nonce = try await start(server, #"{"secret_shares":1,"secret_threshold":1}"#)
        let fresh = try await enter(server, server.keys[0], nonce).texts("keys_base64")
        _ = try await server.call(.update, "sys/rotate")
        let again = try InProcessServer(backend: server.backend, shares: 0)
        server.core.seal()
        try again.seal.enter(share: SecretBytes(copying: fresh[0].utf8))
        let answer = try await again.call(.read, "cubbyhole/a", token: server.rootToken)
        #expect(answer.text("data/v") == "before")
        #expect(try await again.call(.read, "sys/key-status", token: server.rootToken)["data/term"]?.int == 3)
    }

    @Test func aFailedCommitLeavesTheOldSharesInForce() async throws {
        let backend = FailingBackend()
        let server = try InProcessServer(backend: backend, shares: 1, threshold: 1)
        let nonce = try await start(server, #"{"secret_shares":1,"secret_threshold":1}"#)
        backend.fail(after: 0)
        #expect(try await enter(server, server.keys[0], nonce).status == 503)
        backend.recover()
        unseal(server, server.keys[...])
        #expect(!server.seal.status.isSealed)
    }

    @Test func rekeyingNeedsAToken() async throws {
        let server = try InProcessServer()
        let body = #"{"secret_shares":3,"secret_threshold":2}"#
        #expect(try await server.call(.update, "sys/rekey/init", body, token: "").status == 400)
        let limited = try await server.token(#"path "sys/rekey/init" { capabilities = ["update", "read"] }"#)
        #expect(try await server.call(.update, "sys/rekey/init", body, token: limited).status == 403)
        #expect(try await server.call(.read, "sys/rekey/init", token: limited)["started"]?.bool == false)
    }

    @Test func onlyTheNonceEndsAnOperation() async throws {
        let server = try InProcessServer()
        let nonce = try await start(server)
        #expect(try await server.call(.delete, "sys/rekey/init").status == 400)
        #expect(try await server.call(.delete, "sys/rekey/init", #"{"nonce":"other"}"#).status == 400)
        #expect(try await server.call(.read, "sys/rekey/init")["started"]?.bool == true)
        #expect(try await server.call(.delete, "sys/rekey/init", #"{"nonce":"\#(nonce)"}"#).status == 204)
        #expect(try await server.call(.read, "sys/rekey/init")["started"]?.bool == false)
        #expect(try await server.call(.delete, "sys/rekey/init").status == 204)
    }

    @Test func wrongSharesLoseTheProgressAndChangeNothing() async throws {
        let server = try InProcessServer()
        let nonce = try await start(server)
        #expect(try await enter(server, server.keys[0], "other").status == 400)
        #expect(try await enter(server, "zz", nonce).status == 400)
        #expect(try await enter(server, "00", nonce).status == 400)
        #expect(try await enter(server, server.keys[0], nonce).status == 200)
        #expect(try await enter(server, server.keys[0], nonce).status == 400)
        let foreign = try InProcessServer()
        #expect(try await enter(server, foreign.keys[1], nonce).status == 400)
        #expect(try await server.call(.read, "sys/rekey/init")["progress"]?.int == 0)
        unseal(server, server.keys[0...1])
        #expect(!server.seal.status.isSealed)
        withExtendedLifetime(foreign) {}
    }

    @Test func sealingDropsTheOperation() async throws {
        let server = try InProcessServer()
        _ = try await start(server)
        unseal(server, server.keys[0...1])
        #expect(try await server.call(.read, "sys/rekey/init")["started"]?.bool == false)
    }

    @Test(arguments: [
        #"{"secret_shares":256,"secret_threshold":2}"#, #"{"secret_shares":3,"secret_threshold":5}"#,
        #"{"secret_shares":5,"secret_threshold":1}"#, #"{"secret_shares":"x"}"#, "{}",
        #"{"secret_shares":2,"secret_threshold":2,"backup":true}"#,
        #"{"secret_shares":2,"secret_threshold":2,"pgp_keys":["junk"]}"#,
        #"{"secret_shares":2,"secret_threshold":2,"pgp_keys":["junk","junk"]}"#,
        #"{"secret_shares":2,"secret_threshold":2,"stored_shares":1}"#,
    ])
    func impossibleRequestsAreRefused(body: String) async throws {
        let server = try InProcessServer()
        #expect(try await server.call(.update, "sys/rekey/init", body).status == 400)
        #expect(try await server.call(.read, "sys/rekey/init")["started"]?.bool == false)
    }

    @Test func recoveryKeysDoNotExist() async throws {
        let server = try InProcessServer()
        for path in ["rekey-recovery-key/init", "rekey-recovery-key/verify", "rekey/recovery-key-backup"] {
            #expect(try await server.call(.read, "sys/\(path)").status == 400)
        }
    }

    // MARK: Verification

    @Test func newSharesTakeEffectOnlyWhenTheyHaveComeBack() async throws {
        let server = try InProcessServer()
        let nonce = try await start(
            server, #"{"secret_shares":3,"secret_threshold":2,"require_verification":true}"#)
        #expect(try await server.call(.read, "sys/rekey/verify").status == 400)
        _ = try await enter(server, server.keys[0], nonce)
        let made = try await enter(server, server.keys[1], nonce)
        #expect(made["verification_required"]?.bool == true)
        let fresh = made.texts("keys")
        let proof = made.text("verification_nonce")
        #expect(try await enter(server, server.keys[1], nonce).status == 400)
        #expect(try await server.call(.read, "sys/rekey/init").text("verification_nonce") == proof)
        #expect(try await enter(server, fresh[0], nonce, "sys/rekey/verify").status == 400)
        #expect(try await enter(server, fresh[0], proof, "sys/rekey/verify")["progress"]?.int == 1)
        #expect(try await server.call(.read, "sys/rekey/verify")["progress"]?.int == 1)
        #expect(try await enter(server, fresh[2], proof, "sys/rekey/verify")["complete"]?.bool == true)
        unseal(server, fresh[1...2])
        #expect(!server.seal.status.isSealed)
    }

    @Test func oldSharesStayInForceUntilTheNewAreProved() async throws {
        let server = try InProcessServer()
        let nonce = try await start(
            server, #"{"secret_shares":3,"secret_threshold":2,"require_verification":true}"#)
        _ = try await enter(server, server.keys[0], nonce)
        let proof = try await enter(server, server.keys[1], nonce).text("verification_nonce")
        // Two shares of the old set are not the new key.
        _ = try await enter(server, server.keys[0], proof, "sys/rekey/verify")
        #expect(try await enter(server, server.keys[1], proof, "sys/rekey/verify").status == 400)
        let restarted = try await server.call(.delete, "sys/rekey/verify", #"{"nonce":"\#(proof)"}"#)
        #expect(restarted.text("nonce") != proof)
        #expect(restarted["progress"]?.int == 0)
        unseal(server, server.keys[0...1])
        #expect(!server.seal.status.isSealed)
    }

    @Test func theBackupIsReadAndDeleted() async throws {
        let server = try InProcessServer(shares: 1, threshold: 1)
        let key = PGPFixture.publicKey
        let nonce = try await start(
            server,
            #"{"secret_shares":2,"secret_threshold":2,"backup":true,"pgp_keys":["\#(key)","\#(key)"]}"#)
        let done = try await enter(server, server.keys[0], nonce)
        let fingerprint = try #require(done.texts("pgp_fingerprints").first)
        let backup = try await server.call(.read, "sys/rekey/backup")
        #expect(backup.text("data/nonce") == nonce)
        #expect(backup.texts("data/keys/\(fingerprint)") == done.texts("keys"))
        #expect(backup.texts("data/keys_base64/\(fingerprint)") == done.texts("keys_base64"))
        #expect(try await server.call(.delete, "sys/rekey/backup").status == 204)
        #expect(try await server.call(.read, "sys/rekey/backup").status == 400)
    }
}
