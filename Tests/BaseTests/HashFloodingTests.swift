import Base
import Testing

/// Tables keyed by what clients send: nobody can choose keys that all fall into one place of them.
@Suite struct HashFloodingTests {
    /// A process that hashes without a secret seed gives this; ours must not.
    @Test func hashesHaveASeedOfThisProcess() {
        for text in ["", "a", "x-vault-token", "secret/data/a", String(repeating: "b", count: 100)] {
            #expect(text.hashValue != Int(truncatingIfNeeded: SipHash13.ofText(text)), "\(text)")
        }
    }

    /// Words made of `Aa` and `BB`, which are all equal to the hash that multiplies by 31.
    @Test func wordsThatCollideElsewhereDoNotHere() {
        let bits = 17
        let colliding = (0..<1 << bits).map { number in
            (0..<bits).map { number >> $0 & 1 == 0 ? "Aa" : "BB" }.joined()
        }
        #expect(Set(colliding.prefix(1_000).map(Self.times31)).count == 1)
        let ordinary = (0..<1 << bits).map { number in
            let digits = String(number &* 0x9E37_79B1 & 0xFFFF_FFFF, radix: 16)
            return digits + String(repeating: "x", count: bits * 2 - digits.utf8.count)
        }
        let ratio = (0..<3).map { _ in Self.time(colliding) / Self.time(ordinary) }.min() ?? .infinity
        // Where all collide, a hundred thousand of them cost thousands of times as much.
        #expect(ratio < 100)
    }

    private static func times31(_ text: String) -> UInt32 {
        text.utf8.reduce(0) { $0 &* 31 &+ UInt32($1) }
    }

    private static func time(_ words: [String]) -> Double {
        let start = ContinuousClock.now
        var table: [String: Int] = [:]
        for (index, word) in words.enumerated() { table[word] = index }
        var sum = 0
        for word in words { sum &+= table[word] ?? 0 }
        precondition(sum > 0 && table.count == words.count)
        return Double((ContinuousClock.now - start).wholeNanoseconds)
    }
}

/// SipHash-1-3 with a key of zeros: what Swift's hashes are when `SWIFT_DETERMINISTIC_HASHING` is set.
private enum SipHash13 {
    /// A string counts as its UTF-8 and one byte more.
    static func ofText(_ text: String) -> UInt64 { of(Array(text.utf8) + [0xFF]) }

    private static func of(_ bytes: [UInt8]) -> UInt64 {
        var v: [UInt64] = [
            0x736F_6D65_7073_6575, 0x646F_7261_6E64_6F6D, 0x6C79_6765_6E65_7261, 0x7465_6462_7974_6573,
        ]
        func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 { value &<< count | value &>> (64 - count) }
        func round() {
            v[0] &+= v[1]
            v[1] = rotate(v[1], 13) ^ v[0]
            v[0] = rotate(v[0], 32)
            v[2] &+= v[3]
            v[3] = rotate(v[3], 16) ^ v[2]
            v[0] &+= v[3]
            v[3] = rotate(v[3], 21) ^ v[0]
            v[2] &+= v[1]
            v[1] = rotate(v[1], 17) ^ v[2]
            v[2] = rotate(v[2], 32)
        }
        func word(_ bytes: ArraySlice<UInt8>) -> UInt64 {
            bytes.reversed().reduce(0) { $0 &<< 8 | UInt64($1) }
        }
        let whole = bytes.count / 8 * 8
        for at in stride(from: 0, to: whole, by: 8) {
            let next = word(bytes[at..<at + 8])
            v[3] ^= next
            round()
            v[0] ^= next
        }
        let last = UInt64(bytes.count & 0xFF) &<< 56 | word(bytes[whole...])
        v[3] ^= last
        round()
        v[0] ^= last
        v[2] ^= 0xFF
        for _ in 0..<3 { round() }
        return v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}
