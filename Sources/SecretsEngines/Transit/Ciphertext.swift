import Base
import PluginKit

/// `vault:v<version>:<base64>`: how Vault writes ciphertexts, and HMACs as well.
struct Ciphertext {
    static let prefix = "vault:v"
    /// Digits of a version: more is no number of ours.
    private static let mostDigits = 9

    let version: Int
    /// For a ciphertext the nonce, what is encrypted, and the tag.
    let sealed: [UInt8]

    /// - Throws: `.badRequest` when it is not of the form.
    init(_ sent: RawJSON?, _ what: String = "ciphertext") throws(VaultError) {
        let parsed = try sent?.withStringBytes { (text) throws(VaultError) in try Self.parse(text, what) }
        guard let parsed else { throw .badRequest("field '\(what)': expected a string") }
        (version, sealed) = parsed
    }

    private static func parse(
        _ text: UnsafeRawBufferPointer, _ what: String
    ) throws(VaultError) -> (Int, [UInt8]) {
        guard text.starts(with: prefix.utf8) else { throw .badRequest("invalid \(what): no prefix") }
        let rest = UnsafeRawBufferPointer(rebasing: text[prefix.utf8.count...])
        guard let colon = rest.prefix(mostDigits + 1).firstIndex(of: UInt8(ascii: ":")), colon > 0 else {
            throw .badRequest("invalid \(what): version number could not be decoded")
        }
        var version = 0
        for byte in rest[..<colon] {
            guard (48...57).contains(byte), version > 0 || byte != 48 else {
                throw .badRequest("invalid \(what): version number could not be decoded")
            }
            version = version * 10 + Int(byte - 48)
        }
        guard let sealed = Base64Input.decode(UnsafeRawBufferPointer(rebasing: rest[(colon + 1)...])) else {
            throw .badRequest("invalid \(what): could not decode base64")
        }
        return (version, sealed)
    }

    /// The text, as UTF-8.
    static func text(version: Int, _ bytes: [UInt8]) -> [UInt8] {
        let head = "\(prefix)\(version):"
        let base64 = Base64.standard
        var text: [UInt8] = []
        text.reserveCapacity(head.utf8.count + base64.encodedCount(bytes.count))
        text.append(contentsOf: head.utf8)
        bytes.withUnsafeBytes { text.append(contentsOf: base64.encode($0)) }
        return text
    }
}

/// What clients send in base64: a secret for all we know, so it never becomes a `String`.
enum Base64Input {
    /// The bytes; nil when nothing was sent. The caller wipes them.
    /// - Throws: `.badRequest` that names the field.
    static func bytes(_ sent: RawJSON?, _ field: String) throws(VaultError) -> [UInt8]? {
        guard let sent, !sent.isNull else { return nil }
        let bytes = try sent.withStringBytes { (text) throws(VaultError) in
            guard let bytes = decode(text) else {
                throw .badRequest("field '\(field)': unable to decode as base64")
            }
            return bytes
        }
        guard let bytes else { throw .badRequest("field '\(field)': expected a string in base64") }
        return bytes
    }

    /// Line ends do not count: command-line tools put them in, and Vault overlooks them.
    static func decode(_ text: UnsafeRawBufferPointer) -> [UInt8]? {
        if let bytes = Base64.standard.decode(text) { return bytes }
        guard text.contains(where: { $0 == 10 || $0 == 13 }) else { return nil }
        var joined = text.filter { $0 != 10 && $0 != 13 }
        defer { joined.wipe() }
        return joined.withUnsafeBytes { Base64.standard.decode($0) }
    }
}

extension CipherItem {
    /// The version that is asked for; 0 for none.
    var versionNumber: Int {
        get throws(VaultError) {
            guard let version, !version.isNull else { return 0 }
            guard let number = Int.parse(.json(version)) else {
                throw .badRequest("field 'key_version': expected an integer")
            }
            return number
        }
    }

    /// - Throws: `.badRequest` when the caller brings a nonce: none of our keys takes one.
    func refuseNonce() throws(VaultError) {
        if let nonce = try Base64Input.bytes(nonce, "nonce"), !nonce.isEmpty {
            throw .badRequest("field 'nonce': provided nonce not allowed for this key")
        }
    }
}
