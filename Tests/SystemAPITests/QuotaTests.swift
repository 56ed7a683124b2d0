import Base
import Core
import PluginKit
import TestKit
import Testing

/// Rate limits, which the API front asks before it looks at a request's body.
@Suite struct QuotaTests {
    private func limit(_ server: InProcessServer, _ name: String, _ body: String) async throws -> Int {
        try await server.call(.update, "sys/quotas/rate-limit/\(name)", body).status
    }

    /// How many of so many requests at once are let in.
    private func admitted(
        _ server: InProcessServer, of count: Int, _ path: String = "sys/mounts", client: String = "10.0.0.1"
    ) -> Int {
        (0..<count).count { _ in
            server.core.rateLimiter.judge(path: path, client: client)?.isAllowed ?? true
        }
    }

    @Test func withoutAQuotaNothingIsCounted() throws {
        let server = try InProcessServer()
        #expect(server.core.rateLimiter.judge(path: "sys/mounts", client: "10.0.0.1") == nil)
    }

    @Test func eachAddressHasItsOwnCountThatFillsEvenly() async throws {
        let server = try InProcessServer()
        #expect(try await limit(server, "all", #"{"rate":10,"interval":"10s"}"#) == 204)
        #expect(admitted(server, of: 20) == 10)
        #expect(admitted(server, of: 20, client: "10.0.0.2") == 10)
        server.clock.advance(.seconds(3))
        #expect(admitted(server, of: 20) == 3)
        server.clock.advance(.seconds(3_600))
        #expect(admitted(server, of: 20) == 10)
    }

    @Test func aRefusedAddressStaysOutForTheBlockInterval() async throws {
        let server = try InProcessServer()
        #expect(try await limit(server, "all", #"{"rate":1,"interval":"1s","block_interval":"60s"}"#) == 204)
        #expect(admitted(server, of: 2) == 1)
        server.clock.advance(.seconds(30))
        let verdict = try #require(server.core.rateLimiter.judge(path: "sys/mounts", client: "10.0.0.1"))
        #expect(!verdict.isAllowed)
        #expect(verdict.retryAfterSeconds == 30)
        server.clock.advance(.seconds(31))
        #expect(admitted(server, of: 2) == 1)
    }

    @Test func theMostParticularQuotaHolds() async throws {
        let server = try InProcessServer()
        _ = try await server.call(.update, "sys/mounts/kv", #"{"type":"kv"}"#)
        #expect(try await limit(server, "all", #"{"rate":5}"#) == 204)
        #expect(try await limit(server, "mount", #"{"rate":3,"path":"kv"}"#) == 204)
        #expect(try await limit(server, "below", #"{"rate":2,"path":"kv/a*"}"#) == 204)
        #expect(admitted(server, of: 10) == 5)
        #expect(admitted(server, of: 10, "kv/b") == 3)
        #expect(admitted(server, of: 10, "kv/abc") == 2)
        #expect(admitted(server, of: 10, "sys/health") == 10)
    }

    @Test func aChangeOfAnotherQuotaKeepsTheCounts() async throws {
        let server = try InProcessServer()
        #expect(try await limit(server, "all", #"{"rate":2,"interval":"1h"}"#) == 204)
        #expect(admitted(server, of: 2) == 2)
        #expect(try await limit(server, "sys", #"{"rate":100,"path":"cubbyhole/"}"#) == 204)
        #expect(admitted(server, of: 2) == 0)
        #expect(try await server.call(.delete, "sys/quotas/rate-limit/all").status == 204)
        #expect(admitted(server, of: 2) == 2)
    }

    @Test func manyAddressesCostBoundedMemoryAndLetNobodyRound() async throws {
        let server = try InProcessServer()
        #expect(try await limit(server, "all", #"{"rate":1,"interval":"1h"}"#) == 204)
        for number in 0..<65_536 { #expect(admitted(server, of: 1, client: "a\(number)") == 1) }
        // No room: whoever comes now shares one count.
        #expect((0..<100).count { admitted(server, of: 1, client: "b\($0)") == 1 } == 1)
        server.clock.advance(.seconds(3_600))
        #expect((0..<100).count { admitted(server, of: 1, client: "c\($0)") == 1 } == 100)
    }

    @Test func quotasSurviveSealingAndRestNotWhileSealed() async throws {
        let server = try InProcessServer(shares: 1, threshold: 1)
        #expect(try await limit(server, "all", #"{"rate":0.5,"interval":"10s"}"#) == 204)
        server.core.seal()
        #expect(server.core.rateLimiter.judge(path: "sys/mounts", client: "a") == nil)
        try server.seal.enter(share: SecretBytes(copying: server.keys[0].utf8))
        #expect(admitted(server, of: 3) == 1)
        let quota = try await server.call(.read, "sys/quotas/rate-limit/all")
        #expect(String(decoding: quota["data/rate"]?.bytes ?? [], as: UTF8.self) == "0.5")
    }

    @Test(arguments: [
        "{}", #"{"rate":0}"#, #"{"rate":-1}"#, #"{"rate":"x"}"#, #"{"rate":1e999}"#, #"{"rate":[1]}"#,
        #"{"rate":1,"interval":"0s"}"#, #"{"rate":1,"block_interval":"-1s"}"#, #"{"rate":1,"path":"none/"}"#,
        #"{"rate":1,"type":"lease-count"}"#,
    ])
    func impossibleQuotasAreRefused(body: String) async throws {
        let server = try InProcessServer()
        #expect(try await limit(server, "x", body) == 400)
        #expect(try await server.call(.list, "sys/quotas/rate-limit").status == 404)
    }

    @Test func exemptPathsAreNotCounted() async throws {
        let server = try InProcessServer()
        let config = #"{"rate_limit_exempt_paths":["/v1/sys/mounts","/v1/cubbyhole/*"]}"#
        #expect(try await server.call(.update, "sys/quotas/config", config).status == 204)
        #expect(try await limit(server, "all", #"{"rate":1}"#) == 204)
        #expect(admitted(server, of: 5) == 5)
        #expect(admitted(server, of: 5, "cubbyhole/a") == 5)
        #expect(admitted(server, of: 5, "sys/auth") == 1)
        let wrong = #"{"rate_limit_exempt_paths":["sys/mounts"]}"#
        #expect(try await server.call(.update, "sys/quotas/config", wrong).status == 400)
    }
}
