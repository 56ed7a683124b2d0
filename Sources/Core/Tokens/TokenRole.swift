import Base
import PluginKit

/// A named set of limits for tokens made through `auth/token/create/<role>`. Vault API: `auth/token/roles`.
struct TokenRole: Sendable, Equatable {
    var name: String
    var allowedPolicies: [String] = []
    var disallowedPolicies: [String] = []
    /// Patterns with `*` for any run of characters.
    var allowedGlobs: [String] = []
    var disallowedGlobs: [String] = []
    var isOrphan = false
    var isRenewable = true
    var period: Duration = .zero
    var explicitMaxTTL: Duration = .zero
    /// Whether period and maximum came under their old names, which readers of the role then see as well.
    var hasOldPeriod = false
    var hasOldMaximum = false
    var pathSuffix = ""
    var boundCIDRs: [CIDRBlock] = []
    var numberOfUses = 0
    /// `service`, `batch`, `default-service` or `default-batch`.
    var typeName = "default-service"
    var hasNoDefaultPolicy = false
    var allowedAliases: [String] = []

    init(name: String) { self.name = name }

    var restrictsPolicies: Bool {
        !(allowedPolicies.isEmpty && disallowedPolicies.isEmpty && allowedGlobs.isEmpty
            && disallowedGlobs.isEmpty)
    }

    /// Whether `default` is added without being asked for.
    var addsDefault: Bool { !hasNoDefaultPolicy && !forbids("default") }

    func tokenType(asked: TokenType?) -> TokenType {
        switch typeName {
        case "service": .service
        case "batch": .batch
        case "default-batch": asked ?? .batch
        default: asked ?? .service
        }
    }

    func allows(alias: String) -> Bool {
        allowedAliases.contains { Self.matches($0.lowercased(), alias.lowercased()) }
    }

    /// - Throws: `.badRequest` for the first policy that the role does not give.
    func check(_ policies: [String]) throws(VaultError) {
        for policy in policies {
            let isListed =
                allowedPolicies.contains(policy) || allowedGlobs.contains { Self.matches($0, policy) }
            let isOpen = allowedPolicies.isEmpty && allowedGlobs.isEmpty
            if !(isOpen || isListed || policy == "default" && addsDefault) {
                throw .badRequest(
                    "token policies (\(quoted(policies))) must be subset of the role's allowed policies")
            }
            if forbids(policy) { throw .badRequest("token policy \"\(policy)\" is disallowed by this role") }
        }
    }

    private func forbids(_ policy: String) -> Bool {
        disallowedPolicies.contains(policy) || disallowedGlobs.contains { Self.matches($0, policy) }
    }

    private func quoted(_ names: [String]) -> String { names.map { "\"\($0)\"" }.joined(separator: ", ") }

    /// Whether `text` fits a pattern in which each `*` stands for any run of characters.
    static func matches(_ pattern: String, _ text: String) -> Bool {
        let p = Array(pattern.utf8), t = Array(text.utf8)
        var (at, from, star, resume) = (0, 0, -1, 0)
        while from < t.count {
            if at < p.count, p[at] == UInt8(ascii: "*") {
                (star, resume) = (at, from)
                at += 1
            } else if at < p.count, p[at] == t[from] {
                at += 1
                from += 1
            } else if star >= 0 {
                resume += 1
                (at, from) = (star + 1, resume)
            } else {
                return false
            }
        }
        return p[at...].allSatisfy { $0 == UInt8(ascii: "*") }
    }
}

// MARK: In storage

extension TokenStore {
    func role(_ name: String, _ tx: inout Transaction) throws(VaultError) -> TokenRole? {
        guard let bytes = try tx.get(TokenKeys.roles + name) else { return nil }
        guard let role = TokenRole(name: name, stored: bytes) else {
            throw .corrupted(place: TokenKeys.roles + name)
        }
        return role
    }

    func putRole(_ tx: inout Transaction, _ role: TokenRole) {
        tx.put(TokenKeys.roles + role.name, role.encoded())
    }
    func deleteRole(_ tx: inout Transaction, _ name: String) { tx.delete(TokenKeys.roles + name) }
    func roleNames(_ tx: inout Transaction) throws(VaultError) -> [String] { try tx.list(TokenKeys.roles) }
}

extension TokenRole {
    fileprivate func encoded() -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("v", 1)
        writer.field("allowed", allowedPolicies)
        writer.field("disallowed", disallowedPolicies)
        writer.field("allowed_globs", allowedGlobs)
        writer.field("disallowed_globs", disallowedGlobs)
        writer.field("orphan", isOrphan)
        writer.field("renewable", isRenewable)
        writer.field("period", Int(period.wholeNanoseconds))
        writer.field("explicit_max", Int(explicitMaxTTL.wholeNanoseconds))
        writer.field("old_period", hasOldPeriod)
        writer.field("old_max", hasOldMaximum)
        writer.field("suffix", pathSuffix)
        writer.field("cidrs", boundCIDRs.map(\.description))
        writer.field("uses", numberOfUses)
        writer.field("type", typeName)
        writer.field("no_default", hasNoDefaultPolicy)
        writer.field("aliases", allowedAliases)
        writer.endObject()
        return writer.bytes
    }

    fileprivate init?(name: String, stored bytes: [UInt8]) {
        guard let json = try? RawJSON(validating: bytes), json["v"]?.int == 1 else { return nil }
        self.init(name: name)
        func names(_ member: String) -> [String]? {
            json[member].flatMap { $0.kind == .array ? $0.elements.compactMap(\.string) : nil }
        }
        guard let allowed = names("allowed"), let disallowed = names("disallowed"),
            let allowedGlobs = names("allowed_globs"), let disallowedGlobs = names("disallowed_globs"),
            let isOrphan = json["orphan"]?.bool, let isRenewable = json["renewable"]?.bool,
            let period = json["period"]?.int, let most = json["explicit_max"]?.int,
            let suffix = json["suffix"]?.string, let networks = names("cidrs"), let uses = json["uses"]?.int,
            let type = json["type"]?.string, let noDefault = json["no_default"]?.bool,
            let aliases = names("aliases"),
            networks.allSatisfy({ CIDRBlock($0) != nil })
        else { return nil }
        allowedPolicies = allowed
        disallowedPolicies = disallowed
        self.allowedGlobs = allowedGlobs
        self.disallowedGlobs = disallowedGlobs
        self.isOrphan = isOrphan
        self.isRenewable = isRenewable
        self.period = .nanoseconds(period)
        explicitMaxTTL = .nanoseconds(most)
        hasOldPeriod = json["old_period"]?.bool ?? false
        hasOldMaximum = json["old_max"]?.bool ?? false
        pathSuffix = suffix
        boundCIDRs = networks.compactMap { CIDRBlock($0) }
        numberOfUses = uses
        typeName = type
        hasNoDefaultPolicy = noDefault
        allowedAliases = aliases
    }
}
