import Barrier
import Base
import Crypto

/// A new key of which people hold shares, with its shares as they will get them: with Shamir's seal the
/// unseal key, which wraps the root key; with the others the recovery key, which only proves a quorum.
struct HolderKey: Sendable {
    static let bytes = 32
    /// Shares that Shamir's scheme over GF(2^8) can tell apart.
    private static let mostShares = 255

    /// What is asked for.
    struct Wish: Sendable {
        var shares: Int
        var threshold: Int
        /// In base64, one for each share; empty for shares in the clear.
        var pgpKeys: [String] = []
        /// The names of the fields, for errors.
        var fields = FieldNames.secret
    }

    /// How the API calls shares, threshold and PGP keys.
    struct FieldNames: Sendable {
        let shares: String
        let threshold: String
        let pgpKeys: String
        static let secret = FieldNames(
            shares: "secret_shares", threshold: "secret_threshold", pgpKeys: "pgp_keys")
        static let recovery = FieldNames(
            shares: "recovery_shares", threshold: "recovery_threshold", pgpKeys: "recovery_pgp_keys")
    }

    let key: SecretBytes
    /// Shares of the key, or what they became under their holders' PGP keys.
    let shares: [SecretBytes]
    let holders: KeyHolders

    /// Makes a key and splits it.
    /// - Throws: `.badRequest` for impossible numbers, or a PGP key that cannot encrypt.
    init(_ wish: Wish, random: any RandomSource) throws(VaultError) {
        try Self.check(wish)
        key = SecretBytes.random(Self.bytes, from: random)
        let parts =
            wish.shares == 1
            ? [key] : try Shamir.split(key, parts: wish.shares, threshold: wish.threshold, random: random)
        let (protected, fingerprints) = try Self.protect(parts, wish.pgpKeys)
        shares = protected
        holders = KeyHolders(shares: wish.shares, threshold: wish.threshold, pgpFingerprints: fingerprints)
    }

    /// - Throws: `.badRequest` that names what is impossible.
    static func check(_ wish: Wish) throws(VaultError) {
        let (shares, names) = (wish.shares, wish.fields)
        guard (1...mostShares).contains(shares) else {
            throw .badRequest("\(names.shares): expected 1 to \(mostShares)")
        }
        guard (1...shares).contains(wish.threshold) else {
            throw .badRequest("\(names.threshold): expected 1 to the number of shares (\(shares))")
        }
        if shares > 1 && wish.threshold == 1 {
            throw .badRequest("\(names.threshold): expected at least 2 when there are several shares")
        }
        if !wish.pgpKeys.isEmpty && wish.pgpKeys.count != shares {
            throw .badRequest(
                "\(names.pgpKeys): expected one key for each of the \(shares) shares, found "
                    + "\(wish.pgpKeys.count)")
        }
    }

    /// The fingerprints of PGP keys that have been tried and can encrypt.
    /// - Throws: `.badRequest` when one cannot.
    static func fingerprints(of pgpKeys: [String]) throws(VaultError) -> [String] {
        var fingerprints: [String] = []
        for key in pgpKeys {
            let trial = try PGP.encrypt(SecretBytes(copying: "trial".utf8), toPublicKey: Array(key.utf8))
            fingerprints.append(trial.fingerprint)
        }
        return fingerprints
    }

    /// Encrypts each share, in hexadecimal as operators type it, to its operator's key.
    private static func protect(
        _ shares: [SecretBytes], _ pgpKeys: [String]
    ) throws(VaultError) -> (shares: [SecretBytes], fingerprints: [String]) {
        if pgpKeys.isEmpty { return (shares, []) }
        var protected: [SecretBytes] = []
        var fingerprints: [String] = []
        for (share, key) in zip(shares, pgpKeys) {
            let message = try PGP.encrypt(Hex.encode(share), toPublicKey: Array(key.utf8))
            protected.append(SecretBytes(copying: message.ciphertext))
            fingerprints.append(message.fingerprint)
        }
        return (protected, fingerprints)
    }
}

/// Who holds shares of a key.
struct KeyHolders: Sendable, Equatable {
    let shares: Int
    let threshold: Int
    /// Of their PGP keys, in the order of the shares; empty without.
    let pgpFingerprints: [String]
}
