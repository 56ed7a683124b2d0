import Base
import Core
import PluginKit
import TestKit
import Testing

/// Revocation when engines fail or hang, by prefix and by force, and of whole mounts.
@Suite struct LeaseRevocationTests {
    private func leasing() async throws -> LeaseServer {
        let server = try LeaseServer()
        _ = try await server.must(.update, "sys/mounts/db", #"{"type":"leasing"}"#)
        return server
    }

    private func lease(
        _ server: LeaseServer, _ path: String = "db/creds/app", ttl: String = "60"
    ) async throws -> String {
        try #require(try await server.must(.read, path, query: ["ttl": ttl])["lease_id"])
    }

    private func seen(_ server: LeaseServer, _ id: String) async -> Answer {
        await server.call(.update, "sys/leases/lookup", "{\"lease_id\":\"\(id)\"}")
    }

    @Test func aFailedRevocationStaysVisibleAndIsTriedAgain() async throws {
        let server = try await leasing()
        let id = try await lease(server)
        server.outside.fail(.badRequest("no route to the database"))
        server.clock.advance(.seconds(61))
        try await server.eventually("the failure is seen") {
            await seen(server, id)["data/revoke_error"] == "no route to the database"
        }
        #expect(server.outside.attempts == 1)
        // Not again at once, but after the pause; and with the sixth failure an operator is told.
        for attempt in 2...6 {
            server.clock.advance(.seconds(3_600))
            try await server.eventually("attempt \(attempt)") {
                await seen(server, id)["data/revoke_attempts"] == "\(attempt)"
            }
        }
        let query = ["type": "irrevocable"]
        let count = try await server.must(.read, "sys/leases/count", query: query)
        let list = try await server.must(.read, "sys/leases", query: query)
        #expect(count["data/lease_count"] == "1" && list["data/lease_count"] == "1")
        let row = try #require(list.json?["data"]?["leases"]?.elements.first)
        #expect(row["lease_id"]?.string == id && row["error"]?.string == "no route to the database")
        let mount = try #require(row["mount_id"]?.string)
        #expect(mount.hasPrefix("leasing_") && count["data/counts/\(mount)"] == "1")
        server.outside.fail(nil)
        server.clock.advance(.seconds(3_600))
        try await server.eventually("it is gone") { await seen(server, id).status == 400 }
        #expect(try await server.must(.read, "sys/leases/count", query: query)["data/lease_count"] == "0")
        #expect(try server.keys("sys/expire/").isEmpty)
        #expect(await server.call(.read, "sys/leases/count").status == 400)
        #expect(
            await server.call(.read, "sys/leases", query: ["type": "irrevocable", "limit": "-1"]).status
                == 400)
    }

    @Test func anEngineThatHangsHoldsUpNoOther() async throws {
        let server = try await leasing()
        _ = try await server.must(.update, "sys/mounts/other", #"{"type":"other-leasing"}"#)
        for _ in 0..<40 { _ = try await lease(server) }
        let other = try await lease(server, "other/creds/app")
        let token = try await server.token(#"{"policies":["default"],"ttl":"60s"}"#)
        server.outside.hang(true)
        server.clock.advance(.seconds(61))
        try await server.eventually("the other's lease ends") { await seen(server, other).status == 400 }
        #expect(server.otherOutside.living.isEmpty && server.outside.living.count == 40)
        try await server.eventually("tokens end") {
            try server.keys("sys/token/accessor/").count == 1
        }
        #expect(await server.call(.read, "auth/token/lookup-self", token: token).status == 403)
        server.outside.hang(false)
        try await server.eventually("the rest ends") { server.outside.living.isEmpty }
    }

    @Test func waitingForARevocationTellsItsFailure() async throws {
        let server = try await leasing()
        let id = try await lease(server)
        server.outside.fail(.internal("a secret detail"))
        let answer = await server.call(
            .update, "sys/leases/revoke", "{\"lease_id\":\"\(id)\",\"sync\":true}")
        #expect(answer.status == 400 && answer.errors.first?.contains(id) == true)
        #expect(answer.errors.first?.contains("detail") == false)
        #expect(await seen(server, id)["data/revoke_attempts"] == "1")
        let prefix = await server.call(.update, "sys/leases/revoke-prefix/db", #"{"sync":true}"#)
        #expect(prefix.status == 400)
        server.outside.fail(nil)
        #expect(await server.call(.update, "sys/leases/revoke-prefix/db", #"{"sync":true}"#).status == 204)
        #expect(await seen(server, id).status == 400)
    }

    @Test func aPrefixTakesSecretsAndTokensBelowItAndNoOthers() async throws {
        let server = try await leasing()
        var gone: [String] = []
        for _ in 0..<5 { gone.append(try await lease(server, "db/creds/app")) }
        let kept = try await lease(server, "db/creds/app2")
        let token = try await server.token()
        #expect(
            await server.call(.update, "sys/leases/revoke-prefix/db/creds/app", token: token).status == 403)
        _ = try await server.must(.update, "sys/leases/revoke-prefix/db/creds/app")
        for id in gone { try await server.eventually("\(id) ends") { await seen(server, id).status == 400 } }
        #expect(await seen(server, kept).status == 200)
        // Tokens are dead with the answer, whatever the background work has got to.
        _ = try await server.must(.update, "sys/revoke-prefix/auth/token")
        #expect(await server.call(.read, "auth/token/lookup-self", token: token).status == 403)
        #expect(await server.call(.read, "auth/token/lookup-self").status == 200)
        try await server.eventually("the order is carried out") {
            server.clock.advance(.milliseconds(200))
            return try server.keys("core/sweeping/").isEmpty && server.keys("sys/token/accessor/").count == 1
        }
        let fresh = try await server.token()
        #expect(await server.call(.read, "auth/token/lookup-self", token: fresh).status == 200)
    }

    @Test func anIdIsAPrefixOfItself() async throws {
        let server = try await leasing()
        let id = try await lease(server)
        let other = try await lease(server)
        _ = try await server.must(.update, "sys/leases/revoke-prefix/\(id)", #"{"sync":true}"#)
        #expect(await seen(server, id).status == 400)
        #expect(await seen(server, other).status == 200)
    }

    @Test func forceRemovesWhatFailsAndWhatHangs() async throws {
        let server = try await leasing()
        let id = try await lease(server)
        server.outside.fail(.badRequest("down"))
        _ = try await server.must(.update, "sys/leases/revoke-force/db")
        #expect(await seen(server, id).status == 400)
        #expect(server.outside.living.count == 1)
        server.outside.hang(true)
        let hanging = try await lease(server)
        let active = try #require(server.core.active)
        let service = LeaseService(
            active: active, clock: server.clock, random: SystemRandom(), patience: .milliseconds(50))
        try await service.force(prefix: "db", now: server.clock.now())
        #expect(await seen(server, hanging).status == 400)
        server.outside.hang(false)
    }

    // MARK: Mounts

    @Test func aDisabledMountsLeasesAreRevokedBeforeItsStorageGoes() async throws {
        let server = try await leasing()
        for _ in 0..<30 { _ = try await lease(server) }
        let prefix = try #require(server.core.mounts.current.exactly("db/")?.storagePrefix)
        server.outside.hang(true)
        _ = try await server.must(.delete, "sys/mounts/db")
        #expect(await server.call(.read, "db/creds/app").status == 404)
        // Another mount at the same path, while the first one's leases are still there.
        _ = try await server.must(.update, "sys/mounts/db", #"{"type":"other-leasing"}"#)
        let fresh = try await lease(server, ttl: "86400")
        #expect(try server.keys(prefix).count == 30)
        server.outside.hang(false)
        try await server.eventually("all of the first are revoked") { server.outside.living.isEmpty }
        try await server.eventually("what it stored is gone") {
            // The pauses of the sweeper follow the server's clock, and so does the end of the fresh lease.
            server.clock.advance(.milliseconds(200))
            return try server.keys(prefix).isEmpty && server.keys("core/sweeping/").isEmpty
        }
        #expect(await seen(server, fresh).status == 200)
        #expect(server.otherOutside.living.count == 1)
    }

    @Test func whatADisabledMountLeasedSurvivesARestart() async throws {
        let server = try await leasing()
        let id = try await lease(server)
        server.outside.fail(.badRequest("down"))
        _ = try await server.must(.delete, "sys/mounts/db")
        try await server.eventually("it has failed") {
            await seen(server, id)["data/revoke_error"] != nil
        }
        server.core.seal()
        server.outside.fail(nil)
        server.clock.advance(.seconds(60))
        try server.unseal()
        try await server.eventually("it is revoked") { server.outside.living.isEmpty }
        try await server.eventually("nothing is left") {
            server.clock.advance(.seconds(1))
            return try server.keys("core/sweeping/").isEmpty && server.keys("core/deleting/").isEmpty
        }
    }

    @Test func aDisabledMethodsTokensAreDeadAtOnce() async throws {
        let server = try await leasing()
        _ = try await server.must(.update, "sys/auth/fake", #"{"type":"fake-login"}"#)
        func login() async throws -> String {
            let answer = try await server.must(.update, "auth/fake/login/ann", "{}", token: nil)
            return try #require(answer["auth/client_token"])
        }
        func isAlive(_ token: String) async -> Bool {
            await server.call(.read, "auth/token/lookup-self", token: token).status == 200
        }
        let token = try await login()
        let child = try await server.must(.update, "auth/token/create", "{}", token: "root")
        let stranger = try #require(child["auth/client_token"])
        #expect(await isAlive(token))
        _ = try await server.must(.delete, "sys/auth/fake")
        #expect(await !isAlive(token))
        #expect(await isAlive(stranger))
        server.clock.advance(.seconds(1))
        _ = try await server.must(.update, "sys/auth/fake", #"{"type":"fake-login"}"#)
        let fresh = try await login()
        try await server.eventually("the order is carried out") {
            server.clock.advance(.seconds(1))
            return try server.keys("core/sweeping/").isEmpty
        }
        #expect(await !isAlive(token))
        #expect(await isAlive(fresh))
        #expect(await isAlive(stranger))
    }

    @Test func aMovedMountRevokesWhatItLeasedAtItsOldPath() async throws {
        let server = try await leasing()
        let old = try await lease(server)
        _ = try await server.must(.update, "sys/remount", #"{"from":"db","to":"moved"}"#)
        let new = try await lease(server, "moved/creds/app", ttl: "86400")
        try await server.eventually("the old lease ends") { await seen(server, old).status == 400 }
        #expect(await seen(server, new).status == 200)
        #expect(server.outside.living.count == 1)
        try await server.eventually("the order is carried out") {
            server.clock.advance(.milliseconds(200))
            return try server.keys("core/sweeping/").isEmpty
        }
        let prefix = try #require(server.core.mounts.current.exactly("moved/")?.storagePrefix)
        #expect(try !server.keys(prefix).isEmpty)
    }

    @Test func tidyEndsLeasesWhoseTokensAreGone() async throws {
        let server = try await leasing()
        let id = try await lease(server)
        // Something that no request can do: the owner is somebody who never was.
        let active = try #require(server.core.active)
        let now = server.clock.now()
        try active.transactions.runBlocking { tx throws(VaultError) in
            guard var record = try active.tokens.leases.get(&tx, id: id) else { throw .notFound }
            active.tokens.leases.remove(&tx, record)
            record.owner = "ff" + String(repeating: "0", count: 30)
            active.tokens.leases.add(&tx, record)
            _ = now
        }
        try await server.eventually("tidy finds it") {
            let answer = await server.call(.update, "sys/leases/tidy")
            #expect(answer.status == 202 && answer.list("warnings").count == 1)
            return server.outside.living.isEmpty
        }
    }
}
