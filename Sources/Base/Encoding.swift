/// Base64 (RFC 4648 §4 and §5). Neither direction looks a secret up in a table or branches on its
/// value, so that keys and shares may pass through. Decoding is strict: no white space, no wrong
/// padding, no stray bits in the last character.
package struct Base64: Sendable {
    private let isURL: Bool
    private let isPadded: Bool

    /// `+` and `/`, padded: what Vault's API means by base64.
    package static let standard = Base64(isURL: false, isPadded: true)
    package static let standardUnpadded = Base64(isURL: false, isPadded: false)
    /// `-` and `_`, padded.
    package static let urlPadded = Base64(isURL: true, isPadded: true)
    /// `-` and `_`, without padding: what JWTs use.
    package static let url = Base64(isURL: true, isPadded: false)

    /// How many characters stand for `count` bytes.
    package func encodedCount(_ count: Int) -> Int {
        isPadded ? (count + 2) / 3 * 4 : (count * 4 + 2) / 3
    }

    /// The text, as a `String`; not for secrets.
    package func encode(_ bytes: [UInt8]) -> String {
        bytes.withUnsafeBytes { String(decoding: encode($0), as: UTF8.self) }
    }

    /// The text, as bytes.
    package func encode(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: encodedCount(bytes.count)) { text, initialized in
            initialized = encode(bytes, into: UnsafeMutableRawBufferPointer(text))
        }
    }

    /// The text of a secret.
    package func encode(_ secret: SecretBytes) -> SecretBytes {
        SecretBytes(count: encodedCount(secret.count)) { text in
            secret.withBytes { _ = encode($0, into: text) }
        }
    }

    /// The bytes, or nil when the text is not exactly of this form.
    package func decode(_ text: String) -> [UInt8]? {
        var text = text
        return text.withUTF8 { decode(UnsafeRawBufferPointer($0)) }
    }

    /// The bytes, or nil when the text is not exactly of this form.
    package func decode(_ text: UnsafeRawBufferPointer) -> [UInt8]? {
        guard let count = decodedCount(text) else { return nil }
        var good = false
        var bytes = [UInt8](unsafeUninitializedCapacity: count) { bytes, initialized in
            good = decode(text, into: UnsafeMutableRawBufferPointer(bytes))
            initialized = count
        }
        if !good { bytes.wipe() }
        return good ? bytes : nil
    }

    /// The bytes of a secret, or nil when the text is not exactly of this form.
    package func decodeSecret(_ text: UnsafeRawBufferPointer) -> SecretBytes? {
        guard let count = decodedCount(text) else { return nil }
        var good = false
        let secret = SecretBytes(count: count) { good = decode(text, into: $0) }
        return good ? secret : nil
    }

    private func encode(_ bytes: UnsafeRawBufferPointer, into text: UnsafeMutableRawBufferPointer) -> Int {
        var at = 0
        var from = 0
        while from < bytes.count {
            let left = min(3, bytes.count - from)
            var group = UInt32(bytes[from]) << 16
            if left > 1 { group |= UInt32(bytes[from + 1]) << 8 }
            if left > 2 { group |= UInt32(bytes[from + 2]) }
            for place in 0...left {
                text[at] = character(UInt8(truncatingIfNeeded: group >> UInt32(18 - 6 * place) & 63))
                at += 1
            }
            if isPadded {
                for _ in left..<3 {
                    text[at] = UInt8(ascii: "=")
                    at += 1
                }
            }
            from += left
        }
        return at
    }

    /// How many bytes the text stands for, by its length and padding; nil when these are wrong.
    private func decodedCount(_ text: UnsafeRawBufferPointer) -> Int? {
        var count = text.count
        if isPadded {
            guard count % 4 == 0 else { return nil }
            if count > 0, text[count - 1] == UInt8(ascii: "=") { count -= 1 }
            if count > 0, count % 4 == 3, text[count - 1] == UInt8(ascii: "=") { count -= 1 }
        }
        return count % 4 == 1 ? nil : count / 4 * 3 + [0, 0, 1, 2][count % 4]
    }

    private func decode(_ text: UnsafeRawBufferPointer, into bytes: UnsafeMutableRawBufferPointer) -> Bool {
        var bad: UInt32 = 0
        var from = 0
        var at = 0
        while at < bytes.count {
            let left = min(3, bytes.count - at)
            var group: UInt32 = 0
            for place in 0...left {
                let (digit, wrong) = value(text[from + place])
                bad |= wrong
                group |= digit << UInt32(18 - 6 * place)
            }
            for place in 0..<left {
                bytes[at + place] = UInt8(truncatingIfNeeded: group >> UInt32(16 - 8 * place))
            }
            if left < 3 { bad |= group & (left == 1 ? 0xFFFF : 0xFF) }
            from += left + 1
            at += left
        }
        return bad == 0
    }

    private func character(_ digit: UInt8) -> UInt8 {
        let d = Int32(digit)
        // Each step adds the distance between two ranges of the alphabet once `d` has passed a border.
        var c = d + 65
        c += ((25 - d) >> 8) & 6  // 'a' - 26 is 71
        c -= ((51 - d) >> 8) & 75  // '0' - 52 is -4
        if isURL {
            c -= ((61 - d) >> 8) & 13  // '-' - 62 is -17
            c += ((62 - d) >> 8) & 49  // '_' - 63 is 32
        } else {
            c -= ((61 - d) >> 8) & 15  // '+' - 62 is -19
            c += ((62 - d) >> 8) & 3  // '/' - 63 is -16
        }
        return UInt8(truncatingIfNeeded: c)
    }

    /// The six bits of a character, and a non-zero mark when it is none of the alphabet.
    private func value(_ character: UInt8) -> (UInt32, UInt32) {
        let c = Int32(character)
        func within(_ low: UInt8, _ high: UInt8) -> Int32 { ~((c - Int32(low)) | (Int32(high) - c)) >> 31 }
        let upper = within(65, 90), lower = within(97, 122), digit = within(48, 57)
        let plus = isURL ? within(45, 45) : within(43, 43)
        let slash = isURL ? within(95, 95) : within(47, 47)
        let value = upper & (c - 65) | lower & (c - 71) | digit & (c + 4) | plus & 62 | slash & 63
        return (
            UInt32(bitPattern: value),
            UInt32(bitPattern: ~(upper | lower | digit | plus | slash))
        )
    }
}

/// Hexadecimal text: lower case out, either case in. No branch or table depends on the bytes.
package enum Hex {
    /// The text, as a `String`; not for secrets.
    package static func encode(_ bytes: some Collection<UInt8>) -> String {
        encode(Array(bytes))
    }

    /// The text, as a `String`; not for secrets. This one is called for every token: it must not be generic,
    /// for a generic function is not specialized across modules and costs a hundred times as much.
    package static func encode(_ bytes: [UInt8]) -> String {
        bytes.withUnsafeBytes { encode($0) }
    }

    /// The text, as a `String`; not for secrets.
    package static func encode(_ bytes: UnsafeRawBufferPointer) -> String {
        String(unsafeUninitializedCapacity: bytes.count * 2) { text in
            for index in 0..<bytes.count {
                text[2 * index] = character(bytes[index] >> 4)
                text[2 * index + 1] = character(bytes[index] & 15)
            }
            return bytes.count * 2
        }
    }

    /// The text of a secret.
    package static func encode(_ secret: SecretBytes) -> SecretBytes {
        SecretBytes(count: secret.count * 2) { text in
            secret.withBytes { bytes in
                for (index, byte) in bytes.enumerated() {
                    text[2 * index] = character(byte >> 4)
                    text[2 * index + 1] = character(byte & 15)
                }
            }
        }
    }

    /// The bytes, or nil when the text is not hexadecimal or has an odd length.
    package static func decode(_ text: String) -> [UInt8]? {
        var text = text
        return text.withUTF8 { decode(UnsafeRawBufferPointer($0)) }
    }

    /// The bytes, or nil when the text is not hexadecimal or has an odd length.
    package static func decode(_ text: UnsafeRawBufferPointer) -> [UInt8]? {
        guard text.count % 2 == 0 else { return nil }
        var good = false
        let bytes = [UInt8](unsafeUninitializedCapacity: text.count / 2) { bytes, initialized in
            good = decode(text, into: UnsafeMutableRawBufferPointer(bytes))
            initialized = text.count / 2
        }
        return good ? bytes : nil
    }

    /// The bytes of a secret, or nil when the text is not hexadecimal or has an odd length.
    package static func decodeSecret(_ text: UnsafeRawBufferPointer) -> SecretBytes? {
        guard text.count % 2 == 0 else { return nil }
        var good = false
        let secret = SecretBytes(count: text.count / 2) { good = decode(text, into: $0) }
        return good ? secret : nil
    }

    private static func decode(
        _ text: UnsafeRawBufferPointer, into bytes: UnsafeMutableRawBufferPointer
    ) -> Bool {
        var bad: Int32 = 0
        for index in 0..<text.count / 2 {
            let (high, wrong) = value(text[2 * index])
            let (low, alsoWrong) = value(text[2 * index + 1])
            bad |= wrong | alsoWrong
            bytes[index] = UInt8(truncatingIfNeeded: high << 4 | low)
        }
        return bad == 0
    }

    @inline(__always)
    static func character(_ digit: UInt8) -> UInt8 {
        let d = Int32(digit)
        return UInt8(truncatingIfNeeded: d + 48 + (((9 - d) >> 8) & 39))
    }

    private static func value(_ character: UInt8) -> (Int32, Int32) {
        let c = Int32(character)
        func within(_ low: Int32, _ high: Int32) -> Int32 { ~((c - low) | (high - c)) >> 31 }
        let digit = within(48, 57), lower = within(97, 102), upper = within(65, 70)
        return (digit & (c - 48) | lower & (c - 87) | upper & (c - 55), ~(digit | lower | upper))
    }
}
