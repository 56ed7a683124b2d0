internal import CPosix
internal import Glibc

/// The only way to randomness, so that the simulation can seed it.
package protocol RandomSource: Sendable {
    /// Fills the whole buffer with bytes fit for keys and tokens.
    func fill(_ buffer: UnsafeMutableRawBufferPointer)
}

extension RandomSource {
    /// `count` random bytes. For keys use `SecretBytes.random` instead.
    package func bytes(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            fill(UnsafeMutableRawBufferPointer(buffer))
            initialized = count
        }
    }

    /// `count` letters and digits, each equally likely: the body of tokens and accessors.
    package func base62(_ count: Int) -> String {
        let alphabet = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)
        var text: [UInt8] = []
        text.reserveCapacity(count)
        while text.count < count {
            // 248 = 4 * 62: larger bytes would favour the first letters.
            for byte in bytes(count) where byte < 248 && text.count < count {
                text.append(alphabet[Int(byte % 62)])
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// A random UUID (RFC 9562 version 4) in lower case.
    package func uuid() -> String {
        var raw: (UInt64, UInt64) = (0, 0)
        return withUnsafeMutableBytes(of: &raw) { raw in
            fill(raw)
            raw[6] = raw[6] & 0x0F | 0x40
            raw[8] = raw[8] & 0x3F | 0x80
            return String(unsafeUninitializedCapacity: 36) { text in
                var at = 0
                for index in 0..<16 {
                    if index == 4 || index == 6 || index == 8 || index == 10 {
                        text[at] = UInt8(ascii: "-")
                        at += 1
                    }
                    text[at] = Hex.character(raw[index] >> 4)
                    text[at + 1] = Hex.character(raw[index] & 15)
                    at += 2
                }
                return 36
            }
        }
    }
}

/// The kernel's generator (`getrandom`).
package struct SystemRandom: RandomSource {
    package init() {}

    package func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        guard var cursor = buffer.baseAddress else { return }
        var left = buffer.count
        while left > 0 {
            let got = getrandom(cursor, left, 0)
            if got < 0 {
                precondition(errno == EINTR, "the kernel gives no random bytes")
                continue
            }
            cursor += got
            left -= got
        }
    }
}
