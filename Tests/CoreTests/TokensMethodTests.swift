import Base
import PluginKit
import TestKit
import Testing

@testable import Core

@Suite struct TokensMethodTests {
    private func fixture() throws -> TokenFixture {
        let fixture = TokenFixture()
        _ = try fixture.root()
        return fixture
    }

    @Test func rootMakesRootWithoutAnEnd() throws {
        let f = try fixture()
        let answer = try f.call(.update, "create")
        let issued = try #require(answer.auth?.issued)
        #expect(
            issued.policies == ["root"] && issued.leaseDuration == .zero && !issued.isRenewable
                && !issued.isOrphan)
        let token = try #require(issued.token?.text)
        #expect(token.wholeMatch(of: /hvs\.[A-Za-z0-9]{24,}/) != nil)
        let seen = try f.lookup(token)
        #expect(seen["expire_time"] == "null" && seen["id"] == "\"\(token)\"" && seen["ttl"] == "0")
        #expect(f.keys("sys/expire/").isEmpty)
    }

    @Test func lookupShowsWhatCreationWasAskedFor() throws {
        let f = try fixture()
        let token = try f.create(
            #"{"policies":["default","dev"],"ttl":"1h","display_name":"ci job","meta":{"team":"a"},"num_uses":3}"#
        )
        f.clock.advance(.seconds(10))
        let seen = try f.lookup(token)
        #expect(
            seen["display_name"] == "\"token-ci-job\"" && seen["creation_ttl"] == "3600"
                && seen["ttl"] == "3590")
        #expect(seen["num_uses"] == "3" && seen["meta"] == #"{"team":"a"}"# && seen["type"] == "\"service\"")
        #expect(seen["policies"] == #"["default","dev"]"# && seen["path"] == "\"auth/token/create\"")
        #expect(seen["period"] == nil && seen["role"] == nil && seen["last_renewal"] == nil)
        let accessor = try #require(seen["accessor"])
        let other = try f.call(.update, "lookup-accessor", "{\"accessor\":\(accessor)}").members
        #expect(other["id"] == "\"\"" && other["display_name"] == seen["display_name"])
    }

    @Test func missingPoliciesAreWarnedOf() throws {
        let f = try fixture()
        #expect(
            try f.call(.update, "create", #"{"policies":["dev"]}"#).warnings == [
                #"policy "dev" does not exist"#
            ])
        #expect(try f.call(.update, "create", #"{"policies":["default"]}"#).warnings.isEmpty)
        #expect(try f.call(.update, "create", #"{"policies":["ROOT","dev"]}"#).auth?.policies == ["root"])
        #expect(try f.call(.update, "create", #"{"policies":"a,b"}"#).auth?.policies == ["a,b", "default"])
        let bare = try f.call(.update, "create", #"{"policies":["Dev","dev"],"no_default_policy":true}"#)
        #expect(bare.auth?.policies == ["dev"])
    }

    @Test(arguments: [
        #"{"ttl":"bogus"}"#, #"{"ttl":"-1h"}"#, #"{"num_uses":-1}"#, #"{"period":"-1h"}"#, #"{"meta":"k=v"}"#,
        #"{"entity_alias":"x"}"#, #"{"type":"weird"}"#, #"{"id":"s.notallowedid"}"#, #"{"id":"with.dot"}"#,
        #"{"id":5}"#, #"{"id":"a b"}"#, #"{"id":"root"}"#, #"{"policies":[5]}"#, #"{"policies":{}}"#,
        #"{"policies":["response-wrapping"]}"#, #"{"meta":{"a":[]}}"#, #"{"explicit_max_ttl":"-1"}"#,
        #"{"type":"batch"}"#, #"{"type":"batch","policies":["default"],"period":"1h"}"#,
        #"{"type":"batch","policies":["default"],"num_uses":2}"#,
        #"{"type":"batch","policies":["a"],"id":"x"}"#,
        #"{"type":"batch","policies":["default"],"explicit_max_ttl":"1h"}"#, #"{"renewable":"maybe"}"#,
    ])
    func badCreationsAreRefusedAndWriteNothing(body: String) throws {
        let f = try fixture()
        let before = f.storage.entries.count
        let error = #expect(throws: VaultError.self) { try f.call(.update, "create", body) }
        #expect(error?.status == 400)
        #expect(f.storage.entries.count == before)
    }

    @Test func chosenIdsWorkOnce() throws {
        let f = try fixture()
        #expect(try f.create(#"{"id":"my-own-id","policies":["dev"]}"#) == "my-own-id")
        #expect(try f.authenticate("my-own-id")?.policies == ["default", "dev"])
        #expect(throws: VaultError.self) { try f.create(#"{"id":"my-own-id","policies":["dev"]}"#) }
        #expect(try f.call(.update, "create", #"{"id":"x","policies":["default"]}"#).warnings.count == 1)
    }

    @Test func childrenGetNoMoreThanTheirParent() throws {
        let f = try fixture()
        let plain = try f.create(#"{"policies":["dev"],"no_default_policy":true}"#)
        for body in [
            #"{"policies":["other"]}"#, #"{"policies":["root"]}"#, #"{"id":"x"}"#, #"{"no_parent":true}"#,
            #"{"period":"1h"}"#, #"{"policies":["dev","default"]}"#,
        ] {
            #expect(throws: VaultError.self) { try f.create(body, token: plain) }
        }
        let child = try f.create(#"{"policies":["dev"]}"#, token: plain)
        #expect(try f.authenticate(child)?.policies == ["dev"])
        #expect(try f.authenticate(try f.create(token: plain))?.policies == ["dev"])
        let strong = try f.create(#"{"policies":["super"]}"#)
        let other = try f.create(#"{"policies":["other"],"period":"1h","no_parent":true}"#, token: strong)
        #expect(try f.authenticate(other)?.policies == ["default", "other"])
        #expect(try f.authenticate(other)?.isOrphan == true)
        #expect(throws: VaultError.self) { try f.create(#"{"policies":["root"]}"#, token: strong) }
    }

    @Test func rootTokensWithAnEndCannotMakeEndlessOnes() throws {
        let f = try fixture()
        let mortal = try f.create(#"{"policies":["root"],"ttl":"1h"}"#)
        #expect(try f.authenticate(mortal)?.lifetime.isRenewable == true)
        #expect(throws: VaultError.self) { try f.create(token: mortal) }
        #expect(try f.authenticate(try f.create(#"{"ttl":"5m"}"#, token: mortal))?.isRoot == true)
    }

    @Test func spansAreCappedAndSayso() throws {
        let f = try fixture()
        let long = try f.call(.update, "create", #"{"policies":["default"],"ttl":"1000000h"}"#)
        #expect(long.auth?.issued?.leaseDuration == .seconds(2_764_800) && long.warnings.count == 1)
        let short = try f.call(
            .update, "create", #"{"policies":["default"],"ttl":"1h","explicit_max_ttl":"10m"}"#)
        #expect(short.auth?.issued?.leaseDuration == .seconds(600) && short.warnings.count == 1)
        let number = try f.call(.update, "create", #"{"policies":["default"],"ttl":3600}"#)
        #expect(number.auth?.issued?.leaseDuration == .seconds(3600) && number.warnings.isEmpty)
        let old = try f.call(.update, "create", #"{"policies":["default"],"lease":"2h"}"#)
        #expect(old.auth?.issued?.leaseDuration == .seconds(7200))
    }

    @Test func orphansHaveNoParent() throws {
        let f = try fixture()
        let token = try f.create(#"{"policies":["default"]}"#, path: "create-orphan")
        #expect(try f.lookup(token)["orphan"] == "true")
        #expect(try f.lookup(token)["path"] == "\"auth/token/create-orphan\"")
        #expect(f.keys("sys/token/parent/").isEmpty)
    }

    @Test func renewalsMoveTheEndAndTheIndex() throws {
        let f = try fixture()
        let token = try f.create(#"{"policies":["default"],"ttl":"10m"}"#)
        let body = #"{"token":"\#(token)","increment":"30m"}"#
        #expect(try f.call(.update, "renew", body).auth?.issued?.leaseDuration == .seconds(1800))
        #expect(f.keys("sys/expire/time/").count == 1)
        let accessor = try #require(f.lookup(token)["accessor"])
        let byAccessor = try f.call(.update, "renew-accessor", "{\"accessor\":\(accessor),\"increment\":300}")
        #expect(
            byAccessor.auth?.issued?.leaseDuration == .seconds(300) && byAccessor.auth?.issued?.token == nil)
        f.clock.advance(.seconds(299))
        #expect(try f.call(.update, "renew-self", token: token).auth?.issued?.leaseDuration == .seconds(300))
        f.clock.advance(.seconds(300))
        #expect(try f.authenticate(token) == nil)
        try f.expire()
        #expect(f.keys("sys/expire/").isEmpty && f.keys("sys/token/id/").count == 1)
    }

    @Test func periodicTokensLiveOnAndExplicitEndsHold() throws {
        let f = try fixture()
        let periodic = try f.create(#"{"no_parent":true,"period":"30m"}"#)
        for _ in 0..<200 {
            f.clock.advance(.seconds(1700))
            let answer = try f.call(.update, "renew-self", token: periodic, #"{"increment":"5s"}"#)
            #expect(answer.auth?.issued?.leaseDuration == .seconds(1800) && answer.warnings.isEmpty)
        }
        let bound = try f.create(#"{"policies":["default"],"ttl":"30s","explicit_max_ttl":"40s"}"#)
        f.clock.advance(.seconds(5))
        let answer = try f.call(.update, "renew-self", token: bound, #"{"increment":"1h"}"#)
        #expect(answer.auth?.issued?.leaseDuration == .seconds(35) && answer.warnings.count == 1)
        #expect(try f.lookup(bound)["last_renewal_time"] == "\(f.now.seconds)")
    }

    @Test func whatCannotBeRenewedSaysSo() throws {
        let f = try fixture()
        let fixed = try f.create(#"{"policies":["dev"],"ttl":"90s","renewable":false}"#)
        for (path, body, text) in [
            ("renew", #"{"token":"\#(fixed)"}"#, "lease is not renewable"),
            ("renew-self", "{}", "lease is not renewable"),
            ("renew", #"{"token":"nope"}"#, "token not found"), ("renew", "{}", "missing token ID"),
            ("renew-accessor", #"{"accessor":"nope"}"#, "1 error occurred:\n\t* invalid accessor\n\n"),
            ("renew-accessor", "{}", "missing accessor"), ("lookup-accessor", "{}", "missing accessor"),
            ("lookup-accessor", #"{"accessor":"../id/x"}"#, "1 error occurred:\n\t* invalid accessor\n\n"),
            ("revoke-accessor", "{}", "missing accessor"), ("revoke", "{}", "missing token ID"),
            ("revoke-orphan", #"{"token":"nope"}"#, "token to revoke not found"),
        ] {
            #expect(throws: VaultError.badRequest(text)) { try f.call(.update, path, body) }
        }
        #expect(throws: VaultError.forbidden("bad token")) {
            try f.call(.update, "lookup", #"{"token":"nope"}"#)
        }
        #expect(try f.call(.update, "revoke", #"{"token":"nope"}"#).data == nil)
        #expect(throws: VaultError.self) { try f.call(.update, "renew-self", #"{"increment":"bogus"}"#) }
    }

    @Test func usesAreCountedToTheLast() throws {
        let f = try fixture()
        let token = try f.create(#"{"policies":["default"],"num_uses":2}"#)
        #expect(try f.call(.read, "lookup-self", token: token).members["num_uses"] == "1")
        #expect(try f.call(.read, "lookup-self", token: token).members["num_uses"] == "-1")
        #expect(throws: VaultError.permissionDenied) { try f.call(.read, "lookup-self", token: token) }
        #expect(f.keys("sys/token/id/").count == 1 && f.keys("sys/token/accessor/").count == 1)
        let once = try f.create(#"{"policies":["default"],"num_uses":1,"ttl":"10m"}"#)
        #expect(throws: VaultError.badRequest("token not found")) {
            try f.call(.update, "renew-self", token: once)
        }
        #expect(throws: VaultError.permissionDenied) { try f.call(.read, "lookup-self", token: once) }
        let parent = try f.create(#"{"policies":["default"],"num_uses":5}"#)
        #expect(throws: VaultError.badRequest("restricted use token cannot generate child tokens")) {
            try f.create(token: parent)
        }
    }

    @Test func batchTokensCarryThemselves() throws {
        let f = try fixture()
        let before = f.storage.entries.count
        let parent = try f.create(#"{"policies":["default"],"ttl":"1h"}"#)
        let batch = try f.create(
            #"{"type":"batch","policies":["default"],"ttl":"10m","renewable":true}"#, token: parent)
        #expect(batch.hasPrefix("hvb."))
        #expect(f.storage.entries.count == before + 5)
        let seen = try f.call(.read, "lookup-self", token: batch).members
        #expect(seen["type"] == "\"batch\"" && seen["accessor"] == "\"\"" && seen["renewable"] == "false")
        #expect(seen["orphan"] == "false" && seen["ttl"] == "600" && seen["id"] == "\"\(batch)\"")
        for path in ["renew-self", "revoke-self", "create"] {
            #expect(throws: VaultError.self) { try f.call(.update, path, token: batch) }
        }
        for path in ["renew", "revoke"] {
            #expect(throws: VaultError.self) { try f.call(.update, path, #"{"token":"\#(batch)"}"#) }
        }
        for place in 4..<batch.count {
            var letters = Array(batch)
            letters[place] = letters[place] == "A" ? "B" : "A"
            #expect(try f.authenticate(String(letters)) == nil || String(letters) == batch)
        }
        _ = try f.call(.update, "revoke", #"{"token":"\#(parent)"}"#)
        #expect(try f.authenticate(batch) == nil)
        let short = try f.create(#"{"type":"batch","policies":["default"],"ttl":"2s"}"#)
        f.clock.advance(.seconds(2))
        #expect(try f.authenticate(short) == nil)
    }

    @Test func accessorsAreListedAndTidied() throws {
        let f = try fixture()
        for _ in 0..<5 { _ = try f.create(#"{"policies":["default"]}"#) }
        let keys = try f.call(.list, "accessors/").members["keys"]
        #expect(try RawJSON(validating: Array((keys ?? "").utf8)).elements.count == 6)
        #expect(try f.call(.update, "tidy").status == 202)
        #expect(f.keys("sys/token/accessor/").count == 6)
    }

    @Test func pathsMatchAsVaultsDo() throws {
        let table = RouteTable(
            TokenMethod.routes.map {
                $0.bind(TokenMethod(store: TokenFixture().store, environment: TokenFixture().environment))
            })
        func kind(_ operation: PluginKit.Operation, _ path: String) -> String {
            switch table.match(operation, path) {
            case .found: "found"
            case .wrongOperation: "wrong"
            case .none: "none"
            }
        }
        #expect(kind(.read, "accessors") == "none" && kind(.read, "accessors/") == "wrong")
        #expect(kind(.list, "accessors/") == "found" && kind(.list, "create/") == "none")
        #expect(kind(.read, "create") == "wrong" && kind(.read, "lookup/x") == "none")
        #expect(kind(.read, "lookup") == "found" && kind(.update, "renew-self/extra") == "none")
        #expect(kind(.update, "create/role") == "found" && kind(.list, "roles/") == "found")
    }

    @Test func onlyTheCoreMakesTheMethod() {
        #expect(throws: VaultError.self) {
            try TokenMethod(MountContext(uuid: "", accessor: "", path: "auth/t/"))
        }
    }

    // MARK: Roles

    @Test func rolesLimitWhatIsMade() throws {
        let f = try fixture()
        #expect(throws: VaultError.notFound) { try f.call(.list, "roles/") }
        _ = try f.call(
            .update, "roles/r1",
            #"{"allowed_policies":["a","b"],"token_period":"1h","renewable":true,"path_suffix":"sfx"}"#)
        let role = try f.call(.read, "roles/r1").members
        #expect(
            role["token_period"] == "3600" && role["period"] == "0"
                && role["allowed_policies"] == #"["a","b"]"#)
        #expect(role["allowed_entity_aliases"] == "null" && role["token_type"] == "\"default-service\"")
        let token = try f.create(#"{"policies":["a"]}"#, path: "create/r1")
        let seen = try f.lookup(token)
        #expect(seen["policies"] == #"["a","default"]"# && seen["role"] == "\"r1\"" && seen["ttl"] == "3600")
        #expect(seen["path"] == "\"auth/token/create/r1/sfx\"")
        #expect(throws: VaultError.self) { try f.create(#"{"policies":["c"]}"#, path: "create/r1") }
        #expect(try f.call(.update, "create/r1").auth?.policies == ["a", "b", "default"])
        #expect(throws: VaultError.badRequest("unknown role none")) { try f.create(path: "create/none") }
        #expect(
            try f.call(.update, "renew", #"{"token":"\#(token)"}"#).auth?.issued?.leaseDuration
                == .seconds(3600))
        _ = try f.call(.delete, "roles/r1")
        #expect(throws: VaultError.self) { try f.call(.update, "renew", #"{"token":"\#(token)"}"#) }
        #expect(throws: VaultError.notFound) { try f.call(.read, "roles/r1") }
    }

    @Test func rolesForbidBindAndCount() throws {
        let f = try fixture()
        _ = try f.call(
            .update, "roles/r2",
            #"{"disallowed_policies":"x","orphan":true,"token_explicit_max_ttl":"10m","token_no_default_policy":true,"#
                + #""token_num_uses":4,"token_bound_cidrs":["127.0.0.0/8"]}"#)
        let token = try f.create(#"{"policies":["y"]}"#, path: "create/r2")
        let seen = try f.lookup(token)
        #expect(seen["num_uses"] == "4" && seen["orphan"] == "true" && seen["policies"] == #"["y"]"#)
        #expect(
            seen["bound_cidrs"] == #"["127.0.0.0/8"]"# && seen["explicit_max_ttl"] == "0"
                && seen["ttl"] == "600")
        let entry = try #require(try f.authenticate(token))
        #expect(entry.isAllowed(from: "127.0.0.9") && !entry.isAllowed(from: "10.0.0.1"))
        #expect(throws: VaultError.self) { try f.create(#"{"policies":["x"]}"#, path: "create/r2") }
    }

    @Test func childrenStayBoundToTheirParentsNetworks() throws {
        let f = try fixture()
        _ = try f.call(.update, "roles/c", #"{"token_bound_cidrs":"10.0.0.0/8"}"#)
        let parent = try f.create(#"{"policies":["default"]}"#, path: "create/c")
        let child = try f.create(token: parent)
        #expect(try f.authenticate(child)?.isAllowed(from: "11.0.0.1") == false)
    }

    @Test(arguments: [
        #"{"token_type":"batch"}"#, #"{"token_type":"batch","orphan":true}"#, #"{"token_type":"bogus"}"#,
        #"{"token_bound_cidrs":"notacidr"}"#, #"{"explicit_max_ttl":"-1"}"#, #"{"token_num_uses":-1}"#,
    ])
    func badRolesAreRefused(body: String) throws {
        let f = try fixture()
        #expect(throws: VaultError.self) { try f.call(.update, "roles/bad", body) }
        #expect(f.keys("sys/token/roles/").isEmpty)
    }

    @Test(arguments: [
        ("a*", "abc", true), ("*c", "abc", true), ("a*c*e", "abcde", true), ("a", "ab", false),
        ("*", "", true),
    ])
    func globsMatch(pattern: String, text: String, expected: Bool) {
        #expect(TokenRole.matches(pattern, text) == expected)
    }
}
