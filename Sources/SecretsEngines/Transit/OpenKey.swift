import Base
import Crypto
import PluginKit

/// A key in one request: its policy as of now, and its material as it is needed.
struct OpenKey {
    let policy: KeyPolicy
    let ring: KeyRing

    func version(_ number: Int, _ tx: Transaction) throws(VaultError) -> KeyVersion {
        try ring.version(number, of: policy, tx)
    }
}

extension TransitEngine {
    /// - Throws: `.badRequest` when there is no such key.
    func openKey(_ name: String, _ tx: Transaction) throws(VaultError) -> OpenKey {
        guard let key = try findKey(name, tx) else { throw .badRequest("encryption key not found") }
        return key
    }

    /// The key of this name; nil when there is none.
    func findKey(_ name: String, _ tx: Transaction) throws(VaultError) -> OpenKey? {
        guard let policy = try KeyPolicy(name, tx) else { return nil }
        if rings.size == nil { rings.setSize(try Self.cacheSize(tx)) }
        return OpenKey(policy: policy, ring: rings.ring(policy.id))
    }
}

/// One text that is to be encrypted or decrypted: what a request says of it, or one element of a batch.
struct CipherItem {
    var plaintext: RawJSON?
    var ciphertext: RawJSON?
    var context: RawJSON?
    var nonce: RawJSON?
    var associatedData: RawJSON?
    var version: RawJSON?
}

extension OpenKey {
    /// Encrypts: the text of a ciphertext in Vault's form, and the version that it was made with.
    ///
    /// Derived keys: HKDF-SHA-256 of the version's key with the context as info gives the key, and for
    /// convergent keys behind it 32 bytes more, under which the HMAC of the plain text is the nonce.
    /// - Throws: `.badRequest` for what does not fit the key's policy.
    func encrypt(
        _ plain: UnsafeRawBufferPointer, _ item: CipherItem, random: any RandomSource, _ tx: Transaction
    ) throws(VaultError) -> (text: [UInt8], version: Int) {
        let number = try policy.encryptionVersion(try item.versionNumber, for: "encryption")
        try item.refuseNonce()
        let aad = try Base64Input.bytes(item.associatedData, "associated_data") ?? []
        if policy.isConvergent, !aad.isEmpty {
            // Two sets of associated data under one nonce would give the authentication key away.
            throw .badRequest("field 'associated_data': not possible with convergent encryption")
        }
        let context = try contextBytes(item)
        let version = try version(number, tx)
        let sealed: [UInt8]
        if policy.isDerived {
            sealed = try encryptDerived(plain, version, context, aad, random)
        } else {
            let nonce = random.bytes(AEAD.nonceBytes)
            sealed = try version.cipher.use { (cipher) throws(VaultError) in
                try cipher.sealWithNonce(plain, nonce: nonce, aad: aad)
            }
        }
        return (Ciphertext.text(version: number, sealed), number)
    }

    private func encryptDerived(
        _ plain: UnsafeRawBufferPointer, _ version: KeyVersion, _ context: [UInt8], _ aad: [UInt8],
        _ random: any RandomSource
    ) throws(VaultError) -> [UInt8] {
        let keyBytes = policy.type.keyBytes
        let derived = HKDF.derive(
            from: version.key, info: context,
            count: policy.isConvergent ? keyBytes + KeyVersion.hmacKeyBytes : keyBytes)
        let key = derived.slice(0..<keyBytes)
        var nonce: [UInt8]
        if policy.isConvergent {
            let code = HMACSHA256(key: derived.slice(keyBytes..<derived.count)).code(plain)
            nonce = Array(code.prefix(AEAD.nonceBytes))
        } else {
            nonce = random.bytes(AEAD.nonceBytes)
        }
        return try AEAD(policy.type.algorithm, key: key).sealWithNonce(plain, nonce: nonce, aad: aad)
    }

    /// Decrypts what a ciphertext in Vault's form holds. The caller wipes it.
    /// - Throws: `.badRequest` for what is no ciphertext of this key, or was tampered with.
    func decrypt(_ item: CipherItem, _ tx: Transaction) throws(VaultError) -> [UInt8] {
        try item.refuseNonce()
        let sent = try Ciphertext(item.ciphertext)
        try policy.checkDecryptionVersion(sent.version, of: "ciphertext")
        let aad = try Base64Input.bytes(item.associatedData, "associated_data") ?? []
        let context = try contextBytes(item)
        let version = try version(sent.version, tx)
        let plain: [UInt8]?
        if policy.isDerived {
            let key = HKDF.derive(from: version.key, info: context, count: policy.type.keyBytes)
            plain = try AEAD(policy.type.algorithm, key: key).openWithNonce(sent.sealed, aad: aad)
        } else {
            plain = try version.cipher.use { $0.openWithNonce(sent.sealed, aad: aad) }
        }
        guard let plain else { throw .badRequest("invalid ciphertext: message authentication failed") }
        return plain
    }

    /// - Throws: `.badRequest` when the key is derived and there is none.
    private func contextBytes(_ item: CipherItem) throws(VaultError) -> [UInt8] {
        let context = try Base64Input.bytes(item.context, "context") ?? []
        if policy.isDerived, context.isEmpty {
            throw .badRequest(
                "missing 'context' for key derivation: this key is derived, one for each context")
        }
        return context
    }
}

extension AEAD {
    /// Nonce, ciphertext, tag: what stands in Vault's ciphertexts.
    fileprivate func sealWithNonce(
        _ plain: UnsafeRawBufferPointer, nonce: [UInt8], aad: [UInt8]
    ) throws(VaultError) -> [UInt8] {
        var sealed = [UInt8](repeating: 0, count: Self.nonceBytes + plain.count + Self.tagBytes)
        var failure: VaultError?
        sealed.withUnsafeMutableBytes { sealed in
            sealed.copyBytes(from: nonce)
            let rest = UnsafeMutableRawBufferPointer(rebasing: sealed[Self.nonceBytes...])
            nonce.withUnsafeBytes { nonce in
                aad.withUnsafeBytes { aad in
                    do throws(VaultError) {
                        try seal(plain, nonce: nonce, aad: aad, into: rest)
                    } catch { failure = error }
                }
            }
        }
        if let failure { throw failure }
        return sealed
    }

    /// Nil when anything does not authenticate.
    fileprivate func openWithNonce(_ sealed: [UInt8], aad: [UInt8]) -> [UInt8]? {
        guard sealed.count >= Self.nonceBytes + Self.tagBytes else { return nil }
        return sealed.withUnsafeBytes { sealed in
            aad.withUnsafeBytes { aad in
                open(
                    UnsafeRawBufferPointer(rebasing: sealed[Self.nonceBytes...]),
                    nonce: UnsafeRawBufferPointer(rebasing: sealed[..<Self.nonceBytes]), aad: aad)
            }
        }
    }
}

extension SecretBytes {
    fileprivate func slice(_ range: Range<Int>) -> SecretBytes {
        withBytes { SecretBytes(copying: UnsafeRawBufferPointer(rebasing: $0[range])) }
    }
}
