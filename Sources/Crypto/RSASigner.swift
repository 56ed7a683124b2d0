package import Base
import CCrypto

/// Signs by an RSA key with SHA-256 and PKCS #1 v1.5 padding (RFC 8017 §8.2): what JWTs call RS256.
package enum RSASigner {
    /// - Parameter pem: an unencrypted private key, in PKCS #8 or PKCS #1.
    /// - Throws: `.badRequest` when it is no RSA key.
    package static func sign(_ message: [UInt8], pem: SecretBytes) throws(VaultError) -> [UInt8] {
        let key = pem.withBytes { text -> OpaquePointer? in
            guard let source = BIO_new_mem_buf(text.baseAddress, Int32(text.count)) else { return nil }
            defer { BIO_free(source) }
            // A callback that gives no password: an encrypted key must not ask at the terminal.
            return PEM_read_bio_PrivateKey(source, nil, { _, _, _, _ in -1 }, nil)
        }
        guard let key else {
            ERR_clear_error()
            throw .badRequest("the private key is no key in PEM without a password")
        }
        defer { EVP_PKEY_free(key) }
        guard EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA else {
            throw .badRequest("the private key is no RSA key")
        }
        guard let context = EVP_MD_CTX_new() else {
            throw .internal(drainOpenSSLErrors("signature context"))
        }
        defer { EVP_MD_CTX_free(context) }
        var count = 0
        guard EVP_DigestSignInit(context, nil, EVP_sha256(), nil, key) == 1,
            EVP_DigestSign(context, nil, &count, message, message.count) == 1
        else { throw .internal(drainOpenSSLErrors("RSA signature")) }
        var signature = [UInt8](repeating: 0, count: count)
        guard EVP_DigestSign(context, &signature, &count, message, message.count) == 1 else {
            throw .internal(drainOpenSSLErrors("RSA signature"))
        }
        return Array(signature.prefix(count))
    }
}

/// HMAC with SHA-1 (RFC 2104), for protocols of others that have nothing newer.
package enum HMACSHA1 {
    /// The 20 bytes of the code.
    package static func code(key: SecretBytes, message: [UInt8]) -> [UInt8] {
        var code = [UInt8](repeating: 0, count: 20)
        var count: UInt32 = 0
        key.withBytes { key in
            _ = HMAC(EVP_sha1(), key.baseAddress, Int32(key.count), message, message.count, &code, &count)
        }
        return code
    }
}
