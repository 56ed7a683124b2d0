/// Quoted strings and heredocs.
extension HCLParser {
    /// A string of HCL. `${ … }` is kept as written, quotes inside of it included.
    mutating func quotedString() throws(VaultError) -> String {
        let start = position()
        step()
        var text: [UInt8] = []
        var braces = 0
        while let byte = peek {
            if braces == 0, byte == UInt8(ascii: "\"") {
                step()
                return String(decoding: text, as: UTF8.self)
            }
            let opens =
                byte == UInt8(ascii: "$") && at + 1 < bytes.count && bytes[at + 1] == UInt8(ascii: "{")
            if opens {
                braces += 1
                text.append(contentsOf: [byte, UInt8(ascii: "{")])
                at += 2
                continue
            }
            if braces > 0 {
                if byte == UInt8(ascii: "{") { braces += 1 }
                if byte == UInt8(ascii: "}") { braces -= 1 }
            } else if byte == UInt8(ascii: "\n") {
                break
            } else if byte == UInt8(ascii: "\\") {
                step()
                try escape(into: &text, json: false)
                continue
            }
            text.append(byte)
            step()
        }
        throw start.fault(
            "expected '\"' to end this string, found the end of the \(peek == nil ? "text" : "line")"
        )
    }

    mutating func jsonString() throws(VaultError) -> String {
        let start = position()
        step()
        var text: [UInt8] = []
        while let byte = peek, byte >= 32 {
            if byte == UInt8(ascii: "\"") {
                step()
                return String(decoding: text, as: UTF8.self)
            }
            step()
            if byte == UInt8(ascii: "\\") { try escape(into: &text, json: true) } else { text.append(byte) }
        }
        let found = peek == nil ? "the end of the text" : "a control character"
        throw start.fault("expected '\"' to end this string, found \(found)")
    }

    /// Stands behind a backslash.
    private mutating func escape(into text: inout [UInt8], json: Bool) throws(VaultError) {
        guard let byte = peek else { throw expected("an escape") }
        switch byte {
        case UInt8(ascii: "n"): text.append(10)
        case UInt8(ascii: "r"): text.append(13)
        case UInt8(ascii: "t"): text.append(9)
        case UInt8(ascii: "b"): text.append(8)
        case UInt8(ascii: "f"): text.append(12)
        case UInt8(ascii: "\\"), UInt8(ascii: "\""): text.append(byte)
        case UInt8(ascii: "/") where json: text.append(byte)
        case UInt8(ascii: "a") where !json: text.append(7)
        case UInt8(ascii: "v") where !json: text.append(11)
        case UInt8(ascii: "u"):
            step()
            return try scalar(digits: 4, into: &text, json: json)
        case UInt8(ascii: "U") where !json:
            step()
            return try scalar(digits: 8, into: &text, json: false)
        case UInt8(ascii: "x") where !json:
            step()
            return try scalar(digits: 2, into: &text, json: false)
        case 48...55 where !json: return try octal(into: &text)
        default:
            throw expected(
                json ? #"one of " \ / b f n r t u after '\'"# : #"one of " \ a b f n r t v x u U after '\'"#)
        }
        step()
    }

    /// Hexadecimal digits of a Unicode scalar. JSON writes scalars beyond 16 bits as two.
    private mutating func scalar(digits: Int, into text: inout [UInt8], json: Bool) throws(VaultError) {
        let start = position()
        var code = try hexadecimal(digits)
        if json, (0xD800..<0xDC00).contains(code), peek == UInt8(ascii: "\\"), at + 1 < bytes.count,
            bytes[at + 1] == UInt8(ascii: "u")
        {
            at += 2
            let low = try hexadecimal(4)
            guard (0xDC00..<0xE000).contains(low) else {
                throw start.fault("expected a Unicode scalar, found half of one")
            }
            code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(code), code != 0 else {
            throw start.fault("expected a Unicode scalar other than 0, found \(String(code, radix: 16))")
        }
        text.append(contentsOf: String(Character(scalar)).utf8)
    }

    private mutating func hexadecimal(_ digits: Int) throws(VaultError) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<digits {
            guard let byte = peek, let digit = JSONValidator.hexValue(byte) else {
                throw expected("\(digits) hexadecimal digits")
            }
            code = code << 4 | UInt32(digit)
            step()
        }
        return code
    }

    private mutating func octal(into text: inout [UInt8]) throws(VaultError) {
        var code = 0
        for _ in 0..<3 {
            guard let byte = peek, (48...55).contains(byte) else { throw expected("three octal digits") }
            code = code << 3 | Int(byte - 48)
            step()
        }
        guard code > 0, code < 128 else { throw expected("an octal escape between \\001 and \\177") }
        text.append(UInt8(code))
    }

    /// `<<MARK` or `<<-MARK`, then lines, then a line that holds only MARK.
    mutating func heredoc() throws(VaultError) -> String {
        let start = position()
        at += 1
        guard peek == UInt8(ascii: "<") else { throw expected("'<<' before a heredoc's mark") }
        at += 1
        let isIndented = peek == UInt8(ascii: "-")
        if isIndented { at += 1 }
        let markStart = at
        while let byte = peek, Self.continuesWord(byte) { at += 1 }
        let mark = bytes[markStart..<at]
        if mark.isEmpty { throw expected("a heredoc's mark, such as EOF") }
        if peek == UInt8(ascii: "\r") { at += 1 }
        guard peek == UInt8(ascii: "\n") else { throw expected("the end of the line after a heredoc's mark") }
        step()
        var lines: [ArraySlice<UInt8>] = []
        while at < bytes.count {
            let lineStart = at
            while let byte = peek, byte != UInt8(ascii: "\n") { at += 1 }
            let line = bytes[lineStart..<at]
            let indentation = line.prefix { $0 == 32 || $0 == 9 }
            var rest = line.dropFirst(indentation.count)
            if rest.last == UInt8(ascii: "\r") { rest.removeLast() }
            if rest == mark { return Self.joined(lines, without: isIndented ? indentation : []) }
            lines.append(line)
            if at < bytes.count { step() }
        }
        throw start.fault(
            "expected a line '\(String(decoding: mark, as: UTF8.self))' to end this heredoc, "
                + "found the end of the text"
        )
    }

    /// The lines without the closing mark's indentation, where all of them have it.
    private static func joined(_ lines: [ArraySlice<UInt8>], without indentation: ArraySlice<UInt8>) -> String
    {
        let isBlankLine = { (line: ArraySlice<UInt8>) in line.allSatisfy(isBlank) }
        let cut = lines.allSatisfy { isBlankLine($0) || $0.starts(with: indentation) } ? indentation.count : 0
        var text: [UInt8] = []
        for line in lines {
            text.append(contentsOf: line.starts(with: indentation) ? line.dropFirst(cut) : line)
            text.append(UInt8(ascii: "\n"))
        }
        return String(decoding: text, as: UTF8.self)
    }
}
