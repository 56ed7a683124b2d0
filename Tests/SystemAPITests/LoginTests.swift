import Base
import Core
import PluginKit
import TestKit
import Testing

/// Logins from the request to the token: what the core adds to an auth method.
@Suite struct LoginTests {
    private func server(_ mountConfig: String = "{}", path: String = "up") async throws -> InProcessServer {
        let server = try InProcessServer(shares: 1, threshold: 1)
        let body = #"{"type":"userpass","config":\#(mountConfig)}"#
        #expect(try await server.call(.update, "sys/auth/\(path)", body).status == 204)
        return server
    }

    private func logIn(
        _ server: InProcessServer, _ user: String = "ann", password: String = "x", path: String = "up",
        from address: String = "127.0.0.1"
    ) async throws -> InProcessServer.Answer {
        try await server.call(
            .update, "auth/\(path)/login/\(user)", #"{"password":"\#(password)"}"#, token: "", from: address)
    }

    private func user(_ server: InProcessServer, _ more: String = "") async throws {
        let answer = try await server.call(.update, "auth/up/users/ann", #"{"password":"x"\#(more)}"#)
        #expect(answer.status == 204)
    }

    @Test func aLoginMakesAnOrphanOfTheMount() async throws {
        let server = try await server(path: "team/up")
        _ = try await server.call(
            .update, "auth/team/up/users/ann", #"{"password":"x","policies":"dev","token_num_uses":3}"#)
        let answer = try await logIn(server, "Ann", path: "team/up")
        #expect(answer.status == 200 && answer.texts("auth/policies") == ["default", "dev"])
        #expect(answer["auth/orphan"]?.bool == true && answer["auth/num_uses"]?.int == 3)
        #expect(answer.text("auth/metadata/username") == "ann")
        let token = answer.text("auth/client_token")
        let seen = try await server.call(.read, "auth/token/lookup-self", token: token)
        #expect(seen.text("data/display_name") == "team-up-ann")
        #expect(seen.text("data/path") == "auth/team/up/login/Ann")
        #expect(seen["data/num_uses"]?.int == 2)
    }

    @Test(arguments: [
        ("default-service", "default", "service"), ("default-service", "batch", "batch"),
        ("default-batch", "default", "batch"), ("default-batch", "service", "service"),
        ("service", "batch", "service"), ("batch", "service", "batch"),
        ("default-batch", "default-service", "service"), ("default-service", "default-batch", "batch"),
    ])
    func mountAndUserAgreeOnTheTokenType(mount: String, user: String, made: String) async throws {
        let server = try await server(#"{"token_type":"\#(mount)"}"#)
        try await self.user(server, #","token_type":"\#(user)""#)
        let answer = try await logIn(server)
        #expect(answer.text("auth/token_type") == made)
        let token = answer.text("auth/client_token")
        #expect(token.hasPrefix(made == "batch" ? "hvb." : "hvs."))
        #expect(answer.text("auth/accessor").isEmpty == (made == "batch"))
        #expect(try await server.call(.read, "auth/token/lookup-self", token: token).status == 200)
    }

    @Test func noLoginGivesRoot() async throws {
        let server = try await server()
        for policies in ["root", " ROOT ", "response-wrapping", "dev,Root"] {
            try await user(server, #","policies":"\#(policies)""#)
            let before = try await server.call(.list, "auth/token/accessors").texts("data/keys").count
            #expect(try await logIn(server).status == 400)
            let after = try await server.call(.list, "auth/token/accessors").texts("data/keys").count
            #expect(before == after, "a refused login leaves no token")
        }
    }

    @Test func tokensOfALoginAreBoundToTheirNetworks() async throws {
        let server = try await server()
        try await user(server, #","token_bound_cidrs":"10.0.0.0/8""#)
        let token = try await logIn(server, from: "10.1.1.1").text("auth/client_token")
        let path = "auth/token/lookup-self"
        #expect(try await server.call(.read, path, token: token, from: "10.2.2.2").status == 200)
        #expect(try await server.call(.read, path, token: token, from: "127.0.0.1").status == 403)
        #expect(try await logIn(server).status == 403)
    }

    // MARK: Renewal

    private func renew(_ server: InProcessServer, _ token: String, _ increment: String = "0") async throws
        -> InProcessServer.Answer
    {
        try await server.call(
            .update, "auth/token/renew-self", #"{"increment":"\#(increment)"}"#, token: token)
    }

    @Test func renewalsFollowTheUserAsItIsNow() async throws {
        let server = try await server()
        try await user(server, #","token_ttl":"10m","token_max_ttl":"30m""#)
        let token = try await logIn(server).text("auth/client_token")
        #expect(try await renew(server, token)["auth/lease_duration"]?.int == 600)
        try await user(server, #","token_ttl":"5m""#)
        #expect(try await renew(server, token)["auth/lease_duration"]?.int == 300)
        #expect(try await renew(server, token, "1h")["auth/lease_duration"]?.int == 1_800)
        server.clock.advance(.seconds(1_000))
        #expect(try await renew(server, token, "1h")["auth/lease_duration"]?.int == 800)
        try await user(server, #","token_period":"20m""#)
        #expect(try await renew(server, token)["auth/lease_duration"]?.int == 1_200)
        try await user(server, #","policies":"other""#)
        #expect(try await renew(server, token).status == 400)
        try await user(server, #","policies":"""#)
        #expect(try await renew(server, token).status == 200)
        _ = try await server.call(.delete, "auth/up/users/ann")
        #expect(try await renew(server, token).status == 400)
    }

    @Test func aFixedEndHoldsForPeriodicTokensToo() async throws {
        let server = try await server()
        try await user(server, #","token_period":"20m","token_explicit_max_ttl":"30m""#)
        let token = try await logIn(server).text("auth/client_token")
        server.clock.advance(.seconds(1_100))
        #expect(try await renew(server, token)["auth/lease_duration"]?.int == 700)
    }

    // MARK: Lockout

    @Test func tooManyWrongGuessesLockEverySpelling() async throws {
        let server = try await server()
        try await user(server)
        for name in ["ann", "Ann", "aNn", " ann", "ann "] {
            #expect(try await logIn(server, name, password: "bad").status == 400)
        }
        for (name, password) in [("ann", "x"), ("ANN", "x"), ("ann", "bad")] {
            let answer = try await logIn(server, name, password: password)
            #expect(answer.status == 403 && answer.texts("errors") == ["permission denied"])
        }
        let listed = try await server.call(.read, "sys/locked-users")
        #expect(listed["data/total"]?.int == 1)
        let mount = try #require(
            listed["data/by_namespace"]?.elements.first?["mount_accessors"]?.elements.first)
        #expect(mount["alias_identifiers"]?.elements.compactMap(\.string) == ["ann"])
        let accessor = try #require(mount["mount_accessor"]?.string)
        let path = "sys/locked-users/\(accessor)/unlock/ann"
        #expect(try await server.call(.update, "sys/locked-users/auth_x/unlock/ann").status == 400)
        #expect(try await server.call(.update, path).status == 204)
        #expect(try await logIn(server).status == 200)
        #expect(try await server.call(.read, "sys/locked-users")["data/total"]?.int == 0)
    }

    @Test func aNameThatNobodyHasIsLockedLikeAnyOther() async throws {
        let server = try await server()
        for _ in 0..<5 { #expect(try await logIn(server, "nobody").status == 400) }
        #expect(try await logIn(server, "nobody").status == 403)
    }

    @Test func locksEndAndCountsAreForgotten() async throws {
        let server = try await server()
        try await user(server)
        for _ in 0..<5 { _ = try await logIn(server, password: "bad") }
        server.clock.advance(.seconds(899))
        #expect(try await logIn(server).status == 403)
        server.clock.advance(.seconds(2))
        #expect(try await logIn(server).status == 200)
        for _ in 0..<4 { _ = try await logIn(server, password: "bad") }
        #expect(try await logIn(server).status == 200)
        for _ in 0..<4 { _ = try await logIn(server, password: "bad") }
        server.clock.advance(.seconds(901))
        #expect(try await logIn(server, password: "bad").status == 400)
        #expect(try await logIn(server).status == 200)
    }

    @Test func manyGuessesAtOnceTellNoMoreThanFew() async throws {
        let server = try await server(#"{"user_lockout_config":{"lockout_threshold":2}}"#)
        try await user(server)
        let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<8 { group.addTask { try await logIn(server, password: "bad").status } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(statuses.count { $0 == 400 } <= 2)
    }

    @Test func locksOutliveTheProcess() async throws {
        let backend = MemoryBackend(), clock = ManualClock()
        let first = try InProcessServer(backend: backend, clock: clock, shares: 1, threshold: 1)
        _ = try await first.call(.update, "sys/auth/up", #"{"type":"userpass"}"#)
        try await user(first)
        for _ in 0..<5 { _ = try await logIn(first, password: "bad") }
        // The lock is stored in the background; the next write comes behind it.
        for _ in 0..<200 {
            _ = try await first.call(.update, "sys/policies/acl/p", #"{"policy":""}"#)
            await Task.yield()
        }
        first.core.seal()
        let second = try InProcessServer(backend: backend, clock: clock, shares: 0)
        try second.seal.enter(share: SecretBytes(copying: first.keys[0].utf8))
        #expect(try await logIn(second).status == 403)
        clock.advance(.seconds(901))
        #expect(try await logIn(second).status == 200)
    }

    @Test func theLockoutIsTunedPerMount() async throws {
        let server = try await server()
        try await user(server)
        func tune(_ config: String, path: String = "up") async throws -> InProcessServer.Answer {
            try await server.call(.update, "sys/auth/\(path)/tune", #"{"user_lockout_config":\#(config)}"#)
        }
        for bad in [
            "5", #"{"lockout_threshold":0}"#, #"{"lockout_duration":"x"}"#, #"{"lockout_disable":"x"}"#,
        ] {
            #expect(try await tune(bad).status == 400)
        }
        #expect(try await tune(#"{"lockout_threshold":3}"#, path: "token").status == 400)
        #expect(try await tune(#"{"lockout_threshold":"2","lockout_duration":"1m"}"#).status == 204)
        #expect(try await tune(#"{"lockout_counter_reset":"10s"}"#).status == 204)
        let shown = try await server.call(.read, "sys/auth/up/tune")
        #expect(shown["data/user_lockout_threshold"]?.int == 2)
        #expect(shown["data/user_lockout_duration"]?.int == 60)
        #expect(shown["data/user_lockout_counter_reset_duration"]?.int == 10)
        for _ in 0..<2 { _ = try await logIn(server, password: "bad") }
        #expect(try await logIn(server).status == 403)
        #expect(try await tune(#"{"lockout_disable":true}"#).status == 204)
        #expect(try await logIn(server).status == 200)
        for _ in 0..<6 { #expect(try await logIn(server, password: "bad").status == 400) }
    }

    // MARK: AppRole

    @Test func onlyOneOfManyLoginsGetsTheLastUse() async throws {
        let server = try InProcessServer(shares: 1, threshold: 1)
        _ = try await server.call(.update, "sys/auth/ar", #"{"type":"approle"}"#)
        _ = try await server.call(.update, "auth/ar/role/r", #"{"secret_id_num_uses":1}"#)
        let id = try await server.call(.read, "auth/ar/role/r/role-id").text("data/role_id")
        let secret = try await server.call(.update, "auth/ar/role/r/secret-id").text("data/secret_id")
        let body = #"{"role_id":"\#(id)","secret_id":"\#(secret)"}"#
        let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<12 {
                group.addTask { try await server.call(.update, "auth/ar/login", body, token: "").status }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(statuses.count { $0 == 200 } == 1)
        #expect(try await server.call(.list, "auth/token/accessors").texts("data/keys").count == 2)
    }

    @Test func pathsThatNeedNoTokenSayThatTheyLackAnOperation() async throws {
        let server = try await server()
        let answer = try await server.call(.read, "auth/up/login/ann", token: "")
        #expect(answer.status == 405 && answer.texts("errors") == ["unsupported operation"])
        #expect(try await server.call(.read, "auth/up/users/ann/password", token: "").status == 400)
    }
}
