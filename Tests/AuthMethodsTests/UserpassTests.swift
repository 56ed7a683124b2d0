import Base
import Crypto
import PluginKit
import Synchronization
import TestKit
import Testing

@testable import AuthMethods

@Suite struct UserpassTests {
    private typealias Harness = MethodHarness<UserpassMethod>
    private static let wrong = ["invalid username or password"]

    private func harness(_ user: String = #"{"password":"correct horse","policies":"p1,p2"}"#) async throws
        -> Harness
    {
        let harness = try Harness()
        #expect(await harness.call(.update, "users/ann", user).status == 204)
        return harness
    }

    @Test func aLoginGrantsWhatTheUserHas() async throws {
        let h = try await harness(
            #"{"password":"x","token_policies":["B","a"],"token_ttl":"5m","token_max_ttl":600,"#
                + #""token_bound_cidrs":"127.0.0.0/8","token_num_uses":3,"token_explicit_max_ttl":"1h","#
                + #""token_no_default_policy":true,"token_type":"service"}"#)
        let grant = try #require(await h.call(.update, "login/ann", #"{"password":"x"}"#).grant)
        #expect(
            grant.policies == ["a", "b"] && grant.displayName == "ann"
                && grant.metadata == ["username": "ann"])
        #expect(
            grant.ttl == .seconds(300) && grant.maxTTL == .seconds(600)
                && grant.explicitMaxTTL == .seconds(3600))
        #expect(grant.numberOfUses == 3 && grant.hasNoDefaultPolicy && grant.tokenType == .service)
        #expect(grant.boundCIDRs.map(\.description) == ["127.0.0.0/8"] && grant.alias?.name == "ann")
    }

    @Test func aWrongNameAndAWrongPasswordGetTheSameWords() async throws {
        let h = try await harness()
        let right = #"{"password":"correct horse"}"#
        for (name, body) in [
            ("ann", #"{"password":"bad"}"#), ("ann", #"{"password":"correct horse "}"#),
            ("ann", #"{"password":"Correct horse"}"#), ("nobody", right), ("an:n", right),
            ("ann\u{e9}", right),
            (String(repeating: "a", count: 2_000), right),
        ] {
            let answer = await h.call(.update, "login/\(name)", body)
            #expect(answer.status == 400 && answer.errors == Self.wrong, "\(name)")
            #expect(answer.error == .invalidCredentials(Self.wrong[0]))
        }
        for body in ["{}", #"{"password":""}"#, #"{"password":["correct horse"]}"#, #"{"password":true}"#] {
            for name in ["ann", "nobody"] {
                let answer = await h.call(.update, "login/\(name)", body)
                #expect(answer.status == 400 && answer.errors != Self.wrong)
            }
        }
    }

    /// The comparison is nearly all of a login's time: every attempt makes one, and all cost the same.
    @Test func anUnknownNameTakesAsMuchWorkAsAKnownOne() async throws {
        let compared = Compared()
        let h = try Harness {
            $0.isRight = { hash, password async throws(VaultError) in
                compared.texts.withLock { $0.append(hash.text) }
                return try await hash.matches(password)
            }
        }
        await h.call(.update, "users/ann", #"{"password":"correct horse"}"#)
        for (name, password) in [("ann", "bad"), ("nobody", "bad"), ("ann", "correct horse")] {
            await h.call(.update, "login/\(name)", #"{"password":"\#(password)"}"#)
        }
        let costs = compared.texts.withLock { $0.map { $0.split(separator: "$").prefix(2) } }
        #expect(costs.count == 3)
        #expect(costs.allSatisfy { $0 == ["sha256-scrypt", "ln=15,r=8,p=1"] })
    }

    @Test func everyByteOfAPasswordCounts() async throws {
        let long = String(repeating: "p", count: 72)
        let h = try await harness(#"{"password":"\#(long)RIGHT"}"#)
        #expect(await h.call(.update, "login/ann", #"{"password":"\#(long)RIGHT"}"#).grant != nil)
        #expect(await h.call(.update, "login/ann", #"{"password":"\#(long)WRONG"}"#).errors == Self.wrong)
        #expect(await h.call(.update, "login/ann", #"{"password":"\#(long)"}"#).errors == Self.wrong)
        await h.call(.update, "users/ann/password", #"{"password":"a\u0000right"}"#)
        #expect(await h.call(.update, "login/ann", #"{"password":"a\u0000wrong"}"#).errors == Self.wrong)
        #expect(await h.call(.update, "login/ann", #"{"password":"a"}"#).errors == Self.wrong)
        #expect(await h.call(.update, "login/ann", #"{"password":"a\u0000right"}"#).grant != nil)
    }

    @Test func namesHaveOneSpelling() async throws {
        let h = try await harness()
        #expect(
            await h.call(.update, "login/ANN", #"{"password":"correct horse"}"#).grant?.alias?.name == "ann")
        for path in ["login/ann", "login/Ann", "login/aNN ", "login/ ann"] {
            #expect(h.method.loginName(try h.request(.update, path)) == "ann")
        }
        #expect(await h.call(.read, "users/Ann").status == 200)
        #expect(await h.call(.update, "users/Bob", #"{"password":"x"}"#).status == 204)
        #expect(h.keys("user/") == ["m/user/ann", "m/user/bob"])
        for name in ["a:b", "\u{e9}", "a b", "a*", "+%", String(repeating: "a", count: 257)] {
            #expect(await h.call(.update, "users/\(name)", #"{"password":"x"}"#).status == 400, "\(name)")
        }
    }

    @Test func boundNetworksShowOnlyBehindTheRightPassword() async throws {
        let h = try await harness(#"{"password":"x","token_bound_cidrs":"10.0.0.0/8"}"#)
        #expect(await h.call(.update, "login/ann", #"{"password":"x"}"#).error == .permissionDenied)
        #expect(await h.call(.update, "login/ann", #"{"password":"y"}"#).errors == Self.wrong)
        h.address = "10.1.2.3"
        #expect(await h.call(.update, "login/ann", #"{"password":"x"}"#).grant != nil)
    }

    @Test func usersAreReadChangedListedAndDeleted() async throws {
        let h = try await harness()
        let read = await h.call(.read, "users/ann")
        #expect(read["policies"] == #"["p1","p2"]"# && read["token_policies"] == #"["p1","p2"]"#)
        #expect(read["token_type"] == #""default""# && read["token_bound_cidrs"] == "[]")
        #expect(!read.text.contains("hash") && !read.text.contains("scrypt"))
        #expect(
            await h.call(.update, "users/ann", #"{"ttl":"1h","max_ttl":"2h","bound_cidrs":"::1"}"#).status
                == 204)
        let old = await h.call(.read, "users/ann")
        #expect(old["ttl"] == "3600" && old["token_ttl"] == "3600" && old["max_ttl"] == "7200")
        #expect(old["bound_cidrs"] == #"["::1"]"# && old["policies"] == #"["p1","p2"]"#)
        await h.call(.update, "users/ann/policies", #"{"token_policies":"z","token_ttl":"9h"}"#)
        let new = await h.call(.read, "users/ann")
        #expect(new["policies"] == nil && new["token_policies"] == #"["z"]"# && new["token_ttl"] == "3600")
        #expect(await h.call(.list, "users").text == #"{"keys":["ann"]}"#)
        #expect(await h.call(.delete, "users/ANN").status == 204)
        #expect(await h.call(.delete, "users/ann").status == 204)
        #expect(await h.call(.read, "users/ann").status == 404)
        #expect(await h.call(.list, "users").status == 404)
        #expect(await h.call(.update, "login/ann", #"{"password":"correct horse"}"#).errors == Self.wrong)
    }

    @Test(arguments: [
        #"{"password":"x","token_ttl":"2h","token_max_ttl":"1h"}"#, #"{"password":"x","token_type":"bogus"}"#,
        #"{"password":"x","token_bound_cidrs":"10.0.0.0/33"}"#, #"{"password":"x","token_num_uses":-1}"#,
        #"{"password":"x","token_type":"batch","token_period":"1h"}"#, #"{"password":"x","token_ttl":"-1"}"#,
        #"{"password":"x","token_type":"batch","token_num_uses":2}"#, #"{"policies":"p"}"#,
        #"{"password":""}"#,
        #"{"password":["x"]}"#, #"{"password":"x","token_period":"-5"}"#,
        #"{"password":"x","token_bound_cidrs":"127.0.0.1\u0000"}"#,
    ])
    func badUsersAreRefusedAndWriteNothing(body: String) async throws {
        let h = try Harness()
        let answer = await h.call(.update, "users/ann", body)
        #expect(answer.status == 400 && !answer.errors.isEmpty && h.storage.entries.isEmpty)
    }

    @Test func passwordsAreNotStored() async throws {
        let h = try await harness()
        #expect(!h.stores("correct horse") && h.stores("scrypt"))
        #expect(await h.call(.update, "users/none/password", #"{"password":"x"}"#).status == 400)
        #expect(await h.call(.update, "users/none/policies", #"{"policies":"x"}"#).status == 400)
    }

    @Test func renewalsAskTheUserAsItIsNow() async throws {
        let h = try await harness()
        let grant = try #require(await h.call(.update, "login/ann", #"{"password":"correct horse"}"#).grant)
        #expect(try h.renew(grant) == LoginTerms())
        await h.call(.update, "users/ann", #"{"token_ttl":"5m","token_max_ttl":"10m","token_period":"7m"}"#)
        #expect(
            try h.renew(grant)
                == LoginTerms(ttl: .seconds(300), maxTTL: .seconds(600), period: .seconds(420)))
        await h.call(.update, "users/ann/policies", #"{"policies":"p1"}"#)
        #expect(throws: VaultError.badRequest("policies have changed, not renewing")) { try h.renew(grant) }
        await h.call(.update, "users/ann/policies", #"{"policies":"P2, p1,default"}"#)
        #expect(throws: Never.self) { try h.renew(grant) }
        await h.call(.delete, "users/ann")
        #expect(throws: VaultError.self) { try h.renew(grant) }
    }
}

private final class Compared: Sendable {
    let texts = Mutex<[String]>([])
}
