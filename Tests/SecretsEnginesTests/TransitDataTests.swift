import Base
import Crypto
import PluginKit
import TestKit
import Testing

@testable import SecretsEngines

/// Encrypting and decrypting with the transit engine.
@Suite struct TransitDataTests {
    let mount: MountHarness
    init() throws { mount = try MountHarness(TransitEngine.self) }

    private static let context = #","context":"\#(TransitFixture.context)""#
    private static let other = #","context":"b3RoZXI=""#

    @Test(arguments: TransitFixture.types)
    func whatIsEncryptedIsDecrypted(type: String) throws {
        for (key, settings, more) in [
            ("plain", "", ""), ("derived", #","derived":true"#, Self.context),
            ("convergent", #","derived":true,"convergent_encryption":true"#, Self.context),
        ] {
            #expect(mount.call(.update, "keys/\(key)", #"{"type":"\#(type)"\#(settings)}"#).status == 204)
            for plain in ["", "AA==", TransitFixture.hello, Base64.standard.encode(Array(0...255))] {
                let sealed = try TransitFixture.encrypt(mount, key, plain, more)
                #expect(sealed.hasPrefix("vault:v1:"))
                #expect(TransitFixture.decrypt(mount, key, sealed, more)["plaintext"] == "\"\(plain)\"")
                let again = try TransitFixture.encrypt(mount, key, plain, more)
                #expect((again == sealed) == (key == "convergent"))
            }
        }
    }

    @Test(arguments: TransitFixture.types)
    func everyFlippedBitIsRefused(type: String) throws {
        mount.call(.update, "keys/k", #"{"type":"\#(type)"}"#)
        let sealed = try TransitFixture.encrypt(mount, "k")
        for bit in 0..<(try TransitFixture.bitCount(sealed)) {
            let answer = TransitFixture.decrypt(mount, "k", try TransitFixture.flipped(sealed, bit: bit))
            #expect(answer.status == 400)
            #expect(answer.errors == ["invalid ciphertext: message authentication failed"])
        }
    }

    @Test func whatIsNoCiphertextIsRefused() throws {
        mount.call(.update, "keys/k", "{}")
        let good = try TransitFixture.encrypt(mount, "k")
        let body = good.dropFirst("vault:v1:".count)
        for bad in [
            "", "junk", "vault:v1:", "vault:v1:AAAA", "vault:v0:\(body)", "vault:v2:\(body)",
            "vault:v-1:\(body)",
            "vault:v+1:\(body)", "vault:v01:\(body)", "vault:v1 :\(body)", "vault:v:\(body)",
            "vault::\(body)",
            "vault:vX:\(body)", "VAULT:v1:\(body)", "vault:v99999999999999999999:\(body)", "vault:v1:%%%",
            "vault:v1:\(body):\(body)", "vault:v1:\(body)=", "\(body)", " \(good)", "vault:v1",
            "vault:v1:" + String(repeating: "A", count: 100_000),
        ] {
            #expect(TransitFixture.decrypt(mount, "k", bad).status == 400, "\(bad.prefix(60))")
            let rewrapped = mount.call(.update, "rewrap/k", #"{"ciphertext":"\#(bad)"}"#)
            #expect(rewrapped.status == 400, "\(bad.prefix(60))")
        }
        for body in ["{}", #"{"ciphertext":5}"#, #"{"ciphertext":{"a":1}}"#, #"{"ciphertext":null}"#] {
            #expect(mount.call(.update, "decrypt/k", body).status == 400, "\(body)")
        }
        #expect(
            mount.call(.update, "decrypt/none", #"{"ciphertext":"\#(good)"}"#).errors == [
                "encryption key not found"
            ])
        for body in ["{}", #"{"plaintext":"AAA"}"#, #"{"plaintext":"%%%"}"#, #"{"plaintext":5}"#] {
            #expect(mount.call(.update, "encrypt/k", body).status == 400, "\(body)")
        }
    }

    @Test func lineEndsInBase64DoNotCount() throws {
        let sealed = try TransitFixture.encrypt(mount, "k", #"aGVs\r\nbG8=\n"#)
        #expect(TransitFixture.decrypt(mount, "k", sealed)["plaintext"] == "\"\(TransitFixture.hello)\"")
        // Some clients escape the slash.
        let escaped = sealed.replacing("/", with: #"\/"#)
        #expect(TransitFixture.decrypt(mount, "k", escaped).status == 200)
    }

    /// CVE-2023-4680: a caller who may choose the nonce gets the key stream.
    @Test func aCallersNonceIsNeverTaken() throws {
        mount.call(.update, "keys/k", "{}")
        mount.call(.update, "keys/d", #"{"derived":true}"#)
        mount.call(.update, "keys/c", #"{"derived":true,"convergent_encryption":true}"#)
        let nonce = #","nonce":"AAAAAAAAAAAAAAAA""#
        for (key, more) in [("k", ""), ("d", Self.context), ("c", Self.context), ("new", "")] {
            for (path, text) in [
                ("encrypt", #""plaintext":"aGVsbG8=""#), ("datakey/plaintext", #""bits":256"#),
            ] {
                let body = "{\(text)\(more)\(nonce)}"
                #expect(mount.call(.update, "\(path)/\(key)", body).status == 400, "\(path) \(key)")
            }
            if key == "new" { continue }
            let sealed = try TransitFixture.encrypt(mount, key, TransitFixture.hello, more)
            #expect(TransitFixture.decrypt(mount, key, sealed, more + nonce).status == 400)
            let item = #"{"batch_input":[{"plaintext":"aGVsbG8="\#(more)\#(nonce)}]}"#
            #expect(
                mount.call(.update, "encrypt/\(key)", item)["batch_results"]?.contains("not allowed") == true)
            // An empty one is none.
            #expect(try !TransitFixture.encrypt(mount, key, "", more + #","nonce":"""#).isEmpty)
        }
        #expect(mount.call(.read, "keys/new").status == 404)
    }

    @Test func contextsSeparate() throws {
        mount.call(.update, "keys/d", #"{"derived":true}"#)
        mount.call(.update, "keys/c", #"{"derived":true,"convergent_encryption":true}"#)
        for key in ["d", "c"] {
            #expect(mount.call(.update, "encrypt/\(key)", #"{"plaintext":""}"#).status == 400)
            #expect(mount.call(.update, "encrypt/\(key)", #"{"plaintext":"","context":""}"#).status == 400)
            #expect(mount.call(.update, "encrypt/\(key)", #"{"plaintext":"","context":"!!"}"#).status == 400)
            #expect(mount.call(.update, "encrypt/\(key)", #"{"plaintext":"","context":7}"#).status == 400)
            let sealed = try TransitFixture.encrypt(mount, key, TransitFixture.hello, Self.context)
            #expect(TransitFixture.decrypt(mount, key, sealed).status == 400)
            #expect(TransitFixture.decrypt(mount, key, sealed, Self.other).status == 400)
            #expect(mount.call(.update, "rewrap/\(key)", #"{"ciphertext":"\#(sealed)"}"#).status == 400)
            let rewrapped = mount.call(
                .update, "rewrap/\(key)", #"{"ciphertext":"\#(sealed)"\#(Self.context)}"#)
            #expect(rewrapped.status == 200)
        }
        let one = try TransitFixture.encrypt(mount, "c", TransitFixture.hello, Self.context)
        let two = try TransitFixture.encrypt(mount, "c", TransitFixture.hello, Self.other)
        #expect(one.dropFirst(9).prefix(16) != two.dropFirst(9).prefix(16))
        mount.call(.update, "keys/c/rotate")
        #expect(try TransitFixture.encrypt(mount, "c", TransitFixture.hello, Self.context) != one)
    }

    @Test func associatedDataIsBound() throws {
        let aad = #","associated_data":"cm93IDc=""#
        let sealed = try TransitFixture.encrypt(mount, "k", TransitFixture.hello, aad)
        #expect(TransitFixture.decrypt(mount, "k", sealed, aad).status == 200)
        #expect(TransitFixture.decrypt(mount, "k", sealed).status == 400)
        #expect(TransitFixture.decrypt(mount, "k", sealed, #","associated_data":"cm93IDg=""#).status == 400)
        #expect(TransitFixture.decrypt(mount, "k", sealed, #","associated_data":"!""#).status == 400)
        mount.call(.update, "keys/c", #"{"derived":true,"convergent_encryption":true}"#)
        let body = #"{"plaintext":""\#(Self.context)\#(aad)}"#
        #expect(mount.call(.update, "encrypt/c", body).status == 400)
    }

    @Test func encryptingMakesTheKeyThatIsMissing() throws {
        #expect(try mount.exists("encrypt/k") == false)
        _ = try TransitFixture.encrypt(mount, "k")
        #expect(try mount.exists("encrypt/k") == true)
        _ = try TransitFixture.encrypt(
            mount, "d", TransitFixture.hello, Self.context + #","type":"aes128-gcm96""#)
        #expect(mount.call(.read, "keys/d")["derived"] == "true")
        #expect(mount.call(.read, "keys/d")["type"] == "\"aes128-gcm96\"")
        let convergent = #","convergent_encryption":true"#
        _ = try TransitFixture.encrypt(mount, "c", TransitFixture.hello, Self.context + convergent)
        #expect(mount.call(.read, "keys/c")["convergent_encryption"] == "true")
        #expect(mount.call(.update, "encrypt/x", #"{"plaintext":""\#(convergent)}"#).status == 400)
        #expect(mount.call(.read, "keys/x").status == 404)
    }

    @Test func batchesTellWhatFailedInItsPlace() throws {
        mount.call(.update, "keys/k", "{}")
        let sealed = try TransitFixture.encrypt(mount, "k")
        func batch(_ path: String, _ items: String) -> MountHarness.Answer {
            mount.call(.update, path, #"{"batch_input":\#(items)}"#)
        }
        let mixed = batch("encrypt/k", #"[{"plaintext":"YQ=="},{"plaintext":"!!"},{},{"plaintext":5}]"#)
        #expect(mixed.status == 200)
        let results = try #require(mixed.data?["batch_results"]).elements
        #expect(results.map { $0["error"] != nil } == [false, true, false, true])
        #expect(results.map { $0["ciphertext"] != nil } == [true, false, true, false])
        let items = #"[{"ciphertext":"\#(sealed)"},{"ciphertext":"bad"},{}]"#
        let opened = batch("decrypt/k", items)
        #expect(opened.status == 200)
        #expect(
            opened.text.hasPrefix(#"{"batch_results":[{"plaintext":"aGVsbG8="},{"plaintext":"","error":"#))
        mount.call(.update, "keys/k/rotate")
        let rewrapped = batch("rewrap/k", items)
        #expect(rewrapped.text.contains("vault:v2:") && rewrapped.text.contains("error"))
        for bad in ["[]", "5", "\"x\"", "{}", "[[]]", "[5]", #"[{"plaintext":""},null]"#] {
            #expect(batch("encrypt/k", bad).status == 400, "\(bad)")
        }
        let unequal = #"[{"plaintext":"","context":"YQ=="},{"plaintext":""}]"#
        #expect(batch("encrypt/new", unequal).status == 400)
        #expect(mount.call(.read, "keys/new").status == 404)
    }

    @Test func rewrappingBringsToTheLatestVersion() throws {
        let sealed = try TransitFixture.encrypt(mount, "k")
        mount.call(.update, "keys/k/rotate")
        let answer = mount.call(.update, "rewrap/k", #"{"ciphertext":"\#(sealed)"}"#)
        #expect(answer["key_version"] == "2" && answer["plaintext"] == nil)
        let rewrapped = try TransitFixture.string(answer, "ciphertext")
        #expect(rewrapped.hasPrefix("vault:v2:"))
        #expect(TransitFixture.decrypt(mount, "k", rewrapped)["plaintext"] == "\"\(TransitFixture.hello)\"")
    }

    @Test func dataKeysComeWithTheirCiphertext() throws {
        mount.call(.update, "keys/k", "{}")
        for (bits, bytes) in [("", 32), (#""bits":128"#, 16), (#""bits":512"#, 64)] {
            let answer = mount.call(.update, "datakey/plaintext/k", "{\(bits)}")
            let plain = try TransitFixture.string(answer, "plaintext")
            #expect(Base64.standard.decode(plain)?.count == bytes)
            let sealed = try TransitFixture.string(answer, "ciphertext")
            #expect(TransitFixture.decrypt(mount, "k", sealed)["plaintext"] == "\"\(plain)\"")
        }
        #expect(mount.call(.update, "datakey/wrapped/k", "{}")["plaintext"] == nil)
        #expect(mount.call(.update, "datakey/plaintext/k", #"{"bits":7}"#).status == 400)
        #expect(mount.call(.update, "datakey/plain/k", "{}").status == 400)
        #expect(mount.call(.update, "datakey/plaintext/none", "{}").errors == ["encryption key not found"])
    }

    @Test func codesAreMadeAndVerified() throws {
        mount.call(.update, "keys/k", "{}")
        let code = try TransitFixture.string(mount.call(.update, "hmac/k", #"{"input":"YQ=="}"#), "hmac")
        func verify(_ input: String, _ code: String, _ path: String = "verify/k") -> MountHarness.Answer {
            mount.call(.update, path, #"{"input":"\#(input)","hmac":"\#(code)"}"#)
        }
        #expect(verify("YQ==", code)["valid"] == "true")
        #expect(verify("Yg==", code)["valid"] == "false")
        #expect(verify("YQ==", code, "verify/k/sha2-512")["valid"] == "false")
        let long = try TransitFixture.string(
            mount.call(.update, "hmac/k", #"{"input":"YQ==","algorithm":"sha2-512"}"#), "hmac")
        let longBody = #"{"input":"YQ==","hash_algorithm":"sha2-512","hmac":"\#(long)"}"#
        #expect(mount.call(.update, "verify/k", longBody)["valid"] == "true")
        for bit in 0..<256 {
            #expect(verify("YQ==", try TransitFixture.flipped(code, bit: bit))["valid"] == "false")
        }
        for bad in ["junk", "", "vault:v9:AAAA", "vault:v1:%"] {
            #expect(verify("YQ==", bad).status == 400, "\(bad)")
        }
        #expect(verify("YQ==", "vault:v1:")["valid"] == "false")
        #expect(mount.call(.update, "verify/k", #"{"input":"YQ=="}"#).status == 400)
        #expect(mount.call(.update, "verify/k", #"{"input":"YQ==","signature":"x"}"#).status == 400)
        #expect(mount.call(.update, "hmac/k", "{}").status == 400)
        #expect(mount.call(.update, "hmac/k/md5", #"{"input":"YQ=="}"#).status == 400)
        #expect(mount.call(.update, "hmac/none", #"{"input":"YQ=="}"#).errors == ["encryption key not found"])
        let batch =
            #"{"batch_input":[{"input":"YQ==","hmac":"\#(code)"},{"input":"YQ=="},{"hmac":"\#(code)"}]}"#
        let results = try #require(mount.call(.update, "verify/k", batch).data?["batch_results"]).elements
        #expect(results.map { $0["valid"]?.bool } == [true, nil, nil])
        mount.call(.update, "keys/k/rotate")
        mount.call(.update, "keys/k/config", #"{"min_decryption_version":2}"#)
        #expect(verify("YQ==", code).status == 400)
        #expect(mount.call(.update, "hmac/k", #"{"input":"YQ==","key_version":1}"#).status == 400)
    }

    @Test func hashesAndRandomBytes() throws {
        let sum = mount.call(.update, "hash", #"{"input":"aGVsbG8="}"#)
        #expect(sum["sum"] == "\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"")
        #expect(mount.call(.update, "hash/md99", #"{"input":""}"#).status == 400)
        #expect(mount.call(.update, "hash", #"{"input":"","format":"hax"}"#).status == 400)
        let bytes = try TransitFixture.string(mount.call(.update, "random/10", "{}"), "random_bytes")
        #expect(Base64.standard.decode(bytes)?.count == 10)
        let hex = mount.call(.update, "random", #"{"bytes":4,"format":"hex"}"#)
        #expect(try TransitFixture.string(hex, "random_bytes").count == 8)
        for path in ["random/0", "random/-1", "random/x", "random/131073"] {
            #expect(mount.call(.update, path, "{}").status == 400, "\(path)")
        }
    }

    /// Vault 0.11.1 could repeat a nonce.
    @Test func noNonceComesTwice() throws {
        mount.call(.update, "keys/k", "{}")
        let item = #"{"plaintext":""}"#
        let body = #"{"batch_input":[\#(repeatElement(item, count: 5_000).joined(separator: ","))]}"#
        var nonces: Set<Substring> = []
        for _ in 0..<4 {
            let results = try #require(mount.call(.update, "encrypt/k", body).data?["batch_results"])
            results.forEachElement { result in
                if let text = result["ciphertext"]?.string { nonces.insert(text.dropFirst(9).prefix(16)) }
            }
        }
        #expect(nonces.count == 20_000)
    }
}
