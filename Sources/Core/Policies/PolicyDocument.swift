package import Base
package import PluginKit

/// An ACL policy: what its text says, before it is merged with others.
///
/// The text is HCL or JSON (`Vault docs: concepts/policies`). Reading is strict: a key, capability or
/// value that is not understood refuses the whole policy and names its line, for a policy that was
/// half understood gives the wrong rights. Paths are compared byte by byte everywhere in this folder:
/// Swift's `==` on strings takes different bytes for equal, and a path is bytes.
///
/// Policies/ holds: this reader, `ACL` (several policies compiled for lookup), `ParameterRules`
/// (constraints on request fields), `BuiltInPolicies`, `PolicyStore` and `ACLCache`.
package struct PolicyDocument: Sendable {
    /// The `name` that the text states, if any. The stored name counts, not this one.
    package let statedName: String?
    /// One for each `path` block, in the order written.
    package let rules: [PolicyRule]
    /// What the text asks for and this version does not enforce, in sentences.
    package let warnings: [String]

    /// Whether any path holds `{{ … }}`.
    package var isTemplated: Bool { rules.contains { $0.isTemplated } }

    /// Reads HCL or JSON.
    /// - Throws: `.badRequest` with line, column, the key at fault and what was expected.
    package init(parsing text: String) throws(VaultError) {
        let document = try HCL.parse(Array(text.utf8))
        var rules: [PolicyRule] = []
        var warnings: [String] = []
        var statedName: String?
        for member in document.members {
            switch member.key {
            case "name":
                guard member.labels.isEmpty, let name = member.value.string else {
                    throw member.value.fault("name", expected: "a string")
                }
                statedName = name
            case "path":
                for block in try member.labelledBlocks() {
                    rules.append(try PolicyRule(block: block, warnings: &warnings))
                }
            default:
                throw member.position.fault("invalid key '\(member.key)': expected 'path' or 'name'")
            }
        }
        self.statedName = statedName
        self.rules = rules
        self.warnings = warnings
    }
}

/// One `path` block.
package struct PolicyRule: Sendable {
    /// The path as written, without a leading slash: `secret/*`, `secret/+/x`, `{{identity.entity.id}}/*`.
    package let path: String
    /// What the block gives there.
    package let permissions: Permissions

    /// Whether the path holds `{{ … }}` and means nothing until an identity fills it in.
    package var isTemplated: Bool { Array(path.utf8).contains(Array("{{".utf8)) }

    /// A rule for a path without a leading slash.
    package init(path: String, permissions: Permissions) {
        self.path = path
        self.permissions = permissions
    }
}

/// What a rule gives at its path.
package struct Permissions: Sendable, Equatable {
    /// `deny` stands alone.
    package var capabilities: CapabilitySet = []
    /// Fields that must be sent, in lower case.
    package var required: [String] = []
    /// Empty when the rule says nothing about allowed fields.
    package var allowed: [ParameterRule] = []
    /// Fields and values that are refused.
    package var denied: [ParameterRule] = []
    /// Zero for none.
    package var minWrappingTTL: Duration = .zero
    /// Zero for none.
    package var maxWrappingTTL: Duration = .zero

    /// Permissions that give nothing.
    package init() {}
}

/// A set of capabilities in one word.
package struct CapabilitySet: OptionSet, Sendable, Hashable {
    /// One bit for each capability.
    package let rawValue: UInt16
    /// A set by its bits.
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Writing what is not there yet.
    package static let create = CapabilitySet(rawValue: 1)
    /// Reading.
    package static let read = CapabilitySet(rawValue: 2)
    /// Writing over what is there, and actions.
    package static let update = CapabilitySet(rawValue: 4)
    /// Deleting.
    package static let delete = CapabilitySet(rawValue: 8)
    /// Listing names.
    package static let list = CapabilitySet(rawValue: 16)
    /// What a route guards besides.
    package static let sudo = CapabilitySet(rawValue: 32)
    /// Changing part of what is there.
    package static let patch = CapabilitySet(rawValue: 64)
    /// A refusal that nothing overrides.
    package static let deny = CapabilitySet(rawValue: 128)

    /// Nil for `root`, which no policy text can give.
    package init?(_ capability: Capability) {
        switch capability {
        case .create: self = .create
        case .read: self = .read
        case .update: self = .update
        case .delete: self = .delete
        case .list: self = .list
        case .sudo: self = .sudo
        case .patch: self = .patch
        case .deny: self = .deny
        case .root: return nil
        }
    }

    /// As `sys/capabilities` prints them: sorted, `deny` alone when it is there or when nothing is.
    package var names: [String] {
        if isEmpty || contains(.deny) { return [Capability.deny.rawValue] }
        return Capability.allCases.filter { CapabilitySet($0).map(contains) ?? false }.map(\.rawValue)
            .sorted()
    }
}

extension PolicyRule {
    private static let keys: Set<String> = [
        "policy", "capabilities", "required_parameters", "allowed_parameters", "denied_parameters",
        "min_wrapping_ttl",
        "max_wrapping_ttl", "comment", "mfa_methods", "control_group",
    ]

    init(block: HCLBlock, warnings: inout [String]) throws(VaultError) {
        let path = try Self.checkedPath(block)
        var permissions = Permissions()
        var seen: Set<String> = []
        for member in block.body.members {
            guard Self.keys.contains(member.key) else {
                throw member.position.fault("path \"\(path)\": invalid key '\(member.key)'")
            }
            guard seen.insert(member.key).inserted else {
                throw member.position.fault("path \"\(path)\": '\(member.key)' is given twice")
            }
            if let label = member.labels.first {
                throw member.position.fault("'\(member.key)': expected '=', found the label '\(label)'")
            }
            try Self.read(member, path, into: &permissions, &warnings)
        }
        // One `deny` makes the rule a refusal, whatever stands beside it.
        if permissions.capabilities.contains(.deny) { permissions.capabilities = .deny }
        let (least, most) = (permissions.minWrappingTTL, permissions.maxWrappingTTL)
        if least > .zero, most > .zero, most < least {
            throw block.position.fault("path \"\(path)\": max_wrapping_ttl is below min_wrapping_ttl")
        }
        self.init(path: path, permissions: permissions)
    }

    private static func read(
        _ member: HCLMember, _ path: String, into permissions: inout Permissions, _ warnings: inout [String]
    ) throws(VaultError) {
        let value = member.value
        switch member.key {
        case "capabilities":
            for (name, place) in try strings(value, member.key) {
                guard let capability = Capability(rawValue: name), let set = CapabilitySet(capability) else {
                    throw place.fault("path \"\(path)\": invalid capability '\(name)'")
                }
                permissions.capabilities.formUnion(set)
            }
        case "policy": permissions.capabilities.formUnion(try legacyCapabilities(value, path))
        case "required_parameters":
            permissions.required = try strings(value, member.key).map { $0.text.lowercased() }
        case "allowed_parameters": permissions.allowed = try ParameterRule.read(value, member.key)
        case "denied_parameters": permissions.denied = try ParameterRule.read(value, member.key)
        case "min_wrapping_ttl": permissions.minWrappingTTL = try ttl(value, member.key)
        case "max_wrapping_ttl": permissions.maxWrappingTTL = try ttl(value, member.key)
        case "comment":
            guard value.string != nil else { throw value.fault(member.key, expected: "a string") }
        default:
            warnings.append(
                "\(member.position): path \"\(path)\": '\(member.key)' is not enforced by this version")
        }
    }

    private static func checkedPath(_ block: HCLBlock) throws(VaultError) -> String {
        let path = block.label.hasPrefix("/") ? String(block.label.dropFirst()) : block.label
        let bytes = Array(path.utf8)
        if bytes.contains(Array("+*".utf8)) {
            throw block.position.fault("path \"\(path)\": invalid use of wildcards ('+*' is forbidden)")
        }
        if bytes.contains(where: { $0 < 32 || $0 == 127 }) {
            throw block.position.fault("path: expected no control characters")
        }
        guard hasBalancedTemplates(bytes) else {
            throw block.position.fault("path \"\(path)\": expected each '{{' to be closed by '}}'")
        }
        return path
    }

    private static func hasBalancedTemplates(_ path: [UInt8]) -> Bool {
        var isOpen = false
        var at = 0
        while at + 1 < path.count {
            let opens = path[at] == UInt8(ascii: "{") && path[at + 1] == UInt8(ascii: "{")
            let closes = path[at] == UInt8(ascii: "}") && path[at + 1] == UInt8(ascii: "}")
            if opens && isOpen || closes && !isOpen { return false }
            if opens || closes { isOpen = opens }
            at += opens || closes ? 2 : 1
        }
        return !isOpen
    }

    /// The four words that policies used before there were capabilities.
    private static func legacyCapabilities(_ value: HCLValue, _ path: String) throws(VaultError)
        -> CapabilitySet
    {
        guard let word = value.string else { throw value.fault("policy", expected: "a string") }
        switch word {
        case "": return []
        case "deny": return .deny
        case "read": return [.read, .list]
        case "write": return [.create, .read, .update, .delete, .list]
        case "sudo": return [.create, .read, .update, .delete, .list, .sudo]
        default:
            throw value.position.fault(
                "path \"\(path)\": invalid policy '\(word)': expected 'read', 'write', 'sudo' or 'deny'")
        }
    }

    private static func strings(
        _ value: HCLValue, _ key: String
    ) throws(VaultError) -> [(text: String, place: HCLPosition)] {
        guard let elements = value.list else { throw value.fault(key, expected: "a list of strings") }
        var found: [(text: String, place: HCLPosition)] = []
        for element in elements {
            guard let text = element.string else { throw element.fault(key, expected: "a string") }
            found.append((text, element.position))
        }
        return found
    }

    private static func ttl(_ value: HCLValue, _ key: String) throws(VaultError) -> Duration {
        let span: Duration? =
            switch value.kind {
            case .string(let text): Duration(vaultText: text)
            case .int(let seconds): Duration(vaultText: String(seconds))
            default: nil
            }
        guard let span, span >= .zero else {
            throw value.position.fault("'\(key)': expected a duration such as 90, \"90s\" or \"1h\"")
        }
        return span
    }
}
