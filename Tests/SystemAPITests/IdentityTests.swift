import Base
import Core
import PluginKit
import Testing
import TestKit

/// Entities and groups from the login to the last request: what a token may do because of who bears it.
@Suite struct IdentityTests {
    private typealias Answer = InProcessServer.Answer

    private func server() async throws -> InProcessServer {
        let server = try InProcessServer(shares: 1, threshold: 1)
        for (path, body) in [
            ("sys/auth/up", #"{"type":"userpass"}"#), ("sys/mounts/kv", #"{"type":"kv"}"#),
            ("kv/a", #"{"v":"1"}"#), ("kv/b", #"{"v":"1"}"#), ("auth/up/users/ann", #"{"password":"x"}"#),
            ("sys/policies/acl/a", #"{"policy":"path \"kv/a\" { capabilities = [\"read\"] }"}"#),
            ("sys/policies/acl/b", #"{"policy":"path \"kv/b\" { capabilities = [\"read\"] }"}"#),
        ] {
            #expect(try await server.call(.update, path, body).status == 204)
        }
        return server
    }

    private func logIn(_ server: InProcessServer, _ user: String = "ann") async throws -> Answer {
        try await server.call(.update, "auth/up/login/\(user)", #"{"password":"x"}"#, token: "")
    }

    private func accessor(_ server: InProcessServer, _ path: String = "up/") async throws -> String {
        let mounts = try await server.call(.read, "sys/auth")["data"]
        return mounts?[path]?["accessor"]?.string ?? ""
    }

    @Test func aLoginsEntityIsMadeOnceAndShownEverywhere() async throws {
        let server = try await server()
        let first = try await logIn(server)
        let id = first.text("auth/entity_id")
        #expect(id.utf8.count == 36)
        #expect(try await logIn(server, "ANN").text("auth/entity_id") == id)
        let token = first.text("auth/client_token")
        let seen = try await server.call(.read, "auth/token/lookup-self", token: token)
        #expect(seen.text("data/entity_id") == id && seen["data/identity_policies"] == nil)
        let entity = try await server.call(.read, "identity/entity/id/\(id)")
        #expect(entity["data/aliases"]?.elements.count == 1)
        #expect(entity["data/aliases"]?.elements.first?["name"]?.string == "ann")
        #expect(entity["data/aliases"]?.elements.first?["mount_path"]?.string == "auth/up/")
        let count = try await server.call(.read, "sys/internal/counters/entities")
        #expect(count["data/counters/entities/total"]?.int == 1)
        // Its own identity, by the policy `default`.
        #expect(try await server.call(.read, "identity/entity/id/\(id)", token: token).status == 200)
        let name = entity.text("data/name")
        #expect(try await server.call(.read, "identity/entity/name/\(name)", token: token).status == 200)
        _ = try await server.call(.update, "identity/entity", #"{"name":"other"}"#)
        #expect(try await server.call(.read, "identity/entity/name/other", token: token).status == 403)
    }

    @Test func manyFirstLoginsAtOnceMakeOneEntity() async throws {
        let server = try await server()
        let ids = try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<12 { group.addTask { try await logIn(server).text("auth/entity_id") } }
            return try await group.reduce(into: Set<String>()) { $0.insert($1) }
        }
        #expect(ids.count == 1 && ids.first?.isEmpty == false)
        #expect(try await server.call(.list, "identity/entity/id").texts("data/keys").count == 1)
        #expect(try await server.call(.list, "identity/entity-alias/id").texts("data/keys").count == 1)
    }

    @Test func aRefusedLoginLeavesNoEntity() async throws {
        let server = try await server()
        _ = try await server.call(.update, "auth/up/users/bob", #"{"password":"x","policies":"root"}"#)
        #expect(try await logIn(server, "bob").status == 400)
        #expect(try await server.call(.update, "auth/up/login/ann", #"{"password":"y"}"#).status == 400)
        #expect(try await server.call(.list, "identity/entity/id").status == 404)
    }

    @Test func policiesOfEntityAndGroupsHoldFromTheNextRequestOn() async throws {
        let server = try await server()
        let login = try await logIn(server)
        let (token, id) = (login.text("auth/client_token"), login.text("auth/entity_id"))
        func status(_ path: String) async throws -> Int {
            try await server.call(.read, path, token: token).status
        }
        #expect(try await status("kv/a") == 403)
        _ = try await server.call(.update, "identity/entity/id/\(id)", #"{"policies":["A"]}"#)
        #expect(try await status("kv/a") == 200)
        #expect(try await status("kv/b") == 403)
        let group = try await server.call(
            .update, "identity/group", #"{"name":"g","policies":["b"],"member_entity_ids":["\#(id)"]}"#)
        #expect(try await status("kv/b") == 200)
        let seen = try await server.call(.read, "auth/token/lookup-self", token: token)
        #expect(seen.texts("data/identity_policies") == ["a", "b"])
        #expect(seen.texts("data/policies") == ["default"])
        let again = try await logIn(server)
        #expect(again.texts("auth/policies") == ["a", "b", "default"])
        #expect(again.texts("auth/token_policies") == ["default"])
        #expect(again.texts("auth/identity_policies") == ["a", "b"])
        let renewed = try await server.call(.update, "auth/token/renew-self", token: token)
        #expect(renewed.texts("auth/policies") == ["a", "b", "default"])
        let rights = try await server.call(
            .update, "sys/capabilities-self", #"{"paths":["kv/b"]}"#, token: token)
        #expect(rights.texts("capabilities") == ["read"])
        // CVE-2020-10660: who leaves a group has lost its policies.
        _ = try await server.call(
            .update, "identity/group/id/\(group.text("data/id"))", #"{"member_entity_ids":[]}"#)
        #expect(try await status("kv/b") == 403)
        #expect(try await status("kv/a") == 200)
        _ = try await server.call(.update, "identity/entity/id/\(id)", #"{"policies":[]}"#)
        #expect(try await status("kv/a") == 403)
    }

    @Test func aDisabledEntitysTokensAreRefusedUntilItIsEnabled() async throws {
        let server = try await server()
        let login = try await logIn(server)
        let (token, id) = (login.text("auth/client_token"), login.text("auth/entity_id"))
        let child = try await server.call(.update, "auth/token/create", "{}", token: token)
        // `default` does not let it make children.
        #expect(child.status == 403)
        _ = try await server.call(.update, "identity/entity/id/\(id)", #"{"disabled":true}"#)
        for path in ["auth/token/lookup-self", "sys/internal/ui/mounts", "cubbyhole/x"] {
            #expect(try await server.call(.read, path, token: token).status == 403, "\(path)")
        }
        #expect(try await logIn(server).status == 403)
        let accessor = login.text("auth/accessor")
        let renewal = try await server.call(
            .update, "auth/token/renew-accessor", #"{"accessor":"\#(accessor)"}"#)
        #expect(renewal.status == 400)
        #expect(
            try await server.call(
                .update, "sys/capabilities-accessor", #"{"accessor":"\#(accessor)","paths":["kv/a"]}"#
            ).status == 403)
        // An operator still sees what the token is.
        #expect(
            try await server.call(
                .update, "auth/token/lookup-accessor", #"{"accessor":"\#(accessor)"}"#
            ).status == 200)
        _ = try await server.call(.update, "identity/entity/id/\(id)", #"{"disabled":false}"#)
        #expect(try await server.call(.read, "auth/token/lookup-self", token: token).status == 200)
    }

    @Test func aDeletedEntitysTokensAreRefusedAndItsUserIsAnotherFromThenOn() async throws {
        let server = try await server()
        let login = try await logIn(server)
        let (token, id) = (login.text("auth/client_token"), login.text("auth/entity_id"))
        #expect(try await server.call(.delete, "identity/entity/id/\(id)").status == 204)
        #expect(try await server.call(.read, "auth/token/lookup-self", token: token).status == 403)
        let next = try await logIn(server)
        #expect(next.status == 200 && next.text("auth/entity_id") != id)
        #expect(try await server.call(.read, "auth/token/lookup-self", token: token).status == 403)
    }

    @Test func tokensOfAMergedEntityAreTheTargets() async throws {
        let server = try await server()
        _ = try await server.call(.update, "auth/up/users/bob", #"{"password":"x"}"#)
        let ann = try await logIn(server)
        let bob = try await logIn(server, "bob").text("auth/entity_id")
        _ = try await server.call(.update, "identity/entity/id/\(bob)", #"{"policies":["b"]}"#)
        let body = #"{"from_entity_ids":["\#(ann.text("auth/entity_id"))"],"to_entity_id":"\#(bob)"}"#
        #expect(try await server.call(.update, "identity/entity/merge", body).status == 204)
        let token = ann.text("auth/client_token")
        #expect(try await server.call(.read, "kv/b", token: token).status == 200)
        #expect(try await server.call(.read, "identity/entity/id/\(bob)", token: token).status == 200)
        #expect(try await logIn(server).text("auth/entity_id") == bob)
        _ = try await server.call(.update, "identity/entity/id/\(bob)", #"{"disabled":true}"#)
        #expect(try await server.call(.read, "kv/b", token: token).status == 403)
    }

    /// A token without a policy of its own is somebody all the same.
    @Test func aTokenWithPoliciesOfItsIdentityAloneMayLease() async throws {
        let outside = FakeOutside()
        let server = try InProcessServer(
            shares: 1, threshold: 1,
            engines: [
                "leasing": { context throws(VaultError) in
                    MountRegistry.parts(of: FakeLeasingEngine(context, outside: outside))
                }
            ])
        for (path, body) in [
            ("sys/auth/up", #"{"type":"userpass"}"#), ("sys/mounts/l", #"{"type":"leasing"}"#),
            ("auth/up/users/ann", #"{"password":"x","token_no_default_policy":true}"#),
            ("sys/policies/acl/l", #"{"policy":"path \"l/*\" { capabilities = [\"read\"] }"}"#),
        ] {
            #expect(try await server.call(.update, path, body).status == 204)
        }
        let login = try await logIn(server)
        let token = login.text("auth/client_token")
        #expect(login.texts("auth/policies") == [])
        let entity = "identity/entity/id/" + login.text("auth/entity_id")
        _ = try await server.call(.update, entity, #"{"policies":["l"]}"#)
        let secret = try await server.call(.read, "l/creds/app", token: token)
        #expect(secret.status == 200 && !secret.text("lease_id").isEmpty)
        #expect(outside.living.count == 1)
    }

    // MARK: Tokens of other kinds

    @Test func batchTokensHaveAnEntityToo() async throws {
        let server = try await server()
        _ = try await server.call(
            .update, "auth/up/users/ann", #"{"password":"x","token_type":"batch"}"#)
        let login = try await logIn(server)
        let (token, id) = (login.text("auth/client_token"), login.text("auth/entity_id"))
        #expect(login.text("auth/token_type") == "batch" && !id.isEmpty)
        #expect(try await server.call(.read, "kv/a", token: token).status == 403)
        _ = try await server.call(.update, "identity/entity/id/\(id)", #"{"policies":["a"]}"#)
        #expect(try await server.call(.read, "kv/a", token: token).status == 200)
        _ = try await server.call(.update, "identity/entity/id/\(id)", #"{"disabled":true}"#)
        #expect(try await server.call(.read, "kv/a", token: token).status == 403)
    }

    @Test func tokensOfARoleMayBeTiedToAnAlias() async throws {
        let server = try await server()
        let role = #"{"allowed_entity_aliases":["web-*","one"],"allowed_policies":"default"}"#
        _ = try await server.call(.update, "auth/token/roles/r", role)
        func make(_ path: String, _ alias: String, _ more: String = "") async throws -> Answer {
            try await server.call(
                .update, "auth/token/\(path)", #"{"entity_alias":"\#(alias)"\#(more)}"#)
        }
        let made = try await make("create/r", "Web-1")
        let id = made.text("auth/entity_id")
        #expect(made.status == 200 && !id.isEmpty)
        #expect(try await make("create/r", "web-1", #","type":"batch""#).text("auth/entity_id") == id)
        #expect(try await make("create/r", "one").text("auth/entity_id") != id)
        #expect(try await make("create/r", "other").status == 400)
        #expect(try await make("create", "web-1").status == 400)
        let entity = try await server.call(.read, "identity/entity/id/\(id)")
        let alias = entity["data/aliases"]?.elements.first
        #expect(alias?["mount_path"]?.string == "auth/token/" && alias?["mount_type"]?.string == "token")
        let accessor = try await accessor(server, "token/")
        #expect(alias?["mount_accessor"]?.string == accessor)
        let token = made.text("auth/client_token")
        _ = try await server.call(.update, "identity/entity/id/\(id)", #"{"policies":["a"]}"#)
        #expect(try await server.call(.read, "kv/a", token: token).status == 200)
        _ = try await server.call(.update, "identity/entity/id/\(id)", #"{"disabled":true}"#)
        #expect(try await server.call(.read, "kv/a", token: token).status == 403)
        let before = try await server.call(.list, "auth/token/accessors").texts("data/keys").count
        #expect(try await make("create/r", "web-1").status == 403)
        #expect(try await server.call(.list, "auth/token/accessors").texts("data/keys").count == before)
    }

    @Test func childrenAreTheirParentsEntityAndOrphansAreNobody() async throws {
        let server = try await server()
        let maker = #"path \"auth/token/create*\" { capabilities = [\"update\", \"sudo\"] }"#
        _ = try await server.call(.update, "sys/policies/acl/maker", #"{"policy":"\#(maker)"}"#)
        let first = try await logIn(server)
        let (token, id) = (first.text("auth/client_token"), first.text("auth/entity_id"))
        // The right to make tokens comes from the entity alone.
        _ = try await server.call(.update, "identity/entity/id/\(id)", #"{"policies":["maker"]}"#)
        let child = try await server.call(.update, "auth/token/create", "{}", token: token)
        #expect(child.text("auth/entity_id") == id)
        #expect(child.texts("auth/token_policies") == ["default"])
        let orphan = try await server.call(.update, "auth/token/create-orphan", "{}", token: token)
        #expect(orphan.status == 200 && orphan.text("auth/entity_id").isEmpty)
    }

    /// An entity cannot make its token root, whatever it is given.
    @Test func noIdentityGivesRoot() async throws {
        let server = try await server()
        let id = try await logIn(server).text("auth/entity_id")
        for name in ["root", "ROOT", " root", "root\\t", "a,root"] {
            for path in ["identity/entity/id/\(id)", "identity/group/name/g"] {
                let status = try await server.call(.update, path, #"{"policies":"\#(name)"}"#).status
                #expect(status == 400, "\(path) \(name)")
            }
        }
        let token = try await logIn(server).text("auth/client_token")
        #expect(try await server.call(.read, "sys/policies/acl/a", token: token).status == 403)
    }

    // MARK: Templates

    @Test func aTemplatedPathFollowsTheIdentity() async throws {
        let server = try await server()
        let accessor = try await accessor(server)
        let policy =
            #"path \"kv/{{identity.entity.name}}/*\" { capabilities = [\"create\",\"update\",\"read\"] }"#
            + #" path \"kv/m/{{identity.entity.aliases.\#(accessor).name}}\" "#
            + #"{ capabilities = [\"update\",\"create\"] }"#
        _ = try await server.call(.update, "sys/policies/acl/tp", #"{"policy":"\#(policy)"}"#)
        let login = try await logIn(server)
        let (token, id) = (login.text("auth/client_token"), login.text("auth/entity_id"))
        _ = try await server.call(
            .update, "identity/entity/id/\(id)", #"{"name":"blue","policies":["tp"]}"#)
        func write(_ path: String) async throws -> Int {
            try await server.call(.update, path, #"{"v":"1"}"#, token: token).status
        }
        #expect(try await write("kv/blue/x") == 204)
        #expect(try await write("kv/m/ann") == 204)
        #expect(try await write("kv/red/x") == 403)
        for name in ["red", "+", "*", "blue/x"] {
            _ = try await server.call(.update, "identity/entity/id/\(id)", #"{"name":"\#(name)"}"#)
            #expect(try await write("kv/blue/x") == 403, "\(name)")
            #expect(try await write("kv/red/x") == (name == "red" ? 204 : 403), "\(name)")
        }
        let changed = #"{"policy":"path \"kv/none\" { capabilities = [\"read\"] }"}"#
        _ = try await server.call(.update, "sys/policies/acl/tp", changed)
        #expect(try await write("kv/m/ann") == 403)
    }

    // MARK: In a cluster

    @Test func everyNodeFollowsWhatAnIdentityLoses() async throws {
        let servers = try await ClusterServers()
        for (path, body) in [
            ("sys/auth/up", #"{"type":"userpass"}"#), ("sys/mounts/kv", #"{"type":"kv"}"#),
            ("kv/a", #"{"v":"1"}"#), ("auth/up/users/ann", #"{"password":"x"}"#),
            ("sys/policies/acl/a", #"{"policy":"path \"kv/a\" { capabilities = [\"read\"] }"}"#),
        ] {
            #expect(try await servers.ask(0, .update, path, body).status == 204)
        }
        let login = try await servers.ask(0, .update, "auth/up/login/ann", #"{"password":"x"}"#)
        let (token, id) = (login.text("auth/client_token"), login.text("auth/entity_id"))
        func expectEverywhere(_ status: Int, _ what: Comment) async throws {
            for node in 0..<3 {
                #expect(try await servers.ask(node, .read, "kv/a", token: token).status == status, what)
            }
        }
        try await expectEverywhere(403, "without a group")
        let group = try await servers.ask(
            0, .update, "identity/group", #"{"name":"g","policies":["a"],"member_entity_ids":["\#(id)"]}"#
        ).text("data/id")
        try await expectEverywhere(200, "in the group")
        _ = try await servers.ask(0, .update, "identity/group/id/\(group)", #"{"member_entity_ids":[]}"#)
        try await expectEverywhere(403, "out of the group")
        _ = try await servers.ask(
            0, .update, "identity/group/id/\(group)", #"{"member_entity_ids":["\#(id)"]}"#)
        try await expectEverywhere(200, "in it again")
        _ = try await servers.ask(0, .delete, "identity/group/id/\(group)")
        try await expectEverywhere(403, "the group is gone")
        _ = try await servers.ask(0, .update, "identity/entity/id/\(id)", #"{"policies":["a"]}"#)
        try await expectEverywhere(200, "by its own policy")
        _ = try await servers.ask(0, .update, "identity/entity/id/\(id)", #"{"disabled":true}"#)
        try await expectEverywhere(403, "disabled")
        _ = try await servers.ask(0, .update, "identity/entity/id/\(id)", #"{"disabled":false}"#)
        try await expectEverywhere(200, "enabled")
        _ = try await servers.ask(0, .delete, "identity/entity/id/\(id)")
        try await expectEverywhere(403, "deleted")
    }
}
