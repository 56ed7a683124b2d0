package import Base
import CCrypto

/// A hash that a client may ask for by name (Vault API: sys/tools/hash, transit/hash).
package enum HashAlgorithm: String, Sendable, CaseIterable {
    case sha2_224 = "sha2-224"
    case sha2_256 = "sha2-256"
    case sha2_384 = "sha2-384"
    case sha2_512 = "sha2-512"
    case sha3_224 = "sha3-224"
    case sha3_256 = "sha3-256"
    case sha3_384 = "sha3-384"
    case sha3_512 = "sha3-512"

    /// The digest of one message (FIPS 180-4, FIPS 202).
    /// - Throws: `.internal` when libcrypto refuses, as a FIPS build may.
    package func digest(_ message: UnsafeRawBufferPointer) throws(VaultError) -> [UInt8] {
        var count: UInt32 = 0
        var isDone = false
        var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        digest.withUnsafeMutableBufferPointer {
            isDone =
                EVP_Digest(message.baseAddress, message.count, $0.baseAddress, &count, function, nil) == 1
        }
        guard isDone else { throw .internal(drainOpenSSLErrors("EVP_Digest")) }
        return Array(digest.prefix(Int(count)))
    }

    /// The HMAC of one message (RFC 2104).
    /// - Throws: `.internal` when libcrypto refuses, as a FIPS build may with short keys.
    package func code(key: SecretBytes, _ message: UnsafeRawBufferPointer) throws(VaultError) -> [UInt8] {
        var count: UInt32 = 0
        var code = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        let isDone = code.withUnsafeMutableBufferPointer { code in
            key.withBytes { key in
                HMAC(
                    function, key.baseAddress, key.length, message.octets, message.count, code.baseAddress,
                    &count) != nil
            }
        }
        guard isDone else { throw .internal(drainOpenSSLErrors("HMAC")) }
        return Array(code.prefix(Int(count)))
    }

    private var function: OpaquePointer? {
        switch self {
        case .sha2_224: EVP_sha224()
        case .sha2_256: EVP_sha256()
        case .sha2_384: EVP_sha384()
        case .sha2_512: EVP_sha512()
        case .sha3_224: EVP_sha3_224()
        case .sha3_256: EVP_sha3_256()
        case .sha3_384: EVP_sha3_384()
        case .sha3_512: EVP_sha3_512()
        }
    }
}
