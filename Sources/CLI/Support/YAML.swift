internal import Base

/// Writes a JSON tree as YAML 1.1 block style, members sorted: what `-format=yaml` prints.
///
/// Anything that a reader could take for a number, a truth value, a date or syntax is quoted.
enum YAML {
    /// Ends with a line end.
    static func text(_ value: JSONValue) -> String {
        var lines = ""
        switch value {
        case .raw(let json): return text(json.tree)
        case .object(let members) where !members.isEmpty: appendMembers(members, to: &lines, indent: 0)
        case .array(let values) where !values.isEmpty: appendElements(values, to: &lines, indent: 0)
        default: lines = scalar(value, indent: 0) + "\n"
        }
        return lines
    }

    private static func appendMembers(_ members: [(String, JSONValue)], to lines: inout String, indent: Int) {
        for (index, (name, value)) in members.sorted(by: { $0.0 < $1.0 }).enumerated() {
            // The first member of a list's element stands behind the dash.
            if index > 0 || !lines.hasSuffix("- ") { lines += margin(indent) }
            lines += plainOrQuoted(name) + ":"
            append(value, behindNameTo: &lines, indent: indent)
        }
    }

    private static func append(_ value: JSONValue, behindNameTo lines: inout String, indent: Int) {
        switch value {
        case .raw(let json): append(json.tree, behindNameTo: &lines, indent: indent)
        case .object(let members) where !members.isEmpty:
            lines += "\n"
            appendMembers(members, to: &lines, indent: indent + 1)
        case .array(let values) where !values.isEmpty:
            lines += "\n"
            appendElements(values, to: &lines, indent: indent)
        default: lines += " " + scalar(value, indent: indent + 1) + "\n"
        }
    }

    private static func appendElements(_ values: [JSONValue], to lines: inout String, indent: Int) {
        for (index, value) in values.enumerated() {
            if index > 0 || !lines.hasSuffix("- ") { lines += margin(indent) }
            lines += "- "
            switch value {
            case .object(let members) where !members.isEmpty:
                appendMembers(members, to: &lines, indent: indent + 1)
            case .array(let inner) where !inner.isEmpty: appendElements(inner, to: &lines, indent: indent + 1)
            case .raw(let json): lines += scalar(json.tree, indent: indent + 1) + "\n"
            default: lines += scalar(value, indent: indent + 1) + "\n"
            }
        }
    }

    private static func scalar(_ value: JSONValue, indent: Int) -> String {
        switch value {
        case .string(let text) where text.contains("\n") && isFitForBlock(text): block(text, indent: indent)
        case .string(let text): plainOrQuoted(text)
        case .null: "null"
        case .array: "[]"
        case .object: "{}"
        default: value.goText
        }
    }

    private static func margin(_ indent: Int) -> String { String(repeating: "  ", count: indent) }

    private static func isFitForBlock(_ text: String) -> Bool {
        guard let first = text.unicodeScalars.first, first != " ", first != "\n" else { return false }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        return text.unicodeScalars.allSatisfy { $0 == "\n" || isPrintable($0) }
            && !lines.contains { $0.hasSuffix(" ") }
    }

    private static func block(_ text: String, indent: Int) -> String {
        let chomping = text.hasSuffix("\n\n") ? "+" : text.hasSuffix("\n") ? "" : "-"
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        if chomping != "-" { lines.removeLast() }
        let pad = margin(max(indent, 1))
        return "|\(chomping)\n" + lines.map { $0.isEmpty ? "" : pad + $0 }.joined(separator: "\n")
    }

    private static func plainOrQuoted(_ text: String) -> String {
        if text.unicodeScalars.contains(where: { !isPrintable($0) }) {
            var bytes: [UInt8] = []
            JSONWriter.appendString(text, to: &bytes)
            return String(decoding: bytes, as: UTF8.self)
        }
        if looksLikeAnotherKind(text) { return "\"" + escaped(text) + "\"" }
        if isPlain(text) { return text }
        return "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''")
            + "'"
    }

    private static func escaped(_ text: String) -> String {
        text.reduce(into: "") { $0 += $1 == "\"" || $1 == "\\" ? "\\\($1)" : String($1) }
    }

    private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value >= 32 && scalar.value != 127 && !(0x80..<0xA0).contains(scalar.value)
            && scalar != "\u{FEFF}"
            && scalar != "\u{2028}" && scalar != "\u{2029}"
    }

    /// Text that a reader would resolve to null, a truth value, a number or a time.
    private static func looksLikeAnotherKind(_ text: String) -> Bool {
        let words = [
            "", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan", ".inf", "-.inf",
            "+.inf",
        ]
        if words.contains(text.lowercased()) { return true }
        guard let first = text.utf8.first else { return true }
        // Wider than YAML's grammar of numbers and dates on purpose: quotes never hurt.
        let digits =
            first >= 48 && first <= 57 || first == UInt8(ascii: "+") || first == UInt8(ascii: "-")
            || first == UInt8(ascii: ".")
        return digits
            && text.utf8.allSatisfy {
                $0 >= 48 && $0 <= 57 || "+-._:eExXoOaAbBcCdDfFTtZ ".utf8.contains($0)
            } && text.utf8.contains { $0 >= 48 && $0 <= 57 }
    }

    private static func isPlain(_ text: String) -> Bool {
        guard let first = text.first, let last = text.last else { return false }
        if "-?:,[]{}#&*!|>'\"%@`= ".contains(first),
            !(first == "-" && text.count > 1 && !text.hasPrefix("- ") && !text.hasPrefix("--"))
        {
            return false
        }
        return last != " " && last != ":" && !text.contains(": ") && !text.contains(" #")
    }
}
