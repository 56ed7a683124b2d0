package import Base
import CCrypto

/// A password as it may be stored: salted and hashed with scrypt (RFC 7914), which takes memory as well
/// as time to guess. What scrypt gets is the password's SHA-256: it takes the password for an HMAC key,
/// which is filled up with zeros, so that NULs at the end would not count. So every byte does, at any length.
///
/// The text carries its parameters, so that they can grow without making older hashes useless:
/// `$sha256-scrypt$ln=15,r=8,p=1$<salt>$<digest>`.
package struct PasswordHash: Sendable, Equatable {
    private static let scheme = "sha256-scrypt"
    private static let saltBytes = 16
    private static let digestBytes = 32
    /// Bytes of memory that one hash may take: what stands in storage must not exhaust the server.
    private static let mostMemory = 256 << 20

    /// Threads for hashes alone: a flood of logins holds up logins, and takes no more memory than these need.
    private static let pool = BlockingPool(threads: 2, limit: 128)

    fileprivate struct Cost: Sendable, Equatable {
        /// log2 of N, the number of blocks.
        var logBlocks: Int
        var blockSize: Int
        var lanes: Int

        /// 32 MiB, and a little slower than bcrypt at its usual cost of 10.
        static let current = Cost(logBlocks: 15, blockSize: 8, lanes: 1)
    }

    private let cost: Cost
    private let salt: [UInt8]
    private let digest: [UInt8]

    /// Hashes a password with a fresh salt, on a thread that may take its time.
    package static func make(
        _ password: SecretBytes, random: any RandomSource
    ) async throws(VaultError) -> PasswordHash {
        let salt = random.bytes(saltBytes)
        return try await pool.run { () throws(VaultError) in
            let digest = try derive(password, salt, .current)
            return PasswordHash(cost: .current, salt: salt, digest: digest)
        }
    }

    /// Stands for a user who does not exist: no password fits, and to find that out takes as long as for one
    /// who does.
    package static func unmatchable(random: any RandomSource) -> PasswordHash {
        PasswordHash(cost: .current, salt: random.bytes(saltBytes), digest: random.bytes(digestBytes))
    }

    /// Whether a password is the one; takes as long either way, on a thread that may.
    package func matches(_ password: SecretBytes) async throws(VaultError) -> Bool {
        try await Self.pool.run { () throws(VaultError) in
            var found = try Self.derive(password, salt, cost)
            defer { found.wipe() }
            return constantTimeEqual(found, digest)
        }
    }

    private static func derive(
        _ password: SecretBytes, _ salt: [UInt8], _ cost: Cost
    ) throws(VaultError) -> [UInt8] {
        var hashed = password.withBytes { SHA256.hash($0) }
        defer { hashed.wipe() }
        return try scrypt(
            hashed, salt, logBlocks: cost.logBlocks, blockSize: cost.blockSize, lanes: cost.lanes)
    }

    /// scrypt itself, to 32 bytes.
    static func scrypt(
        _ password: [UInt8], _ salt: [UInt8], logBlocks: Int, blockSize: Int, lanes: Int
    ) throws(VaultError) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: digestBytes)
        let status = password.withUnsafeBytes { bytes in
            EVP_PBE_scrypt(
                bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count, salt, salt.count,
                1 << UInt64(logBlocks), UInt64(blockSize), UInt64(lanes), UInt64(mostMemory),
                &digest, digest.count)
        }
        guard status == 1 else { throw .internal(drainOpenSSLErrors("EVP_PBE_scrypt")) }
        return digest
    }
}

// MARK: As text

extension PasswordHash {
    /// Reads what `text` wrote; nil for anything else.
    package init?(_ text: String) {
        let parts = text.split(separator: "$", omittingEmptySubsequences: false)
        guard parts.count == 5, parts[0].isEmpty, parts[1] == Self.scheme[...],
            let cost = Cost(parts[2]), let salt = Base64.standard.decode(String(parts[3])),
            let digest = Base64.standard.decode(String(parts[4])), salt.count >= 8,
            digest.count == Self.digestBytes
        else { return nil }
        self.init(cost: cost, salt: salt, digest: digest)
    }

    package var text: String {
        "$\(Self.scheme)$ln=\(cost.logBlocks),r=\(cost.blockSize),p=\(cost.lanes)"
            + "$\(Base64.standard.encode(salt))$\(Base64.standard.encode(digest))"
    }
}

extension PasswordHash.Cost {
    fileprivate init?(_ text: Substring) {
        var values: [Substring: Int] = [:]
        for part in text.split(separator: ",") {
            let pair = part.split(separator: "=")
            guard pair.count == 2, let number = Int(pair[1]) else { return nil }
            values[pair[0]] = number
        }
        guard let ln = values["ln"], let r = values["r"], let p = values["p"], (10...20).contains(ln),
            (1...32).contains(r), (1...16).contains(p)
        else { return nil }
        self.init(logBlocks: ln, blockSize: r, lanes: p)
    }
}
