import Base
import PluginKit
import TestKit
import Testing

@testable import Core

/// `sys/generate-root/*`. Everything here comes without a token.
@Suite struct GenerateRootTests {
    private let attempt = "sys/generate-root/attempt"

    private func enter(_ server: InProcessServer, _ key: String, _ nonce: String) async throws
        -> InProcessServer.Answer
    {
        try await server.call(
            .update, "sys/generate-root/update", #"{"key":"\#(key)","nonce":"\#(nonce)"}"#, token: "")
    }

    /// The token under its pad.
    private func uncover(_ encoded: String, _ pad: String) throws -> String {
        let bytes = try #require(Base64.standardUnpadded.decode(encoded))
        #expect(bytes.count == pad.utf8.count)
        return String(decoding: zip(bytes, pad.utf8).map { $0 ^ $1 }, as: UTF8.self)
    }

    @Test func enoughSharesMakeARootTokenUnderThePad() async throws {
        let server = try InProcessServer()
        let started = try await server.call(.update, attempt, "{}", token: "")
        let (nonce, pad) = (started.text("nonce"), started.text("otp"))
        #expect(started["otp_length"]?.int == pad.utf8.count)
        #expect(try await enter(server, server.keys[1], nonce)["progress"]?.int == 1)
        let done = try await enter(server, server.keys[2], nonce)
        #expect(done["complete"]?.bool == true)
        #expect(done.text("encoded_token") == done.text("encoded_root_token"))
        let token = try uncover(done.text("encoded_token"), pad)
        let lookup = try await server.call(.read, "auth/token/lookup-self", token: token)
        #expect(lookup.texts("data/policies") == ["root"])
        #expect(lookup.text("data/path") == "auth/token/root")
        #expect(try await server.call(.read, attempt, token: "")["started"]?.bool == false)
    }

    @Test func aPadIsAsLongAsAToken() throws {
        let server = try InProcessServer()
        #expect(server.rootToken.utf8.count == RootGeneration.otpBytes)
    }

    @Test func thePadIsShownOnceAndNeverWhenItWasGiven() async throws {
        let server = try InProcessServer()
        let started = try await server.call(.update, attempt, "{}", token: "")
        #expect(!started.text("otp").isEmpty)
        #expect(try await server.call(.read, attempt, token: "").text("otp").isEmpty)
        let cancel = #"{"nonce":"\#(started.text("nonce"))"}"#
        #expect(try await server.call(.delete, attempt, cancel, token: "").status == 204)
        let pad = String(repeating: "a", count: RootGeneration.otpBytes)
        let given = try await server.call(.update, attempt, #"{"otp":"\#(pad)"}"#, token: "")
        #expect(given.status == 200)
        #expect(given.text("otp").isEmpty)
        let nonce = given.text("nonce")
        _ = try await enter(server, server.keys[0], nonce)
        let token = try uncover(try await enter(server, server.keys[1], nonce).text("encoded_token"), pad)
        #expect(token.hasPrefix("hvs."))
    }

    @Test func onlyTheNonceEndsAnAttempt() async throws {
        let server = try InProcessServer()
        let nonce = try await server.call(.update, attempt, "{}", token: "").text("nonce")
        #expect(try await server.call(.delete, attempt, token: "").status == 400)
        #expect(try await server.call(.delete, attempt, #"{"nonce":"x"}"#, token: "").status == 400)
        #expect(try await server.call(.update, attempt, "{}", token: "").status == 400)
        #expect(try await enter(server, server.keys[0], "x").status == 400)
        #expect(try await server.call(.read, attempt, token: "").text("nonce") == nonce)
    }

    @Test func sharesOfAnotherServerMakeNoToken() async throws {
        let server = try InProcessServer(shares: 1, threshold: 1)
        let other = try InProcessServer(shares: 1, threshold: 1)
        let nonce = try await server.call(.update, attempt, "{}", token: "").text("nonce")
        let refused = try await enter(server, other.keys[0], nonce)
        #expect(refused.status == 400)
        #expect(refused.text("encoded_token").isEmpty)
        #expect(try await server.call(.list, "auth/token/accessors").texts("data/keys").count == 1)
        withExtendedLifetime(other) {}
    }

    @Test(arguments: [
        #"{"otp":"short"}"#, #"{"otp":5}"#, #"{"pgp_key":"junk"}"#,
        #"{"otp":"\#(String(repeating: "A", count: 100_000))"}"#,
        #"{"otp":"\#(String(repeating: "A", count: RootGeneration.otpBytes))","pgp_key":"x"}"#,
    ])
    func badCoversAreRefused(body: String) async throws {
        let server = try InProcessServer()
        #expect(try await server.call(.update, attempt, body, token: "").status == 400)
        #expect(try await server.call(.read, attempt, token: "")["started"]?.bool == false)
    }

    @Test func aPGPKeyTakesThePlaceOfThePad() async throws {
        let server = try InProcessServer(shares: 1, threshold: 1)
        let body = #"{"pgp_key":"\#(PGPFixture.publicKey)"}"#
        let started = try await server.call(.update, attempt, body, token: "")
        #expect(!started.text("pgp_fingerprint").isEmpty)
        #expect(started.text("otp").isEmpty)
        let done = try await enter(server, server.keys[0], started.text("nonce"))
        #expect(done["complete"]?.bool == true)
        #expect(Base64.standard.decode(done.text("encoded_token")) != nil)
        #expect(try await server.call(.list, "auth/token/accessors").texts("data/keys").count == 2)
    }

    @Test func aSealedServerMakesNone() async throws {
        let server = try InProcessServer()
        server.core.seal()
        #expect(try await server.call(.update, attempt, "{}", token: "").status == 503)
    }
}
