/// A JSON tree for answers and stored records that we build ourselves. Members keep their order.
///
/// What a client sent stays `RawJSON`, and can stand in a tree as `.raw`.
package enum JSONValue: Sendable {
    case null
    case bool(Bool)
    case int(Int)
    /// A number by its digits, for what `Int` does not hold.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([(String, JSONValue)])
    case raw(RawJSON)

    /// A list of strings.
    package static func strings(_ values: [String]) -> JSONValue {
        .array(values.map { .string($0) })
    }

    /// A list of strings that is encoded here and now: a long list costs no node for each of its elements.
    package static func encodedStrings(_ values: [String]) -> JSONValue {
        var writer = JSONWriter(reserving: values.reduce(2) { $0 + $1.utf8.count + 3 })
        writer.strings(values)
        return .raw(RawJSON(trusted: writer.bytes))
    }

    /// A string of secret bytes of UTF-8, which never become a `String`.
    package static func secret(_ text: SecretBytes) -> JSONValue {
        var writer = JSONWriter(reserving: text.count + 16)
        text.withBytes { writer.string(utf8: $0) }
        return .raw(RawJSON(trusted: writer.bytes))
    }

    /// The value, or `null` for nil.
    package static func optional(_ value: String?) -> JSONValue { value.map { .string($0) } ?? .null }

    /// An object of strings, sorted by name; `null` when nil.
    package static func map(_ values: [String: String]?) -> JSONValue {
        guard let values else { return .null }
        return .object(values.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) })
    }

    /// The bytes of this tree.
    package func encoded() -> [UInt8] {
        var writer = JSONWriter()
        writer.value(self)
        return writer.bytes
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int) { self = .int(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, JSONValue)...) { self = .object(elements) }
    package init(nilLiteral: ()) { self = .null }
}
