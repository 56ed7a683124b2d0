package import Base
import Crypto

/// A small secret encrypted under a key that may be the wrong one: the root key under the seal's
/// key, the keyring under the root key.
///
/// Format: version (1) | key id (16) | nonce (12) | ciphertext | tag (16); version and name are
/// authenticated. The key id (derived, tells nothing of the key) is there to tell a wrong key from
/// damage. It is compared in constant time.
package enum SealEnvelope {
    private static let version: UInt8 = 1
    private static let idBytes = 16
    private static let headerBytes = 1 + idBytes + AESGCM.nonceBytes

    /// The name under which the root key is wrapped by the seal's key.
    package static let rootKeyName = "core/root-key"

    /// Wraps the root key under the seal's key (32 bytes; with the Shamir seal, what the shares give).
    package static func wrapRootKey(
        _ rootKey: SecretBytes, under sealKey: SecretBytes, random: any RandomSource
    ) throws(VaultError) -> [UInt8] {
        try rootKey.withBytes { (plain) throws(VaultError) in
            try seal(plain, under: sealKey, name: rootKeyName, random: random)
        }
    }

    /// The root key.
    /// - Throws: `.badRequest` when the key is a wrong one, `.corrupted` when what is stored is damaged.
    package static func unwrapRootKey(
        _ wrapped: [UInt8], under sealKey: SecretBytes
    ) throws(VaultError) -> SecretBytes {
        let rootKey = try open(wrapped, under: sealKey, name: rootKeyName)
        guard rootKey.count == Keyring.keyBytes else { throw .corrupted(place: rootKeyName) }
        return rootKey
    }

    static func seal(
        _ plain: UnsafeRawBufferPointer, under key: SecretBytes, name: String, random: any RandomSource
    ) throws(VaultError) -> [UInt8] {
        let cipher = try cipher(key)
        let nonce = random.bytes(AESGCM.nonceBytes)
        var sealed = [UInt8](repeating: 0, count: plain.count + AESGCM.tagBytes)
        var span = sealed.mutableSpan
        try nonce.withRaw { (nonce) throws(VaultError) in
            try aad(name).withRaw { (aad) throws(VaultError) in
                try span.withUnsafeMutableBytes { (target) throws(VaultError) in
                    try cipher.seal(plain, nonce: nonce, aad: aad, into: target)
                }
            }
        }
        return [version] + identity(key) + nonce + sealed
    }

    static func open(_ envelope: [UInt8], under key: SecretBytes, name: String) throws(VaultError)
        -> SecretBytes
    {
        guard envelope.count >= headerBytes + AESGCM.tagBytes, envelope[0] == version else {
            throw .corrupted(place: name)
        }
        guard key.count == AESGCM.keyBytes else { throw wrongKey(name) }
        let cipher = try cipher(key)
        let rightKey = constantTimeEqual(Array(envelope[1...idBytes]), identity(key))
        let plain = envelope.withUnsafeBytes { envelope in
            aad(name).withUnsafeBytes { aad in
                cipher.openSecret(
                    UnsafeRawBufferPointer(rebasing: envelope[headerBytes...]),
                    nonce: UnsafeRawBufferPointer(rebasing: envelope[(1 + idBytes)..<headerBytes]), aad: aad)
            }
        }
        switch (plain, rightKey) {
        case (let plain?, true): return plain
        case (nil, false): throw wrongKey(name)
        // The key is right, yet something is damaged: ciphertext in one case, key id in the other.
        case (nil, true), (_?, false): throw .corrupted(place: name)
        }
    }

    private static func wrongKey(_ name: String) -> VaultError {
        .badRequest(
            name == rootKeyName
                ? "the unseal key is wrong: expected key shares of this server's current set"
                : "the root key is wrong: expected this server's root key")
    }

    private static func cipher(_ key: SecretBytes) throws(VaultError) -> AESGCM {
        guard key.count == AESGCM.keyBytes else {
            throw .badRequest("a key has \(key.count) bytes: expected \(AESGCM.keyBytes)")
        }
        return try AESGCM(key: key)
    }

    private static func identity(_ key: SecretBytes) -> [UInt8] {
        HKDF.derive(from: key, info: Array("holdfast/key-id".utf8), count: idBytes).withBytes { Array($0) }
    }

    private static func aad(_ name: String) -> [UInt8] { [version] + Array("holdfast/envelope/\(name)".utf8) }
}
