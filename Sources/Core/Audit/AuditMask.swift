import Base
import Crypto

/// Turns values into what an audit record may show: strings become HMACs under the device's salt, numbers,
/// booleans and the names of members stay. Whoever knows a value can find it by its hash (`sys/audit-hash`).
///
/// Values are hashed where they lie: no copy of a secret is made unless it has escapes to undo.
struct AuditMask: Sendable {
    /// Bytes that the values of one record may grow to. A body of short strings grows by their hashes to
    /// many times its size: what is beyond becomes one hash over the JSON as it was sent.
    static let mostBytes = 32 << 20
    /// A hash with its quotes.
    private static let hashBytes = 78
    private static let label = Array("\"hmac-sha256:".utf8)

    private let mac: HMACSHA256
    /// Nothing is hashed.
    private let isRaw: Bool

    init(salt: SecretBytes, isRaw: Bool) {
        mac = HMACSHA256(key: salt)
        self.isRaw = isRaw
    }

    /// The same mask for values that are not secret: audit exceptions of the mount's tuning.
    func plain() -> AuditMask { AuditMask(mac: mac, isRaw: true) }

    private init(mac: HMACSHA256, isRaw: Bool) {
        self.mac = mac
        self.isRaw = isRaw
    }

    /// `hmac-sha256:` and 64 hexadecimal digits, whatever the device's options are.
    func hash(of bytes: UnsafeRawBufferPointer) -> String {
        var out: [UInt8] = []
        appendHash(of: bytes, to: &out)
        return String(decoding: out.dropFirst().dropLast(), as: UTF8.self)
    }

    // MARK: Into a record

    func write(_ text: String, to writer: inout JSONWriter) {
        var text = text
        text.withUTF8 { write(UnsafeRawBufferPointer($0), to: &writer) }
    }

    /// Writes a string, hashed; in a raw log as text, or as base64 when it is none.
    func write(_ bytes: UnsafeRawBufferPointer, to writer: inout JSONWriter) {
        if !isRaw {
            var out: [UInt8] = []
            appendHash(of: bytes, to: &out)
            return writer.raw(RawJSON(trusted: out))
        }
        if String(validating: bytes, as: UTF8.self) != nil { return writer.string(utf8: bytes) }
        writer.string(Base64.standard.encode(Array(bytes)))
    }

    /// Writes a value.
    /// - Parameter left: bytes that values may still take in this record.
    func write(_ value: JSONValue, to writer: inout JSONWriter, left: inout Int) {
        let size = size(of: value)
        guard size <= left else {
            var bytes = value.encoded()
            bytes.withUnsafeBytes { plainHash($0, to: &writer) }
            return bytes.wipe()
        }
        left -= size
        writeWhole(value, to: &writer)
    }

    /// Writes a value as it was sent.
    func write(_ json: RawJSON, to writer: inout JSONWriter, left: inout Int) {
        let size = size(of: json)
        guard size <= left else {
            return json.bytes.withUnsafeBytes { plainHash($0, to: &writer) }
        }
        left -= size
        writer.raw(RawJSON(trusted: masked(json)))
    }

    private func plainHash(_ bytes: UnsafeRawBufferPointer, to writer: inout JSONWriter) {
        var out: [UInt8] = []
        appendHash(of: bytes, to: &out)
        writer.raw(RawJSON(trusted: out))
    }

    private func writeWhole(_ value: JSONValue, to writer: inout JSONWriter) {
        switch value {
        case .null, .bool, .int, .number: writer.value(value)
        case .string(let text): write(text, to: &writer)
        case .raw(let json): writer.raw(RawJSON(trusted: masked(json)))
        case .array(let values):
            writer.beginArray()
            for element in values { writeWhole(element, to: &writer) }
            writer.endArray()
        case .object(let members):
            writer.beginObject()
            for (name, member) in members {
                writer.name(name)
                writeWhole(member, to: &writer)
            }
            writer.endObject()
        }
    }

    // MARK: Size

    /// An upper bound of what a value becomes.
    private func size(of json: RawJSON) -> Int {
        let bytes = json.bytes
        if isRaw { return bytes.count }
        let quotes = bytes.reduce(0) { $0 + ($1 == UInt8(ascii: "\"") ? 1 : 0) }
        return bytes.count + quotes / 2 * Self.hashBytes
    }

    private func size(of value: JSONValue) -> Int {
        switch value {
        case .null, .bool, .int: 20
        case .number(let text): text.utf8.count
        case .string(let text): isRaw ? text.utf8.count + 2 : Self.hashBytes
        case .raw(let json): size(of: json)
        case .array(let values): values.reduce(2) { $0 + 1 + size(of: $1) }
        case .object(let members): members.reduce(2) { $0 + $1.0.utf8.count + 4 + size(of: $1.1) }
        }
    }

    // MARK: Hashing

    /// The value without the blanks between its tokens (a line feed would end the record), its strings
    /// hashed. One pass whatever the nesting; names of members stay as they were sent.
    func masked(_ json: RawJSON) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(json.bytes.count + 128)
        json.bytes.withUnsafeBytes { bytes in
            var at = 0
            while at < bytes.count {
                let byte = bytes[at]
                guard byte == UInt8(ascii: "\"") else {
                    if byte > 32 { out.append(byte) }
                    at += 1
                    continue
                }
                let end = Self.endOfString(bytes, at)
                let whole = UnsafeRawBufferPointer(rebasing: bytes[at..<end])
                if isRaw || Self.isName(bytes, end) {
                    out.append(contentsOf: whole)
                } else {
                    appendHash(ofLiteral: whole, to: &out)
                }
                at = end
            }
        }
        return out
    }

    private static func endOfString(_ bytes: UnsafeRawBufferPointer, _ start: Int) -> Int {
        var at = start + 1
        while bytes[at] != UInt8(ascii: "\"") { at += bytes[at] == UInt8(ascii: "\\") ? 2 : 1 }
        return at + 1
    }

    /// Whether a colon follows: then the string was the name of a member.
    private static func isName(_ bytes: UnsafeRawBufferPointer, _ end: Int) -> Bool {
        var at = end
        while at < bytes.count, bytes[at] <= 32 { at += 1 }
        return at < bytes.count && bytes[at] == UInt8(ascii: ":")
    }

    /// - Parameter literal: a JSON string with its quotes.
    private func appendHash(ofLiteral literal: UnsafeRawBufferPointer, to out: inout [UInt8]) {
        if !literal.contains(UInt8(ascii: "\\")) {
            let text = UnsafeRawBufferPointer(rebasing: literal[1..<literal.count - 1])
            return appendHash(of: text, to: &out)
        }
        var text = RawJSON(trusted: Array(literal)).stringBytes ?? []
        text.withUnsafeBytes { appendHash(of: $0, to: &out) }
        text.wipe()
    }

    private func appendHash(of bytes: UnsafeRawBufferPointer, to out: inout [UInt8]) {
        withUnsafeTemporaryAllocation(byteCount: HMACSHA256.codeBytes, alignment: 16) { code in
            mac.code(bytes, into: code)
            out.append(contentsOf: Self.label)
            for byte in code {
                out.append(Self.digit(byte >> 4))
                out.append(Self.digit(byte & 15))
            }
            out.append(UInt8(ascii: "\""))
        }
    }

    private static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 48 + value : 87 + value }
}
