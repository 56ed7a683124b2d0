import Base
import PluginKit

/// What a client asks for when it makes a token, typed, and the rules by which it gets it.
///
/// Vault API: `auth/token/create`. Whatever would give a child more than its parent has (another
/// policy, `default` where the parent lacks it, a longer chain of life, a name of its own choosing)
/// needs root or `sudo`.
struct TokenRequest: Sendable {
    static let idField = Field<RawJSON>(
        "id", "The token itself, instead of a random one. Needs root or sudo.")
    static let policiesField = Field<RawJSON>("policies", "Names of policies; the parent's when left out.")
    static let metaField = Field<RawJSON>("meta", "Strings by name, shown in the audit log and by lookups.")
    static let noParentField = Field<Bool>("no_parent", default: false, "Make an orphan. Needs root or sudo.")
    static let noDefaultField = Field<Bool>(
        "no_default_policy", default: false, "Do not add the policy `default`.")
    static let renewableField = Field<Bool>("renewable", default: true, "Whether the token may be renewed.")
    static let ttlField = Field<Duration>(
        "ttl", "How long the token lives; the mount's default when left out.")
    static let leaseField = Field<Duration>("lease", "An old name of `ttl`.")
    static let typeField = Field<String>("type", "`service` or `batch`.")
    static let explicitMaxField = Field<Duration>(
        "explicit_max_ttl", default: .zero, "The token dies after this span, however often it is renewed.")
    static let displayNameField = Field<String>(
        "display_name", default: "", "Shown by lookups and in the audit log.")
    static let usesField = Field<Int>(
        "num_uses", default: 0, "How often the token may be used; 0 for no limit.")
    static let periodField = Field<Duration>(
        "period", default: .zero, "Each renewal gives this span, for ever. Needs root or sudo.")
    static let aliasField = Field<String>(
        "entity_alias", default: "", "Name of the alias to tie to; with a role only.")

    var id: SecretBytes?
    var policies: [String]
    var metadata: [String: String]?
    var wantsNoParent: Bool
    var wantsNoDefault: Bool
    var isRenewable: Bool
    var ttl: Duration
    var type: TokenType?
    var explicitMaxTTL: Duration
    var displayName: String
    var numberOfUses: Int
    var period: Duration
    var entityAlias: String

    /// - Throws: `.badRequest` that names the field.
    init(_ request: LogicalRequest) throws(VaultError) {
        id = try Self.id(request)
        policies = try Self.policies(request)
        metadata = try Self.metadata(request)
        wantsNoParent = try request[Self.noParentField]
        wantsNoDefault = try request[Self.noDefaultField]
        isRenewable = try request[Self.renewableField]
        let asked = try request.optional(Self.ttlField)
        let askedAsLease = try request.optional(Self.leaseField)
        ttl = asked ?? askedAsLease ?? .zero
        explicitMaxTTL = try request[Self.explicitMaxField]
        period = try request[Self.periodField]
        displayName = try request[Self.displayNameField]
        numberOfUses = try request[Self.usesField]
        entityAlias = try request[Self.aliasField]
        switch try request.optional(Self.typeField) ?? "" {
        case "": type = nil
        case "service": type = .service
        case "batch": type = .batch
        default: throw .badRequest("invalid 'type' value: expected 'service' or 'batch'")
        }
        if ttl < .zero { throw .badRequest("ttl must be positive") }
        if explicitMaxTTL < .zero { throw .badRequest("explicit_max_ttl must be positive") }
        if period < .zero { throw .badRequest("period must be positive") }
        if numberOfUses < 0 { throw .badRequest("number of uses cannot be negative") }
    }

    private static func id(_ request: LogicalRequest) throws(VaultError) -> SecretBytes? {
        guard let json = try request.optional(idField) else { return nil }
        guard var bytes = json.stringBytes else { throw .badRequest("field 'id': expected a string") }
        defer { bytes.wipe() }
        if bytes.isEmpty { return nil }
        // A dot marks what the server makes itself; the rest must fit into a header.
        if bytes.contains(UInt8(ascii: ".")) { throw .badRequest("custom token ID cannot contain '.'") }
        guard bytes.count <= 512, bytes.allSatisfy({ (33...126).contains($0) }) else {
            throw .badRequest("custom token ID must be at most 512 visible ASCII characters")
        }
        return SecretBytes(copying: bytes)
    }

    /// A list, or one name; commas are part of a name here.
    private static func policies(_ request: LogicalRequest) throws(VaultError) -> [String] {
        guard let json = try request.optional(policiesField) else { return [] }
        if let name = json.string { return [name] }
        guard json.kind == .array else { throw .badRequest("field 'policies': expected an array of strings") }
        var names: [String] = []
        for element in json.elements {
            guard let name = element.string else {
                throw .badRequest("field 'policies': expected an array of strings")
            }
            names.append(name)
        }
        return names
    }

    private static func metadata(_ request: LogicalRequest) throws(VaultError) -> [String: String]? {
        guard let json = try request.optional(metaField) else { return nil }
        guard json.kind == .object else { throw .badRequest("field 'meta': expected an object of strings") }
        var values: [String: String] = [:]
        for (name, value) in json.members {
            guard let text = String.parse(.json(value)) else {
                throw .badRequest("field 'meta': expected a string for '\(name)'")
            }
            values[name] = text
        }
        return values.isEmpty ? nil : values
    }
}

/// All that decides on a new token besides what was asked.
struct TokenCreation {
    let parent: TokenEntry
    let role: TokenRole?
    /// The API path that was called.
    let path: String
    /// Whether the path makes orphans, so that its policy is all the right that is needed.
    let makesOrphans: Bool
    let hasSudo: Bool
    let caps: TTLCaps
    let now: Timestamp

    /// The entry to issue, or why not.
    func describe(_ wanted: TokenRequest) throws(VaultError) -> (entry: TokenEntry, warnings: [String]) {
        try checkParentAndRights(wanted)
        var entry = TokenEntry(hash: "", created: now)
        entry.type = role.map { $0.tokenType(asked: wanted.type) } ?? wanted.type ?? .service
        entry.policies = try policies(wanted)
        entry.path = role.map { $0.pathSuffix.isEmpty ? path : "\(path)/\($0.pathSuffix)" } ?? path
        entry.role = role?.name ?? ""
        entry.displayName = Self.displayName(wanted.displayName)
        entry.metadata = wanted.metadata
        entry.numberOfUses = lesser(wanted.numberOfUses, role?.numberOfUses ?? 0)
        let isOrphan = role?.isOrphan ?? (makesOrphans || wanted.wantsNoParent)
        if !isOrphan {
            entry.parent = parent.hash
            entry.entityID = parent.entityID
        }
        // Where a parent may not be used, what it makes may not be used either.
        let networks = role?.boundCIDRs ?? []
        entry.boundCIDRs = networks.isEmpty ? parent.boundCIDRs : networks
        if entry.type == .batch { try checkBatch(wanted, entry) }
        let warnings = try setLifetime(&entry, wanted)
        return (entry, warnings)
    }

    private func checkParentAndRights(_ wanted: TokenRequest) throws(VaultError) {
        if parent.type == .batch { throw .badRequest("batch tokens cannot create more tokens") }
        if parent.numberOfUses != 0 { throw .badRequest("restricted use token cannot generate child tokens") }
        if !wanted.entityAlias.isEmpty {
            guard let role else {
                throw .badRequest("'entity_alias' is only allowed in combination with token role")
            }
            guard role.allows(alias: wanted.entityAlias) else {
                throw .badRequest("invalid 'entity_alias' value")
            }
        }
        if wanted.id != nil, !hasSudo {
            throw .badRequest("root or sudo privileges required to specify token id")
        }
        if wanted.id != nil, role != nil { throw .badRequest("a token id cannot be specified with a role") }
        if role == nil, !makesOrphans, wanted.wantsNoParent, !hasSudo {
            throw .badRequest("root or sudo privileges required to create orphan token")
        }
        if wanted.period > .zero, !hasSudo {
            throw .badRequest("root or sudo privileges required to create periodic token")
        }
    }

    private func policies(_ wanted: TokenRequest) throws(VaultError) -> [String] {
        var addsDefault = !wanted.wantsNoDefault
        var names = wanted.policies
        if let role, role.restrictsPolicies {
            addsDefault = addsDefault && role.addsDefault
            if names.isEmpty { names = role.allowedPolicies.isEmpty ? parent.policies : role.allowedPolicies }
            let sanitized = TokenPolicies.sanitized(names, addingDefault: addsDefault)
            try role.check(sanitized)
            return try assignable(sanitized)
        }
        if let role { addsDefault = addsDefault && role.addsDefault }
        if names.isEmpty {
            // The parent's, whatever they are: `default` is not gained by asking for nothing.
            return try assignable(TokenPolicies.sanitized(parent.policies, addingDefault: false))
        }
        if !hasSudo {
            let asked = TokenPolicies.sanitized(names, addingDefault: false)
            guard Set(asked).isSubset(of: parent.policies) else {
                throw .badRequest("child policies must be subset of parent")
            }
            addsDefault = addsDefault && parent.policies.contains("default")
        }
        return try assignable(TokenPolicies.sanitized(names, addingDefault: addsDefault))
    }

    private func assignable(_ names: [String]) throws(VaultError) -> [String] {
        if names.contains("root"), !parent.isRoot {
            throw .badRequest("root tokens may not be created without parent token being root")
        }
        if let name = names.first(where: TokenPolicies.internalNames.contains) {
            throw .badRequest("cannot assign policy \"\(name)\"")
        }
        return names
    }

    private func checkBatch(_ wanted: TokenRequest, _ entry: TokenEntry) throws(VaultError) {
        if wanted.period > .zero { throw .badRequest("batch tokens cannot be periodic") }
        if wanted.explicitMaxTTL > .zero { throw .badRequest("batch tokens cannot have an explicit max TTL") }
        if entry.numberOfUses > 0 { throw .badRequest("batch tokens cannot have \"num_uses\" set") }
        if entry.isRoot { throw .badRequest("batch tokens cannot be root tokens") }
        if wanted.id != nil { throw .badRequest("token id cannot be specified with batch tokens") }
    }

    private func setLifetime(_ entry: inout TokenEntry, _ wanted: TokenRequest) throws(VaultError) -> [String]
    {
        var warnings: [String] = []
        let life = capped(wanted, &warnings)
        entry.lifetime.period = life.period
        entry.lifetime.explicitMaxTTL = life.explicitMaxTTL
        entry.lifetime.isRenewable = wanted.isRenewable && entry.type == .service && role?.isRenewable ?? true
        var request = TTLRequest(issued: now)
        request.increment = wanted.ttl
        request.period = TokenLifetime.lesser(life.period, role?.period ?? .zero)
        request.explicitMaxTTL = TokenLifetime.lesser(life.explicitMaxTTL, role?.explicitMaxTTL ?? .zero)
        let isEndless =
            entry.isRoot && request.increment == .zero && request.period == .zero
            && request.explicitMaxTTL == .zero
        if isEndless {
            if parent.lifetime.expires != nil {
                throw .badRequest("expiring root tokens cannot create non-expiring root tokens")
            }
            entry.lifetime.isRenewable = false
            return warnings
        }
        if entry.isRoot, request.increment == .zero, request.period == .zero {
            request.increment = request.explicitMaxTTL
        }
        let (ttl, more) = try request.resolve(caps: caps, now: now)
        entry.lifetime.ttl = ttl
        entry.lifetime.expires = now + ttl
        return warnings + more
    }

    /// The client's own limits, cut to what the mount allows.
    private func capped(
        _ wanted: TokenRequest, _ warnings: inout [String]
    ) -> (period: Duration, explicitMaxTTL: Duration) {
        var period = wanted.period
        if period > caps.maxTTL {
            warnings.append(
                "Period of \(period.wholeSeconds) seconds is greater than the effective max_ttl of "
                    + "\(caps.maxTTL.wholeSeconds) seconds; the period is capped to it")
            period = caps.maxTTL
        }
        var most = wanted.explicitMaxTTL
        if most > caps.maxTTL {
            warnings.append(
                "Explicit max TTL of \(most.wholeSeconds) seconds is greater than system/mount allowed value; "
                    + "value is being capped to \(caps.maxTTL.wholeSeconds) seconds")
            most = caps.maxTTL
        }
        return (period, most)
    }

    private func lesser(_ a: Int, _ b: Int) -> Int { a == 0 ? b : b == 0 ? a : min(a, b) }

    /// `token-…` with everything but letters, digits and hyphens made a hyphen; `token` without a name.
    static func displayName(_ name: String) -> String {
        if name.isEmpty { return "token" }
        var text = "token-"
        for scalar in name.unicodeScalars {
            let isPlain =
                scalar.isASCII && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil)
            text.unicodeScalars.append(isPlain ? scalar : "-")
        }
        while text.last == "-" { text.removeLast() }
        return text
    }
}
