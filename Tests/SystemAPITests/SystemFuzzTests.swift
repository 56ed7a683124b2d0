import Base
import Core
import PluginKit
import TestKit
import Testing

/// Ids and tokens through the whole server: whatever a client makes of them, the answer is its fault.
@Suite struct SystemFuzzTests {
    private func quoted(_ bytes: [UInt8]) -> String {
        String(decoding: JSONValue.string(String(decoding: bytes, as: UTF8.self)).encoded(), as: UTF8.self)
    }

    @Test func changedLeaseIdsAreNobodysLease() async throws {
        let server = try LeaseServer()
        _ = try await server.must(.update, "sys/mounts/db", #"{"type":"leasing"}"#)
        let answer = try await server.must(.read, "db/creds/app", query: ["ttl": "3600"])
        let lease = try #require(answer["lease_id"])
        let token = try await server.token()
        let fuzz = Fuzz(
            "lease ids", texts: [lease, lease, "auth/token/create/h123", "db/creds/app/", "a"],
            pieces: ["/", "//", ".", "..", "*", "%2f", "\u{0}", "é", "e\u{301}", " ", "sys/expire/"],
            inputs: 1_000)
        for input in fuzz where input.text != lease {
            let body = "{\"lease_id\":\(quoted(input.bytes))}"
            for path in ["sys/leases/lookup", "sys/leases/renew", "sys/leases/revoke"] {
                let answer = await server.call(.update, path, body)
                // An id that nobody has is revoked without a word.
                guard answer.status == 400 || (path.hasSuffix("revoke") && answer.status == 204) else {
                    Issue.record("\(path): \(answer.status) \(answer.errors): \(input)")
                    return
                }
            }
            let denied = await server.call(.list, "sys/leases/lookup/" + input.text, token: token)
            guard (400..<500).contains(denied.status) else {
                Issue.record("listed: \(denied.status): \(input)")
                return
            }
        }
        let kept = try await server.must(
            .update, "sys/leases/lookup", "{\"lease_id\":\(quoted(Array(lease.utf8)))}")
        #expect(kept["data/id"] == lease)
    }

    @Test func changedWrappingTokensOpenNothing() async throws {
        let server = try LeaseServer()
        _ = try await server.must(.update, "sys/mounts/kv", #"{"type":"kv"}"#)
        _ = try await server.must(.update, "kv/a", #"{"v":"put away"}"#)
        let wrapped = try await server.must(.read, "kv/a", wrap: .seconds(3600))
        let token = try #require(wrapped["wrap_info/token"])
        let caller = try await server.token()
        let fuzz = Fuzz(
            "wrapping tokens", texts: [token, token, token, "hvs.abc", "root2"],
            pieces: ["hvs.", "hvb.", "s.", ".", "-", "_", "=", "\u{0}", " ", "é", "\n"], inputs: 1_000)
        for input in fuzz where ![token, caller, "root"].contains(input.text) {
            let body = "{\"token\":\(quoted(input.bytes))}"
            for path in ["sys/wrapping/lookup", "sys/wrapping/unwrap", "sys/wrapping/rewrap"] {
                let named = await server.call(.update, path, body, token: caller)
                let own = await server.call(.update, path, token: input.text)
                for answer in [named, own] where !(400..<500).contains(answer.status) {
                    Issue.record("\(path): \(answer.status) \(answer.errors): \(input)")
                    return
                }
            }
        }
        let opened = try await server.must(.update, "sys/wrapping/unwrap", "{\"token\":\"\(token)\"}")
        #expect(opened["data/v"] == "put away")
    }

    @Test func auditDevicesAndHashesTakeAnyText() async throws {
        let target = FakeAuditTarget()
        let kinds = [
            "fake": AuditBroker.Kind(["file_path"]) { _ throws(VaultError) in FakeAuditDevice(target) }
        ]
        let server = try InProcessServer(shares: 1, threshold: 1, auditKinds: kinds)
        _ = try await server.call(.update, "sys/audit/one", #"{"type":"fake"}"#)
        let fuzz = Fuzz(
            "audit ids",
            texts: [
                #"{"type":"fake","options":{"file_path":"/a","log_raw":"true","prefix":"x","mode":"0600"}}"#,
                #"{"input":"value"}"#,
                #"{"type":"fake","description":"d","local":true,"options":{"format":"json"}}"#,
            ],
            pieces: ["{", "}", "\"", ":", ",", "null", "[]", "1e400", "\\u0000", "jsonx", "/", "..", "fake"],
            inputs: 1_000)
        for input in fuzz {
            guard let body = try? RawJSON(validating: input.bytes) else { continue }
            let text = String(decoding: body.bytes, as: UTF8.self)
            for path in ["sys/audit/two", "sys/audit-hash/one", "sys/audit-hash/two"] {
                let answer = try await server.call(.update, path, text)
                if answer.status >= 500 {
                    Issue.record("\(path): \(answer.status) \(answer.text("errors")): \(input)")
                    return
                }
            }
            _ = try await server.call(.delete, "sys/audit/two")
        }
        #expect(try await server.call(.read, "sys/audit")["data"]?["one/"] != nil)
    }
}
