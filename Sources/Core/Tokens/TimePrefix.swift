package import Base

/// The beginning of names that the server makes: seven letters and digits for the moment of their making.
///
/// A name that is random from its first letter on puts each new token, accessor and lease on a page of the
/// store of its own, and takes it from there when it ends: with a million of them a commit writes some
/// forty pages for each. With the time in front, what is made together stands together, and mostly ends
/// together, so that neighbours share their pages (as RFC 9562 §5.7 reasons for UUIDs of version 7). The
/// moment is no secret: who knows a token or an accessor may look it up. What must not be guessed stands
/// behind the prefix.
package enum TimePrefix {
    /// Letters and digits of a prefix.
    package static let characters = 7
    private static let alphabet = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)
    /// The largest moment: in the year 2081. What comes behind it stands together as well.
    private static let most: Int64 = 3_521_614_606_207

    /// Of a name that has no moment, such as a token that an operator has chosen.
    package static let none = String(repeating: "0", count: characters)

    /// Names of a later millisecond come behind, in the order of bytes.
    package static func of(_ moment: Timestamp) -> String {
        var left = min(max(0, moment.nanoseconds / 1_000_000), most)
        var text = [UInt8](repeating: 0, count: characters)
        for at in text.indices.reversed() {
            text[at] = alphabet[Int(left % 62)]
            left /= 62
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Whether bytes look like what `of` gives.
    static func isOne(_ bytes: some Collection<UInt8>) -> Bool {
        bytes.count == characters && bytes.allSatisfy { alphabet.contains($0) }
    }

    /// The moment of a name that begins with one, to the millisecond; nil for others.
    static func moment(of name: String) -> Timestamp? {
        let prefix = name.utf8.prefix(characters)
        guard prefix.count == characters else { return nil }
        var milliseconds: Int64 = 0
        for byte in prefix {
            guard let digit = alphabet.firstIndex(of: byte) else { return nil }
            milliseconds = milliseconds * 62 + Int64(digit)
        }
        return Timestamp(nanoseconds: milliseconds * 1_000_000)
    }

    /// A place to begin a walk from that may fall anywhere between the first name and now.
    package static func place(from first: String, to now: Timestamp, _ random: any RandomSource) -> String {
        let start = moment(of: first)?.nanoseconds ?? 0
        let span = UInt64(max(1, now.nanoseconds - start))
        let step = random.bytes(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) } % span
        return of(Timestamp(nanoseconds: start + Int64(step)))
    }
}

extension RandomSource {
    /// `count` letters and digits, of which the first tell the time and all others are random.
    ///
    /// Behind the time stands at least one digit, by which people and the filters of logs tell a name from a
    /// long word. Of 17 random characters one in twenty has none and is drawn again: that takes less than a
    /// tenth of a bit from the 101 that cannot be guessed.
    package func timeOrdered(_ count: Int, _ now: Timestamp) -> String {
        while true {
            let tail = base62(count - TimePrefix.characters)
            if tail.utf8.contains(where: { 0x30...0x39 ~= $0 }) { return TimePrefix.of(now) + tail }
        }
    }
}
