/// Dates as RFC 3339 text, always in UTC, without Foundation.
extension Timestamp {
    /// `2024-03-01T12:00:00.123456789Z`. `fraction` fixes the digits after the point; nil gives as
    /// many as needed and no trailing zeros, as Go prints them.
    package func rfc3339(fraction: Int? = nil) -> String {
        let total = seconds
        let nano = Int(nanoseconds - total * 1_000_000_000)
        let days = total >= 0 ? total / 86_400 : (total - 86_399) / 86_400
        let rest = Int(total - days * 86_400)
        let (year, month, day) = civil(fromDays: days)
        return String(unsafeUninitializedCapacity: 30) { text in
            var writer = DigitWriter(text: text)
            writer.number(Int(year), 4)
            writer.byte("-")
            writer.number(month, 2)
            writer.byte("-")
            writer.number(day, 2)
            writer.byte("T")
            writer.number(rest / 3600, 2)
            writer.byte(":")
            writer.number(rest / 60 % 60, 2)
            writer.byte(":")
            writer.number(rest % 60, 2)
            writer.fraction(nano, digits: fraction)
            writer.byte("Z")
            return writer.count
        }
    }

    /// Reads RFC 3339 with any offset; nil when the text is not such a date.
    package init?(rfc3339 text: String) {
        let b = Array(text.utf8)
        func number(_ from: Int, _ count: Int) -> Int? {
            guard from + count <= b.count else { return nil }
            var value = 0
            for byte in b[from..<from + count] {
                guard byte >= 48, byte <= 57 else { return nil }
                value = value * 10 + Int(byte - 48)
            }
            return value
        }
        guard b.count >= 20, let year = number(0, 4), b[4] == 45, let month = number(5, 2), b[7] == 45,
            let day = number(8, 2), b[10] == 84 || b[10] == 116, let hour = number(11, 2), b[13] == 58,
            let minute = number(14, 2), b[16] == 58, let second = number(17, 2),
            (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 61
        else { return nil }
        var at = 19
        var nano = 0
        if b[at] == UInt8(ascii: ".") {
            at += 1
            var scale = 100_000_000
            let first = at
            while at < b.count, b[at] >= 48, b[at] <= 57 {
                nano += Int(b[at] - 48) * scale
                scale /= 10
                at += 1
            }
            if at == first { return nil }
        }
        guard at < b.count else { return nil }
        var offset = 0
        switch b[at] {
        case UInt8(ascii: "Z"), UInt8(ascii: "z"):
            guard at + 1 == b.count else { return nil }
        case UInt8(ascii: "+"), UInt8(ascii: "-"):
            guard at + 6 == b.count, let h = number(at + 1, 2), b[at + 3] == 58, let m = number(at + 4, 2),
                h < 24, m < 60
            else { return nil }
            offset = (h * 60 + m) * 60 * (b[at] == UInt8(ascii: "-") ? -1 : 1)
        default: return nil
        }
        let days = daysFromCivil(Int64(year), month, day)
        let seconds = days * 86_400 + Int64(hour * 3600 + minute * 60 + second - offset)
        let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return nil }
        nanoseconds = scaled + Int64(nano)
    }
}

/// Writes digits into a buffer that is large enough.
private struct DigitWriter {
    let text: UnsafeMutableBufferPointer<UInt8>
    private(set) var count = 0

    init(text: UnsafeMutableBufferPointer<UInt8>) { self.text = text }

    mutating func byte(_ scalar: Unicode.Scalar) {
        text[count] = UInt8(ascii: scalar)
        count += 1
    }

    mutating func number(_ value: Int, _ width: Int) {
        var rest = value
        var place = count + width
        count = place
        for _ in 0..<width {
            place -= 1
            text[place] = UInt8(48 + rest % 10)
            rest /= 10
        }
    }

    /// The point and what follows it; nothing where there are no digits.
    mutating func fraction(_ nano: Int, digits: Int?) {
        let wanted = min(digits ?? (nano == 0 ? 0 : 9), 9)
        if wanted == 0 { return }
        byte(".")
        let end = count + wanted
        number(nano, 9)
        count = end
        if digits == nil { while text[count - 1] == UInt8(ascii: "0") { count -= 1 } }
    }
}

/// The Gregorian date of a day counted from 1970-01-01, by whole eras of 400 years.
private func civil(fromDays days: Int64) -> (year: Int64, month: Int, day: Int) {
    let shifted = days + 719_468  // days since 0000-03-01, so that leap days end a year
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let day = Int(dayOfYear - (153 * marchMonth + 2) / 5 + 1)
    let month = Int(marchMonth < 10 ? marchMonth + 3 : marchMonth - 9)
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
}

private func daysFromCivil(_ year: Int64, _ month: Int, _ day: Int) -> Int64 {
    let y = month <= 2 ? year - 1 : year
    let era = (y >= 0 ? y : y - 399) / 400
    let yearOfEra = y - era * 400
    let dayOfYear = Int64((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1)
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
}
