import Base

/// The `Date` field's text (RFC 9110 §5.6.7), made once a second and shared by the answers of a loop.
struct HTTPDate {
    private(set) var text: [UInt8] = []
    private var second = Int64.min

    private static let days: [StaticString] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    private static let months: [StaticString] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// Brings the text up to `now`.
    mutating func update(_ now: Timestamp) {
        guard now.seconds != second else { return }
        second = now.seconds
        // `2024-03-01T12:00:00Z`
        let iso = Array(now.rfc3339(fraction: 0).utf8)
        guard iso.count == 20, let month = Int(String(decoding: iso[5..<7], as: UTF8.self)) else { return }
        let day = Int((second / 86_400 % 7 + 7) % 7)
        text = []
        text.reserveCapacity(29)
        append(Self.days[day])
        text.append(contentsOf: ", ".utf8)
        text.append(contentsOf: iso[8..<10])
        text.append(32)
        append(Self.months[(month + 11) % 12])
        text.append(32)
        text.append(contentsOf: iso[0..<4])
        text.append(32)
        text.append(contentsOf: iso[11..<19])
        text.append(contentsOf: " GMT".utf8)
    }

    private mutating func append(_ word: StaticString) {
        text.append(contentsOf: UnsafeBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount))
    }
}
