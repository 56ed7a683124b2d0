import Base
import PluginKit
import TestKit
import Testing

@testable import AuthMethods

@Suite struct AppRoleTests {
    private typealias Harness = MethodHarness<AppRoleMethod>

    private func harness(_ role: String = "{}") async throws -> (Harness, id: String) {
        let harness = try Harness()
        #expect(await harness.call(.update, "role/r1", role).status == 204)
        return (harness, await harness.call(.read, "role/r1/role-id").text("role_id"))
    }

    private func secret(_ h: Harness, _ body: String = "{}", role: String = "r1") async -> (
        id: String, accessor: String
    ) {
        let made = await h.call(.update, "role/\(role)/secret-id", body)
        return (made.text("secret_id"), made.text("secret_id_accessor"))
    }

    private func logIn(_ h: Harness, _ id: String, _ secret: String) async -> Harness.Answer {
        await h.call(.update, "login", #"{"role_id":"\#(id)","secret_id":"\#(secret)"}"#)
    }

    // MARK: Logging in

    @Test func aLoginGrantsWhatTheRoleHas() async throws {
        let (h, id) = try await harness(
            #"{"token_policies":"p1","token_ttl":"20m","token_max_ttl":"30m","token_period":"1h"}"#)
        let (secretID, accessor) = await secret(
            h, #"{"metadata":"{\"env\":\"dev\",\"role_name\":\"fake\"}"}"#)
        #expect(secretID.count == 36 && accessor.count == 36 && id.count == 36)
        let grant = try #require(await logIn(h, id, secretID).grant)
        #expect(grant.policies == ["p1"] && grant.displayName.isEmpty)
        #expect(grant.metadata == ["env": "dev", "role_name": "r1"])
        #expect(
            grant.ttl == .seconds(1200) && grant.maxTTL == .seconds(1800) && grant.period == .seconds(3600))
        #expect(grant.alias?.name == id)
    }

    @Test func whatIsMissingOrWrongIsToldApartAsInVault() async throws {
        let (h, id) = try await harness()
        #expect(await h.call(.update, "login", "{}").errors == ["missing role_id"])
        #expect(await h.call(.update, "login", #"{"role_id":"\#(id)"}"#).errors == ["missing secret_id"])
        #expect(await logIn(h, "bad", "bad").error == .badRequest("invalid role ID"))
        #expect(await logIn(h, id, "bad").error == .invalidCredentials("invalid secret id"))
        let (_, accessor) = await secret(h)
        #expect(await logIn(h, id, accessor).status == 400)
        #expect(await logIn(h, "../\(id)", "x").errors == ["invalid role ID"])
        for body in [#"{"role_id":["x"],"secret_id":["x"]}"#, #"{"role_id":"\#(id)","secret_id":null}"#] {
            #expect(await h.call(.update, "login", body).status == 400)
        }
    }

    @Test func countedUsesRunOut() async throws {
        let (h, id) = try await harness(#"{"secret_id_num_uses":2}"#)
        let (secretID, _) = await secret(h)
        #expect(await logIn(h, id, secretID).grant != nil)
        let seen = await h.call(.update, "role/r1/secret-id/lookup", #"{"secret_id":"\#(secretID)"}"#)
        #expect(seen["secret_id_num_uses"] == "1")
        #expect(await logIn(h, id, secretID).grant != nil)
        #expect(await logIn(h, id, secretID).errors == ["invalid secret id"])
        #expect(h.keys("secret_id/").isEmpty && h.keys("accessor/").isEmpty && h.keys("expiry/").isEmpty)
    }

    @Test func secretIDsEndInTimeAndAreTidied() async throws {
        let (h, id) = try await harness(#"{"secret_id_ttl":"10m"}"#)
        let (first, accessor) = await secret(h)
        h.clock.advance(.seconds(300))
        let (second, _) = await secret(h)
        h.clock.advance(.seconds(300))
        #expect(await logIn(h, id, first).errors == ["invalid secret id"])
        #expect(
            await h.call(.update, "role/r1/secret-id/lookup", #"{"secret_id":"\#(first)"}"#).status == 204)
        let lookup = #"{"secret_id_accessor":"\#(accessor)"}"#
        #expect(await h.call(.update, "role/r1/secret-id-accessor/lookup", lookup).status == 404)
        #expect(await h.call(.list, "role/r1/secret-id")["keys"]?.contains(accessor) == true)
        #expect(try h.tidy() == false)
        #expect(
            h.keys("secret_id/").count == 1 && h.keys("accessor/").count == 1 && h.keys("expiry/").count == 1)
        #expect(await logIn(h, id, second).grant != nil)
        h.clock.advance(.seconds(301))
        #expect(await h.call(.update, "tidy/secret-id", "{}").status == 202)
        #expect(h.keys("secret_id/").isEmpty && h.keys("accessor/").isEmpty && h.keys("expiry/").isEmpty)
    }

    @Test func addressesAreHeldAgainstSecretIDRoleAndToken() async throws {
        let (h, id) = try await harness(
            #"{"secret_id_bound_cidrs":"10.0.0.0/8","token_bound_cidrs":"10.1.0.0/16","#
                + #""secret_id_num_uses":1}"#
        )
        let (narrow, _) = await secret(
            h, #"{"cidr_list":"10.1.2.0/24","token_bound_cidrs":["10.1.2.3"]}"#)
        for address in ["127.0.0.1", "10.2.0.1", "10.1.3.1"] {
            h.address = address
            #expect(await logIn(h, id, narrow).grant == nil)
        }
        h.address = "10.1.2.9"
        let grant = try #require(await logIn(h, id, narrow).grant, "a refused login is no use")
        #expect(grant.boundCIDRs.map(\.description) == ["10.1.2.3"])
        let (wide, _) = await secret(h)
        #expect(await logIn(h, id, wide).grant?.boundCIDRs.map(\.description) == ["10.1.0.0/16"])
        for body in [
            #"{"cidr_list":"11.0.0.0/8"}"#, #"{"cidr_list":"0.0.0.0/0"}"#, #"{"cidr_list":"::/0"}"#,
            #"{"token_bound_cidrs":"10.0.0.0/8"}"#, #"{"cidr_list":"x"}"#,
        ] {
            #expect(await h.call(.update, "role/r1/secret-id", body).status == 400, "\(body)")
        }
    }

    @Test func aRoleWithoutSecretIDsNeedsNetworks() async throws {
        let h = try Harness()
        #expect(await h.call(.update, "role/open", #"{"bind_secret_id":false}"#).status == 400)
        let body = #"{"bind_secret_id":false,"token_bound_cidrs":"127.0.0.0/8","role_id":"open-id"}"#
        #expect(await h.call(.update, "role/open", body).status == 204)
        #expect(
            await h.call(.update, "login", #"{"role_id":"open-id"}"#).grant?.metadata == ["role_name": "open"]
        )
        #expect(await h.call(.delete, "role/open/token-bound-cidrs").status == 400)
        #expect(await h.call(.update, "role/open/secret-id", "{}").status == 400)
        #expect(await h.call(.delete, "role/open/bind-secret-id").status == 204)
        #expect(await h.call(.update, "login", #"{"role_id":"open-id"}"#).errors == ["missing secret_id"])
    }

    // MARK: Secret ids

    @Test func secretIDsAreStoredAsCodesOnly() async throws {
        let (h, _) = try await harness()
        let (secretID, accessor) = await secret(h)
        await h.call(.update, "role/r1/custom-secret-id", #"{"secret_id":"my very own"}"#)
        #expect(!h.stores(secretID) && !h.stores("my very own") && h.stores(accessor))
    }

    @Test func anotherRolesSecretIDsAreOutOfReach() async throws {
        let (h, id) = try await harness()
        await h.call(.update, "role/r2", #"{"policies":"p"}"#)
        let other = await h.call(.read, "role/r2/role-id").text("role_id")
        let (secretID, accessor) = await secret(h)
        #expect(await logIn(h, other, secretID).errors == ["invalid secret id"])
        let byAccessor = #"{"secret_id_accessor":"\#(accessor)"}"#,
            bySecret = #"{"secret_id":"\#(secretID)"}"#
        #expect(await h.call(.update, "role/r2/secret-id-accessor/destroy", byAccessor).status == 404)
        #expect(await h.call(.delete, "role/r2/secret-id-accessor/destroy", byAccessor).status == 404)
        #expect(await h.call(.update, "role/r2/secret-id-accessor/lookup", byAccessor).status == 404)
        #expect(await h.call(.update, "role/r2/secret-id/destroy", bySecret).status == 204)
        #expect(await h.call(.update, "role/r2/secret-id/lookup", bySecret).status == 204)
        #expect(await logIn(h, id, secretID).grant != nil)
        for accessor in ["", "x", "../../r1", String(repeating: "a", count: 36) + "/", accessor.uppercased()]
        {
            let body = #"{"secret_id_accessor":"\#(accessor)"}"#
            #expect(await h.call(.update, "role/r1/secret-id-accessor/destroy", body).status >= 400)
        }
        #expect(await h.call(.update, "role/r1/secret-id-accessor/destroy", byAccessor).status == 204)
        #expect(await logIn(h, id, secretID).errors == ["invalid secret id"])
    }

    @Test func customSecretIDsAreUniqueInTheirRole() async throws {
        let (h, id) = try await harness(#"{"secret_id_ttl":60}"#)
        let custom = #"{"secret_id":"a/b \"c\""}"#
        let made = await h.call(.update, "role/r1/custom-secret-id", custom)
        #expect(made.text("secret_id") == "a/b \"c\"" && made["secret_id_ttl"] == "60")
        #expect(await h.call(.update, "role/r1/custom-secret-id", custom).status == 400)
        #expect(await logIn(h, id, #"a/b \"c\""#).grant != nil)
        await h.call(.update, "role/r2")
        #expect(await h.call(.update, "role/r2/custom-secret-id", custom).status == 200)
        h.clock.advance(.seconds(61))
        #expect(await h.call(.update, "role/r1/custom-secret-id", custom).status == 200)
        #expect(h.keys("accessor/").count == 2)
        for body in ["{}", #"{"secret_id":""}"#, #"{"secret_id":["x"]}"#] {
            #expect(await h.call(.update, "role/r1/custom-secret-id", body).status == 400)
        }
    }

    @Test(arguments: [
        #"{"metadata":"notjson"}"#, #"{"metadata":"[]"}"#, #"{"metadata":"{\"a\":1}"}"#, #"{"metadata":5}"#,
        #"{"num_uses":-1}"#, #"{"num_uses":3}"#, #"{"num_uses":0}"#, #"{"ttl":"11m"}"#, #"{"ttl":0}"#,
    ])
    func badSecretIDsAreRefused(body: String) async throws {
        let (h, _) = try await harness(#"{"secret_id_num_uses":2,"secret_id_ttl":"10m"}"#)
        let before = h.storage.entries.count
        #expect(await h.call(.update, "role/r1/secret-id", body).status == 400)
        #expect(h.storage.entries.count == before)
    }

    @Test func aSecretIDMayHaveLessThanItsRole() async throws {
        let (h, _) = try await harness(#"{"secret_id_num_uses":2,"secret_id_ttl":"10m"}"#)
        let made = await h.call(
            .update, "role/r1/secret-id", #"{"num_uses":1,"ttl":"1m","metadata":{"a":"b"}}"#)
        #expect(made["secret_id_num_uses"] == "1" && made["secret_id_ttl"] == "60")
        let seen = await h.call(
            .update, "role/r1/secret-id/lookup", #"{"secret_id":"\#(made.text("secret_id"))"}"#)
        #expect(seen["metadata"] == #"{"a":"b"}"# && seen["cidr_list"] == "[]")
        #expect(seen.text("expiration_time") == "2023-11-14T22:14:20Z")
    }

    // MARK: Roles

    @Test func deletingARoleEndsItsSecretIDsForGood() async throws {
        let (h, id) = try await harness()
        let (secretID, _) = await secret(h)
        let grant = try #require(await logIn(h, id, secretID).grant)
        #expect(throws: Never.self) { try h.renew(grant) }
        #expect(await h.call(.delete, "role/R1").status == 204)
        #expect(await h.call(.delete, "role/r1").status == 204)
        #expect(await logIn(h, id, secretID).errors == ["invalid role ID"])
        #expect(throws: VaultError.self) { try h.renew(grant) }
        #expect(h.storage.entries.keys.contains { $0.hasPrefix("core/deleting/m:secret_id:") })
        await h.call(.update, "role/r1", #"{"role_id":"\#(id)"}"#)
        #expect(await logIn(h, id, secretID).errors == ["invalid secret id"])
        #expect(await h.call(.list, "role/r1/secret-id").status == 404)
    }

    @Test func roleIDsAreUnique() async throws {
        let (h, id) = try await harness()
        #expect(await h.call(.update, "role/r2", #"{"role_id":"\#(id)"}"#).status == 400)
        #expect(await h.call(.read, "role/r2").status == 404)
        #expect(await h.call(.update, "role/r1/role-id", #"{"role_id":"custom/role"}"#).status == 204)
        #expect(await h.call(.read, "role/r1/role-id").text("role_id") == "custom/role")
        #expect(await logIn(h, id, "x").errors == ["invalid role ID"])
        #expect(await logIn(h, "custom/role", "x").errors == ["invalid secret id"])
        #expect(await h.call(.update, "role/r2", #"{"role_id":"\#(id)"}"#).status == 204)
        #expect(await h.call(.update, "role/r2/role-id", "{}").status == 400)
    }

    @Test func everyPartIsReadWrittenAndReset() async throws {
        let (h, _) = try await harness()
        let parts: [(path: String, name: String, sent: String, seen: String, reset: String)] = [
            ("policies", "token_policies", #""b,A""#, #"["a","b"]"#, "[]"),
            ("bound-cidr-list", "bound_cidr_list", #""10.0.0.0/8""#, #"["10.0.0.0/8"]"#, "[]"),
            ("secret-id-bound-cidrs", "secret_id_bound_cidrs", #"["10.0.0.0/8"]"#, #"["10.0.0.0/8"]"#, "[]"),
            ("token-bound-cidrs", "token_bound_cidrs", #""127.0.0.1/32""#, #"["127.0.0.1"]"#, "[]"),
            ("bind-secret-id", "bind_secret_id", "true", "true", "true"),
            ("secret-id-num-uses", "secret_id_num_uses", "7", "7", "0"),
            ("secret-id-ttl", "secret_id_ttl", #""1h""#, "3600", "0"),
            ("period", "token_period", #""2h""#, "7200", "0"),
            ("token-num-uses", "token_num_uses", "3", "3", "0"),
            ("token-max-ttl", "token_max_ttl", #""3h""#, "10800", "0"),
            ("token-ttl", "token_ttl", #""2h""#, "7200", "0"),
        ]
        for part in parts {
            let path = "role/r1/\(part.path)"
            #expect(await h.call(.update, path, "{}").status == 400, "\(path)")
            let body = #"{"\#(part.name)":\#(part.sent),"role_id":"not for here","local_secret_ids":true}"#
            #expect(await h.call(.update, path, body).status == 204, "\(path)")
            #expect(await h.call(.read, path)[part.name] == part.seen, "\(path)")
            #expect(await h.call(.delete, path).status == 204, "\(path)")
            #expect(await h.call(.read, path)[part.name] == part.reset, "\(path)")
            #expect(await h.call(.read, "role/none/\(part.path)").status == 404)
            #expect(await h.call(.update, "role/none/\(part.path)", body).status == 404)
        }
        #expect(await h.call(.read, "role/r1/local-secret-ids")["local_secret_ids"] == "false")
        #expect(await h.call(.update, "role/r1", #"{"local_secret_ids":true}"#).status == 400)
    }

    @Test func olderNamesAreShownBesideTheirNewOnes() async throws {
        let (h, _) = try await harness(#"{"policies":"p","period":"1h","bound_cidr_list":["10.0.0.0/8"]}"#)
        let old = await h.call(.read, "role/r1")
        #expect(old["policies"] == #"["p"]"# && old["token_policies"] == #"["p"]"# && old["period"] == "3600")
        #expect(old["bound_cidr_list"] == #"["10.0.0.0/8"]"#)
        await h.call(
            .update, "role/r1", #"{"token_policies":"q","token_period":60,"secret_id_bound_cidrs":""}"#)
        let new = await h.call(.read, "role/r1")
        #expect(new["policies"] == nil && new["period"] == nil && new["bound_cidr_list"] == nil)
        #expect(new["token_period"] == "60" && new["secret_id_bound_cidrs"] == "null")
    }

    @Test(arguments: [
        #"{"secret_id_num_uses":-1}"#, #"{"secret_id_ttl":"-1m"}"#,
        #"{"token_ttl":"2h","token_max_ttl":"1h"}"#,
        #"{"secret_id_bound_cidrs":"300.0.0.1"}"#, #"{"token_type":"x"}"#, #"{"bind_secret_id":"perhaps"}"#,
    ])
    func badRolesAreRefusedAndWriteNothing(body: String) async throws {
        let h = try Harness()
        #expect(await h.call(.update, "role/r1", body).status == 400 && h.storage.entries.isEmpty)
    }
}
