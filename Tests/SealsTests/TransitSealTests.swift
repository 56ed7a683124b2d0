import Base
import Foundation
import PluginKit
import TestKit
import Testing
import Upstream

@testable import Seals

/// What the transit seal reads; `Tests/System/transit_seal_test.py` has it talk to a server.
@Suite struct TransitSealTests {
    private static let good = ["address": "https://kms.test:8200", "token": "s.secret", "key_name": "unseal"]

    private func make(
        _ written: [String: String], environment: [String: String] = [:]
    ) throws(VaultError) -> TransitSeal {
        try TransitSeal(SealContext(settings: SealSettings(written) { environment[$0] }))
    }

    private func facts(_ seal: TransitSeal) -> [String: String] {
        Dictionary(uniqueKeysWithValues: seal.facts.map { ($0.name, $0.value) })
    }

    @Test func theFileComesBeforeTheVariablesOfTheCommandLine() throws {
        let environment = [
            "VAULT_ADDR": "http://127.0.0.1:8200", "VAULT_TOKEN": "x", "VAULT_NAMESPACE": "team",
            "VAULT_TRANSIT_SEAL_KEY_NAME": "other", "VAULT_TRANSIT_SEAL_MOUNT_PATH": "/kms/transit/",
        ]
        let facts = facts(try make(Self.good, environment: environment))
        #expect(facts["Transit Address"] == "https://kms.test:8200/")
        #expect(facts["Transit Key Name"] == "other")
        #expect(facts["Transit Mount Path"] == "kms/transit/")
        #expect(facts["Transit Namespace"] == "team")
        let fromEnvironment = try make(["key_name": "k"], environment: environment)
        #expect(self.facts(fromEnvironment)["Transit Address"] == "http://127.0.0.1:8200/")
    }

    @Test(arguments: [
        ("address", ""), ("address", "kms.test"), ("address", "https://user@kms.test"), ("token", ""),
        ("token", "file:///does/not/exist"), ("token", "env://NOT_SET"), ("key_name", ""),
        ("mount_path", "/"), ("mount_path", "a b"), ("mount_path", "a%2fb"), ("tls_skip_verify", "perhaps"),
        ("tls_client_cert", "/c.pem"), ("tls_client_key", "/k.pem"), ("disable_renewal", "x"),
    ])
    func whatMakesNoSenseIsRefusedByName(setting: String, value: String) {
        var written = Self.good
        written[setting] = value
        #expect { try make(written) } throws: { error in
            guard case .badRequest(let text)? = error as? VaultError else { return false }
            return text.contains(setting) && !text.contains("s.secret")
        }
    }

    @Test func noOtherKeysWrappingIsAskedFor() throws {
        let seal = try make(Self.good)
        for id in ["other:v1", "unseal", "", "x:unseal:v1"] {
            let wrapped = WrappedKey(keyID: id, ciphertext: Array("vault:v1:AAAA".utf8))
            #expect { try seal.unwrap(wrapped) } throws: { error in
                if case .badRequest(let text)? = error as? VaultError {
                    text.contains("key_name")
                } else {
                    false
                }
            }
        }
        let wrapped = WrappedKey(keyID: "unseal:v1", ciphertext: Array("nonsense".utf8))
        #expect { try seal.unwrap(wrapped) } throws: { error in
            if case .badRequest? = error as? VaultError { true } else { false }
        }
    }

    @Test func versionsAreReadFromCiphertexts() {
        #expect(TransitClient.version("vault:v12:AAAA") == 12)
        for bad in [
            "", "vault:v1", "vault:v0:AA", "vault:1:AA", "vault:vx:AA", "other:v1:AA", "vault:v1:",
            "vault:v1:A:B",
        ] {
            #expect(TransitClient.version(bad) == nil, "\(bad)")
        }
    }

    @Test func aServerThatIsAwayIsToldApart() throws {
        var written = Self.good
        written["address"] = "http://127.0.0.1:1"
        let seal = try make(written)
        #expect { try seal.wrap(SecretBytes(copying: [1])) } throws: { error in
            if case .unavailable(let text, _)? = error as? VaultError {
                !text.contains("s.secret")
            } else {
                false
            }
        }
    }
}
