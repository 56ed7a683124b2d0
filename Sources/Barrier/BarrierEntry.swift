import Base
import Crypto
import PluginKit

/// Encrypts and decrypts entries under one keyring; for one thread.
///
/// An entry is: version (1) | term, big-endian (4) | nonce (12) | ciphertext | tag (16). Authenticated
/// with it are a domain tag, the version, the term and the whole logical key, so that an entry opens
/// nowhere but at its own path.
final class EntryCipher {
    static let version: UInt8 = 1
    static let headerBytes = 1 + 4 + AESGCM.nonceBytes
    static let overheadBytes = headerBytes + AESGCM.tagBytes

    let keyring: Keyring
    private var contexts: [(term: UInt32, cipher: AESGCM)] = []
    private let random: any RandomSource

    init(_ keyring: Keyring, random: any RandomSource) {
        self.keyring = keyring
        self.random = random
    }

    /// The plain text of the entry at a logical key.
    /// - Throws: `.corrupted` when it does not authenticate there.
    func open(_ entry: UnsafeRawBufferPointer, at key: UnsafeRawBufferPointer) throws(VaultError) -> [UInt8] {
        guard entry.count >= Self.overheadBytes, entry[0] == Self.version else {
            throw .corrupted(place: place("entries", key))
        }
        let term = UInt32(bigEndian: entry.loadUnaligned(fromByteOffset: 1, as: UInt32.self))
        guard let cipher = try context(term) else { throw .corrupted(place: place("entries", key)) }
        let nonce = UnsafeRawBufferPointer(rebasing: entry[5..<Self.headerBytes])
        let sealed = UnsafeRawBufferPointer(rebasing: entry[Self.headerBytes...])
        let plain = withUnsafeBytes(of: Self.domain(term)) { domain in
            cipher.open(sealed, nonce: nonce, aad: domain, key)
        }
        guard let plain else { throw .corrupted(place: place("entries", key)) }
        return plain
    }

    /// The entry for a value at a logical key, under the active term.
    func seal(_ plain: [UInt8], at key: UnsafeRawBufferPointer) throws(VaultError) -> [UInt8] {
        let term = keyring.active
        guard let cipher = try context(term.number) else { throw .internal("the active term has no key") }
        term.encryptions.add()
        var failure: VaultError?
        let count = plain.count + Self.overheadBytes
        let entry = [UInt8](unsafeUninitializedCapacity: count) { entry, initialized in
            let entry = UnsafeMutableRawBufferPointer(entry)
            entry[0] = Self.version
            entry.storeBytes(of: term.number.bigEndian, toByteOffset: 1, as: UInt32.self)
            let nonce = UnsafeMutableRawBufferPointer(rebasing: entry[5..<Self.headerBytes])
            random.fill(nonce)
            let sealed = UnsafeMutableRawBufferPointer(rebasing: entry[Self.headerBytes..<count])
            withUnsafeBytes(of: Self.domain(term.number)) { domain in
                plain.withUnsafeBytes { plain in
                    do throws(VaultError) {
                        try cipher.seal(
                            plain, nonce: UnsafeRawBufferPointer(nonce), aad: domain, key, into: sealed)
                    } catch { failure = error }
                }
            }
            initialized = failure == nil ? count : 0
        }
        if let failure { throw failure }
        return entry
    }

    /// Nil when the keyring has no such term.
    private func context(_ term: UInt32) throws(VaultError) -> AESGCM? {
        for known in contexts where known.term == term { return known.cipher }
        guard let key = keyring.key(ofTerm: term) else { return nil }
        let cipher = try AESGCM(key: key)
        contexts.append((term, cipher))
        return cipher
    }

    /// "hfe", version and term, as eight bytes in memory.
    private static func domain(_ term: UInt32) -> UInt64 {
        ((0x6866_6500 | UInt64(version)) << 32 | UInt64(term)).bigEndian
    }
}
