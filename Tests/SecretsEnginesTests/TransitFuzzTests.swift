import Base
import Crypto
import PluginKit
import TestKit
import Testing

@testable import SecretsEngines

/// Ciphertexts and backups as bad as they come: each is refused as the caller's fault, and nothing else.
@Suite struct TransitFuzzTests {
    private let mount: MountHarness
    init() throws { mount = try MountHarness(TransitEngine.self) }

    /// A string of JSON with these bytes, as text.
    private func quoted(_ input: Fuzz.Input) -> String {
        var writer = JSONWriter()
        writer.string(input.text)
        return String(decoding: writer.bytes, as: UTF8.self)
    }

    @Test func fuzzOfCiphertexts() throws {
        mount.call(.update, "keys/k", "{}")
        let good = [try TransitFixture.encrypt(mount, "k"), try TransitFixture.encrypt(mount, "k", "")]
        let fuzz = Fuzz(
            "transit ciphertexts", texts: good, pieces: ["vault:v", ":", "v1", "=", "\n", "v0", "/"],
            inputs: 5_000)
        for input in fuzz {
            let answer = mount.call(.update, "decrypt/k", #"{"ciphertext":\#(quoted(input))}"#)
            // Line ends do not count, so a changed text may still be a good one.
            let body = input.text.filter { $0 != "\n" && $0 != "\r" && $0 != "\r\n" }
            let isGood = input.text.hasPrefix("vault:v1:") && good.contains(body)
            #expect(answer.status == (isGood ? 200 : 400), "\(input)")
        }
    }

    @Test func fuzzOfBackups() throws {
        let entries = ["a", "b"].map {
            TransitFixture.entry(TransitFixture.key($0), TransitFixture.key($0 + "h"), convergent: 3)
        }
        let good = [
            TransitFixture.backup("k", type: 0, entries: entries),
            TransitFixture.backup("d", type: 5, derived: true, convergent: true, entries: entries),
        ]
        let pieces = [
            "\"keys\":", "null", "{}", "[]", "\"type\":", "\"1\":", "true", "AAAA", "\"latest_version\":",
        ]
        for input in Fuzz("transit backups", texts: good, pieces: pieces, inputs: 2_000) {
            let text = Base64.standard.encode(input.bytes)
            let answer = mount.call(.update, "restore/r", #"{"backup":"\#(text)","force":true}"#)
            #expect([204, 400, 413].contains(answer.status), "\(input)")
            if answer.status == 204 {
                #expect(mount.call(.read, "keys/r").status == 200, "\(input)")
                let sealed = mount.call(.update, "encrypt/r", #"{"plaintext":"","context":"YQ=="}"#)
                #expect(sealed.status == 200, "\(input)")
            }
        }
    }
}
