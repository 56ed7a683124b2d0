import Base
import PluginKit
import TestKit
import Testing

@testable import Core

/// The tokens that auth methods grant.
@Suite struct TokensLoginTests {
    private static let mount = LoginMount(
        path: "auth/m/", accessor: "auth_m_1",
        caps: TTLCaps(defaultTTL: .seconds(3_600), maxTTL: .seconds(7_200)))

    private func issue(
        _ f: TokenFixture, mount: LoginMount = mount, _ change: (inout AuthGrant) -> Void = { _ in }
    ) throws -> (token: String, grant: AuthGrant, warnings: [String]) {
        var grant = AuthGrant(policies: ["dev"], displayName: "ann")
        change(&grant)
        let asked = grant
        let made = try f.commit { tx throws(VaultError) in
            try f.store.issueLogin(&tx, asked, path: "auth/m/login", mount: mount, now: f.now)
        }
        return (try #require(made.grant.issued?.token?.text), made.grant, made.warnings)
    }

    @Test func whatAGrantSaysIsInTheToken() throws {
        let f = TokenFixture()
        let network = try #require(CIDRBlock("10.0.0.0/8"))
        let (token, _, _) = try issue(f) {
            $0.metadata = ["a": "b"]
            $0.numberOfUses = 2
            $0.explicitMaxTTL = .seconds(600)
            $0.hasNoDefaultPolicy = true
            $0.boundCIDRs = [network]
            $0.internalData = ["user": "ann"]
        }
        let entry = try #require(try f.authenticate(token))
        #expect(entry.policies == ["dev"] && entry.displayName == "m-ann" && entry.metadata == ["a": "b"])
        #expect(entry.numberOfUses == 2 && entry.isOrphan && entry.boundCIDRs == [network])
        #expect(entry.lifetime.ttl == .seconds(600) && entry.lifetime.explicitMaxTTL == .seconds(600))
        #expect(entry.login == LoginOrigin(mountAccessor: "auth_m_1", internalData: ["user": "ann"]))
        #expect(entry.leaseID == "auth/m/login/h\(entry.hash)")
    }

    @Test func loginOriginsSurviveStorage() {
        var entry = TokenEntry(hash: "h", created: Timestamp(seconds: 1))
        for login in [
            nil, LoginOrigin(mountAccessor: "a"), LoginOrigin(mountAccessor: "", internalData: ["": "é"]),
        ] {
            entry.login = login
            let bytes = TokenCodec.encode(entry)
            #expect(TokenCodec.decode(bytes, hash: "h") == entry)
            #expect(TokenCodec.decode(bytes + [0], hash: "h") == nil)
            #expect(TokenCodec.decode(bytes.dropLast(), hash: "h") == nil)
        }
    }

    @Test func batchTokensCarryWhatTheyMay() throws {
        let f = TokenFixture()
        let mount = LoginMount(
            path: "auth/m/", accessor: "auth_m_1", tokenType: "batch", caps: Self.mount.caps)
        let (token, grant, _) = try issue(f, mount: mount) {
            $0.numberOfUses = 2
            $0.period = .seconds(60)
            $0.ttl = .seconds(120)
        }
        #expect(token.hasPrefix("hvb.") && f.storage.entries.isEmpty)
        #expect(grant.issued?.isRenewable == false && grant.issued?.numberOfUses == 0)
        #expect(grant.issued?.leaseDuration == .seconds(120))
        let entry = try #require(try f.authenticate(token))
        #expect(entry.type == .batch && entry.login == nil && entry.lifetime.period == .zero)
        #expect(try f.authenticate("b." + token.dropFirst(4)) == entry, "the older prefix is accepted")
        f.clock.advance(.seconds(120))
        #expect(try f.authenticate(token) == nil)
    }

    @Test func aGrantIsCheckedAgainInItsTransaction() throws {
        let f = TokenFixture()
        #expect(throws: VaultError.badRequest("gone")) {
            try issue(f) {
                $0.recheck = { _ throws(VaultError) in throw .badRequest("gone") }
            }
        }
        #expect(f.storage.entries.isEmpty)
    }

    @Test(arguments: [["root"], [" Root "], ["dev", "ROOT"], ["response-wrapping"], ["control-group", "x"]])
    func noLoginGivesWhatIsTheCoresOwn(policies: [String]) throws {
        let f = TokenFixture()
        #expect(throws: VaultError.self) { try issue(f) { $0.policies = policies } }
        #expect(f.storage.entries.isEmpty)
    }

    // MARK: Renewal

    private func renew(_ f: TokenFixture, _ token: String, _ increment: Int = 0) throws -> Duration? {
        try f.call(.update, "renew", #"{"token":"\#(token)","increment":\#(increment)}"#).auth?.issued?
            .leaseDuration
    }

    @Test func theMethodSaysHowLongARenewalMayBe() throws {
        let f = TokenFixture()
        _ = try f.root()
        let (token, _, _) = try issue(f) { $0.ttl = .seconds(60) }
        #expect(throws: VaultError.badRequest("no such mount")) { try renew(f, token) }
        f.login["auth_m_1"] = LoginTerms()
        #expect(try renew(f, token) == .seconds(3_600), "the mount's default")
        f.login["auth_m_1"] = LoginTerms(ttl: .seconds(100), maxTTL: .seconds(300))
        #expect(try renew(f, token) == .seconds(100))
        #expect(try renew(f, token, 250) == .seconds(250))
        f.clock.advance(.seconds(200))
        #expect(try renew(f, token, 250) == .seconds(100))
        f.login["auth_m_1"] = LoginTerms(ttl: .seconds(100), maxTTL: .seconds(150))
        #expect(throws: VaultError.self) { try renew(f, token) }
        f.login["auth_m_1"] = LoginTerms(maxTTL: .seconds(1), period: .seconds(500))
        #expect(try renew(f, token) == .seconds(500))
    }

    @Test func anExplicitEndCannotBeRenewedAway() throws {
        let f = TokenFixture()
        _ = try f.root()
        f.login["auth_m_1"] = LoginTerms(period: .seconds(500))
        let (token, _, _) = try issue(f) {
            $0.period = .seconds(500)
            $0.explicitMaxTTL = .seconds(600)
        }
        f.clock.advance(.seconds(400))
        #expect(try renew(f, token) == .seconds(200))
        f.clock.advance(.seconds(200))
        #expect(try f.authenticate(token) == nil)
        #expect(throws: VaultError.self) { try renew(f, token) }
    }
}
