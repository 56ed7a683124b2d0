import Base
import Crypto
import PluginKit
import TestKit
import Testing

@testable import SecretsEngines

/// What clients bring back to an engine, and what it has stored itself.
@Suite struct EngineFuzzTests {
    private func quoted(_ text: String) -> String {
        String(decoding: JSONValue.string(text).encoded(), as: UTF8.self)
    }

    /// Only what was given out is opened, and only to what was put in.
    @Test func changedCiphertextsStayClosed() throws {
        let mount = try MountHarness(TransitEngine.self)
        mount.call(.update, "keys/k", "{}")
        mount.call(.update, "keys/k/rotate", "{}")
        let sealed = try TransitFixture.encrypt(mount, "k")
        let fuzz = Fuzz(
            "ciphertexts", texts: [sealed, sealed, "vault:v1:AAAA"],
            pieces: ["vault:", "v1", "v2", ":", "=", "==", "+", "/", "-", "_", "\n", "\u{0}", " ", "0"],
            inputs: 5_000)
        // Line breaks within base64 mean nothing, as in Vault.
        for input in fuzz where input.text.filter({ !$0.isNewline }) != sealed {
            for path in ["decrypt/k", "rewrap/k"] {
                let answer = mount.call(.update, path, "{\"ciphertext\":\(quoted(input.text))}")
                if answer.status != 400 {
                    Issue.record("\(path): \(answer.status) \(answer.text): \(input)")
                    return
                }
            }
        }
        #expect(TransitFixture.decrypt(mount, "k", sealed)["plaintext"] == quoted(TransitFixture.hello))
    }

    @Test func changedBackupsAreRestoredOrRefused() throws {
        let mount = try MountHarness(TransitEngine.self)
        let entries = [
            TransitFixture.emptyEntry,
            TransitFixture.entry(TransitFixture.key("a"), TransitFixture.key("b")),
            TransitFixture.entry(TransitFixture.key("c"), TransitFixture.key("d"), convergent: 2),
        ]
        let fuzz = Fuzz(
            "backups",
            texts: [
                TransitFixture.backup("k", type: 0, entries: entries),
                TransitFixture.backup("k", type: 0, derived: true, convergent: true, entries: entries),
            ], pieces: ["{", "}", "[", "]", "\"", ":", ",", "null", "true", "-1", "1e9", "AAAA", "\\u0000"],
            inputs: 2_000)
        for input in fuzz {
            let text = Base64.standard.encode(input.bytes)
            let answer = mount.call(.update, "restore/r", "{\"backup\":\"\(text)\",\"force\":true}")
            guard answer.status < 500 else {
                Issue.record("\(answer.status) \(answer.errors): \(input)")
                return
            }
            guard answer.status < 300 else { continue }
            for (path, body) in [
                ("encrypt/r", #"{"plaintext":"aGk=","context":"YQ=="}"#), ("keys/r/rotate", "{}"),
            ] {
                let used = mount.call(.update, path, body)
                guard used.status < 500 else {
                    Issue.record("\(path): \(used.status) \(used.errors): \(input)")
                    return
                }
            }
        }
    }

    @Test func changedRecordsOfSecretsAreDamage() throws {
        let kv = try MountHarness(KVEngine.self, options: ["version": "2"])
        for value in 0..<3 { kv.call(.update, "data/a", "{\"data\":{\"v\":\(value)}}") }
        kv.call(.update, "metadata/a", #"{"custom_metadata":{"a":"b"}}"#)
        let record = try #require(kv.storage.entries["mount/s/a"])
        let plain = PlainRecord(
            created: kv.clock.now(), ttl: .seconds(5), value: RawJSON(trusted: Array("{}".utf8)))
        let fuzz = Fuzz(
            "records of secrets", corpus: [record, record, plain.encoded()],
            pieces: [[1], [2], [0], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], [0x80]])
        for input in fuzz {
            do throws(VaultError) { _ = try SecretRecord(input.bytes, at: "a") } catch {
                guard case .corrupted = error else {
                    Issue.record("\(error): \(input)")
                    return
                }
            }
            _ = try? RecordHead(input.bytes, at: "a")
            _ = try? PlainRecord(input.bytes, at: "a")
        }
    }
}
