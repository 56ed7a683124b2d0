/// The walk over one document. Recursion goes one level per `{` or `[`, and `Limits.depth` ends it.
struct HCLParser {
    let bytes: [UInt8]
    private let limits: HCL.Limits
    var at = 0
    private var line = 1
    /// Where the column was last known on this line; columns are counted on from here.
    private var anchor = (offset: 0, column: 1)
    private var depth = 0
    private var nodes = 0

    init(_ bytes: [UInt8], limits: HCL.Limits) {
        self.bytes = bytes
        self.limits = limits
    }

    /// Refuses what no document may hold, before anything is read.
    mutating func checkText() throws(VaultError) {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw .badRequest("expected UTF-8 text, found other bytes")
        }
        if let place = bytes.firstIndex(of: 0) {
            while at < place { step() }
            throw position().fault("expected text, found a NUL")
        }
    }

    mutating func document() throws(VaultError) -> HCLObject {
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) {
            at = 3
            anchor = (3, 1)
        }
        while let byte = peek, Self.isBlank(byte) { step() }
        guard peek == UInt8(ascii: "{") else { return try members(closed: false) }
        let value = try jsonValue()
        while let byte = peek, Self.isBlank(byte) { step() }
        if peek != nil { throw expected("nothing more after the JSON document") }
        return value.object ?? HCLObject(members: [])
    }

    // MARK: HCL

    /// Members up to `}` (which is consumed) or, for a document, up to its end.
    private mutating func members(closed: Bool) throws(VaultError) -> HCLObject {
        var found: [HCLMember] = []
        while true {
            try skipSpace()
            if !found.isEmpty, peek == UInt8(ascii: ",") {
                step()
                try skipSpace()
            }
            guard let byte = peek else {
                if closed { throw expected("a key or '}'") }
                break
            }
            if closed, byte == UInt8(ascii: "}") {
                step()
                break
            }
            found.append(try member(closed: closed))
        }
        return HCLObject(members: found)
    }

    private mutating func member(closed: Bool) throws(VaultError) -> HCLMember {
        let start = position()
        let key = try name(closed ? "a key or '}'" : "a key")
        var labels: [String] = []
        while true {
            try skipSpace()
            switch peek {
            case UInt8(ascii: "="):
                if !labels.isEmpty { throw expected("'{' after a label") }
                step()
                try skipSpace()
                return HCLMember(key: key, labels: [], value: try value(), position: start)
            case UInt8(ascii: "{"):
                return HCLMember(key: key, labels: labels, value: try value(), position: start)
            default:
                let wanted = labels.isEmpty ? "'=', '{' or a label after the key '\(key)'" : "'{' or a label"
                labels.append(try name(wanted))
            }
        }
    }

    /// A key or label: a bare word or a quoted string.
    private mutating func name(_ wanted: String) throws(VaultError) -> String {
        try countNode()
        guard let byte = peek else { throw expected(wanted) }
        if byte == UInt8(ascii: "\"") { return try quotedString() }
        guard Self.startsWord(byte) else { throw expected(wanted) }
        return word()
    }

    private mutating func word() -> String {
        let start = at
        while let byte = peek, Self.continuesWord(byte) { at += 1 }
        return String(decoding: bytes[start..<at], as: UTF8.self)
    }

    private mutating func value() throws(VaultError) -> HCLValue {
        try countNode()
        let start = position()
        let wanted = "a value (string, number, true, false, list or object)"
        switch peek {
        case UInt8(ascii: "\""): return HCLValue(.string(try quotedString()), at: start)
        case UInt8(ascii: "<"): return HCLValue(.string(try heredoc()), at: start)
        case UInt8(ascii: "["):
            try enter()
            let values = try list()
            depth -= 1
            return HCLValue(.list(values), at: start)
        case UInt8(ascii: "{"):
            try enter()
            let object = try members(closed: true)
            depth -= 1
            return HCLValue(.object(object), at: start)
        case .some(let byte) where byte == UInt8(ascii: "-") || Self.isDigit(byte):
            return HCLValue(try number(), at: start)
        case .some(let byte) where Self.startsWord(byte):
            let text = word()
            if text == "true" || text == "false" { return HCLValue(.bool(text == "true"), at: start) }
            throw start.fault("expected \(wanted), found '\(text)'; a string needs quotes")
        default: throw expected(wanted)
        }
    }

    /// Elements up to `]`, which is consumed. A comma may stand behind the last.
    private mutating func list() throws(VaultError) -> [HCLValue] {
        var found: [HCLValue] = []
        while true {
            try skipSpace()
            if peek == UInt8(ascii: "]") { break }
            found.append(try value())
            try skipSpace()
            if peek == UInt8(ascii: ",") {
                step()
            } else if peek != UInt8(ascii: "]") {
                throw expected("',' or ']'")
            }
        }
        step()
        return found
    }

    private mutating func number() throws(VaultError) -> HCLValue.Kind {
        let start = position()
        let from = at
        while let byte = peek, Self.continuesWord(byte) || byte == UInt8(ascii: "+") { at += 1 }
        let text = String(decoding: bytes[from..<at], as: UTF8.self)
        let digits = text.hasPrefix("-") ? text.dropFirst() : text[...]
        let lower = digits.lowercased()
        if lower.hasPrefix("0x"), let magnitude = Int(lower.dropFirst(2), radix: 16) {
            return .int(text.hasPrefix("-") ? -magnitude : magnitude)
        }
        if digits.count > 1, digits.hasPrefix("0"), digits.utf8.allSatisfy(Self.isDigit) {
            guard let magnitude = Int(digits, radix: 8) else {
                throw start.fault("expected an octal number after the leading 0, found '\(text)'")
            }
            return .int(text.hasPrefix("-") ? -magnitude : magnitude)
        }
        if let number = Int(text) { return .int(number) }
        let decimal = digits.utf8.allSatisfy { Self.isDigit($0) || ".eE+-".utf8.contains($0) }
        if decimal, let number = Double(text), number.isFinite { return .float(number) }
        throw start.fault("expected a number, found '\(text)'; a string needs quotes")
    }

    // MARK: JSON

    private mutating func jsonValue() throws(VaultError) -> HCLValue {
        try countNode()
        let start = position()
        switch peek {
        case UInt8(ascii: "\""): return HCLValue(.string(try jsonString()), at: start)
        case UInt8(ascii: "{"):
            try enter()
            let object = try jsonObject()
            depth -= 1
            return HCLValue(.object(object), at: start)
        case UInt8(ascii: "["):
            try enter()
            let values = try jsonArray()
            depth -= 1
            return HCLValue(.list(values), at: start)
        case .some(let byte) where byte == UInt8(ascii: "-") || Self.isDigit(byte):
            return HCLValue(try jsonNumber(), at: start)
        case .some(let byte) where Self.startsWord(byte):
            switch word() {
            case "true": return HCLValue(.bool(true), at: start)
            case "false": return HCLValue(.bool(false), at: start)
            case "null": return HCLValue(.null, at: start)
            case let text: throw start.fault("expected a JSON value, found '\(text)'")
            }
        default: throw expected("a JSON value")
        }
    }

    private mutating func jsonObject() throws(VaultError) -> HCLObject {
        var found: [HCLMember] = []
        skipBlanks()
        if peek == UInt8(ascii: "}") {
            step()
            return HCLObject(members: [])
        }
        while true {
            skipBlanks()
            let start = position()
            guard peek == UInt8(ascii: "\"") else { throw expected("a key in double quotes") }
            try countNode()
            let key = try jsonString()
            skipBlanks()
            guard peek == UInt8(ascii: ":") else { throw expected("':' after a key") }
            step()
            skipBlanks()
            found.append(HCLMember(key: key, labels: [], value: try jsonValue(), position: start))
            if try jsonEnd(UInt8(ascii: "}")) { return HCLObject(members: found) }
        }
    }

    private mutating func jsonArray() throws(VaultError) -> [HCLValue] {
        var found: [HCLValue] = []
        skipBlanks()
        if peek == UInt8(ascii: "]") {
            step()
            return []
        }
        while true {
            skipBlanks()
            found.append(try jsonValue())
            if try jsonEnd(UInt8(ascii: "]")) { return found }
        }
    }

    /// Behind an element: true at the closing bracket, false at a comma.
    private mutating func jsonEnd(_ close: UInt8) throws(VaultError) -> Bool {
        skipBlanks()
        guard let byte = peek, byte == close || byte == UInt8(ascii: ",") else {
            throw expected("',' or '\(Character(Unicode.Scalar(close)))'")
        }
        step()
        return byte == close
    }

    private mutating func jsonNumber() throws(VaultError) -> HCLValue.Kind {
        let start = position()
        let from = at
        while let byte = peek, Self.continuesWord(byte) || byte == UInt8(ascii: "+") { at += 1 }
        let raw = Array(bytes[from..<at])
        let text = String(decoding: raw, as: UTF8.self)
        guard let json = try? RawJSON(validating: raw), json.kind == .number else {
            throw start.fault("expected a JSON number, found '\(text)'")
        }
        if let number = Int(text) { return .int(number) }
        guard let number = Double(text), number.isFinite else {
            throw start.fault("expected a number within 64 bits, found '\(text)'")
        }
        return .float(number)
    }

    // MARK: The ground

    var peek: UInt8? { at < bytes.count ? bytes[at] : nil }

    /// One byte on, counting lines.
    mutating func step() {
        if bytes[at] == UInt8(ascii: "\n") {
            line += 1
            anchor = (at + 1, 1)
        }
        at += 1
    }

    mutating func position() -> HCLPosition {
        var column = anchor.column
        for byte in bytes[anchor.offset..<max(at, anchor.offset)] where byte & 0xC0 != 0x80 { column += 1 }
        if at > anchor.offset { anchor = (at, column) }
        return HCLPosition(line: line, column: column)
    }

    /// The fault of what stands here.
    mutating func expected(_ wanted: String) -> VaultError {
        position().fault("expected \(wanted), found \(found)")
    }

    private var found: String {
        guard let byte = peek else { return "the end of the text" }
        if byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") { return "the end of the line" }
        let text = String(decoding: bytes[at..<min(at + 8, bytes.count)], as: UTF8.self)
        guard let scalar = text.unicodeScalars.first, scalar.value >= 32, scalar.value != 127 else {
            return "a control character"
        }
        return "'\(Character(scalar))'"
    }

    private mutating func enter() throws(VaultError) {
        depth += 1
        if depth > limits.depth {
            throw position().fault("expected at most \(limits.depth) levels of nesting, found more")
        }
        step()
    }

    private mutating func countNode() throws(VaultError) {
        nodes += 1
        if nodes > limits.nodes {
            throw position().fault("expected at most \(limits.nodes) keys and values, found more")
        }
    }

    private mutating func skipBlanks() {
        while let byte = peek, Self.isBlank(byte) { step() }
    }

    /// Blanks, line breaks and comments.
    private mutating func skipSpace() throws(VaultError) {
        while let byte = peek {
            let following = at + 1 < bytes.count ? bytes[at + 1] : 0
            if Self.isBlank(byte) {
                step()
            } else if byte == UInt8(ascii: "#") || byte == UInt8(ascii: "/") && following == UInt8(ascii: "/")
            {
                while let byte = peek, byte != UInt8(ascii: "\n") { at += 1 }
            } else if byte == UInt8(ascii: "/") && following == UInt8(ascii: "*") {
                try skipBlockComment()
            } else {
                return
            }
        }
    }

    private mutating func skipBlockComment() throws(VaultError) {
        let start = position()
        at += 2
        while at + 1 < bytes.count {
            if bytes[at] == UInt8(ascii: "*"), bytes[at + 1] == UInt8(ascii: "/") {
                at += 2
                return
            }
            step()
        }
        throw start.fault("expected '*/' to end this comment, found the end of the text")
    }

    static func isBlank(_ byte: UInt8) -> Bool { byte == 32 || byte == 9 || byte == 10 || byte == 13 }
    static func isDigit(_ byte: UInt8) -> Bool { byte >= 48 && byte <= 57 }
    static func startsWord(_ byte: UInt8) -> Bool {
        byte >= 65 && byte <= 90 || byte >= 97 && byte <= 122 || byte == UInt8(ascii: "_") || byte >= 0x80
    }
    static func continuesWord(_ byte: UInt8) -> Bool {
        startsWord(byte) || isDigit(byte) || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
    }
}
