import Base
import PluginKit

/// What a user or role says about the tokens of its logins: the `token_…` fields that every auth method
/// has, with the older names that some of them had before. Vault API: "token parameters".
///
/// A method's route adds `TokenParameters.fields`, its record keeps `record`, its answer shows `members`,
/// its login calls `grant`, and its renewal answers `terms`.
struct TokenParameters: Sendable, Equatable {
    /// What a method called some of the fields before they had the common name. What was set under an old
    /// name is shown under both.
    struct OldNames: Sendable {
        var policies: String?
        var ttl: String?
        var maxTTL: String?
        var period: String?
        var boundCIDRs: String?
        var numberOfUses: String?

        static let none = OldNames()

        /// For the docs of a method that has them.
        var fields: [FieldDescription] {
            func old<Value>(_ name: String?, _ field: Field<Value>) -> FieldDescription? {
                name.map { Field<Value>($0, "An old name of `\(field.name)`.").description }
            }
            return [
                old(policies, TokenParameters.policiesField), old(ttl, TokenParameters.ttlField),
                old(maxTTL, TokenParameters.maxTTLField),
                old(period, TokenParameters.periodField), old(boundCIDRs, TokenParameters.boundCIDRsField),
                old(numberOfUses, TokenParameters.usesField),
            ].compactMap { $0 }
        }
    }

    static let ttlField = Field<Duration>(
        "token_ttl", "How long a token lives at first; the mount's default when 0.")
    static let maxTTLField = Field<Duration>(
        "token_max_ttl", "How long it can be renewed, counted from the login; the mount's when 0.")
    static let policiesField = Field<[String]>("token_policies", "Policies of the tokens.")
    static let boundCIDRsField = Field<[String]>(
        "token_bound_cidrs", "Addresses or networks from which one may log in and use the token.")
    static let explicitMaxField = Field<Duration>(
        "token_explicit_max_ttl", "As `token_max_ttl`, but fixed at the login, and for periodic tokens too.")
    static let noDefaultField = Field<Bool>(
        "token_no_default_policy", "Leave the policy `default` out.")
    static let usesField = Field<Int>(
        "token_num_uses", "How often a token may be used; 0 for no limit.")
    static let periodField = Field<Duration>(
        "token_period", "Each renewal gives this span, for ever.")
    static let typeField = Field<String>("token_type", "`service`, `batch` or `default`.")

    static let fields: [FieldDescription] = [
        boundCIDRsField.description, explicitMaxField.description, maxTTLField.description,
        noDefaultField.description, usesField.description, periodField.description,
        policiesField.description, ttlField.description, typeField.description,
    ]

    /// Policies, CIDRs: how many one user or role may have.
    private static let most = 1_024

    var ttl: Duration = .zero
    var maxTTL: Duration = .zero
    var policies: [String] = []
    var boundCIDRs: [CIDRBlock] = []
    var explicitMaxTTL: Duration = .zero
    var hasNoDefaultPolicy = false
    var numberOfUses = 0
    var period: Duration = .zero
    var type = LoginTokenType.mountDefault
    /// The old names under which something is set now.
    private var oldNames: Set<String> = []

    // MARK: From a request

    /// Takes over what a request gives; the rest stays. `self` is unchanged when it throws.
    mutating func update(from request: LogicalRequest, old: OldNames) throws(VaultError) {
        var new = self
        if let names = try new.sent(request, Self.policiesField, old.policies) {
            new.policies = TokenPolicies.sanitized(names, addingDefault: false)
        }
        new.ttl = try new.sent(request, Self.ttlField, old.ttl) ?? ttl
        new.maxTTL = try new.sent(request, Self.maxTTLField, old.maxTTL) ?? maxTTL
        new.period = try new.sent(request, Self.periodField, old.period) ?? period
        if let texts = try new.sent(request, Self.boundCIDRsField, old.boundCIDRs) {
            new.boundCIDRs = try CIDRBlock.parse(texts, field: Self.boundCIDRsField.name)
        }
        new.explicitMaxTTL = try request.optional(Self.explicitMaxField) ?? explicitMaxTTL
        new.hasNoDefaultPolicy = try request.optional(Self.noDefaultField) ?? hasNoDefaultPolicy
        new.numberOfUses = try new.sent(request, Self.usesField, old.numberOfUses) ?? numberOfUses
        if let name = try request.optional(Self.typeField) {
            guard let type = LoginTokenType(rawValue: name.isEmpty ? "default" : name) else {
                throw .badRequest("field 'token_type': expected service, batch or default")
            }
            new.type = type
        }
        try new.check()
        self = new
    }

    /// What was sent under the field's name or else under its old one.
    private mutating func sent<Value>(
        _ request: LogicalRequest, _ field: Field<Value>, _ oldName: String?
    ) throws(VaultError) -> Value? {
        let value = try request.optional(field)
        guard let oldName else { return value }
        let older = try request.optional(Field<Value>(oldName, field.summary))
        if value == nil, older != nil { oldNames.insert(oldName) }
        if value != nil { oldNames.remove(oldName) }
        return value ?? older
    }

    private func check() throws(VaultError) {
        func refuse(_ span: Duration, _ name: String) throws(VaultError) {
            if span < .zero { throw .badRequest("'\(name)' cannot be negative") }
        }
        try refuse(ttl, "token_ttl")
        try refuse(maxTTL, "token_max_ttl")
        try refuse(explicitMaxTTL, "token_explicit_max_ttl")
        try refuse(period, "token_period")
        if numberOfUses < 0 { throw .badRequest("'token_num_uses' cannot be negative") }
        if maxTTL > .zero, ttl > maxTTL {
            throw .badRequest("'token_ttl' cannot be greater than 'token_max_ttl'")
        }
        if policies.count > Self.most { throw .badRequest("'token_policies' may have \(Self.most) elements") }
        if boundCIDRs.count > Self.most {
            throw .badRequest("'token_bound_cidrs' may have \(Self.most) elements")
        }
        guard type == .batch || type == .defaultBatch else { return }
        if period > .zero {
            throw .badRequest("'token_type' cannot be 'batch' when set to generate periodic tokens")
        }
        if numberOfUses > 0 {
            throw .badRequest(
                "'token_type' cannot be 'batch' when set to generate tokens with limited use count")
        }
    }

    // MARK: At a login

    /// Whether one may log in from an address (text, without a port).
    func allows(_ address: String) -> Bool {
        boundCIDRs.isEmpty || boundCIDRs.contains { $0.contains(address) }
    }

    /// The grant of a login, but for its name and metadata.
    func grant(displayName: String) -> AuthGrant {
        var grant = AuthGrant(policies: policies, displayName: displayName, ttl: ttl)
        grant.maxTTL = maxTTL
        grant.explicitMaxTTL = explicitMaxTTL
        grant.period = period
        grant.numberOfUses = numberOfUses
        grant.hasNoDefaultPolicy = hasNoDefaultPolicy
        grant.boundCIDRs = boundCIDRs
        grant.tokenType = type
        return grant
    }

    /// What a renewal gets now.
    var terms: LoginTerms { LoginTerms(ttl: ttl, maxTTL: maxTTL, period: period) }

    // MARK: As answers show it

    /// The members, sorted among themselves; those set under an old name have it besides.
    func members(old: OldNames) -> [(String, JSONValue)] {
        var members: [(String, JSONValue)] = []
        func add(_ name: String, _ oldName: String?, _ value: JSONValue, isSet: Bool) {
            members.append((name, value))
            if let oldName, isSet, oldNames.contains(oldName) { members.append((oldName, value)) }
        }
        func seconds(_ span: Duration) -> JSONValue { .int(Int(span.wholeSeconds)) }
        add(
            "token_bound_cidrs", old.boundCIDRs, .strings(boundCIDRs.map(\.description)),
            isSet: !boundCIDRs.isEmpty)
        add("token_explicit_max_ttl", nil, seconds(explicitMaxTTL), isSet: true)
        add("token_max_ttl", old.maxTTL, seconds(maxTTL), isSet: maxTTL > .zero)
        add("token_no_default_policy", nil, .bool(hasNoDefaultPolicy), isSet: true)
        add("token_num_uses", old.numberOfUses, .int(numberOfUses), isSet: numberOfUses > 0)
        add("token_period", old.period, seconds(period), isSet: period > .zero)
        add("token_policies", old.policies, .strings(policies), isSet: !policies.isEmpty)
        add("token_ttl", old.ttl, seconds(ttl), isSet: ttl > .zero)
        add("token_type", nil, .string(type.rawValue), isSet: true)
        return members.sorted { $0.0 < $1.0 }
    }

    // MARK: In storage

    var record: JSONValue {
        .object([
            ("ttl", .int(Int(ttl.wholeNanoseconds))), ("max_ttl", .int(Int(maxTTL.wholeNanoseconds))),
            ("policies", .strings(policies)), ("cidrs", .strings(boundCIDRs.map(\.description))),
            ("explicit_max_ttl", .int(Int(explicitMaxTTL.wholeNanoseconds))),
            ("no_default", .bool(hasNoDefaultPolicy)), ("uses", .int(numberOfUses)),
            ("period", .int(Int(period.wholeNanoseconds))), ("type", .string(type.rawValue)),
            ("old", .strings(oldNames.sorted())),
        ])
    }

    init() {}

    /// Reads `record` back; nil when it is none.
    init?(record json: RawJSON) {
        func span(_ name: String) -> Duration? { json[name]?.int.map { .nanoseconds($0) } }
        func texts(_ name: String) -> [String]? {
            json[name].flatMap { $0.kind == .array ? $0.elements.compactMap(\.string) : nil }
        }
        guard let ttl = span("ttl"), let maxTTL = span("max_ttl"), let policies = texts("policies"),
            let networks = texts("cidrs"), let most = span("explicit_max_ttl"),
            let noDefault = json["no_default"]?.bool, let uses = json["uses"]?.int,
            let period = span("period"), let old = texts("old"),
            let type = json["type"]?.string.flatMap(LoginTokenType.init(rawValue:)),
            let blocks = try? CIDRBlock.parse(networks, field: "cidrs")
        else { return nil }
        self.ttl = ttl
        self.maxTTL = maxTTL
        self.policies = policies
        boundCIDRs = blocks
        explicitMaxTTL = most
        hasNoDefaultPolicy = noDefault
        numberOfUses = uses
        self.period = period
        self.type = type
        oldNames = Set(old)
    }
}
