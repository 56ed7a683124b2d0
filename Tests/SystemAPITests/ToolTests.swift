import Base
import PluginKit
import TestKit
import Testing

/// `sys/tools`, `sys/policies/password` and `sys/raw` over a whole core.
@Suite struct ToolTests {
    /// Digests of "abc" (FIPS 180-4 and FIPS 202, examples of NIST).
    private static let digests = [
        ("sha2-224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
        ("sha2-256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "sha2-384",
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
        ),
        ("sha3-224", "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf"),
        ("sha3-256", "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
        (
            "sha3-384",
            "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25"
        ),
    ]

    @Test(arguments: digests) func hashesAreTheStandards(name: String, digest: String) async throws {
        let server = try LeaseServer()
        let answer = try await server.must(.update, "sys/tools/hash/\(name)", #"{"input":"YWJj"}"#)
        #expect(answer["data/sum"] == digest)
        let other = try await server.must(
            .update, "sys/tools/hash", "{\"input\":\"YWJj\",\"algorithm\":\"\(name)\",\"format\":\"base64\"}")
        #expect(other["data/sum"].flatMap { Base64.standard.decode($0) } == Hex.decode(digest))
    }

    @Test func nonsenseForAHashIsRefused() async throws {
        let server = try LeaseServer()
        for (path, body) in [
            ("hash/md5", "{}"), ("hash", #"{"input":"!!"}"#), ("hash", #"{"input":5}"#),
            ("hash", #"{"format":"x"}"#), ("hash", #"{"algorithm":""}"#),
        ] {
            #expect(await server.call(.update, "sys/tools/\(path)", body).status == 400, "\(path) \(body)")
        }
    }

    @Test func randomBytesHaveTheirLengthAndForm() async throws {
        let server = try LeaseServer()
        func length(_ path: String, _ body: String = "{}") async throws -> Int? {
            let answer = try await server.must(.update, "sys/tools/\(path)", body)
            return answer["data/random_bytes"].flatMap {
                body.contains("hex") ? Hex.decode($0)?.count : Base64.standard.decode($0)?.count
            }
        }
        #expect(try await length("random") == 32)
        #expect(try await length("random/5") == 5)
        #expect(try await length("random/platform/7") == 7)
        #expect(try await length("random/all") == 32)
        #expect(try await length("random", #"{"bytes":131072}"#) == 131_072)
        #expect(try await length("random/9", #"{"format":"hex"}"#) == 9)
        for (path, body) in [
            ("random/0", "{}"), ("random/-5", "{}"), ("random/131073", "{}"), ("random/x", "{}"),
            ("random/seal", "{}"), ("random/moon/5", "{}"), ("random", #"{"bytes":1e99}"#),
            ("random", #"{"format":"octal"}"#),
        ] {
            #expect(await server.call(.update, "sys/tools/\(path)", body).status == 400, "\(path) \(body)")
        }
    }

    @Test func passwordPoliciesAreKeptAndUsed() async throws {
        let server = try LeaseServer()
        let text = "length = 12\nrule \"charset\" { charset = \"xyz\" }"
        let quoted = String(decoding: JSONValue.string(text).encoded(), as: UTF8.self)
        #expect(await server.call(.list, "sys/policies/password/").status == 404)
        _ = try await server.must(.update, "sys/policies/password/p", "{\"policy\":\(quoted)}")
        let base64 = Base64.standard.encode(Array(text.utf8))
        _ = try await server.must(.update, "sys/policies/password/q", "{\"policy\":\"\(base64)\"}")
        for name in ["p", "q"] {
            #expect(try await server.must(.read, "sys/policies/password/\(name)")["data/policy"] == text)
            let made = try await server.must(.read, "sys/policies/password/\(name)/generate")
            #expect(made["data/password"]?.wholeMatch(of: /[xyz]{12}/) != nil)
        }
        #expect(try await server.must(.list, "sys/policies/password/").list("data/keys") == ["p", "q"])
        _ = try await server.must(.delete, "sys/policies/password/p")
        #expect(await server.call(.read, "sys/policies/password/p").status == 404)
        #expect(await server.call(.read, "sys/policies/password/p/generate").status == 404)
        #expect(
            await server.call(.update, "sys/policies/password/p", #"{"policy":"length = 8"}"#).status == 400)
        #expect(await server.call(.update, "sys/policies/password/p", #"{"policy":[]}"#).status == 400)
    }

    @Test func rawEntriesAreReadAndRepaired() async throws {
        let server = try LeaseServer()
        _ = try await server.must(.update, "sys/raw/test/a", #"{"value":"text"}"#)
        _ = try await server.must(.update, "sys/raw/test/b", #"{"value":"/wA=","encoding":"base64"}"#)
        #expect(try await server.must(.list, "sys/raw/test/").list("data/keys") == ["a", "b"])
        #expect(try await server.must(.read, "sys/raw/test/a")["data/value"] == "text")
        #expect(await server.call(.read, "sys/raw/test/b").status == 400)
        let read = try await server.must(.read, "sys/raw/test/b", query: ["encoding": "base64"])
        #expect(read["data/value"] == "/wA=")
        _ = try await server.must(.delete, "sys/raw/test/a")
        #expect(await server.call(.read, "sys/raw/test/a").status == 404)
        for path in ["core/keyring", "core/cluster", "core/master"] {
            #expect(await server.call(.read, "sys/raw/\(path)").status == 400)
            #expect(await server.call(.update, "sys/raw/\(path)", #"{"value":"x"}"#).status == 400)
            #expect(await server.call(.delete, "sys/raw/\(path)").status == 400)
        }
        let limited = try await server.token()
        #expect(await server.call(.read, "sys/raw/core/mounts", token: limited).status == 403)
        #expect(try await server.must(.read, "sys/raw/core/mounts")["data/value"] != nil)
        for body in [
            "{}", #"{"value":5}"#, #"{"value":"x","encoding":"rot13"}"#,
            #"{"value":"x","compression_type":"gzip"}"#, #"{"value":"!","encoding":"base64"}"#,
        ] {
            #expect(await server.call(.update, "sys/raw/test/c", body).status == 400, "\(body)")
        }
    }
}
