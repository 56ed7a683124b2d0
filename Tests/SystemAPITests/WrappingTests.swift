import Base
import Core
import PluginKit
import TestKit
import Testing

/// Response wrapping over a whole core: what is wrapped, what a wrapping token is good for, and how often.
@Suite struct WrappingTests {
    private let invalid = ["wrapping token is not valid or does not exist"]

    private func server() async throws -> LeaseServer {
        let server = try LeaseServer()
        _ = try await server.must(.update, "sys/mounts/kv", #"{"type":"kv"}"#)
        _ = try await server.must(.update, "kv/a", #"{"v":"public \"quoted\""}"#)
        return server
    }

    private func wrapped(
        _ server: LeaseServer, _ path: String = "kv/a", ttl: Duration = .seconds(60), token: String = "root"
    ) async throws -> String {
        let answer = try await server.must(.read, path, token: token, wrap: ttl)
        return try #require(answer["wrap_info/token"])
    }

    private func body(_ token: String) -> String { "{\"token\":\"\(token)\"}" }

    @Test func anAnswerIsPutAwayWhole() async throws {
        let server = try await server()
        let plain = try await server.must(.read, "kv/a")
        let answer = try await server.must(.read, "kv/a", wrap: .seconds(60))
        #expect(answer["data"] == "null" && answer["request_id"] == "" && answer["lease_duration"] == "0")
        #expect(answer["wrap_info/ttl"] == "60" && answer["wrap_info/creation_path"] == "kv/a")
        #expect(answer["wrap_info/wrapped_accessor"] == nil)
        let token = try #require(answer["wrap_info/token"])
        let opened = try await server.must(.update, "sys/wrapping/unwrap", "{}", token: token)
        for member in ["data", "lease_duration", "renewable", "auth", "mount_type", "wrap_info"] {
            #expect(opened[member] == plain[member], "\(member)")
        }
        #expect(opened["request_id"]?.count == 36)
    }

    @Test func aTokenOpensOnceHoweverItIsNamed() async throws {
        let server = try await server()
        let own = try await wrapped(server)
        #expect(await server.call(.update, "sys/wrapping/unwrap", token: own).status == 200)
        #expect(await server.call(.update, "sys/wrapping/unwrap", token: own).errors == invalid)
        let named = try await wrapped(server)
        #expect(await server.call(.update, "sys/wrapping/unwrap", body(named)).status == 200)
        #expect(await server.call(.update, "sys/wrapping/unwrap", body(named)).errors == invalid)
        let both = try await wrapped(server)
        #expect(await server.call(.update, "sys/wrapping/unwrap", body(both), token: both).status == 200)
        #expect(await server.call(.update, "sys/wrapping/unwrap", body(both), token: both).errors == invalid)
        // Nothing of the tokens is left.
        #expect(try server.keys("sys/token/accessor/").count == 1)
        #expect(try server.keys("sys/expire/").isEmpty)
    }

    @Test func ofManyWhoOpenAtOnceOneSucceeds() async throws {
        let server = try await server()
        for isOwn in [true, false] {
            let token = try await wrapped(server)
            let sent = isOwn ? "{}" : body(token)
            let results = await withTaskGroup(of: Int.self) { group in
                for _ in 0..<16 {
                    group.addTask {
                        await server.call(
                            .update, "sys/wrapping/unwrap", sent, token: isOwn ? token : "root"
                        ).status
                    }
                }
                var all: [Int] = []
                for await status in group { all.append(status) }
                return all
            }
            #expect(results.count { $0 == 200 } == 1 && results.count { $0 == 400 } == 15)
        }
    }

    @Test func aWrappingTokenIsGoodForNothingElse() async throws {
        let server = try await server()
        let uses: [(PluginKit.Operation, String)] = [
            (.read, "kv/a"), (.read, "sys/mounts"), (.update, "auth/token/renew-self"),
            (.update, "auth/token/create"), (.read, "auth/token/lookup-self"), (.list, "cubbyhole/"),
            (.update, "sys/wrapping/rewrap"), (.update, "sys/wrapping/wrap"),
        ]
        for (operation, path) in uses {
            let token = try await wrapped(server)
            #expect(await server.call(operation, path, "{}", token: token).status == 403, "\(path)")
            // The attempt was its one use.
            #expect(await server.call(.update, "sys/wrapping/unwrap", token: token).errors == invalid)
        }
        let token = try await wrapped(server)
        #expect(await server.call(.update, "auth/token/renew", body(token)).status == 400)
    }

    @Test func anOrdinaryTokenIsNoWrappingToken() async throws {
        let server = try await server()
        let token = try await server.token()
        for path in ["unwrap", "lookup", "rewrap"] {
            #expect(await server.call(.update, "sys/wrapping/\(path)", body(token)).errors == invalid)
            #expect(await server.call(.update, "sys/wrapping/\(path)", body("nope")).errors == invalid)
            #expect(await server.call(.update, "sys/wrapping/\(path)", "{}").errors == invalid)
        }
        #expect(await server.call(.read, "auth/token/lookup-self", token: token).status == 200)
        #expect(
            await server.call(.update, "auth/token/create", #"{"policies":["response-wrapping"]}"#).status
                == 400
        )
    }

    @Test func lookingDoesNotUseUp() async throws {
        let server = try await server()
        let token = try await wrapped(server, ttl: .seconds(90))
        for _ in 0..<3 {
            for (sent, caller) in [(body(token), nil), ("{}", token), (body(token), "root")] {
                let seen = try await server.must(.update, "sys/wrapping/lookup", sent, token: caller)
                #expect(seen["data/creation_path"] == "kv/a" && seen["data/creation_ttl"] == "90")
            }
        }
        #expect(
            try await server.must(.read, "sys/wrapping/lookup", token: token)["data/creation_ttl"] == "90")
        #expect(await server.call(.update, "sys/wrapping/unwrap", token: token).status == 200)
    }

    @Test func rewrappingEndsTheOldTokenAndKeepsItsOrigin() async throws {
        let server = try await server()
        let old = try await wrapped(server)
        let answer = try await server.must(.update, "sys/wrapping/rewrap", body(old))
        #expect(answer["wrap_info/creation_path"] == "kv/a" && answer["wrap_info/ttl"] == "60")
        let new = try #require(answer["wrap_info/token"])
        #expect(await server.call(.update, "sys/wrapping/unwrap", body(old)).errors == invalid)
        let opened = try await server.must(.update, "sys/wrapping/unwrap", token: new)
        #expect(opened["data/v"] == #"public "quoted""#)
        let shorter = try await server.must(
            .update, "sys/wrapping/rewrap", body(try await wrapped(server)), wrap: .seconds(5))
        #expect(shorter["wrap_info/ttl"] == "5")
    }

    @Test func aTokenThatIsWrappedTellsItsAccessor() async throws {
        let server = try await server()
        let answer = try await server.must(
            .update, "auth/token/create", #"{"policies":["default"]}"#, wrap: .seconds(60))
        let accessor = try #require(answer["wrap_info/wrapped_accessor"])
        #expect(answer["auth"] == "null")
        let token = try #require(answer["wrap_info/token"])
        let again = try await server.must(.update, "sys/wrapping/rewrap", body(token))
        #expect(again["wrap_info/wrapped_accessor"] == accessor)
        let opened = try await server.must(
            .update, "sys/wrapping/unwrap", body(try #require(again["wrap_info/token"])))
        #expect(opened["auth/accessor"] == accessor)
        let inner = try #require(opened["auth/client_token"])
        #expect(await server.call(.read, "auth/token/lookup-self", token: inner).status == 200)
    }

    @Test func aLeasedSecretIsWrappedWithItsLease() async throws {
        let server = try await server()
        _ = try await server.must(.update, "sys/mounts/db", #"{"type":"leasing"}"#)
        for path in ["db/creds/app", "db/slow/app"] {
            let answer = try await server.must(.read, path, query: ["ttl": "60"], wrap: .seconds(30))
            #expect(answer["lease_id"] == "" && answer["data"] == "null")
            let opened = try await server.must(
                .update, "sys/wrapping/unwrap", body(try #require(answer["wrap_info/token"])))
            let id = try #require(opened["lease_id"])
            #expect(opened["lease_duration"] == "60" && opened["renewable"] == "true")
            #expect(await server.call(.update, "sys/leases/renew", "{\"lease_id\":\"\(id)\"}").status == 200)
        }
    }

    @Test func errorsAndEmptyAnswersAreNotWrapped() async throws {
        let server = try await server()
        let before = try server.keys("sys/token/accessor/").count
        #expect(await server.call(.read, "kv/none", wrap: .seconds(60)).status == 404)
        #expect(await server.call(.update, "kv/b", #"{"v":1}"#, wrap: .seconds(60)).status == 204)
        #expect(await server.call(.read, "sys/health", wrap: .seconds(60))["wrap_info"] == nil)
        #expect(await server.call(.read, "kv/a", token: "nobody", wrap: .seconds(60)).status == 403)
        #expect(try server.keys("sys/token/accessor/").count == before)
    }

    @Test func policiesBoundTheTTL() async throws {
        let server = try await server()
        try await server.policy(
            "bounded",
            #"path "kv/a" { capabilities = ["read"] min_wrapping_ttl = "10s" max_wrapping_ttl = "100s" }"#)
        let token = try await server.token(#"{"policies":["bounded"]}"#)
        #expect(await server.call(.read, "kv/a", token: token).status == 403)
        #expect(await server.call(.read, "kv/a", token: token, wrap: .seconds(5)).status == 403)
        #expect(await server.call(.read, "kv/a", token: token, wrap: .seconds(200)).status == 403)
        #expect(await server.call(.read, "kv/a", token: token, wrap: .seconds(100)).status == 200)
    }

    @Test func whatIsNotOpenedInTimeIsGone() async throws {
        let server = try await server()
        let token = try await wrapped(server, ttl: .seconds(30))
        server.clock.advance(.seconds(31))
        #expect(await server.call(.update, "sys/wrapping/unwrap", token: token).errors == invalid)
        try await server.eventually("nothing of it is left") {
            try server.keys("sys/token/accessor/").count == 1 && server.keys("sys/expire/").isEmpty
        }
    }

    @Test func theOldestClientsReadTheCubbyhole() async throws {
        let server = try await server()
        let token = try await wrapped(server)
        let answer = try await server.must(.read, "cubbyhole/response", token: token)
        let text = try #require(answer["data/response"])
        let inner = try RawJSON(validating: Array(text.utf8))
        #expect(inner["data"]?["v"]?.string == #"public "quoted""#)
        #expect(await server.call(.update, "sys/wrapping/unwrap", token: token).errors == invalid)
    }

    @Test func wrappingOnesOwnData() async throws {
        let server = try await server()
        #expect(await server.call(.update, "sys/wrapping/wrap", #"{"a":1}"#).status == 400)
        let answer = try await server.must(
            .update, "sys/wrapping/wrap", #"{"a":1,"n":{"b":[null]}}"#, wrap: .seconds(60))
        let opened = try await server.must(
            .update, "sys/wrapping/unwrap", body(try #require(answer["wrap_info/token"])))
        #expect(opened["data"] == #"{"a":1,"n":{"b":[null]}}"#)
    }

    @Test func aBadTokenFieldIsRefused() async throws {
        let server = try await server()
        for sent in [#"{"token":5}"#, #"{"token":[]}"#, #"{"token":{}}"#, #"{"token":true}"#] {
            for path in ["unwrap", "lookup", "rewrap"] {
                #expect(await server.call(.update, "sys/wrapping/\(path)", sent).status == 400)
            }
        }
    }
}
