package import Base

/// One named, typed input of a route: from the path, the body or the query.
///
/// The same line gives parsing, the error for a bad value, help, OpenAPI and the docs.
package struct Field<Value: FieldValue>: Sendable {
    package let name: String
    package let summary: String
    package let defaultValue: Value?
    package let isRequired: Bool

    /// A field that may be left out: `request[field]` then gives the default, or throws when there is none.
    package init(_ name: String, default defaultValue: Value? = nil, _ summary: String) {
        self.name = name
        self.summary = summary
        self.defaultValue = defaultValue
        isRequired = false
    }

    /// A field that must be there.
    package init(required name: String, _ summary: String) {
        self.name = name
        self.summary = summary
        defaultValue = nil
        isRequired = true
    }

    package var description: FieldDescription {
        FieldDescription(name: name, type: Value.typeName, summary: summary, isRequired: isRequired)
    }
}

/// A field without its Swift type, for help, OpenAPI and the docs.
package struct FieldDescription: Sendable, Equatable {
    package let name: String
    /// `string`, `integer`, `boolean`, `duration`, `array`, `map`, `object` or `any`.
    package let type: String
    package let summary: String
    package let isRequired: Bool
}

/// What a client sent for one field: a JSON value of the body, or text of the path, query or a form.
package enum FieldInput: Sendable {
    case json(RawJSON)
    case text(String)
}

/// A type that fields may have. Parsing is as forgiving as Vault's: `"5"` is a number, `"true"` a
/// boolean, `"a,b"` a list; a JSON null counts as left out and never arrives here.
package protocol FieldValue: Sendable {
    static var typeName: String { get }
    /// Nil when the input cannot be such a value; the caller names the field in the error.
    static func parse(_ input: FieldInput) -> Self?
}

extension String: FieldValue {
    package static var typeName: String { "string" }
    package static func parse(_ input: FieldInput) -> String? {
        switch input {
        case .text(let text): text
        case .json(let json): json.string ?? json.numberText ?? json.bool.map { $0 ? "1" : "0" }
        }
    }
}

extension Int: FieldValue {
    package static var typeName: String { "integer" }
    package static func parse(_ input: FieldInput) -> Int? {
        switch input {
        case .text(let text): Int(text)
        case .json(let json): json.int ?? json.string.flatMap { Int($0) } ?? json.bool.map { $0 ? 1 : 0 }
        }
    }
}

extension Bool: FieldValue {
    package static var typeName: String { "boolean" }
    package static func parse(_ input: FieldInput) -> Bool? {
        switch input {
        case .text(let text): Bool(vaultText: text)
        case .json(let json):
            json.bool ?? json.string.flatMap { Bool(vaultText: $0) } ?? json.int.map { $0 != 0 }
        }
    }

    /// Go's `strconv.ParseBool`: 1, t, true and their opposites, in three cases.
    package init?(vaultText text: String) {
        switch text {
        case "1", "t", "T", "true", "TRUE", "True": self = true
        case "0", "f", "F", "false", "FALSE", "False": self = false
        default: return nil
        }
    }
}

extension Duration: FieldValue {
    package static var typeName: String { "duration" }
    package static func parse(_ input: FieldInput) -> Duration? {
        switch input {
        case .text(let text): text.isEmpty ? .zero : Duration(vaultText: text)
        case .json(let json):
            if let text = json.string {
                parse(.text(text))
            } else {
                json.numberText.flatMap { $0.contains(".") ? wholeSeconds($0) : Duration(vaultText: $0) }
            }
        }
    }
}

extension Duration {
    /// A JSON number with a fraction, rounded down; nil beyond 292 years, where a `Duration` would trap.
    private static func wholeSeconds(_ text: String) -> Duration? {
        guard let seconds = Double(text), abs(seconds) < 9_223_372_036 else { return nil }
        return .seconds(Int64(seconds.rounded(.down)))
    }
}

extension [String]: FieldValue {
    package static var typeName: String { "array" }
    /// A list of strings, or one string with commas. Blanks around elements do not count.
    package static func parse(_ input: FieldInput) -> [String]? {
        func split(_ text: String) -> [String] {
            text.isEmpty
                ? []
                : text.split(separator: ",", omittingEmptySubsequences: false).map { $0.trimmingBlanks() }
        }
        guard case .json(let json) = input else {
            if case .text(let text) = input { return split(text) }
            return nil
        }
        if let text = json.string { return split(text) }
        guard json.kind == .array else { return String.parse(input).map { [$0] } }
        var values: [String] = []
        for element in json.elements {
            guard let value = String.parse(.json(element)) else { return nil }
            values.append(value.trimmingBlanks())
        }
        return values
    }
}

extension [String: String]: FieldValue {
    package static var typeName: String { "map" }
    /// An object of strings, or strings `name=value`.
    package static func parse(_ input: FieldInput) -> [String: String]? {
        var result: [String: String] = [:]
        if case .json(let json) = input, json.kind == .object {
            for (name, value) in json.members {
                guard let text = String.parse(.json(value)) else { return nil }
                result[name] = text
            }
            return result
        }
        guard let pairs = [String].parse(input) else { return nil }
        for pair in pairs {
            guard let mark = pair.firstIndex(of: "=") else { return nil }
            result[String(pair[..<mark])] = String(pair[pair.index(after: mark)...])
        }
        return result
    }
}

extension RawJSON: FieldValue {
    package static var typeName: String { "any" }
    package static func parse(_ input: FieldInput) -> RawJSON? {
        switch input {
        case .json(let json): json
        case .text(let text): RawJSON(trusted: JSONValue.string(text).encoded())
        }
    }
}

extension StringProtocol {
    /// Without blanks at both ends.
    package func trimmingBlanks() -> String {
        var text = self[...]
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return String(text)
    }
}

extension SecretBytes: FieldValue {
    package static var typeName: String { "string" }
    /// The bytes of a string, never as a `String` on the way.
    package static func parse(_ input: FieldInput) -> Self? {
        switch input {
        case .text(let text): return Self(copying: text.utf8)
        case .json(let json):
            guard var bytes = json.stringBytes else { return nil }
            defer { bytes.wipe() }
            return Self(copying: bytes)
        }
    }
}
