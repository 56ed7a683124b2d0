package import Base
import CCrypto

/// A cipher that authenticates what it encrypts, with 12-byte nonces and 16-byte tags.
package enum AEADAlgorithm: Sendable, CaseIterable {
    /// NIST SP 800-38D.
    case aes128GCM
    /// NIST SP 800-38D.
    case aes256GCM
    /// RFC 8439.
    case chaCha20Poly1305

    /// Length of a key.
    package var keyBytes: Int { self == .aes128GCM ? 16 : 32 }

    var cipher: OpaquePointer? {
        switch self {
        case .aes128GCM: EVP_aes_128_gcm()
        case .aes256GCM: EVP_aes_256_gcm()
        case .chaCha20Poly1305: EVP_chacha20_poly1305()
        }
    }
}

/// The barrier's cipher: AES-256-GCM, which is what `init(key:)` makes.
package typealias AESGCM = AEAD

/// Authenticated encryption under one key.
///
/// The key schedule is made once and kept in two contexts, so an instance belongs to one thread at a
/// time (`SharedAEAD` is for several). Associated data comes in two pieces (a header and a path), which
/// saves joining them. A nonce must never be used twice with the same key.
package final class AEAD {
    /// Of a key of AES-256-GCM.
    package static let keyBytes = 32
    package static let nonceBytes = 12
    package static let tagBytes = 16

    private let sealing: OpaquePointer
    private let opening: OpaquePointer

    /// AES-256-GCM.
    /// - Throws: `.internal` when libcrypto fails. The key must have 32 bytes.
    package convenience init(key: SecretBytes) throws(VaultError) { try self.init(.aes256GCM, key: key) }

    /// - Throws: `.internal` when libcrypto fails. The key must have the algorithm's `keyBytes`.
    package init(_ algorithm: AEADAlgorithm, key: SecretBytes) throws(VaultError) {
        precondition(key.count == algorithm.keyBytes, "the key's length is wrong")
        guard let sealing = EVP_CIPHER_CTX_new() else {
            throw .internal(drainOpenSSLErrors("cipher context"))
        }
        guard let opening = EVP_CIPHER_CTX_new() else {
            EVP_CIPHER_CTX_free(sealing)
            throw .internal(drainOpenSSLErrors("cipher context"))
        }
        self.sealing = sealing
        self.opening = opening
        let good = key.withBytes { key in
            EVP_EncryptInit_ex(sealing, algorithm.cipher, nil, key.octets, nil) == 1
                && EVP_DecryptInit_ex(opening, algorithm.cipher, nil, key.octets, nil) == 1
        }
        guard good else { throw .internal(drainOpenSSLErrors("AEAD key")) }
    }

    deinit {
        // Wipes the key schedules, too.
        EVP_CIPHER_CTX_free(sealing)
        EVP_CIPHER_CTX_free(opening)
    }

    /// Encrypts `plain` into `sealed`, which must have room for exactly the ciphertext and the tag.
    package func seal(
        _ plain: UnsafeRawBufferPointer, nonce: UnsafeRawBufferPointer, aad: UnsafeRawBufferPointer,
        _ moreAAD: UnsafeRawBufferPointer = .init(start: nil, count: 0),
        into sealed: UnsafeMutableRawBufferPointer
    ) throws(VaultError) {
        precondition(nonce.count == Self.nonceBytes && sealed.count == plain.count + Self.tagBytes)
        let output = sealed.baseAddress?.assumingMemoryBound(to: UInt8.self)
        var written: Int32 = 0
        guard EVP_EncryptInit_ex(sealing, nil, nil, nil, nonce.octets) == 1,
            aad.isEmpty || EVP_EncryptUpdate(sealing, nil, &written, aad.octets, aad.length) == 1,
            moreAAD.isEmpty || EVP_EncryptUpdate(sealing, nil, &written, moreAAD.octets, moreAAD.length) == 1,
            plain.isEmpty || EVP_EncryptUpdate(sealing, output, &written, plain.octets, plain.length) == 1,
            EVP_EncryptFinal_ex(sealing, output.map { $0 + plain.count }, &written) == 1,
            EVP_CIPHER_CTX_ctrl(
                sealing, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagBytes), output.map { $0 + plain.count }) == 1
        else { throw .internal(drainOpenSSLErrors("AEAD seal")) }
    }

    /// Encrypts `plain`; gives ciphertext and tag.
    package func seal(_ plain: [UInt8], nonce: [UInt8], aad: [UInt8] = []) throws(VaultError) -> [UInt8] {
        var sealed = [UInt8](repeating: 0, count: plain.count + Self.tagBytes)
        var failure: VaultError?
        sealed.withUnsafeMutableBytes { sealed in
            plain.withUnsafeBytes { plain in
                nonce.withUnsafeBytes { nonce in
                    aad.withUnsafeBytes { aad in
                        do throws(VaultError) {
                            try seal(plain, nonce: nonce, aad: aad, into: sealed)
                        } catch { failure = error }
                    }
                }
            }
        }
        if let failure { throw failure }
        return sealed
    }

    /// Decrypts ciphertext and tag into fresh memory; nil when anything does not authenticate.
    package func open(
        _ sealed: UnsafeRawBufferPointer, nonce: UnsafeRawBufferPointer, aad: UnsafeRawBufferPointer,
        _ moreAAD: UnsafeRawBufferPointer = .init(start: nil, count: 0)
    ) -> [UInt8]? {
        guard sealed.count >= Self.tagBytes else { return nil }
        let count = sealed.count - Self.tagBytes
        var good = false
        let plain = [UInt8](unsafeUninitializedCapacity: count) { plain, initialized in
            good = open(sealed, nonce: nonce, aad: aad, moreAAD, into: UnsafeMutableRawBufferPointer(plain))
            initialized = good ? count : 0
        }
        return good ? plain : nil
    }

    /// Decrypts ciphertext and tag into locked memory; nil when anything does not authenticate.
    package func openSecret(
        _ sealed: UnsafeRawBufferPointer, nonce: UnsafeRawBufferPointer, aad: UnsafeRawBufferPointer
    ) -> SecretBytes? {
        guard sealed.count >= Self.tagBytes else { return nil }
        var good = false
        let secret = SecretBytes(count: sealed.count - Self.tagBytes) { target in
            good = open(sealed, nonce: nonce, aad: aad, .init(start: nil, count: 0), into: target)
        }
        return good ? secret : nil
    }

    /// Decrypts ciphertext and tag; nil when anything does not authenticate.
    package func open(_ sealed: [UInt8], nonce: [UInt8], aad: [UInt8] = []) -> [UInt8]? {
        sealed.withUnsafeBytes { sealed in
            nonce.withUnsafeBytes { nonce in
                aad.withUnsafeBytes { open(sealed, nonce: nonce, aad: $0) }
            }
        }
    }

    /// What was decrypted before a wrong tag showed is wiped and never seen.
    private func open(
        _ sealed: UnsafeRawBufferPointer, nonce: UnsafeRawBufferPointer, aad: UnsafeRawBufferPointer,
        _ moreAAD: UnsafeRawBufferPointer, into plain: UnsafeMutableRawBufferPointer
    ) -> Bool {
        guard nonce.count == Self.nonceBytes else { return false }
        let output = plain.baseAddress?.assumingMemoryBound(to: UInt8.self)
        let tag = UnsafeMutableRawPointer(mutating: sealed.baseAddress.map { $0 + plain.count })
        var written: Int32 = 0
        var rest: UInt8 = 0
        let good =
            EVP_DecryptInit_ex(opening, nil, nil, nil, nonce.octets) == 1
            && (aad.isEmpty || EVP_DecryptUpdate(opening, nil, &written, aad.octets, aad.length) == 1)
            && (moreAAD.isEmpty
                || EVP_DecryptUpdate(opening, nil, &written, moreAAD.octets, moreAAD.length) == 1)
            && (plain.isEmpty
                || EVP_DecryptUpdate(opening, output, &written, sealed.octets, Int32(plain.count)) == 1)
            && EVP_CIPHER_CTX_ctrl(opening, EVP_CTRL_AEAD_SET_TAG, Int32(Self.tagBytes), tag) == 1
            && EVP_DecryptFinal_ex(opening, &rest, &written) == 1
        if !good {
            wipe(plain)
            ERR_clear_error()
        }
        return good
    }
}

extension UnsafeRawBufferPointer {
    var octets: UnsafePointer<UInt8>? { baseAddress?.assumingMemoryBound(to: UInt8.self) }
    /// libcrypto counts in `int`. Limits keep everything that comes here far below 2 GiB.
    var length: Int32 { Int32(count) }
}
