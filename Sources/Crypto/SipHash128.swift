package import Base

/// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein): a fast keyed code for short messages.
///
/// For what is checked once per listed key, where HMAC would cost more than all the rest of the
/// listing. It is a pseudo-random function with a key of 16 bytes, not a hash without one; its code
/// takes as long whatever key and message are.
package final class SipHash128: Sendable {
    package static let keyBytes = 16
    package static let codeBytes = 16

    private let key: SecretBytes

    /// The key must have 16 bytes.
    package init(key: SecretBytes) {
        precondition(key.count == Self.keyBytes, "SipHash takes a key of 16 bytes")
        self.key = key
    }

    /// The code of a message; its 16 bytes are the two words, each little-endian.
    package func code(_ message: UnsafeRawBufferPointer) -> (UInt64, UInt64) {
        var state = key.withBytes { State($0) }
        var at = 0
        while at + 8 <= message.count {
            state.absorb(UInt64(littleEndian: message.loadUnaligned(fromByteOffset: at, as: UInt64.self)))
            at += 8
        }
        var last = UInt64(truncatingIfNeeded: message.count) &<< 56
        var shift: UInt64 = 0
        while at < message.count {
            last |= UInt64(message[at]) &<< shift
            shift += 8
            at += 1
        }
        state.absorb(last)
        return state.finish()
    }

    private struct State {
        private var v0, v1, v2, v3: UInt64

        @inline(__always) init(_ key: UnsafeRawBufferPointer) {
            let k0 = UInt64(littleEndian: key.loadUnaligned(as: UInt64.self))
            let k1 = UInt64(littleEndian: key.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            v0 = k0 ^ 0x736f_6d65_7073_6575
            v1 = k1 ^ 0x646f_7261_6e64_6f6d ^ 0xEE
            v2 = k0 ^ 0x6c79_6765_6e65_7261
            v3 = k1 ^ 0x7465_6462_7974_6573
        }

        @inline(__always) mutating func absorb(_ word: UInt64) {
            v3 ^= word
            round()
            round()
            v0 ^= word
        }

        @inline(__always) mutating func finish() -> (UInt64, UInt64) {
            v2 ^= 0xEE
            for _ in 0..<4 { round() }
            let low = v0 ^ v1 ^ v2 ^ v3
            v1 ^= 0xDD
            for _ in 0..<4 { round() }
            return (low, v0 ^ v1 ^ v2 ^ v3)
        }

        @inline(__always) private mutating func round() {
            v0 &+= v1
            v1 = Self.rotate(v1, 13) ^ v0
            v0 = Self.rotate(v0, 32)
            v2 &+= v3
            v3 = Self.rotate(v3, 16) ^ v2
            v0 &+= v3
            v3 = Self.rotate(v3, 21) ^ v0
            v2 &+= v1
            v1 = Self.rotate(v1, 17) ^ v2
            v2 = Self.rotate(v2, 32)
        }

        @inline(__always) private static func rotate(_ word: UInt64, _ bits: UInt64) -> UInt64 {
            word &<< bits | word &>> (64 &- bits)
        }
    }
}
