import Base
import PluginKit

/// Turns the members of one document into typed values, gathering warnings.
struct ConfigurationReader {
    /// The file, for warnings.
    let source: String
    private(set) var warnings: [String] = []

    init(source: String) { self.source = source }

    mutating func warn(_ position: HCLPosition, _ message: String) {
        warnings.append("\(source), line \(position.line): \(message)")
    }

    mutating func warnUnknown(_ member: HCLMember, in block: String) {
        warn(member.position, "unknown key '\(member.key)'\(block.isEmpty ? "" : " in \(block)")")
    }

    func string(_ member: HCLMember) throws(VaultError) -> String {
        guard member.labels.isEmpty, let text = member.value.string else {
            throw member.value.fault(member.key, expected: "a string")
        }
        return text
    }

    /// A boolean, 0 or 1, or one of these as text: Vault's files hold all three.
    func bool(_ member: HCLMember) throws(VaultError) -> Bool {
        guard member.labels.isEmpty, let text = member.value.scalarText else {
            throw member.value.fault(member.key, expected: "true or false")
        }
        guard let flag = Bool(vaultText: text) else {
            throw member.value.position.fault("'\(member.key)': expected true or false, found '\(text)'")
        }
        return flag
    }

    func int(_ member: HCLMember) throws(VaultError) -> Int {
        guard member.labels.isEmpty, let text = member.value.scalarText else {
            throw member.value.fault(member.key, expected: "a whole number")
        }
        guard let number = Int(text) else {
            throw member.value.position.fault("'\(member.key)': expected a whole number, found '\(text)'")
        }
        return number
    }

    /// Seconds as a number, or text such as `90s`.
    func duration(_ member: HCLMember) throws(VaultError) -> Duration {
        guard member.labels.isEmpty, let text = member.value.scalarText else {
            throw member.value.fault(member.key, expected: "a duration such as 90 or \"90s\"")
        }
        guard let span = Duration(vaultText: text), span >= .zero else {
            throw member.value.position.fault(
                "'\(member.key)': expected a duration such as 90 or \"90s\", found '\(text)'")
        }
        return span
    }

    /// A list of strings, or one string with commas.
    func strings(_ member: HCLMember) throws(VaultError) -> [String] {
        if member.labels.isEmpty, let text = member.value.string {
            return text.split(separator: ",").map { $0.trimmingBlanks() }
        }
        guard member.labels.isEmpty, let values = member.value.list else {
            throw member.value.fault(member.key, expected: "a list of strings")
        }
        var found: [String] = []
        for value in values {
            guard let text = value.string else { throw value.fault(member.key, expected: "a string") }
            found.append(text)
        }
        return found
    }

    /// `http://…` or `https://…`, empty allowed.
    func url(_ member: HCLMember) throws(VaultError) -> String {
        let text = try string(member)
        guard text.isEmpty || isHTTPURL(text) else {
            throw member.value.position.fault(
                "'\(member.key)': expected a URL such as https://host:8200, found '\(text)'")
        }
        return text
    }

    /// The one block of a storage-like member.
    func backend(_ member: HCLMember) throws(VaultError) -> BackendConfiguration {
        let blocks = try member.labelledBlocks()
        guard blocks.count == 1, let block = blocks.first else {
            throw member.position.fault("'\(member.key)': expected one block, found \(blocks.count)")
        }
        return BackendConfiguration(
            type: block.label, options: scalars(block.body), body: block.body, position: block.position)
    }

    /// The members that are strings, numbers or booleans, as text.
    func scalars(_ object: HCLObject) -> [String: String] {
        var found: [String: String] = [:]
        for member in object.members where member.labels.isEmpty {
            if let text = member.value.scalarText { found[member.key] = text }
        }
        return found
    }
}

/// Whether this is an absolute HTTP URL with a host.
func isHTTPURL(_ text: String) -> Bool {
    for scheme in ["http://", "https://"] where text.hasPrefix(scheme) {
        let rest = text.dropFirst(scheme.count)
        return rest.first.map { $0 != "/" && $0 != ":" } ?? false
            && rest.utf8.allSatisfy { $0 > 32 && $0 < 127 }
    }
    return false
}
