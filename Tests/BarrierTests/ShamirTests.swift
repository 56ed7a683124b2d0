import Base
import TestKit
import Testing

@testable import Barrier

@Suite struct ShamirTests {
    private let random = SeededRandom(seed: 7)

    @Test func anyThresholdOfSharesGivesTheSecretBack() throws {
        for (parts, threshold) in [(2, 2), (3, 2), (5, 3), (10, 7), (255, 255), (255, 2)] {
            let secret = SecretBytes.random(32, from: random)
            let shares = try Shamir.split(secret, parts: parts, threshold: threshold, random: random)
            #expect(shares.count == parts)
            #expect(shares.allSatisfy { $0.count == 33 })
            #expect(Set(shares.map { $0.withBytes { $0[32] } }).count == parts)
            for _ in 0..<5 {
                var generator: any RandomNumberGenerator = random
                let some = Array(shares.shuffled(using: &generator).prefix(threshold))
                #expect(try Shamir.combine(some) == secret)
            }
        }
    }

    @Test func fewerSharesThanTheThresholdGiveSomethingElse() throws {
        let secret = SecretBytes.random(32, from: random)
        let shares = try Shamir.split(secret, parts: 5, threshold: 3, random: random)
        #expect(try Shamir.combine(Array(shares.prefix(2))) != secret)
    }

    /// The line through x = 1 and x = 2, worked out by hand: f(x) = 0x42 + 0x17·x, so
    /// f(1) = 0x42 ^ 0x17 = 0x55 and f(2) = 0x42 ^ 0x2E = 0x6C.
    /// The second byte is f(x) = 0x80 + 0x80·x: f(1) = 0, f(2) = 0x80 ^ (0x100 ^ 0x11B) = 0x9B.
    @Test func combinesSharesWorkedOutByHand() throws {
        let secret = try Shamir.combine([
            SecretBytes(copying: [0x55, 0x00, 1]), SecretBytes(copying: [0x6C, 0x9B, 2]),
        ])
        #expect(secret == SecretBytes(copying: [0x42, 0x80]))
    }

    /// Against arithmetic of another kind: carry-less product of whole polynomials, then long division.
    @Test func fieldArithmeticMatchesLongDivision() {
        for a in 0..<256 {
            for b in 0..<256 {
                var product = 0
                for bit in 0..<8 where b >> bit & 1 == 1 { product ^= a << bit }
                for bit in stride(from: 15, through: 8, by: -1) where product >> bit & 1 == 1 {
                    product ^= 0x11B << (bit - 8)
                }
                #expect(Int(Shamir.multiply(UInt8(a), UInt8(b))) == product)
            }
            if a != 0 { #expect(Shamir.multiply(UInt8(a), Shamir.inverse(UInt8(a))) == 1) }
        }
    }

    /// A share made by an independent evaluation (powers of x, not Horner) over a fixed polynomial.
    @Test func combinesIndependentlyEvaluatedShares() throws {
        let secret: [UInt8] = Array(0..<16)
        let coefficients: [[UInt8]] = [secret, secret.map { $0 &* 31 &+ 5 }, secret.map { $0 &* 77 &+ 200 }]
        func share(_ x: UInt8) -> SecretBytes {
            let square = Shamir.multiply(x, x)
            let ys = secret.indices.map { index in
                coefficients[0][index] ^ Shamir.multiply(coefficients[1][index], x)
                    ^ Shamir.multiply(coefficients[2][index], square)
            }
            return SecretBytes(copying: ys + [x])
        }
        #expect(try Shamir.combine([share(200), share(3), share(97)]) == SecretBytes(copying: secret))
    }

    @Test func refusesWhatCannotBeShares() {
        func refused(_ shares: [[UInt8]]) -> Bool {
            do throws(VaultError) {
                _ = try Shamir.combine(shares.map { SecretBytes(copying: $0) })
                return false
            } catch { return error.status == 400 }
        }
        #expect(refused([]))
        #expect(refused([[1, 2, 3]]))
        #expect(refused([[1, 2, 3], [1, 2]]))
        #expect(refused([[1, 2, 3], [4, 5, 3]]))
        #expect(refused([[1, 2, 0], [4, 5, 3]]))
        #expect(refused([[1], [2]]))
        #expect(refused([[], []]))
    }

    @Test(arguments: [(1, 1), (256, 3), (3, 1), (3, 4), (0, 0), (-1, -1)])
    func refusesImpossibleNumbersOfShares(parts: Int, threshold: Int) {
        #expect(throws: VaultError.self) {
            try Shamir.split(SecretBytes(copying: [1]), parts: parts, threshold: threshold, random: random)
        }
    }
}
