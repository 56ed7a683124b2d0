import Base
import Crypto
import PluginKit
import TestKit
import Testing

@testable import SecretsEngines

/// Ciphertexts that another implementation of Vault's documented format made (Python's `cryptography`:
/// AES-GCM, ChaCha20-Poly1305, HKDF and HMAC), under keys that are restored from a backup in Vault's form.
@Suite struct TransitVectorTests {
    let mount: MountHarness
    init() throws { mount = try MountHarness(TransitEngine.self) }

    struct Vector: Sendable {
        var seed: String
        var type: Int
        var keyBytes: Int
        var plain, derived, convergent: String
    }

    static let vectors = [
        Vector(
            seed: "aes128", type: 8, keyBytes: 16,
            plain: "vault:v1:AQIDBAUGBwgJCgsMY+Sr931RWr8xBfsyjgzOVvDdPVDEy9DjfGV8kAnb",
            derived: "vault:v1:AQIDBAUGBwgJCgsMfYji2OVkmFC8G4LUjxJV+2fDoMZuCxWcuLeoninD",
            convergent: "vault:v1:OqYqM5m/9sBPuhuGxsBQTitlmpzznRV7ZRyyEAX2gw/vQlAlK0tyVcNe"),
        Vector(
            seed: "chacha", type: 5, keyBytes: 32,
            plain: "vault:v1:AQIDBAUGBwgJCgsMCa6DuyD/O9YwxtTUiQHA2JkFdUhHlScTJsAEX/hD",
            derived: "vault:v1:AQIDBAUGBwgJCgsM+VJtWGwBmHjeB5oKda1ctNwAa/ha+qmxQnPK7v/O",
            convergent: "vault:v1:oCJquNmLjt9Ufu4XHvPUcR4EIFWriq55sNe0yvPq3rf9oyT+pgMmJqr1"),
        Vector(
            seed: "aes256", type: 0, keyBytes: 32,
            plain: "vault:v1:AQIDBAUGBwgJCgsM0KvlppwZR7O/zM3kqg3vSugQzUBifBd+M6p1zfYn",
            derived: "vault:v1:AQIDBAUGBwgJCgsMj36D5Aczql0XsXB+5S6GldN1jaKM/QBKbqUXMAkx",
            convergent: "vault:v1:UUlg5klndWz4jBdXWoVKhU5+hv8sCJ63gw/keDEL7yzlhI25MbmSBGIY"),
    ]
    /// attack at dawn
    static let plain = "YXR0YWNrIGF0IGRhd24="

    private func entry(_ vector: Vector, convergent: Int = 0) -> String {
        TransitFixture.entry(
            TransitFixture.key(vector.seed, vector.keyBytes), TransitFixture.key(vector.seed + "h"),
            convergent: convergent)
    }

    @Test(arguments: vectors)
    func whatOthersEncryptedIsDecrypted(vector: Vector) throws {
        let more = #","context":"\#(TransitFixture.context)""#
        let plain = TransitFixture.backup("p", type: vector.type, entries: [entry(vector)])
        #expect(TransitFixture.restore(mount, plain).status == 204)
        #expect(TransitFixture.decrypt(mount, "p", vector.plain)["plaintext"] == "\"\(Self.plain)\"")
        let derived = TransitFixture.backup("d", type: vector.type, derived: true, entries: [entry(vector)])
        #expect(TransitFixture.restore(mount, derived).status == 204)
        #expect(TransitFixture.decrypt(mount, "d", vector.derived, more)["plaintext"] == "\"\(Self.plain)\"")
        let convergent = TransitFixture.backup(
            "c", type: vector.type, derived: true, convergent: true, entries: [entry(vector, convergent: 3)])
        #expect(TransitFixture.restore(mount, convergent).status == 204)
        #expect(
            TransitFixture.decrypt(mount, "c", vector.convergent, more)["plaintext"] == "\"\(Self.plain)\"")
        #expect(try TransitFixture.encrypt(mount, "c", Self.plain, more) == vector.convergent)
    }

    @Test func versionsAssociatedDataAndCodesOfOthersAreRead() throws {
        let entries = [1, 2].map {
            TransitFixture.entry(TransitFixture.key("a\($0)"), TransitFixture.key("ah\($0)"))
        }
        #expect(
            TransitFixture.restore(mount, TransitFixture.backup("a", type: 0, entries: entries)).status == 204
        )
        #expect(
            mount.call(.read, "keys/a")["keys"] == #"{"1":1627819200,"2":1627819200}"#)
        let first = "vault:v1:AQIDBAUGBwgJCgsMyzimvt2Eir5EvAfrU+laU3S7Jkxd6QXy/UQoJZdu"
        #expect(TransitFixture.decrypt(mount, "a", first)["plaintext"] == "\"\(Self.plain)\"")
        let second = "vault:v2:AQIDBAUGBwgJCgsMI+TUv27TltEprCa0NVnaUEvj604j7H+8swgB7oqX"
        #expect(TransitFixture.decrypt(mount, "a", second)["plaintext"] == "\"\(Self.plain)\"")
        let bound = "vault:v2:AQIDBAUGBwgJCgsMI+TUv27TltEprCa0NVmMPw/NJNdqI9BsolcYeM/0"
        #expect(TransitFixture.decrypt(mount, "a", bound).status == 400)
        #expect(
            TransitFixture.decrypt(mount, "a", bound, #","associated_data":"cm93IDc=""#)["plaintext"]
                == "\"\(Self.plain)\"")
        let body = #"{"input":"\#(Self.plain)"}"#
        #expect(
            mount.call(.update, "hmac/a", body)["hmac"]
                == "\"vault:v2:1plmZxuwbscnFI6Bscka1nGMxYZwbKX8k2g/rbJ0Zl4=\"")
        #expect(
            mount.call(.update, "hmac/a/sha2-512", body)["hmac"]
                == "\"vault:v2:7a2T1aGWChv0u4oaNIyk7/7wlc79YufCajnfEtx/6dph3qe9m+WQDmRFA64riJGG6Etaki5OBGwxKhlThillpQ==\""
        )
    }

    @Test func backupsGoAroundAndStayReadable() throws {
        mount.call(.update, "keys/k", #"{"exportable":true,"allow_plaintext_backup":true}"#)
        let first = try TransitFixture.encrypt(mount, "k")
        mount.call(.update, "keys/k/rotate", "{}")
        mount.call(.update, "keys/k/rotate", "{}")
        mount.call(.update, "keys/k/config", #"{"min_decryption_version":1,"min_encryption_version":2}"#)
        let last = try TransitFixture.encrypt(mount, "k")
        let backup = try TransitFixture.string(mount.call(.read, "backup/k"), "backup")
        #expect(mount.call(.update, "restore", #"{"backup":"\#(backup)"}"#).status == 400)
        #expect(mount.call(.update, "restore/other", #"{"backup":"\#(backup)"}"#).status == 204)
        for ciphertext in [first, last] {
            #expect(
                TransitFixture.decrypt(mount, "other", ciphertext)["plaintext"]
                    == "\"\(TransitFixture.hello)\"")
        }
        let before = mount.call(.read, "keys/k").text.replacing("\"k\"", with: "\"other\"")
        #expect(mount.call(.read, "keys/other").text == before)
        mount.call(.update, "keys/k/config", #"{"min_decryption_version":2}"#)
        mount.call(.update, "keys/k/trim", #"{"min_available_version":2}"#)
        let trimmed = try TransitFixture.string(mount.call(.read, "backup/k"), "backup")
        #expect(
            mount.call(.update, "restore/other", #"{"backup":"\#(trimmed)","force":true}"#).status == 204)
        #expect(TransitFixture.decrypt(mount, "other", first).status == 400)
        #expect(TransitFixture.decrypt(mount, "other", last).status == 200)
        #expect(mount.call(.read, "keys/other")["min_available_version"] == "2")
    }

    /// A backup that was tampered with is refused, whatever is wrong with it.
    @Test(arguments: [
        (#""type":0"#, #""type":3"#), (#""type":0"#, #""type":300"#), (#""type":0"#, #""type":"x""#),
        (#""derived":false"#, #""derived":true"#), (#""latest_version":1"#, #""latest_version":2"#),
        (#""latest_version":1"#, #""latest_version":0"#), (#""latest_version":1"#, #""latest_version":9e15"#),
        (#""min_decryption_version":1"#, #""min_decryption_version":5"#),
        (#""min_decryption_version":1"#, #""min_decryption_version":0"#),
        (#""min_available_version":0"#, #""min_available_version":-1"#),
        (#""min_encryption_version":0"#, #""min_encryption_version":9"#),
        (#""convergent_encryption":false"#, #""convergent_encryption":true"#),
        (#""name":"k""#, #""name":"../x""#), (#""keys":{"1""#, #""keys":{"7""#),
        (#"{"policy":{"#, #"{"policy":[],"x":{"#), ("null,", "nul,"), (#""key":""#, #""key":"AA"#),
    ])
    func tamperedBackupsAreRefused(change: (String, String)) throws {
        let entry = TransitFixture.entry(TransitFixture.key("x"), TransitFixture.key("y"))
        var json = TransitFixture.backup("k", type: 0, entries: [entry], changing: change)
        if change.0.contains("keys") { json = json.replacing(TransitFixture.emptyEntry + ",", with: "") }
        if change.0.contains("keys") { json = json.replacing(",\"archived_keys\"", with: ",\"gone\"") }
        let answer = TransitFixture.restore(mount, json)
        #expect(answer.status == 400, "\(change)")
        #expect(mount.call(.list, "keys/").status == 404)
    }

    @Test func backupsThatAreNoneAreRefused() {
        for backup in ["\"bnVsbA==\"", "\"\"", "\"%%\"", "5", "null", "\"e30=\"", "[]"] {
            #expect(mount.call(.update, "restore/z", #"{"backup":\#(backup)}"#).status == 400, "\(backup)")
        }
        #expect(mount.call(.update, "restore", "{}").status == 400)
    }

    @Test func convergentKeysOfOldAreNotRestored() {
        let entry = TransitFixture.entry(TransitFixture.key("x"), TransitFixture.key("y"), convergent: 2)
        let json = TransitFixture.backup("k", type: 0, derived: true, convergent: true, entries: [entry])
        #expect(TransitFixture.restore(mount, json).status == 400)
    }
}
