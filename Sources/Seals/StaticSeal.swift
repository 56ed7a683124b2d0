package import Base
import Crypto
package import PluginKit

/// Wraps under a key that the operator gives, from a file or the environment: for development, for tests,
/// and where the machine keeps files safe by other means. Who has that file and the storage has everything.
///
/// To rotate, the new key becomes `current_key` and the old one `previous_key`; once the server has started,
/// the root key is wrapped by the new one, and the old one can go.
package struct StaticSeal: Seal {
    /// See `Seal.type`.
    package static let type = "static"
    private static let currentID = SealSetting("current_key_id", "Name of the key in use, such as a date.")
    private static let currentKey = SealSetting(
        "current_key", "The key: 32 bytes, in base64, hexadecimal, `file://path` or `env://NAME`.")
    private static let previousID = SealSetting("previous_key_id", "Name of the key before it.")
    private static let previousKey = SealSetting("previous_key", "The key before it.")
    /// See `Seal.settings`.
    package static let settings = [currentID, currentKey, previousID, previousKey]

    private struct Key: Sendable {
        let id: String
        let bytes: SecretBytes
    }
    private let current: Key
    private let previous: Key?
    private let random: any RandomSource

    /// See `Seal.init`.
    package init(_ context: SealContext) throws(VaultError) {
        let settings = context.settings
        current = Key(
            id: try settings.required(Self.currentID), bytes: try Self.key(Self.currentKey, settings))
        let id = settings.text(Self.previousID)
        guard (id != nil) == (settings.text(Self.previousKey) != nil) else {
            throw .badRequest("'previous_key', 'previous_key_id': expected both or neither")
        }
        if let id {
            guard id != current.id else {
                throw .badRequest("'previous_key_id': expected another name than that of 'current_key_id'")
            }
            previous = Key(id: id, bytes: try Self.key(Self.previousKey, settings))
        } else {
            previous = nil
        }
        random = context.random
    }

    /// Raw bytes only from a file: in the others they could be taken for text.
    private static func key(_ setting: SealSetting, _ settings: SealSettings) throws(VaultError)
        -> SecretBytes
    {
        guard let text = try settings.secret(setting) else {
            throw .badRequest("'\(setting.name)': expected a key of \(AESGCM.keyBytes) bytes, found none")
        }
        let isFile = settings.text(setting)?.hasPrefix("file://") ?? false
        if isFile, text.count == AESGCM.keyBytes { return text }
        let key = text.withBytes { Hex.decodeSecret($0) ?? Base64.standard.decodeSecret($0) }
        guard let key, key.count == AESGCM.keyBytes else {
            throw .badRequest(
                "'\(setting.name)': expected \(AESGCM.keyBytes) bytes in base64 or hexadecimal"
                    + (isFile ? ", or as they are" : ""))
        }
        return key
    }

    /// See `Seal.facts`.
    package var facts: [(name: String, value: String)] { [("Static Key ID", current.id)] }

    /// Nonce, ciphertext and tag; the key's name is authenticated.
    package func wrap(_ key: SecretBytes) throws(VaultError) -> WrappedKey {
        let nonce = random.bytes(AESGCM.nonceBytes)
        var plain = key.withBytes { Array($0) }
        defer { plain.wipe() }
        let sealed = try AESGCM(key: current.bytes).seal(plain, nonce: nonce, aad: Array(current.id.utf8))
        return WrappedKey(keyID: current.id, ciphertext: nonce + sealed)
    }

    /// See `Seal.unwrap`.
    package func unwrap(_ wrapped: WrappedKey) throws(VaultError) -> SecretBytes {
        guard let key = [current, previous].compactMap({ $0 }).first(where: { $0.id == wrapped.keyID }) else {
            throw .badRequest(
                "the stored key was wrapped by the static key '\(wrapped.keyID)', which is not configured")
        }
        let nonce = Array(wrapped.ciphertext.prefix(AESGCM.nonceBytes))
        let sealed = Array(wrapped.ciphertext.dropFirst(AESGCM.nonceBytes))
        let cipher = try AESGCM(key: key.bytes)
        let opened = sealed.withUnsafeBytes { sealed in
            nonce.withUnsafeBytes { nonce in
                Array(key.id.utf8).withUnsafeBytes { cipher.openSecret(sealed, nonce: nonce, aad: $0) }
            }
        }
        guard let opened else {
            throw .badRequest(
                "the static key '\(key.id)' does not open the stored key: it is another key, or the stored "
                    + "key was changed")
        }
        return opened
    }
}
