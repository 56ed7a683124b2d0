package import Base
package import PluginKit
import Upstream

/// A key in a hardware security module that speaks PKCS #11: a secret key of AES, or a key pair of RSA.
///
/// The key is named by its label or id and never leaves the module. To rotate, a new key gets the label (or
/// the configuration names the new one); the old one must stay until the server has started once.
package struct PKCS11Seal: Seal {
    package static let type = "pkcs11"
    private static let module = SealSetting(
        "lib", environment: ["VAULT_HSM_LIB", "BAO_HSM_LIB"], "Path of the PKCS #11 module.")
    private static let slot = SealSetting(
        "slot", environment: ["VAULT_HSM_SLOT", "BAO_HSM_SLOT"], "Number of the token's slot.")
    private static let tokenLabel = SealSetting(
        "token_label", environment: ["VAULT_HSM_TOKEN_LABEL", "BAO_HSM_TOKEN_LABEL"],
        "Label of the token, instead of the slot.")
    private static let pin = SealSetting(
        "pin", environment: ["VAULT_HSM_PIN", "BAO_HSM_PIN"],
        "PIN of the token's user; `file://path` or `env://NAME` keep it out of the file.")
    private static let keyLabel = SealSetting(
        "key_label", environment: ["VAULT_HSM_KEY_LABEL", "BAO_HSM_KEY_LABEL"], "Label of the key.")
    private static let keyID = SealSetting(
        "key_id", environment: ["VAULT_HSM_KEY_ID", "BAO_HSM_KEY_ID"],
        "Id of the key in hexadecimal, beside or instead of the label.")
    private static let mechanism = SealSetting(
        "mechanism", environment: ["VAULT_HSM_MECHANISM", "BAO_HSM_MECHANISM"],
        "`CKM_AES_GCM` (0x1087) or `CKM_RSA_PKCS_OAEP` (0x0009); what the key is for, if left out.")
    private static let oaepHash = SealSetting(
        "rsa_oaep_hash", environment: ["VAULT_HSM_RSA_OAEP_HASH", "BAO_HSM_RSA_OAEP_HASH"],
        "Hash of RSA-OAEP: sha1, sha224, sha256, sha384 or sha512; `sha256`.")
    private static let disablesSoftware = SealSetting(
        "disable_software_encryption",
        environment: [
            "VAULT_HSM_DISABLE_SOFTWARE_ENCRYPTION", "BAO_HSM_DISABLE_SOFTWARE_ENCRYPTION",
        ], "Accepted: the module itself always encrypts.")
    package static let settings = [
        module, slot, tokenLabel, pin, keyLabel, keyID, mechanism, oaepHash, disablesSoftware,
    ]

    private let client: PKCS11Client
    package let facts: [(name: String, value: String)]

    package init(_ context: SealContext) throws(VaultError) {
        let settings = context.settings
        let path = try settings.required(Self.module)
        guard path.hasPrefix("/") else {
            throw .badRequest("'lib': expected an absolute path, found \"\(path)\"")
        }
        let slot = try settings.text(Self.slot).map(Self.parseSlot)
        let label = settings.text(Self.tokenLabel)
        guard (slot == nil) != (label == nil) else {
            throw .badRequest("'slot', 'token_label': expected one of them")
        }
        guard let pin = try settings.secret(Self.pin) else {
            throw .badRequest("'pin': expected a value, found none")
        }
        let keyLabel = settings.text(Self.keyLabel)
        let keyID = try settings.text(Self.keyID).map(Self.parseID)
        guard keyLabel != nil || keyID != nil else {
            throw .badRequest("'key_label', 'key_id': expected one of them or both")
        }
        _ = try settings.flag(Self.disablesSoftware)
        client = PKCS11Client(
            PKCS11Configuration(
                module: path, slot: slot, tokenLabel: label, pin: pin, keyLabel: keyLabel, keyID: keyID,
                mechanism: try settings.text(Self.mechanism).map(Self.parseMechanism),
                oaepHash: try Self.parseHash(settings.text(Self.oaepHash) ?? "sha256")),
            random: context.random)
        facts = [
            ("PKCS #11 Module", path), ("PKCS #11 Token", label ?? "slot \(slot ?? 0)"),
            ("PKCS #11 Key", keyLabel ?? keyID.map { Hex.encode($0) } ?? ""),
        ]
    }

    package func wrap(_ key: SecretBytes) throws(VaultError) -> WrappedKey {
        let made = try client.encrypt(key)
        return WrappedKey(keyID: made.keyID, ciphertext: made.ciphertext)
    }

    package func unwrap(_ wrapped: WrappedKey) throws(VaultError) -> SecretBytes {
        try client.decrypt(wrapped.ciphertext, keyID: wrapped.keyID)
    }

    // MARK: Settings

    private static func parseSlot(_ text: String) throws(VaultError) -> UInt {
        let isHex = text.hasPrefix("0x") || text.hasPrefix("0X")
        guard let number = isHex ? UInt(text.dropFirst(2), radix: 16) : UInt(text) else {
            throw .badRequest("'slot': expected a number, found \"\(text)\"")
        }
        return number
    }

    private static func parseID(_ text: String) throws(VaultError) -> [UInt8] {
        let digits = text.hasPrefix("0x") || text.hasPrefix("0X") ? String(text.dropFirst(2)) : text
        guard let id = Hex.decode(digits), !id.isEmpty else {
            throw .badRequest("'key_id': expected bytes in hexadecimal, found \"\(text)\"")
        }
        return id
    }

    private static func parseMechanism(_ text: String) throws(VaultError) -> PKCS11Mechanism {
        guard let mechanism = PKCS11Mechanism(configured: text) else {
            throw .badRequest(
                "'mechanism': expected CKM_AES_GCM (0x1087) or CKM_RSA_PKCS_OAEP (0x0009), found \"\(text)\"")
        }
        return mechanism
    }

    private static func parseHash(_ text: String) throws(VaultError) -> PKCS11OAEPHash {
        guard let hash = PKCS11OAEPHash(rawValue: text.lowercased()) else {
            let known = PKCS11OAEPHash.allCases.map(\.rawValue).joined(separator: ", ")
            throw .badRequest("'rsa_oaep_hash': expected one of \(known), found \"\(text)\"")
        }
        return hash
    }
}
