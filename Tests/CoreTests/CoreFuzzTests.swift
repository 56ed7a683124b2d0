import Base
import Crypto
import PluginKit
import TestKit
import Testing

@testable import Core

/// What operators write and clients send, as the core reads it; and what the core has stored itself.
@Suite struct CoreFuzzTests {
    private static let hclPieces = [
        "{", "}", "[", "]", "\"", "=", ",", "\n", "<<EOF\n", "*", "+", "/", "{{identity.entity.id}}", "{{",
        "}}",
        "path", "capabilities", "\"deny\"", "\"sudo\"", "allowed_parameters", "\\u0000", "é", "..", "//",
        "0x", "#",
    ]

    @Test func policiesAreReadOrRefusedByPlace() {
        let fuzz = Fuzz(
            "policies",
            texts: [
                #"path "secret/data/*" { capabilities = ["create", "read", "update", "patch", "list"] }"#,
                #"path "a/+/b/*" { capabilities = ["read"] min_wrapping_ttl = "1s" max_wrapping_ttl = 90 }"#,
                """
                path "kv/{{identity.entity.name}}/x" {
                  capabilities = ["update"]
                  allowed_parameters = { "a" = ["1", 2, true], "*" = [] }
                  denied_parameters = { "role" = ["adm*", "*x"] }
                  required_parameters = ["owner"]
                }
                path "sys/*" { policy = "sudo" }
                """,
                #"{"name": "x", "path": {"secret/*": {"capabilities": ["read"]}, "b": {"policy": "write"}}}"#,
            ], pieces: Self.hclPieces, inputs: 30_000)
        var accepted = 0
        for input in fuzz {
            do throws(VaultError) {
                let document = try PolicyDocument(parsing: input.text)
                accepted += 1
                let acl = ACL([document, document])
                let paths = document.rules.map(\.path) + ["secret/data/x", "a/b/b/c", "", "sys/"]
                for path in paths {
                    for operation in [Operation.read, .update, .list] {
                        _ = acl.decide(path: path, operation: operation)
                    }
                }
            } catch {
                if error.status != 400 {
                    Issue.record("\(error): \(input)")
                    return
                }
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 20)
    }

    /// Whatever somebody is called: a path with the name in it is that path, or none.
    @Test func filledPathsMeetOnlyTheirValue() throws {
        let template = "kv/{{identity.entity.name}}"
        let shapes = ["", "/s", "/+", "/*", "*", "-x", "/{{identity.entity.name}}"]
        let policies = try shapes.map { shape in
            try PolicyDocument(parsing: "path \"\(template)\(shape)\" { capabilities = [\"read\"] }")
        }
        let fuzz = Fuzz(
            "names in paths", texts: ["ann", "ann+x@example.com", "a-b", "CN=ann,OU=x"],
            pieces: [
                "+", "*", "/", "+*", "../", "{{", "}}", "\u{0}", "{{identity.entity.id}}", "", "é", "%2f",
            ],
            inputs: 4_000)
        var filled = 0
        for input in fuzz {
            let name = input.text
            for (shape, policy) in zip(shapes, policies) {
                let acl = ACL([policy]) { $0 == "identity.entity.name" ? name : nil }
                for other in ["victim", "a", "ann2/x", ""] where !"\(other)~".hasPrefix(name) || name.isEmpty
                {
                    let path = "kv/\(other)\(shape.replacing("+", with: "~").replacing("*", with: "~"))"
                        .replacing(template.dropFirst(3), with: other)
                    if acl.decide(path: path, operation: .read).isAllowed {
                        Issue.record("\(input) reads \(path) by \(shape)")
                        return
                    }
                }
            }
            let own = ACL([policies[1]]) { _ in name }
            if own.decide(path: "kv/\(name)/s", operation: .read).isAllowed { filled += 1 }
        }
        #expect(!fuzz.isWhole || filled > fuzz.tried / 20)
    }

    @Test func passwordPoliciesMakePasswordsOrAreRefused() {
        let fuzz = Fuzz(
            "password policies",
            texts: [
                "length = 20\nrule \"charset\" { charset = \"abcdefghij\" min-chars = 3 }",
                "length = 4096\nrule \"charset\" { charset = \"0123456789abcdefghijklm\" min-chars = 4000 }"
                    + "\nrule \"charset\" { charset = \"ÄÖÜ😀\" min-chars = 90 }",
                #"{"length": 8, "rule": [{"charset": {"charset": "abc"}}, {"charset": {"charset": "12"}}]}"#,
            ], pieces: Self.hclPieces + ["charset", "min-chars", "length"], inputs: 1_000)
        let random = SeededRandom(seed: 5)
        var accepted = 0
        for input in fuzz {
            do throws(VaultError) {
                let policy = try PasswordPolicy(parsing: input.text)
                accepted += 1
                _ = policy.generate(from: random).count
            } catch {
                if error.status != 400 {
                    Issue.record("\(error): \(input)")
                    return
                }
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 50)
    }

    @Test func storedTokensAreReadAsTheyWereWrittenOrNotAtAll() {
        var login = TokensCodecTests.full
        login.login = LoginOrigin(mountAccessor: "auth_x", internalData: ["a": "b"])
        let fuzz = Fuzz(
            "stored tokens",
            corpus: [
                TokenCodec.encode(TokensCodecTests.full), TokenCodec.encode(login),
                TokenCodec.encode(TokenEntry(hash: "h", created: Timestamp(seconds: 1))),
            ],
            pieces: [
                [0], [1], [0x80], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1], [0xFE],
                [0xC3, 0xA9],
            ])
        var accepted = 0
        for input in fuzz {
            guard let entry = TokenCodec.decode(input.bytes, hash: "h") else { continue }
            accepted += 1
            guard TokenCodec.decode(TokenCodec.encode(entry), hash: "h") == entry else {
                Issue.record("\(input.bytes) changes: \(input)")
                return
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 50)
    }

    /// A token that is not exactly one that was given out is nobody's.
    @Test func changedTokensAreNobodys() throws {
        let fixture = TokenFixture()
        let root = try fixture.root()
        let batch = try fixture.store.batch.sealed(
            {
                var entry = TokensCodecTests.full
                entry.type = .batch
                entry.parent = ""
                entry.lifetime.expires = fixture.now + .seconds(60)
                return entry
            }())
        let known = ["root", batch.withBytes { String(decoding: $0, as: UTF8.self) }]
        let fuzz = Fuzz(
            "tokens", texts: known + ["hvs.CAESIJ", "s.abc", "hvb.AAAA"],
            pieces: ["hvs.", "hvb.", "s.", "b.", "=", "-", "_", ".", "\u{0}", " ", "é"], inputs: 20_000)
        for input in fuzz where !known.contains(input.text) {
            var tx = Transaction(view: fixture.storage)
            let found = try input.bytes.withUnsafeBytes { bytes throws(VaultError) in
                try fixture.store.authenticate(bytes, now: fixture.now, &tx)
            }
            // The fixture's seal is a toy with one byte of a tag: what passes it is no token of root's.
            if found?.hash == root.hash {
                Issue.record("root by another name: \(input)")
                return
            }
        }
    }

    @Test func storedLeasesAreReadAsTheyWereWrittenOrNotAtAll() throws {
        let moment = Timestamp(seconds: 1_700_000_000)
        var record = LeaseRecord(
            id: "db/creds/app/x", owner: "h1",
            subject: .secret(
                mount: "u", internalData: RawJSON(trusted: Array(#"{"user":"é","n":[1]}"#.utf8))),
            issued: moment, expires: moment + .seconds(60), ttl: .seconds(60), isRenewable: true)
        record.failures = 2
        record.lastFailure = "no \"route\""
        record.renewed = moment
        record.maxTTL = .seconds(90)
        let fuzz = Fuzz(
            "stored leases", corpus: [record.encoded()],
            pieces: ["{", "}", "\"", ",", ":", "null", "-", "9223372036854775807", "\"v\":1", "\\u0000"].map {
                Array($0.utf8)
            })
        var accepted = 0
        for input in fuzz {
            guard let read = LeaseRecord.decode(input.bytes, id: record.id) else { continue }
            accepted += 1
            let again = LeaseRecord.decode(read.encoded(), id: record.id)
            guard again?.expires == read.expires, again?.owner == read.owner, again?.mount == read.mount
            else {
                Issue.record("read differently: \(input)")
                return
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 50)
    }

    /// Whatever a body looks like, its record is one line of JSON in which every string is a hash.
    @Test func auditedBodiesKeepNoString() {
        let mask = AuditMask(salt: SecretBytes(copying: Array(repeating: UInt8(7), count: 32)), isRaw: false)
        let fuzz = Fuzz(
            "audited bodies",
            texts: [
                #"{"a":"secret","b":["x",{"c":"\"quoted\\"}],"d":1.5e3,"":""}"#,
                #"{"data":{"k":"é\u00e9\n😀"}}"#,
                " [ \"a\" , \"b\" ]\n", "\"alone\"",
            ], pieces: ["\"", "\\", "\\\"", ":", ",", "{", "}", "[", "]", "\n", "\\u0022", "\u{2028}", " : "])
        var masked = 0
        for input in fuzz {
            guard let json = try? RawJSON(validating: input.bytes) else { continue }
            masked += 1
            let out = mask.masked(json)
            guard let again = try? RawJSON(validating: out), !out.contains(10), Self.isHashed(again) else {
                Issue.record("\(String(decoding: out, as: UTF8.self)): \(input)")
                return
            }
        }
        #expect(!fuzz.isWhole || masked > fuzz.tried / 20)
    }

    private static func isHashed(_ json: RawJSON) -> Bool {
        switch json.kind {
        case .string: json.string?.hasPrefix("hmac-sha256:") == true && json.string?.utf8.count == 76
        case .array: json.elements.allSatisfy(isHashed)
        case .object: json.members.allSatisfy { isHashed($0.value) }
        case .null, .bool, .number: true
        }
    }
}
