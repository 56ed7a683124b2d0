import Base

/// Bytes on their way to a client: one growing region of memory, wiped once sent, since answers carry
/// secrets.
final class OutputBuffer {
    private var base: UnsafeMutablePointer<UInt8>
    private var capacity: Int
    private var start = 0
    private var end = 0

    /// What an emptied buffer keeps.
    private static let kept = 64 << 10

    init(capacity: Int = 16 << 10) {
        self.capacity = capacity
        base = .allocate(capacity: capacity)
    }

    deinit {
        wipe(UnsafeMutableRawBufferPointer(start: base, count: end))
        base.deallocate()
    }

    var isEmpty: Bool { start == end }
    var count: Int { end - start }
    /// What has not been sent.
    var unsent: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base + start, count: end - start) }

    /// Drops `count` bytes from the front; wipes everything when nothing is left.
    func advance(_ count: Int) {
        start += count
        if start == end { reset() }
    }

    /// Wipes and empties.
    func reset() {
        wipe(UnsafeMutableRawBufferPointer(start: base, count: end))
        start = 0
        end = 0
        if capacity > Self.kept {
            base.deallocate()
            capacity = Self.kept
            base = .allocate(capacity: capacity)
        }
    }

    @inline(__always)
    func reserve(_ count: Int) {
        if capacity - end < count { grow(count) }
    }

    func append(_ text: StaticString) { append(text.utf8Start, text.utf8CodeUnitCount) }

    func append(_ bytes: [UInt8]) {
        bytes.withUnsafeBufferPointer { if let first = $0.baseAddress { append(first, $0.count) } }
    }

    func append(_ bytes: UnsafePointer<UInt8>, _ count: Int) {
        reserve(count)
        (base + end).update(from: bytes, count: count)
        end += count
    }

    func append(decimal value: Int) {
        if value == 0 { return append("0") }
        reserve(20)
        var digits = 0
        var rest = value
        while rest > 0 {
            digits += 1
            rest /= 10
        }
        rest = value
        var place = end + digits
        while place > end {
            place -= 1
            base[place] = UInt8(48 + rest % 10)
            rest /= 10
        }
        end += digits
    }

    /// Part of a header line. A control byte would start a line of its own, so it becomes `?`.
    func append(header text: String) {
        var text = text
        text.withUTF8 { bytes in
            reserve(bytes.count)
            for byte in bytes {
                base[end] = byte < 32 && byte != 9 || byte == 127 ? UInt8(ascii: "?") : byte
                end += 1
            }
        }
    }

    /// One answer with its framing (RFC 9112 §6): HEAD, 204 and 304 get no body, and 204 no length either.
    func append(_ response: HTTPResponse, isHead: Bool, close: Bool, date: [UInt8]) {
        reserve(512 + (isHead ? 0 : response.body.count))
        let hasBody = response.status != 204 && response.status != 304
        append(headOf: response, length: hasBody ? response.body.count : nil, close: close, date: date)
        if hasBody, !isHead { append(response.body) }
    }

    /// The head alone; a body without a length ends with the connection (RFC 9112 §6.3).
    @inline(__always)
    func append(headOf response: HTTPResponse, length: Int?, close: Bool, date: [UInt8]) {
        let status = response.status >= 200 && response.status <= 599 ? response.status : 500
        append("HTTP/1.1 ")
        append(decimal: status)
        append(" ")
        append(response.reason)
        if let type = response.contentType {
            append("\r\nContent-Type: ")
            append(header: type)
        }
        if let length {
            append("\r\nContent-Length: ")
            append(decimal: length)
        }
        append("\r\nDate: ")
        append(date)
        for (name, value) in response.headers {
            append("\r\n")
            append(header: name)
            append(": ")
            append(header: value)
        }
        append(close ? "\r\nConnection: close\r\n\r\n" : "\r\n\r\n")
    }

    private func grow(_ count: Int) {
        if start > 0 {
            let used = end - start
            // Overlapping regions: `update` copes with that.
            base.update(from: base + start, count: used)
            wipe(UnsafeMutableRawBufferPointer(start: base + used, count: end - used))
            start = 0
            end = used
            if capacity - end >= count { return }
        }
        let larger = max(capacity * 2, end + count)
        let fresh = UnsafeMutablePointer<UInt8>.allocate(capacity: larger)
        fresh.update(from: base, count: end)
        wipe(UnsafeMutableRawBufferPointer(start: base, count: end))
        base.deallocate()
        base = fresh
        capacity = larger
    }
}
