import Base
import Crypto
import PluginKit
import TestKit
import Testing

@testable import SecretsEngines

/// Keys of the transit engine: what they are, and what may be done with them.
@Suite struct TransitKeyTests {
    let mount: MountHarness
    init() throws { mount = try MountHarness(TransitEngine.self) }

    @Test func keysAreMadeReadListedAndDeleted() {
        #expect(mount.call(.list, "keys/").status == 404)
        #expect(mount.call(.read, "keys/k").status == 404)
        #expect(mount.call(.update, "keys/k", "{}").status == 204)
        #expect(mount.call(.update, "keys/k", "{}").status == 204)
        #expect(mount.call(.update, "keys/a.b-c_d", #"{"type":"chacha20-poly1305"}"#).status == 204)
        #expect(mount.call(.list, "keys/").text == #"{"keys":["a.b-c_d","k"]}"#)
        let key = mount.call(.read, "keys/k")
        #expect(key["type"] == "\"aes256-gcm96\"")
        #expect(key["keys"] == #"{"1":1700000000}"#)
        #expect(key["latest_version"] == "1")
        #expect(!key.text.contains("hmac_key") && !key.text.contains("\"key\""))
        #expect(mount.call(.delete, "keys/k").status == 400)
        #expect(mount.call(.update, "keys/k/config", #"{"deletion_allowed":true}"#).status == 204)
        #expect(mount.call(.delete, "keys/k").status == 204)
        #expect(mount.call(.read, "keys/k").status == 404)
        #expect(mount.call(.delete, "keys/k").status == 400)
    }

    @Test func anotherKindOfKeyUnderANameIsToldApart() {
        mount.call(.update, "keys/k", "{}")
        let answer = mount.call(.update, "keys/k", #"{"type":"chacha20-poly1305"}"#)
        #expect(answer.status == 200)
        #expect(answer.response?.warnings.count == 1)
        #expect(mount.call(.read, "keys/k")["type"] == "\"aes256-gcm96\"")
    }

    @Test func namesThatNoKeyMayHaveAreRefused() {
        for name in ["..", ".", "-a", "a-", "a b", "ä", "a+b", "..%2fx", String(repeating: "a", count: 257)] {
            #expect(mount.call(.update, "keys/\(name)", "{}").status == 400, "\(name)")
            #expect(
                mount.call(.update, "encrypt/\(name)", #"{"plaintext":""}"#).status == 400, "\(name)")
        }
        #expect(mount.call(.list, "keys/").status == 404)
    }

    @Test func kindsOfKeyThatDoNotExistAreRefused() {
        for body in [
            #"{"type":"rot13"}"#, #"{"type":"rsa-2048","derived":true}"#, #"{"type":""}"#, #"{"type":["a"]}"#,
            #"{"type":"ed25519","derived":true,"convergent_encryption":true}"#, #"{"derived":"x"}"#,
            #"{"convergent_encryption":true}"#, #"{"exportable":{}}"#,
        ] {
            let answer = mount.call(.update, "keys/k", body)
            #expect(answer.status == 400, "\(body)")
            #expect(mount.call(.update, "encrypt/k", #"{"plaintext":"","type":"rsa-2048"}"#).status == 400)
        }
        #expect(mount.call(.list, "keys/").status == 404)
    }

    @Test func boundsOfVersionsAreKept() throws {
        mount.call(.update, "keys/k", "{}")
        let first = try TransitFixture.encrypt(mount, "k")
        #expect(mount.call(.update, "keys/k/rotate").status == 204)
        mount.call(.update, "keys/k/rotate")
        let third = try TransitFixture.encrypt(mount, "k")
        #expect(third.hasPrefix("vault:v3:"))
        #expect(
            try TransitFixture.encrypt(mount, "k", TransitFixture.hello, #","key_version":1"#).hasPrefix(
                "vault:v1:"))
        for version in ["4", "-1", "\"x\"", "99999999999"] {
            let body = #"{"plaintext":"","key_version":\#(version)}"#
            #expect(mount.call(.update, "encrypt/k", body).status == 400, "\(version)")
        }
        func configure(_ body: String) -> Int { mount.call(.update, "keys/k/config", body).status }
        #expect(configure(#"{"min_decryption_version":4}"#) == 400)
        #expect(configure(#"{"min_decryption_version":-1}"#) == 400)
        #expect(configure(#"{"min_encryption_version":4}"#) == 400)
        #expect(configure(#"{"min_encryption_version":-1}"#) == 400)
        #expect(configure(#"{"min_decryption_version":3,"min_encryption_version":2}"#) == 400)
        #expect(configure(#"{"min_decryption_version":2}"#) == 204)
        #expect(mount.call(.read, "keys/k")["keys"] == #"{"2":1700000000,"3":1700000000}"#)
        #expect(TransitFixture.decrypt(mount, "k", first).status == 400)
        #expect(mount.call(.update, "encrypt/k", #"{"plaintext":"","key_version":1}"#).status == 400)
        #expect(configure(#"{"min_decryption_version":0}"#) == 200)  // with a warning: it is 1 now
        #expect(TransitFixture.decrypt(mount, "k", first).status == 200)
        #expect(configure(#"{"min_encryption_version":3}"#) == 204)
        #expect(mount.call(.update, "encrypt/k", #"{"plaintext":"","key_version":2}"#).status == 400)
        #expect(mount.call(.update, "keys/none/config", "{}").status == 400)
        #expect(mount.call(.update, "keys/none/rotate", "{}").status == 400)
    }

    @Test func trimmedVersionsAreGoneForGood() throws {
        mount.call(.update, "keys/k", "{}")
        let first = try TransitFixture.encrypt(mount, "k")
        mount.call(.update, "keys/k/rotate")
        mount.call(.update, "keys/k/rotate")
        let third = try TransitFixture.encrypt(mount, "k")
        func trim(_ body: String) -> Int { mount.call(.update, "keys/k/trim", body).status }
        #expect(trim("{}") == 400)
        #expect(trim(#"{"min_available_version":2}"#) == 400)  // no min_encryption_version yet
        mount.call(.update, "keys/k/config", #"{"min_encryption_version":3}"#)
        #expect(trim(#"{"min_available_version":2}"#) == 400)  // version 1 still decrypts
        mount.call(.update, "keys/k/config", #"{"min_decryption_version":3}"#)
        #expect(trim(#"{"min_available_version":99}"#) == 400)
        #expect(trim(#"{"min_available_version":2}"#) == 204)
        #expect(trim(#"{"min_available_version":3}"#) == 204)
        #expect(trim(#"{"min_available_version":2}"#) == 400)
        #expect(mount.storage.entries.keys.count { $0.contains("/v/") } == 1)
        #expect(TransitFixture.decrypt(mount, "k", first).status == 400)
        #expect(TransitFixture.decrypt(mount, "k", third).status == 200)
        let config = #"{"min_decryption_version":1}"#
        #expect(mount.call(.update, "keys/k/config", config).status == 400)
        #expect(mount.call(.update, "keys/k/config", #"{"min_encryption_version":0}"#).status == 400)
        mount.call(.update, "keys/k/rotate")
        #expect(mount.call(.read, "keys/k")["keys"] == #"{"3":1700000000,"4":1700000000}"#)
        #expect(try TransitFixture.encrypt(mount, "k").hasPrefix("vault:v4:"))
        #expect(mount.call(.update, "keys/none/trim", #"{"min_available_version":1}"#).status == 400)
    }

    @Test func aNameThatIsUsedAgainDoesNotMeetTheOldKey() throws {
        mount.call(.update, "keys/k", "{}")
        let old = try TransitFixture.encrypt(mount, "k")
        mount.call(.update, "keys/k/config", #"{"deletion_allowed":true}"#)
        mount.call(.delete, "keys/k")
        #expect(TransitFixture.decrypt(mount, "k", old).status == 400)
        mount.call(.update, "keys/k", "{}")
        #expect(TransitFixture.decrypt(mount, "k", old).status == 400)
        #expect(try TransitFixture.decrypt(mount, "k", TransitFixture.encrypt(mount, "k")).status == 200)
    }

    @Test func onlyExportableKeysLeave() throws {
        mount.call(.update, "keys/k", "{}")
        for path in ["export/encryption-key/k", "export/hmac-key/k/1", "backup/k"] {
            #expect(mount.call(.read, path).status == 400, "\(path)")
        }
        #expect(mount.call(.read, "export/encryption-key/none").status == 404)
        #expect(mount.call(.read, "backup/none").status == 404)
        #expect(mount.call(.update, "keys/k/config", #"{"exportable":true}"#).status == 204)
        #expect(mount.call(.read, "backup/k").status == 400)
        let unset = mount.call(.update, "keys/k/config", #"{"exportable":false}"#)
        #expect(unset.status == 200 && unset.response?.warnings.count == 1)
        mount.call(.update, "keys/k/rotate")
        let all = mount.call(.read, "export/encryption-key/k")
        #expect(all["name"] == "\"k\"" && all["type"] == "\"aes256-gcm96\"")
        let key = try TransitFixture.string(all, "keys/2")
        #expect(Base64.standard.decode(key)?.count == 32)
        #expect(mount.call(.read, "export/encryption-key/k/latest")["keys"] == #"{"2":"\#(key)"}"#)
        #expect(mount.call(.read, "export/encryption-key/k/2")["keys"] == #"{"2":"\#(key)"}"#)
        #expect(mount.call(.read, "export/encryption-key/k/3").status == 404)
        #expect(mount.call(.read, "export/encryption-key/k/0").status == 400)
        #expect(mount.call(.read, "export/encryption-key/k/x").status == 400)
        #expect(mount.call(.read, "export/signing-key/k").status == 400)
        #expect(mount.call(.read, "export/key/k").status == 400)
        // What was exported is the key.
        let sealed = try TransitFixture.encrypt(mount, "k")
        let bytes = try #require(Base64.standard.decode(String(sealed.dropFirst(9))))
        let cipher = try AESGCM(key: SecretBytes(copying: try #require(Base64.standard.decode(key))))
        #expect(cipher.open(Array(bytes[12...]), nonce: Array(bytes[..<12])) == Array("hello".utf8))
    }

    @Test func theCacheIsBoundedAndNeverWrong() throws {
        #expect(mount.call(.read, "cache-config")["size"] == "0")
        #expect(mount.call(.update, "cache-config", #"{"size":-1}"#).status == 400)
        #expect(try mount.exists("cache-config") == false)
        #expect(mount.call(.update, "cache-config", #"{"size":2}"#).status == 204)
        #expect(try mount.exists("cache-config") == true)
        var sealed: [String] = []
        for number in 0..<5 {
            mount.call(.update, "keys/k\(number)", "{}")
            sealed.append(try TransitFixture.encrypt(mount, "k\(number)"))
        }
        for round in 0..<10 {
            let answer = TransitFixture.decrypt(mount, "k\(round % 5)", sealed[round % 5])
            #expect(answer["plaintext"] == "\"\(TransitFixture.hello)\"")
            #expect(TransitFixture.decrypt(mount, "k\((round + 1) % 5)", sealed[round % 5]).status == 400)
        }
        #expect(mount.call(.update, "cache-config", #"{"size":7}"#).status == 200)
        #expect(mount.call(.read, "cache-config").response?.warnings.count == 1)
        let cache = KeyRingCache()
        cache.setSize(2)
        cache.setSize(9)
        #expect(cache.size == 2)
        let ids = (0..<3).map { KeyID(random: SeededRandom(seed: $0)) }
        let first = cache.ring(ids[0])
        _ = cache.ring(ids[1])
        #expect(cache.ring(ids[0]) === first)
        _ = cache.ring(ids[2])  // puts out the second, which was used least recently
        #expect(cache.ring(ids[0]) === first)
        cache.forget(ids[0])
        #expect(cache.ring(ids[0]) !== first)
    }
}
