package import Base
import CCrypto

/// Owns one Ed25519 key pair (RFC 8032) for certificates. Belongs to one thread; what outlives it are the DER
/// forms of what it signed and of itself.
package struct CertificateKey: ~Copyable {
    /// Bytes of the secret that a key is made of, and of a public key.
    package static let seedBytes = 32

    let raw: OpaquePointer

    /// A fresh key.
    /// - Throws: `.internal` when libcrypto fails.
    package init(random: any RandomSource = SystemRandom()) throws(VaultError) {
        try self.init(seed: .random(Self.seedBytes, from: random))
    }

    /// The key that these 32 secret bytes stand for, always the same.
    /// - Throws: `.internal` when libcrypto fails.
    package init(seed: SecretBytes) throws(VaultError) {
        precondition(seed.count == Self.seedBytes, "an Ed25519 key is 32 bytes")
        let made = seed.withBytes { EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, $0.octets, $0.count) }
        guard let made else { throw .internal(drainOpenSSLErrors("Ed25519 key")) }
        raw = made
    }

    deinit { EVP_PKEY_free(raw) }

    /// The private key as PKCS #8 (RFC 5958), DER, not encrypted.
    /// - Throws: `.internal` when libcrypto fails.
    package func privateKeyDER() throws(VaultError) -> SecretBytes {
        guard let info = EVP_PKEY2PKCS8(raw) else { throw .internal(drainOpenSSLErrors("PKCS #8")) }
        defer { PKCS8_PRIV_KEY_INFO_free(info) }
        var der: UnsafeMutablePointer<UInt8>?
        let count = i2d_PKCS8_PRIV_KEY_INFO(info, &der)
        guard count > 0, let der else { throw .internal(drainOpenSSLErrors("PKCS #8")) }
        defer { hf_clear_free(der, Int(count)) }
        return SecretBytes(copying: UnsafeBufferPointer(start: der, count: Int(count)))
    }

    /// The public key's 32 bytes.
    package func publicKey() throws(VaultError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Self.seedBytes)
        var count = bytes.count
        guard EVP_PKEY_get_raw_public_key(raw, &bytes, &count) == 1 else {
            throw .internal(drainOpenSSLErrors("Ed25519 public key"))
        }
        return bytes
    }
}
