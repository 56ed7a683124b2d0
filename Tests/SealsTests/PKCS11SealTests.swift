import Base
import Foundation
import Glibc
import PluginKit
import TestKit
import Testing
import Upstream

@testable import Seals

/// The PKCS #11 seal: what it reads, and how it does with SoftHSM 2 where that is installed.
@Suite struct PKCS11SealTests {
    private static let good = [
        "lib": "/does/not/exist.so", "token_label": "t", "pin": "secret-pin", "key_label": "k",
    ]

    private func make(_ written: [String: String]) throws(VaultError) -> PKCS11Seal {
        try PKCS11Seal(SealContext(settings: SealSettings(written)))
    }

    @Test(arguments: [
        ("lib", ""), ("lib", "relative.so"), ("slot", "1"), ("token_label", ""), ("pin", ""),
        ("pin", "file:///does/not/exist"), ("key_label", ""), ("key_id", "0xZ"), ("key_id", "abc"),
        ("mechanism", "CKM_AES_ECB"), ("rsa_oaep_hash", "md5"), ("disable_software_encryption", "perhaps"),
    ])
    func whatMakesNoSenseIsRefusedByName(setting: String, value: String) {
        var written = Self.good
        written[setting] = value
        #expect { try make(written) } throws: { error in
            guard case .badRequest(let text)? = error as? VaultError else { return false }
            return text.contains(setting) && !text.contains("secret-pin")
        }
    }

    @Test func mechanismsHaveNamesAndNumbers() {
        for name in ["CKM_AES_GCM", "aes_gcm", "0x1087"] {
            #expect(PKCS11Mechanism(configured: name) == .aesGCM)
        }
        for name in ["CKM_RSA_PKCS_OAEP", "0x0009", "0x9"] {
            #expect(PKCS11Mechanism(configured: name) == .rsaOAEP)
        }
        #expect(PKCS11Mechanism(configured: "0x1085") == nil)
    }

    @Test func aModuleThatCannotBeOpenedIsNamed() throws {
        let seal = try make(Self.good)
        #expect { try seal.wrap(SecretBytes(copying: [1])) } throws: { error in
            if case .badRequest(let text)? = error as? VaultError { text.contains("'lib'") } else { false }
        }
    }

    @Test(arguments: ["", "object=k", "object=k;id=0", "id=01", "object=k;id=zz"])
    func idsThatAreNoneOfOursAreRefused(id: String) throws {
        let seal = try make(Self.good)
        let wrapped = WrappedKey(keyID: id, ciphertext: [1, 1, 0] + [UInt8](repeating: 0, count: 60))
        #expect { try seal.unwrap(wrapped) } throws: { error in
            if case .badRequest? = error as? VaultError { true } else { false }
        }
    }

    // MARK: SoftHSM

    static let softHSM = [
        "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    ].first { (path: String) in access(path, R_OK) == 0 }

    @Test(.enabled(if: softHSM != nil, "SoftHSM 2 is not installed"))
    func softHSMWrapsAndNoticesDamage() throws {
        let module = try #require(Self.softHSM)
        let folder = try Self.makeToken()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var written = ["lib": module, "token_label": "unit", "pin": "1234-unit", "key_label": "aes"]
        let seal = try make(written)
        #expect(try SealConformance.roundTrips(seal) == [])
        #expect(try SealConformance.noticesDamage(seal) == [])
        #expect(try seal.wrap(SecretBytes(copying: [1])).keyID == "object=aes;id=01")
        written["key_label"] = "rsa"
        written["rsa_oaep_hash"] = "sha1"
        let pair = try make(written)
        #expect(try SealConformance.roundTrips(pair) == [])
        #expect(try SealConformance.noticesDamage(pair) == [])
        // What one key wrapped is opened by that key, whichever is configured now.
        let wrapped = try seal.wrap(SecretBytes(copying: [1, 2, 3]))
        #expect(try pair.unwrap(wrapped) == SecretBytes(copying: [1, 2, 3]))

        // A wrong PIN is given once only: tokens count them.
        written["pin"] = "9999-unit"
        let wrong = try make(written)
        for expected in ["CKR_PIN_INCORRECT", "not tried again"] {
            #expect { try wrong.wrap(SecretBytes(copying: [1])) } throws: { error in
                guard case .forbidden(let text)? = error as? VaultError else { return false }
                return text.contains(expected) && !text.contains("9999")
            }
        }
        #expect(try seal.unwrap(wrapped) == SecretBytes(copying: [1, 2, 3]))
        written["pin"] = "1234-unit"
        written["key_label"] = "none"
        let missing = try make(written)
        #expect { try missing.wrap(SecretBytes(copying: [1])) } throws: { error in
            if case .badRequest(let text)? = error as? VaultError {
                text.contains("key_label")
            } else {
                false
            }
        }
    }

    /// A token with a secret key and a key pair.
    private static func makeToken() throws -> String {
        let folder = NSTemporaryDirectory() + "softhsm-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder + "/tokens", withIntermediateDirectories: true)
        let config =
            "directories.tokendir = \(folder)/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
        try config.write(toFile: folder + "/softhsm2.conf", atomically: true, encoding: .utf8)
        // The module reads it when it is initialised.
        setenv("SOFTHSM2_CONF", folder + "/softhsm2.conf", 1)
        // SoftHSM's tool cuts a key at some bytes.
        try Data("abcdefghijklmnopqrstuvwxyz012345".utf8).write(to: URL(fileURLWithPath: folder + "/aes.key"))
        let login = ["--token", "unit", "--pin", "1234-unit"]
        try run(["openssl", "genrsa", "-out", folder + "/rsa.pem", "2048"])
        try run(
            [
                "openssl", "pkcs8", "-topk8", "-nocrypt", "-in", folder + "/rsa.pem", "-out",
                folder + "/rsa.p8",
            ])
        try run(
            [
                "softhsm2-util", "--init-token", "--free", "--label", "unit", "--so-pin", "5678-unit",
                "--pin", "1234-unit",
            ])
        try run(
            ["softhsm2-util", "--import", folder + "/aes.key", "--aes", "--label", "aes", "--id", "01"]
                + login)
        try run(["softhsm2-util", "--import", folder + "/rsa.p8", "--label", "rsa", "--id", "02"] + login)
        return folder
    }

    private static func run(_ command: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "\(command)")
    }
}
