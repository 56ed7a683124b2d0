internal import Base

/// Answers as trees, in the order and the words that Go prints them.
extension RawJSON {
    /// The whole value; members sorted by name, as Go prints a map.
    var tree: JSONValue {
        switch kind {
        case .null: return .null
        case .bool: return .bool(bool ?? false)
        case .number: return .number(numberText ?? "0")
        case .string: return .string(string ?? "")
        case .array: return .array(elements.map(\.tree))
        case .object: return .object(members.map { ($0.name, $0.value.tree) }.sorted { $0.0 < $1.0 })
        }
    }
}

extension JSONValue {
    /// The members of an object; empty for any other kind.
    var members: [(String, JSONValue)] {
        if case .object(let members) = self { return members }
        return []
    }

    /// The elements of a list; empty for any other kind.
    var elements: [JSONValue] {
        if case .array(let values) = self { return values }
        return []
    }

    subscript(name: String) -> JSONValue? { members.last { $0.0 == name }?.1 }

    /// An object whose members of these names come first, as the fields of a Go struct would.
    func ordered(_ names: [String]) -> JSONValue {
        guard case .object(let members) = self else { return self }
        return .object(
            names.compactMap { name in members.first { $0.0 == name } }
                + members.filter { !names.contains($0.0) })
    }

    /// What Go's `%v` prints: `map[a:1 b:[x y]]`.
    var goText: String {
        switch self {
        case .null: "<nil>"
        case .bool(let flag): flag ? "true" : "false"
        case .int(let number): String(number)
        case .number(let text), .string(let text): text
        case .array(let values): "[" + values.map(\.goText).joined(separator: " ") + "]"
        case .object(let members):
            "map[" + members.sorted { $0.0 < $1.0 }.map { "\($0.0):\($0.1.goText)" }.joined(separator: " ")
                + "]"
        case .raw(let json): json.tree.goText
        }
    }

    /// Indented by two spaces, as Go's `MarshalIndent`, without a line end.
    var prettyText: String {
        var bytes: [UInt8] = []
        appendPretty(to: &bytes, indent: 0)
        return String(decoding: bytes, as: UTF8.self)
    }

    private func appendPretty(to bytes: inout [UInt8], indent: Int) {
        func newLine(_ levels: Int) {
            bytes.append(UInt8(ascii: "\n"))
            bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: levels * 2))
        }
        switch self {
        case .raw(let json): json.tree.appendPretty(to: &bytes, indent: indent)
        case .array(let values) where !values.isEmpty:
            bytes.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                newLine(indent + 1)
                value.appendPretty(to: &bytes, indent: indent + 1)
            }
            newLine(indent)
            bytes.append(UInt8(ascii: "]"))
        case .object(let members) where !members.isEmpty:
            bytes.append(UInt8(ascii: "{"))
            for (index, (name, value)) in members.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                newLine(indent + 1)
                JSONWriter.appendString(name, to: &bytes)
                bytes.append(contentsOf: ": ".utf8)
                value.appendPretty(to: &bytes, indent: indent + 1)
            }
            newLine(indent)
            bytes.append(UInt8(ascii: "}"))
        default: bytes.append(contentsOf: encoded())
        }
    }
}
