import Base
import Crypto
import Foundation
import PluginKit
import TestKit
import Testing

@testable import SecretsEngines

/// What the tests of the transit engine share.
enum TransitFixture {
    static let types = ["aes128-gcm96", "aes256-gcm96", "chacha20-poly1305"]
    static let hello = "aGVsbG8="
    static let context = "dGVuYW50LTc="  // tenant-7

    /// The value of a string in an answer.
    static func string(_ answer: MountHarness.Answer, _ path: String) throws -> String {
        let text = try #require(answer[path], "no \(path) in \(answer.text) \(answer.errors)")
        return try #require(text.hasPrefix("\"") ? String(text.dropFirst().dropLast()) : nil)
    }

    static func encrypt(
        _ mount: MountHarness, _ key: String, _ plain: String = hello, _ more: String = ""
    ) throws -> String {
        try string(mount.call(.update, "encrypt/\(key)", #"{"plaintext":"\#(plain)"\#(more)}"#), "ciphertext")
    }

    static func decrypt(
        _ mount: MountHarness, _ key: String, _ ciphertext: String, _ more: String = ""
    ) -> MountHarness.Answer {
        mount.call(.update, "decrypt/\(key)", #"{"ciphertext":"\#(ciphertext)"\#(more)}"#)
    }

    /// A ciphertext with one bit of what it holds turned.
    static func flipped(_ ciphertext: String, bit: Int) throws -> String {
        let colon = try #require(ciphertext.lastIndex(of: ":"))
        let head = ciphertext[...colon]
        var bytes = try #require(
            Base64.standard.decode(String(ciphertext[ciphertext.index(after: colon)...])))
        bytes[bit / 8] ^= 1 << UInt8(bit % 8)
        return head + Base64.standard.encode(bytes)
    }

    static func bitCount(_ ciphertext: String) throws -> Int {
        let colon = try #require(ciphertext.lastIndex(of: ":"))
        return try #require(Base64.standard.decode(String(ciphertext[ciphertext.index(after: colon)...])))
            .count * 8
    }

    // MARK: Backups as Vault writes them

    static func key(_ seed: String, _ count: Int = 32) -> [UInt8] {
        Array(SHA256.hash(Array(seed.utf8)).prefix(count))
    }

    static func entry(_ key: [UInt8], _ hmacKey: [UInt8], convergent: Int = 0) -> String {
        """
        {"key":"\(Base64.standard.encode(key))","hmac_key":"\(Base64.standard.encode(hmacKey))",\
        "time":"2021-08-01T12:00:00.5Z","ec_x":null,"ec_y":null,"ec_d":null,"rsa_key":null,"public_key":"",\
        "convergent_version":\(convergent),"creation_time":1627819200}
        """
    }

    static let emptyEntry = #"{"key":null,"hmac_key":null,"time":"0001-01-01T00:00:00Z","creation_time":0}"#

    /// The JSON of a backup in which only the latest version is in `keys`, and all are in the archive.
    static func backup(
        _ name: String, type: Int, derived: Bool = false, convergent: Bool = false, entries: [String],
        changing: (String, String) = ("", "")
    ) -> String {
        let count = entries.count
        let json = """
            {"policy":{"name":"\(name)","keys":{"\(count)":\(entries[count - 1])},"derived":\(derived),\
            "kdf":\(derived ? 1 : 0),"convergent_encryption":\(convergent),"exportable":true,\
            "min_decryption_version":1,"min_encryption_version":0,"latest_version":\(count),\
            "archive_version":\(count),"archive_min_version":0,"min_available_version":0,\
            "deletion_allowed":false,"convergent_version":-1,"type":\(type),"backup_info":null,\
            "restore_info":null,"allow_plaintext_backup":true,"version_template":"","storage_prefix":""},\
            "archived_keys":{"keys":[\(([emptyEntry] + entries).joined(separator: ","))]}}
            """
        return changing.0.isEmpty ? json : json.replacingOccurrences(of: changing.0, with: changing.1)
    }

    static func restore(
        _ mount: MountHarness, _ json: String, path: String = "restore", _ more: String = ""
    ) -> MountHarness.Answer {
        mount.call(.update, path, #"{"backup":"\#(Base64.standard.encode(Array(json.utf8)))"\#(more)}"#)
    }
}
