import Base
import Core
import PluginKit
import TestKit
import Testing

/// Leases of secrets from their grant to their end, over a whole core and a fake engine.
@Suite struct LeaseTests {
    private func leasing(_ path: String = "db", type: String = "leasing") async throws -> LeaseServer {
        let server = try LeaseServer()
        _ = try await server.must(.update, "sys/mounts/\(path)", "{\"type\":\"\(type)\"}")
        return server
    }

    private func lease(
        _ server: LeaseServer, _ path: String = "db/creds/app", ttl: String = "60", maxTTL: String = "",
        token: String = "root"
    ) async throws -> (id: String, user: String) {
        var query = ["ttl": ttl]
        if !maxTTL.isEmpty { query["max_ttl"] = maxTTL }
        let answer = try await server.must(.read, path, token: token, query: query)
        return (try #require(answer["lease_id"]), try #require(answer["data/user"]))
    }

    private func isGone(_ server: LeaseServer, _ id: String) async -> Bool {
        await server.call(.update, "sys/leases/lookup", "{\"lease_id\":\"\(id)\"}").errors == [
            "invalid lease"
        ]
    }

    @Test func anAnswerWithASecretCarriesItsLease() async throws {
        let server = try await leasing()
        let answer = try await server.must(.read, "db/creds/app", query: ["ttl": "60"])
        let id = try #require(answer["lease_id"])
        #expect(id.wholeMatch(of: /db\/creds\/app\/[A-Za-z0-9]{24}/) != nil)
        #expect(answer["lease_duration"] == "60" && answer["renewable"] == "true")
        let seen = try await server.must(.update, "sys/leases/lookup", "{\"lease_id\":\"\(id)\"}")
        #expect(seen["data/id"] == id && seen["data/ttl"] == "60" && seen["data/last_renewal"] == "null")
        #expect(try await server.must(.list, "sys/leases/lookup/db/").list("data/keys") == ["creds/"])
        #expect(try await server.must(.list, "sys/leases/lookup/db/creds/").list("data/keys") == ["app/"])
        #expect(await server.call(.list, "sys/leases/lookup/none/").status == 404)
    }

    @Test func aGrantIsCappedByItsMount() async throws {
        let server = try await leasing()
        _ = try await server.must(.update, "sys/mounts/db/tune", #"{"max_lease_ttl":"100s"}"#)
        let answer = try await server.must(.read, "db/creds/app", query: ["ttl": "1h"])
        #expect(answer["lease_duration"] == "100" && answer.list("warnings").count == 1)
        #expect(try await server.must(.read, "db/creds/app")["lease_duration"] == "100")
    }

    @Test func whoKnowsALeaseMayRenewIt() async throws {
        let server = try await leasing()
        let (id, user) = try await lease(server, ttl: "60", maxTTL: "120")
        let limited = try await server.token()
        let body = "{\"lease_id\":\"\(id)\",\"increment\":90}"
        let renewed = try await server.must(.update, "sys/leases/renew", body, token: limited)
        #expect(renewed["lease_id"] == id && renewed["lease_duration"] == "90" && renewed["data"] == "null")
        #expect(server.outside.span(of: user) == .seconds(90))
        let most = try await server.must(
            .update, "sys/renew", "{\"lease_id\":\"\(id)\",\"increment\":\"10m\"}", token: limited)
        #expect(most["lease_duration"] == "120" && most.list("warnings").count == 1)
        server.clock.advance(.seconds(100))
        for path in ["sys/leases/renew/\(id)", "sys/renew/\(id)"] {
            #expect(try await server.must(.update, path, "{}")["lease_duration"] == "20")
        }
        #expect(await server.call(.update, "sys/leases/revoke", body, token: limited).status == 403)
        #expect(await server.call(.list, "sys/leases/lookup/db/", token: limited).status == 403)
    }

    @Test func aRenewalThatMakesNoSenseIsRefused() async throws {
        let server = try await leasing()
        let token = try await server.token()
        let names = try server.keys("sys/expire/id/auth/token/create/").map { String($0.dropFirst(14)) }
        let tokenLease = try #require(names.first)
        func renew(_ body: String) async -> [String] {
            await server.call(.update, "sys/leases/renew", body).errors
        }
        #expect(await renew(#"{"lease_id":"db/creds/app/none"}"#) == ["lease not found"])
        #expect(await renew("{}") == ["lease_id must be specified"])
        #expect(
            await renew("{\"lease_id\":\"\(tokenLease)\"}")
                == ["tokens cannot be renewed through this endpoint"])
        let (id, _) = try await lease(server)
        #expect(await !renew("{\"lease_id\":\"\(id)\",\"increment\":-5}").isEmpty)
        server.outside.fail(.badRequest("the database is down"))
        #expect(await renew("{\"lease_id\":\"\(id)\"}") == ["the database is down"])
        server.outside.fail(nil)
        server.clock.advance(.seconds(61))
        let late = await renew("{\"lease_id\":\"\(id)\"}")
        #expect(late == ["lease expired"] || late == ["lease not found"])
        _ = token
    }

    @Test func anEndedLeaseIsTakenBackByItsEngine() async throws {
        let server = try await leasing()
        let (id, user) = try await lease(server, ttl: "60")
        let (kept, other) = try await lease(server, ttl: "3600")
        server.clock.advance(.seconds(61))
        try await server.eventually("the lease ends") { await isGone(server, id) }
        #expect(server.outside.living == [other] && user != other)
        #expect(await !isGone(server, kept))
        #expect(try server.keys("sys/expire/id/db/").count == 1)
        #expect(try server.keys("sys/expire/token/").count == 1)
    }

    /// More than two batches, one of which is read while another is committed, with parents and children that
    /// may stand in different ones.
    @Test func manyTokensThatEndTogetherAreAllGone() async throws {
        let server = try await leasing()
        let body = #"{"ttl":"60s"}"#
        let policy = #"{"policies":["maker"],"ttl":"60s"}"#
        try await server.policy("maker", #"path "auth/token/create" { capabilities = ["update"] }"#)
        var parents: [String] = []
        for _ in 0..<40 { parents.append(try await server.token(policy)) }
        for number in 0..<1_160 {
            let parent = number % 3 == 0 ? parents[number % parents.count] : "root"
            _ = try await server.must(.update, "auth/token/create", body, token: parent)
        }
        let other = try await server.token(#"{"policies":["default"],"ttl":"1h"}"#)
        #expect(try server.keys("sys/token/id/").count == 1_202)
        server.clock.advance(.seconds(61))
        try await server.eventually("all are gone") { try server.keys("sys/token/id/").count == 2 }
        try await server.eventually("with all that belongs to them") {
            try server.keys("sys/token/accessor/").count == 2 && server.keys("sys/token/parent/").count == 1
                && server.keys("sys/expire/id/").count == 1 && server.keys("sys/expire/time/").count == 1
                && server.keys("sys/token/revoking/").isEmpty
        }
        #expect(await server.call(.read, "auth/token/lookup-self", token: other).status == 200)
    }

    @Test func aLeaseThatEndsWhileTheServerIsDownIsTakenBackAfterwards() async throws {
        let server = try await leasing()
        let (id, user) = try await lease(server, ttl: "60")
        server.core.seal()
        server.clock.advance(.seconds(600))
        #expect(server.outside.living == [user])
        try server.unseal()
        try await server.eventually("the lease ends") { await isGone(server, id) }
        #expect(server.outside.living.isEmpty)
    }

    @Test func aTokenTakesItsLeasesWithIt() async throws {
        let server = try await leasing()
        try await server.policy("creds", #"path "db/*" { capabilities = ["read"] }"#)
        let token = try await server.token(#"{"policies":["creds"]}"#)
        let (id, _) = try await lease(server, token: token)
        _ = try await server.must(.update, "auth/token/revoke", "{\"token\":\"\(token)\"}")
        try await server.eventually("the lease goes") { await isGone(server, id) }
        #expect(server.outside.living.isEmpty)
    }

    @Test func aBatchTokensLeaseEndsWithTheTokenAndWithItsParent() async throws {
        let server = try await leasing()
        try await server.policy(
            "maker",
            #"path "auth/token/create" { capabilities = ["update"] } path "db/*" { capabilities = ["read"] }"#
        )
        let parent = try await server.token(#"{"policies":["maker"]}"#)
        let made = try await server.must(
            .update, "auth/token/create", #"{"type":"batch","ttl":"30s","policies":["maker"]}"#, token: parent
        )
        let batch = try #require(made["auth/client_token"])
        let answer = try await server.must(.read, "db/creds/app", token: batch, query: ["ttl": "3600"])
        #expect(answer["lease_duration"] == "30")
        let id = try #require(answer["lease_id"])
        _ = try await server.must(.update, "auth/token/revoke", "{\"token\":\"\(parent)\"}")
        try await server.eventually("the lease goes") { await isGone(server, id) }
    }

    @Test func aTokensLastUseGetsNoSecret() async throws {
        let server = try await leasing()
        try await server.policy("creds", #"path "db/*" { capabilities = ["read"] }"#)
        for path in ["db/creds/app", "db/slow/app"] {
            let token = try await server.token(#"{"policies":["creds"],"num_uses":1}"#)
            let answer = await server.call(.read, path, token: token, query: ["ttl": "60"])
            #expect(answer.status == 400 && answer.errors.first?.contains("one use left") == true)
        }
        // A synchronous engine's secret was never stored; what one made outside is taken back.
        try await server.eventually("nothing is left") {
            try server.keys("sys/expire/id/db/").isEmpty && server.outside.living.count == 1
        }
    }

    @Test func aSecretMadeForATokenThatDiesMeanwhileIsTakenBack() async throws {
        let server = try await leasing()
        try await server.policy("creds", #"path "db/*" { capabilities = ["read"] }"#)
        let token = try await server.token(#"{"policies":["creds"]}"#)
        server.outside.close(true)
        async let answer = server.call(.read, "db/slow/app", token: token, query: ["ttl": "60"])
        try await server.eventually("the secret exists") { server.outside.living.count == 1 }
        _ = try await server.must(.update, "auth/token/revoke", "{\"token\":\"\(token)\"}")
        server.outside.close(false)
        #expect(await answer.status == 403)
        try await server.eventually("the secret is taken back") { server.outside.living.isEmpty }
        try await server.eventually("no lease is left") { try server.keys("sys/expire/id/db/").isEmpty }
    }

    /// Its client has its 504 by then: what the engine still makes is taken back, and nothing is leased.
    @Test func aHandlerThatIsLateIsCancelledAndLeavesNothing() async throws {
        let server = try await leasing()
        server.outside.close(true)
        let late = await server.call(
            .read, "db/slow/app", query: ["ttl": "3600"], timeLimit: .milliseconds(50))
        #expect(late.status == 503 && late["lease_id"] == nil)
        try await server.eventually("the secret is taken back") { server.outside.living.isEmpty }
        try await server.eventually("its lease goes") { try server.keys("sys/expire/").isEmpty }
        server.outside.close(false)
        let soon = await server.call(
            .read, "db/slow/app", query: ["ttl": "3600"], timeLimit: .seconds(600))
        #expect(soon.status == 200 && soon["lease_id"] != nil && server.outside.living.count == 1)
    }

    @Test func renewalCannotBringAnEndedLeaseBack() async throws {
        let server = try await leasing()
        let (id, _) = try await lease(server)
        _ = try await server.must(.update, "sys/leases/revoke", "{\"lease_id\":\"\(id)\",\"sync\":true}")
        #expect(server.outside.living.isEmpty)
        let late = await server.call(.update, "sys/leases/renew", "{\"lease_id\":\"\(id)\"}")
        #expect(late.errors == ["lease not found"])
        let again = await server.call(.update, "sys/revoke", "{\"lease_id\":\"\(id)\"}")
        #expect(again.status == 204)
    }

    @Test func leaseIdsWithDotsAreRevokedAndNothingElse() async throws {
        let server = try await leasing()
        let (dotted, _) = try await lease(server, "db/creds/a.b..c")
        let (other, user) = try await lease(server, "db/creds/ab")
        _ = try await server.must(.update, "sys/leases/revoke/\(dotted)", #"{"sync":true}"#)
        #expect(await isGone(server, dotted))
        #expect(await !isGone(server, other))
        #expect(server.outside.living == [user])
    }

    @Test func manyLeasesEndTogetherAndInBoundedPieces() async throws {
        let server = try await leasing()
        for _ in 0..<1_200 { _ = try await lease(server, ttl: "60") }
        server.clock.advance(.seconds(61))
        try await server.eventually("all end") { server.outside.living.isEmpty }
        try await server.eventually("no trace is left") {
            try server.keys("sys/expire/").isEmpty
        }
    }
}
