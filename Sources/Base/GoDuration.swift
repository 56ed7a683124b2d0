/// Durations as Vault's users write them: a bare number of seconds, or Go's `1h30m`, with `d` for days
/// besides.
extension Duration {
    /// Reads `90`, `90s`, `1.5h`, `1h30m`, `250ms`, `30d`, with an optional sign; nil for anything else.
    package init?(vaultText text: String) {
        var b = Array(text.utf8)[...]
        var sign = 1.0
        if b.first == UInt8(ascii: "-") || b.first == UInt8(ascii: "+") {
            if b.removeFirst() == UInt8(ascii: "-") { sign = -1 }
        }
        guard !b.isEmpty else { return nil }
        if b.allSatisfy({ $0 >= 48 && $0 <= 57 }) {
            guard let seconds = Int64(String(decoding: b, as: UTF8.self)), seconds <= Self.mostSeconds else {
                return nil
            }
            self = .seconds(sign < 0 ? -seconds : seconds)
            return
        }
        var total = 0.0
        while !b.isEmpty {
            let digits = b.prefix { $0 >= 48 && $0 <= 57 || $0 == UInt8(ascii: ".") }
            guard !digits.isEmpty, digits.count < 20,
                let number = Double(String(decoding: digits, as: UTF8.self))
            else { return nil }
            b = b.dropFirst(digits.count)
            let unit = b.prefix { !($0 >= 48 && $0 <= 57) && $0 != UInt8(ascii: ".") }
            guard let scale = Self.nanoseconds(ofUnit: String(decoding: unit, as: UTF8.self)) else {
                return nil
            }
            b = b.dropFirst(unit.count)
            total += number * scale
        }
        guard total <= Double(Self.mostSeconds) * 1e9 else { return nil }
        self = .nanoseconds(Int64((sign * total).rounded()))
    }

    /// As Go prints it: `1h30m0s`, `250ms`, `0s`.
    package var goText: String {
        var left = wholeNanoseconds
        if left == 0 { return "0s" }
        let sign = left < 0 ? "-" : ""
        left = left == .min ? .max : abs(left)
        if left < 1_000 { return "\(sign)\(left)ns" }
        if left < 1_000_000 { return sign + Self.decimal(left, 1_000) + "µs" }
        if left < 1_000_000_000 { return sign + Self.decimal(left, 1_000_000) + "ms" }
        let hours = left / 3_600_000_000_000
        let minutes = left / 60_000_000_000 % 60
        let seconds = Self.decimal(left % 60_000_000_000, 1_000_000_000)
        if hours > 0 { return "\(sign)\(hours)h\(minutes)m\(seconds)s" }
        return minutes > 0 ? "\(sign)\(minutes)m\(seconds)s" : "\(sign)\(seconds)s"
    }

    /// Go's limit: 2^63 nanoseconds, about 292 years.
    private static let mostSeconds: Int64 = 9_223_372_036

    private static func nanoseconds(ofUnit unit: String) -> Double? {
        switch unit {
        case "ns": 1
        case "us", "µs", "μs": 1e3
        case "ms": 1e6
        case "s": 1e9
        case "m": 60e9
        case "h": 3600e9
        case "d": 86_400e9
        default: nil
        }
    }

    private static func decimal(_ value: Int64, _ unit: Int64) -> String {
        var fraction = String(value % unit + unit).dropFirst()
        while fraction.last == "0" { fraction.removeLast() }
        return fraction.isEmpty ? "\(value / unit)" : "\(value / unit).\(fraction)"
    }
}
