package import Base

/// Shamir's secret sharing over GF(2^8) with the AES polynomial (0x11b), byte for byte as Vault's
/// shares: each byte of the secret is the constant term of its own random polynomial; a share is
/// the value of every polynomial at one x, followed by that x.
///
/// Arithmetic is free of branches and tables that depend on secrets, so that no cache line tells a
/// share. All x are distinct and not zero (at zero stands the secret itself).
package enum Shamir {
    /// Splits a secret into `parts` shares of which any `threshold` give it back.
    ///
    /// - Throws: `.badRequest` unless 2 ≤ threshold ≤ parts ≤ 255 and the secret is not empty.
    package static func split(
        _ secret: SecretBytes, parts: Int, threshold: Int, random: any RandomSource
    ) throws(VaultError) -> [SecretBytes] {
        guard parts >= 2, parts <= 255 else { throw .badRequest("secret_shares: expected 2 to 255") }
        guard threshold >= 2, threshold <= parts else {
            throw .badRequest("secret_threshold: expected 2 to the number of shares")
        }
        guard secret.count > 0 else { throw .badRequest("an empty secret cannot be split") }
        let coefficients = SecretBytes.random(secret.count * (threshold - 1), from: random)
        return shuffledAbscissas(random).prefix(parts).map { x in
            SecretBytes(count: secret.count + 1) { share in
                secret.withBytes { secret in
                    coefficients.withBytes { coefficients in
                        for index in 0..<secret.count {
                            // Horner's rule, from the highest power down.
                            var y: UInt8 = 0
                            for power in stride(from: threshold - 2, through: 0, by: -1) {
                                y = multiply(y ^ coefficients[index * (threshold - 1) + power], x)
                            }
                            share[index] = y ^ secret[index]
                        }
                        share[secret.count] = x
                    }
                }
            }
        }
    }

    /// The secret that the shares hold. With too few shares, or shares of different secrets, the
    /// result is some other value of the same length: only the seal's key check tells.
    ///
    /// - Throws: `.badRequest` for fewer than two shares, shares of different or too short lengths,
    ///   and an x that is zero or comes twice.
    package static func combine(_ shares: [SecretBytes]) throws(VaultError) -> SecretBytes {
        guard shares.count >= 2, shares.count <= 255 else {
            throw .badRequest("expected 2 to 255 key shares")
        }
        let count = shares[0].count
        guard count >= 2 else { throw .badRequest("a key share is too short: expected at least 2 bytes") }
        guard shares.allSatisfy({ $0.count == count }) else {
            throw .badRequest("the key shares differ in length: expected shares of one secret")
        }
        let abscissas = shares.map { share in share.withBytes { $0[count - 1] } }
        guard !abscissas.contains(0) else {
            throw .badRequest("a key share is damaged: its last byte is zero")
        }
        guard Set(abscissas).count == abscissas.count else {
            throw .badRequest("duplicate key share: each share counts once")
        }
        let weights = abscissas.map { weight(at: $0, among: abscissas) }
        return SecretBytes(count: count - 1) { secret in
            secret.initializeMemory(as: UInt8.self, repeating: 0)
            for (share, weight) in zip(shares, weights) {
                share.withBytes { share in
                    for index in 0..<secret.count { secret[index] ^= multiply(share[index], weight) }
                }
            }
        }
    }

    /// Lagrange's basis polynomial of `x`, at zero.
    private static func weight(at x: UInt8, among all: [UInt8]) -> UInt8 {
        all.reduce(1) { product, other in
            other == x ? product : multiply(product, multiply(other, inverse(other ^ x)))
        }
    }

    /// Product in GF(2^8): eight steps whatever the factors are.
    static func multiply(_ a: UInt8, _ b: UInt8) -> UInt8 {
        var product: UInt8 = 0
        var a = a
        for bit in 0..<8 as Range<UInt8> {
            product ^= a & (0 &- (b &>> bit & 1))
            a = (a &<< 1) ^ (0x1B & (0 &- (a &>> 7)))
        }
        return product
    }

    /// The inverse as the 254th power; zero gives zero.
    static func inverse(_ a: UInt8) -> UInt8 {
        var power = a
        var result: UInt8 = 1
        for _ in 0..<7 {
            power = multiply(power, power)
            result = multiply(result, power)
        }
        return result
    }

    /// 1…255 in random order (Fisher and Yates), so that a share's number tells nothing.
    private static func shuffledAbscissas(_ random: any RandomSource) -> [UInt8] {
        var all = Array(1...255 as ClosedRange<UInt8>)
        for last in stride(from: all.count - 1, to: 0, by: -1) {
            all.swapAt(last, below(last + 1, random))
        }
        return all
    }

    /// A number below `bound` (at most 256), each equally likely.
    private static func below(_ bound: Int, _ random: any RandomSource) -> Int {
        while true {
            let byte = Int(random.bytes(1)[0])
            if byte < 256 / bound * bound { return byte % bound }
        }
    }
}
