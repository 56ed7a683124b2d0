import Base
import PluginKit

/// One line of `allowed_parameters` or `denied_parameters`: a field and the values that count.
package struct ParameterRule: Sendable, Equatable {
    /// In lower case; `*` for every field.
    package let name: String
    /// Empty means any value.
    package var values: [ParameterValue]
}

/// A value in a parameter rule.
package indirect enum ParameterValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case int(Int)
    case float(Double)
    /// May begin or end with `*`.
    case string(String)
    case list([ParameterValue])
    case object([Member])

    /// One member of an object.
    package struct Member: Sendable, Equatable {
        /// Byte by byte as sent.
        package let name: String
        /// Compared without globs.
        package let value: ParameterValue
    }
}

extension ParameterRule {
    /// Reads `{ "field" = ["value", …], … }`.
    static func read(_ value: HCLValue, _ key: String) throws(VaultError) -> [ParameterRule] {
        guard let object = value.object else { throw value.fault(key, expected: "an object of lists") }
        var rules: [ParameterRule] = []
        for member in object.members {
            guard member.labels.isEmpty, let elements = member.value.list else {
                throw member.value.fault("\(key).\(member.key)", expected: "a list of values")
            }
            rules.merge(
                ParameterRule(name: member.key.lowercased(), values: elements.map(ParameterValue.init)))
        }
        return rules
    }
}

extension [ParameterRule] {
    /// Adds a rule as Vault merges policies: an empty list, which means any value, swallows the rest.
    mutating func merge(_ rule: ParameterRule) {
        guard let place = firstIndex(where: { $0.name.hasSameBytes(as: rule.name) }) else {
            append(rule)
            return
        }
        if self[place].values.isEmpty || rule.values.isEmpty {
            self[place].values = []
        } else {
            self[place].values += rule.values.filter { !self[place].values.contains($0) }
        }
    }

    /// The rule for a field name that is in lower case already.
    func rule(named name: String) -> ParameterRule? { first { $0.name.hasSameBytes(as: name) } }
}

extension ParameterValue {
    init(_ value: HCLValue) {
        switch value.kind {
        case .null: self = .null
        case .bool(let flag): self = .bool(flag)
        case .int(let number): self = .int(number)
        case .float(let number): self = .float(number)
        case .string(let text): self = .string(text)
        case .list(let values): self = .list(values.map(ParameterValue.init))
        case .object(let object):
            self = .object(object.members.map { Member(name: $0.key, value: ParameterValue($0.value)) })
        }
    }

    /// Whether what was sent is this very value: same kind, same content; strings by glob.
    func matches(_ input: FieldInput) -> Bool {
        switch input {
        case .text(let text): matches(text: text)
        case .json(let json): matches(json)
        }
    }

    /// Whether what was sent could be read as this value by any engine: `"5"` for 5, `1` for true,
    /// one element of a list, one of the parts between commas. For refusals only: an engine turns
    /// such values into each other after the policy was asked, so a refusal has to see through them.
    func matchesInAnyReading(_ input: FieldInput) -> Bool {
        if matches(input) || self == .string("*") { return true }
        guard case .json(let json) = input else {
            guard case .text(let text) = input else { return false }
            return matchesAsScalar(text)
        }
        switch json.kind {
        case .string: return matchesAsScalar(json.string ?? "")
        case .number: return matchesAsScalar(json.numberText ?? "")
        case .bool: return matchesAsScalar(json.bool == true ? "true" : "false")
        case .array: return json.elements.contains { matchesInAnyReading(.json($0)) }
        case .null, .object: return false
        }
    }

    private func matchesAsScalar(_ text: String) -> Bool {
        let parts =
            text.utf8.contains(UInt8(ascii: ","))
            ? text.split(separator: ",").map { $0.trimmingBlanks() } : []
        return ([text, text.trimmingBlanks()] + parts).contains { part in
            switch self {
            case .string(let pattern):
                if Self.glob(pattern, part) { return true }
                guard let mine = Bool(vaultText: pattern), let theirs = Bool(vaultText: part) else {
                    return false
                }
                // "1" is also a number: it is true only where one of the two says so in letters.
                return mine == theirs && (pattern.count > 1 || part.count > 1)
            case .bool(let flag): return Bool(vaultText: part) == flag
            case .int(let number): return Int(part) == number || Double(part) == Double(number)
            case .float(let number): return Double(part) == number
            case .null, .list, .object: return false
            }
        }
    }

    private func matches(text: String) -> Bool {
        if case .string(let pattern) = self { return Self.glob(pattern, text) }
        return false
    }

    private func matches(_ json: RawJSON) -> Bool {
        switch (self, json.kind) {
        case (.null, .null): return true
        case (.bool(let flag), .bool): return json.bool == flag
        case (.int(let number), .number): return json.int == number
        case (.float(let number), .number): return json.numberText.flatMap { Double($0) } == number
        case (.string(let pattern), .string): return Self.glob(pattern, json.string ?? "")
        case (.list(let values), .array):
            let elements = json.elements
            return values.count == elements.count && zip(values, elements).allSatisfy { $0.equals($1) }
        case (.object(let members), .object):
            let sent = json.members
            return members.count == sent.count
                && members.allSatisfy { member in
                    sent.contains { $0.name.hasSameBytes(as: member.name) && member.value.equals($0.value) }
                }
        default: return false
        }
    }

    /// As `matches`, but without globs: inside of lists and objects `*` is a star.
    private func equals(_ json: RawJSON) -> Bool {
        if case .string(let text) = self { return json.string.map { $0.hasSameBytes(as: text) } ?? false }
        return matches(json)
    }

    /// `*x*`, `x*`, `*x` or `x`. A lone `*` is a star and no pattern, as in Vault.
    static func glob(_ pattern: String, _ text: String) -> Bool {
        let p = pattern.utf8
        let t = text.utf8
        let star = UInt8(ascii: "*")
        guard p.count >= 2, p.first == star || p.last == star else { return p.elementsEqual(t) }
        let leads = p.first == star
        let trails = p.last == star
        let inner = Array(p.dropFirst(leads ? 1 : 0).dropLast(trails ? 1 : 0))
        switch (leads, trails) {
        case (true, true): return inner.isEmpty || Array(t).contains(inner)
        case (true, false): return t.count >= inner.count && t.suffix(inner.count).elementsEqual(inner)
        default: return t.starts(with: inner)
        }
    }
}

extension String {
    /// Byte by byte, unlike `==`, which takes composed and decomposed letters for equal.
    func hasSameBytes(as other: String) -> Bool {
        utf8.count == other.utf8.count && utf8.elementsEqual(other.utf8)
    }
}
