/// A place in a document: both numbers count from 1, columns in Unicode scalars.
package struct HCLPosition: Sendable, Equatable, CustomStringConvertible {
    /// Counts from 1.
    package let line: Int
    /// Counts from 1.
    package let column: Int

    /// A place by its two numbers.
    package init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }

    package var description: String { "line \(line), column \(column)" }

    /// The error for what stands here.
    package func fault(_ message: String) -> VaultError { .badRequest("\(self): \(message)") }
}

/// A value and its place.
package struct HCLValue: Sendable {
    /// What a value can be; the union of HCL's kinds and JSON's.
    package enum Kind: Sendable {
        case null
        case bool(Bool)
        case int(Int)
        case float(Double)
        case string(String)
        case list([HCLValue])
        case object(HCLObject)
    }
    /// The value itself.
    package let kind: Kind
    /// Where it begins.
    package let position: HCLPosition

    /// A value found at a place.
    package init(_ kind: Kind, at position: HCLPosition) {
        self.kind = kind
        self.position = position
    }

    /// The text of a string; nil for the rest.
    package var string: String? { if case .string(let text) = kind { text } else { nil } }
    /// The elements of a list; nil for the rest.
    package var list: [HCLValue]? { if case .list(let values) = kind { values } else { nil } }
    /// An object; nil for the rest.
    package var object: HCLObject? { if case .object(let object) = kind { object } else { nil } }

    /// A string, number or boolean as text; nil for the rest.
    package var scalarText: String? {
        switch kind {
        case .string(let text): text
        case .int(let number): String(number)
        case .float(let number): String(number)
        case .bool(let flag): flag ? "true" : "false"
        case .null, .list, .object: nil
        }
    }

    /// What this is, for error messages: `a string`, `a list`.
    package var kindName: String {
        switch kind {
        case .null: "null"
        case .bool: "a boolean"
        case .int, .float: "a number"
        case .string: "a string"
        case .list: "a list"
        case .object: "an object"
        }
    }

    /// The error for a value of the wrong kind, naming its key.
    package func fault(_ key: String, expected: String) -> VaultError {
        position.fault("'\(key)': expected \(expected), found \(kindName)")
    }
}

/// `key = value`, `key { … }` or `key "label" { … }`.
package struct HCLMember: Sendable {
    /// The word or string before `=` or `{`.
    package let key: String
    /// Empty for `key = value`, for `key { … }` and for all JSON.
    package let labels: [String]
    /// What is behind; an object for a block.
    package let value: HCLValue
    /// Where it begins.
    package let position: HCLPosition

    /// A member as it was found.
    package init(key: String, labels: [String], value: HCLValue, position: HCLPosition) {
        self.key = key
        self.labels = labels
        self.value = value
        self.position = position
    }
}

/// A block with its one label: `path "secret/*" { … }`, or JSON's `"path": {"secret/*": { … }}`.
package struct HCLBlock: Sendable {
    /// The one label.
    package let label: String
    /// What stands between the braces.
    package let body: HCLObject
    /// Where it begins.
    package let position: HCLPosition
}

/// The members of an object, a block or a document, in the order written, repeats included.
package struct HCLObject: Sendable {
    /// In the order written.
    package let members: [HCLMember]

    /// An object of these members.
    package init(members: [HCLMember]) { self.members = members }

    /// The value of the last member with this key that has no label.
    package subscript(key: String) -> HCLValue? {
        members.last { $0.key == key && $0.labels.isEmpty }?.value
    }
}

extension HCLMember {
    /// This member read as blocks with one label each, however they were written: `key "label" { }`,
    /// `key { label { } }`, JSON's object by label, or lists of any of these.
    /// - Throws: `.badRequest` at the part that is no such block.
    package func labelledBlocks() throws(VaultError) -> [HCLBlock] {
        if labels.count > 1 { throw position.fault("'\(key)': expected one label, found \(labels.count)") }
        if let label = labels.first {
            var found: [HCLBlock] = []
            try Self.appendBodies(of: value, label, position, to: &found)
            return found
        }
        var found: [HCLBlock] = []
        for object in try Self.objects(in: value, key: key) {
            for inner in object.members {
                guard inner.labels.isEmpty else {
                    throw inner.position.fault("'\(inner.key)': expected '{' or '=', found a label")
                }
                try Self.appendBodies(of: inner.value, inner.key, inner.position, to: &found)
            }
        }
        return found
    }

    /// This member read as blocks without labels: one object or a list of them.
    package func plainBlocks() throws(VaultError) -> [HCLObject] {
        if let label = labels.first {
            throw position.fault("'\(key)': expected '{', found the label '\(label)'")
        }
        return try Self.objects(in: value, key: key)
    }

    private static func appendBodies(
        of value: HCLValue, _ label: String, _ position: HCLPosition, to found: inout [HCLBlock]
    ) throws(VaultError) {
        for body in try objects(in: value, key: label) {
            found.append(HCLBlock(label: label, body: body, position: position))
        }
    }

    private static func objects(in value: HCLValue, key: String) throws(VaultError) -> [HCLObject] {
        switch value.kind {
        case .object(let object): return [object]
        case .list(let values):
            var found: [HCLObject] = []
            for value in values {
                guard let object = value.object else { throw value.fault(key, expected: "an object") }
                found.append(object)
            }
            return found
        default: throw value.fault(key, expected: "an object or a list of objects")
        }
    }
}
