/// Writes JSON straight into bytes, commas included. The caller keeps begin and end in balance.
package struct JSONWriter: Sendable {
    package private(set) var bytes: [UInt8] = []
    private var needsComma = false

    package init(reserving count: Int = 256) { bytes.reserveCapacity(count) }

    /// Opens an object; `name` and a value must follow for each member.
    package mutating func beginObject() { open("{") }
    package mutating func endObject() { close("}") }
    package mutating func beginArray() { open("[") }
    package mutating func endArray() { close("]") }

    /// A member's name; its value must follow.
    package mutating func name(_ name: String) {
        separate()
        Self.appendString(name, to: &bytes)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    /// A string, quoted and escaped.
    package mutating func string(_ value: String) {
        separate()
        Self.appendString(value, to: &bytes)
    }
    /// A string from bytes of UTF-8, for secrets.
    package mutating func string(utf8: UnsafeRawBufferPointer) {
        separate()
        Self.appendString(utf8, to: &bytes)
    }
    /// A string that is known to need no escapes, such as base64.
    package mutating func string(unescaped utf8: [UInt8]) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        bytes.append(contentsOf: utf8)
        bytes.append(UInt8(ascii: "\""))
    }
    /// A line's end, behind the value.
    package mutating func newline() { bytes.append(10) }
    package mutating func int(_ value: Int) {
        separate()
        if value >= 0 && value < 10 {
            bytes.append(48 + UInt8(value))
        } else {
            bytes.append(contentsOf: String(value).utf8)
        }
    }
    /// `true` or `false`.
    package mutating func bool(_ value: Bool) {
        separate()
        bytes.append(contentsOf: (value ? "true" : "false").utf8)
    }
    /// `null`.
    package mutating func null() {
        separate()
        bytes.append(contentsOf: "null".utf8)
    }
    /// A value that is JSON already.
    package mutating func raw(_ value: RawJSON) {
        separate()
        value.buffer.withUnsafeBufferPointer {
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: $0[value.start..<value.end]))
        }
    }
    /// Text that is JSON already, commas included; what follows needs no comma. For the fixed parts of an
    /// answer that every request gets.
    package mutating func literal(_ text: StaticString) {
        bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
        needsComma = false
    }
    /// A number by its digits, which must be JSON's.
    package mutating func number(text: String) {
        separate()
        bytes.append(contentsOf: text.utf8)
    }

    package mutating func field(_ name: String, _ value: String) { self.name(name); string(value) }
    package mutating func field(_ name: String, _ value: Int) { self.name(name); int(value) }
    package mutating func field(_ name: String, _ value: Bool) { self.name(name); bool(value) }
    package mutating func field(_ name: String, _ value: RawJSON) { self.name(name); raw(value) }
    package mutating func field(_ name: String, _ value: JSONValue) { self.name(name); self.value(value) }
    package mutating func field(_ name: String, _ values: [String]) {
        self.name(name)
        strings(values)
    }
    /// An array of strings.
    package mutating func strings(_ values: [String]) {
        beginArray()
        for value in values { string(value) }
        endArray()
    }

    /// A tree.
    package mutating func value(_ value: JSONValue) {
        switch value {
        case .null: null()
        case .bool(let flag): bool(flag)
        case .int(let number): int(number)
        case .number(let text): number(text: text)
        case .string(let text): string(text)
        case .raw(let json): raw(json)
        case .array(let values):
            beginArray()
            for element in values { self.value(element) }
            endArray()
        case .object(let members):
            beginObject()
            for (name, member) in members { field(name, member) }
            endObject()
        }
    }

    /// Appends a quoted, escaped string. `<`, `>` and `&` are escaped as Go does, so that an answer
    /// that a browser mistakes for HTML stays harmless.
    package static func appendString(_ text: String, to bytes: inout [UInt8]) {
        var text = text
        text.withUTF8 { appendString(UnsafeRawBufferPointer($0), to: &bytes) }
    }

    private static func appendString(_ utf8: UnsafeRawBufferPointer, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        var plainFrom = 0
        for index in 0..<utf8.count where needsEscape(utf8[index]) {
            bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: utf8[plainFrom..<index]))
            plainFrom = index + 1
            appendEscape(utf8[index], to: &bytes)
        }
        bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: utf8[plainFrom...]))
        bytes.append(UInt8(ascii: "\""))
    }

    @inline(__always)
    private static func needsEscape(_ byte: UInt8) -> Bool {
        byte < 32 || byte == 34 || byte == 92 || byte == 60 || byte == 62 || byte == 38 || byte == 127
    }

    private static func appendEscape(_ byte: UInt8, to bytes: inout [UInt8]) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes.append(contentsOf: [UInt8(ascii: "\\"), byte])
        case 10: bytes.append(contentsOf: "\\n".utf8)
        case 13: bytes.append(contentsOf: "\\r".utf8)
        case 9: bytes.append(contentsOf: "\\t".utf8)
        default:
            let digits = Array("0123456789abcdef".utf8)
            bytes.append(contentsOf: "\\u00".utf8)
            bytes.append(digits[Int(byte >> 4)])
            bytes.append(digits[Int(byte & 15)])
        }
    }

    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }
    private mutating func open(_ bracket: Unicode.Scalar) {
        separate()
        bytes.append(UInt8(ascii: bracket))
        needsComma = false
    }
    private mutating func close(_ bracket: Unicode.Scalar) {
        bytes.append(UInt8(ascii: bracket))
        needsComma = true
    }
}
