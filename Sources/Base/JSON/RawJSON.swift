internal import Glibc

/// One JSON value as the bytes it came in, known to be well-formed (RFC 8259).
///
/// A request's secrets travel as slices of its body from the socket to the barrier: nothing is
/// turned into a `String` or a tree that is not asked for. Copying a value copies a reference.
package struct RawJSON: Sendable {
    let buffer: [UInt8]
    let start: Int
    let end: Int

    package enum Kind: Sendable { case null, bool, number, string, array, object }

    /// Checks a whole document. Leading and trailing white space is allowed, anything else after the value
    /// is not.
    /// - Throws: `.badRequest` that names the byte, or `.tooLarge` when a limit is passed.
    package init(validating bytes: [UInt8], limits: Limits = .standard) throws(VaultError) {
        let (start, end) = try JSONValidator.validate(bytes, limits: limits)
        self.init(buffer: bytes, start: start, end: end)
    }

    /// Bytes that this process wrote itself with `JSONWriter` (or that the barrier has authenticated).
    package init(trusted bytes: [UInt8]) { self.init(buffer: bytes, start: 0, end: bytes.count) }

    /// A value inside of a record that the barrier has authenticated; nothing is copied.
    package init(trusted record: [UInt8], in range: Range<Int>) {
        self.init(buffer: record, start: range.lowerBound, end: range.upperBound)
    }

    init(buffer: [UInt8], start: Int, end: Int) {
        self.buffer = buffer
        self.start = start
        self.end = end
    }

    /// The value's own bytes.
    package var bytes: ArraySlice<UInt8> { buffer[start..<end] }

    package var kind: Kind {
        switch start < end ? buffer[start] : UInt8(ascii: "n") {
        case UInt8(ascii: "{"): .object
        case UInt8(ascii: "["): .array
        case UInt8(ascii: "\""): .string
        case UInt8(ascii: "t"), UInt8(ascii: "f"): .bool
        case UInt8(ascii: "n"): .null
        default: .number
        }
    }

    package var isNull: Bool { kind == .null }

    /// The text of a string; nil for any other kind. Not for secrets: see `withStringBytes`.
    package var string: String? {
        guard kind == .string else { return nil }
        let inner = buffer[start + 1..<end - 1]
        return inner.contains(UInt8(ascii: "\\"))
            ? String(decoding: Self.unescape(inner), as: UTF8.self) : String(decoding: inner, as: UTF8.self)
    }

    /// The bytes of a string, unescaped, for secrets: wipe them after use. Nil for any other kind.
    package var stringBytes: [UInt8]? {
        kind == .string ? Self.unescape(buffer[start + 1..<end - 1]) : nil
    }

    /// Lends the bytes of a string, unescaped, for secrets; a copy is made, and wiped, only where there are
    /// escapes. Nil for any other kind.
    package func withStringBytes<Result>(
        _ body: (UnsafeRawBufferPointer) throws(VaultError) -> Result
    ) throws(VaultError) -> Result? {
        guard kind == .string else { return nil }
        // libc's search: values may be long, and nearly all are without escapes.
        let hasEscape = buffer.withUnsafeBytes { all in
            all.baseAddress.map { memchr($0 + (start + 1), 92, end - start - 2) != nil } ?? false
        }
        guard !hasEscape else {
            var bytes = Self.unescape(buffer[start + 1..<end - 1])
            defer { bytes.wipe() }
            return try bytes.withRaw(body)
        }
        return try buffer.withRaw { (all) throws(VaultError) in
            try body(UnsafeRawBufferPointer(rebasing: all[start + 1..<end - 1]))
        }
    }

    /// True or false; nil for any other kind.
    package var bool: Bool? { kind == .bool ? buffer[start] == UInt8(ascii: "t") : nil }

    /// The digits of a number as they were sent; nil for any other kind.
    package var numberText: String? { kind == .number ? String(decoding: bytes, as: UTF8.self) : nil }

    /// The number, when it is a whole one that 64 bits hold.
    package var int: Int? {
        guard let text = numberText else { return nil }
        if let value = Int(text) { return value }
        guard let value = Double(text), value.rounded() == value, abs(value) < 9e15 else { return nil }
        return Int(value)
    }

    /// Calls `body` with each member of an object in the order sent. Does nothing for other kinds.
    package func forEachMember<Failure: Error>(_ body: (String, RawJSON) throws(Failure) -> Void)
        throws(Failure)
    {
        guard kind == .object else { return }
        var scanner = JSONScanner(buffer: buffer, at: start + 1)
        while let name = scanner.nextName() {
            let value = scanner.nextValue()
            try body(name, value)
        }
    }

    /// Calls `body` with each element of an array. Does nothing for other kinds.
    package func forEachElement<Failure: Error>(_ body: (RawJSON) throws(Failure) -> Void) throws(Failure) {
        guard kind == .array else { return }
        var scanner = JSONScanner(buffer: buffer, at: start + 1)
        while scanner.hasElement() { try body(scanner.nextValue()) }
    }

    /// The members of an object, last of equal names winning its first place, as Go decodes them.
    package var members: [(name: String, value: RawJSON)] {
        var found: [(name: String, value: RawJSON)] = []
        var places: [String: Int]?
        forEachMember { name, value in
            // Small objects are searched; large ones get an index, so that no body costs quadratic time.
            if found.count == 16 {
                places = Dictionary(uniqueKeysWithValues: found.enumerated().map { ($1.name, $0) })
            }
            let place = places.map { $0[name] } ?? found.firstIndex { $0.name == name }
            if let place {
                found[place].value = value
            } else {
                places?[name] = found.count
                found.append((name, value))
            }
        }
        return found
    }

    /// The elements of an array; empty for other kinds.
    package var elements: [RawJSON] {
        var found: [RawJSON] = []
        forEachElement { found.append($0) }
        return found
    }

    /// A member of an object, the last of that name.
    package subscript(name: String) -> RawJSON? {
        var found: RawJSON?
        forEachMember { if $0 == name { found = $1 } }
        return found
    }

    private static func unescape(_ text: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        var at = text.startIndex
        while at < text.endIndex {
            let byte = text[at]
            at += 1
            guard byte == UInt8(ascii: "\\") else {
                result.append(byte)
                continue
            }
            let escape = text[at]
            at += 1
            switch escape {
            case UInt8(ascii: "n"): result.append(10)
            case UInt8(ascii: "r"): result.append(13)
            case UInt8(ascii: "t"): result.append(9)
            case UInt8(ascii: "b"): result.append(8)
            case UInt8(ascii: "f"): result.append(12)
            case UInt8(ascii: "u"): appendScalar(text, &at, &result)
            default: result.append(escape)
            }
        }
        return result
    }

    /// `at` stands behind `\u`. A surrogate without its partner becomes U+FFFD, as in Go.
    private static func appendScalar(_ text: ArraySlice<UInt8>, _ at: inout Int, _ result: inout [UInt8]) {
        func unit(_ from: Int) -> UInt32 {
            text[from..<from + 4].reduce(0) { $0 << 4 | UInt32(JSONValidator.hexValue($1) ?? 0) }
        }
        var code = unit(at)
        at += 4
        if (0xD800..<0xDC00).contains(code), at + 6 <= text.endIndex, text[at] == UInt8(ascii: "\\"),
            text[at + 1] == UInt8(ascii: "u")
        {
            let low = unit(at + 2)
            if (0xDC00..<0xE000).contains(low) {
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
                at += 6
            }
        }
        let scalar = Unicode.Scalar(code) ?? "\u{FFFD}"
        result.append(contentsOf: Array(String(Character(scalar)).utf8))
    }
}

/// Walks bytes that were validated before: no checks beyond the array's own.
private struct JSONScanner {
    let buffer: [UInt8]
    var at: Int

    private mutating func skipFiller() {
        while buffer[at] <= 32 || buffer[at] == UInt8(ascii: ",") || buffer[at] == UInt8(ascii: ":") {
            at += 1
        }
    }

    /// The next member's name, or nil at the object's end.
    mutating func nextName() -> String? {
        skipFiller()
        if buffer[at] == UInt8(ascii: "}") { return nil }
        return nextValue().string
    }

    mutating func hasElement() -> Bool {
        skipFiller()
        return buffer[at] != UInt8(ascii: "]")
    }

    mutating func nextValue() -> RawJSON {
        skipFiller()
        let start = at
        buffer.withUnsafeBufferPointer { skipValue($0) }
        return RawJSON(buffer: buffer, start: start, end: at)
    }

    private mutating func skipValue(_ b: UnsafeBufferPointer<UInt8>) {
        switch b[at] {
        case UInt8(ascii: "\""): skipString(b)
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            var depth = 0
            repeat {
                switch b[at] {
                case UInt8(ascii: "\""):
                    skipString(b)
                    continue
                case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
                case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
                default: break
                }
                at += 1
            } while depth > 0
        default:
            while at < b.count, b[at] > 32, b[at] != UInt8(ascii: ","), b[at] != UInt8(ascii: "}"),
                b[at] != UInt8(ascii: "]")
            {
                at += 1
            }
        }
    }

    private mutating func skipString(_ b: UnsafeBufferPointer<UInt8>) {
        at += 1
        while b[at] != UInt8(ascii: "\"") { at += b[at] == UInt8(ascii: "\\") ? 2 : 1 }
        at += 1
    }
}
