import Base
import PluginKit

/// `auth/token/roles/`.
extension TokenMethod {
    private static let name = Field<String>(required: "name", "Name of the role.")
    private static let allowed = Field<[String]>(
        "allowed_policies", "Policies that tokens of the role may have.")
    private static let disallowed = Field<[String]>("disallowed_policies", "Policies that they may not have.")
    private static let allowedGlobs = Field<[String]>(
        "allowed_policies_glob", "As `allowed_policies`, with `*`.")
    private static let disallowedGlobs = Field<[String]>(
        "disallowed_policies_glob", "As `disallowed_policies`, with `*`.")
    private static let orphan = Field<Bool>("orphan", "Whether tokens of the role have no parent.")
    private static let renewable = Field<Bool>("renewable", "Whether they may be renewed.")
    private static let period = Field<Duration>("token_period", "Each renewal gives this span.")
    private static let oldPeriod = Field<Duration>("period", "An old name of `token_period`.")
    private static let most = Field<Duration>("token_explicit_max_ttl", "They die after this span.")
    private static let oldMost = Field<Duration>(
        "explicit_max_ttl", "An old name of `token_explicit_max_ttl`.")
    private static let suffix = Field<String>("path_suffix", "Goes behind the path of their leases.")
    private static let networks = Field<[String]>("token_bound_cidrs", "Networks that they may be used from.")
    private static let oldNetworks = Field<[String]>("bound_cidrs", "An old name of `token_bound_cidrs`.")
    private static let uses = Field<Int>("token_num_uses", "How often they may be used; 0 for no limit.")
    private static let tokenType = Field<String>(
        "token_type", "`service`, `batch`, `default-service` or `default-batch`.")
    private static let noDefault = Field<Bool>("token_no_default_policy", "Do not add the policy `default`.")
    private static let aliases = Field<[String]>(
        "allowed_entity_aliases", "Names that `entity_alias` may have.")

    static var roleRoutes: [Route<Self>] {
        [
            Route(.list, "roles", "List the token roles.", run: Self.listRoles),
            Route(.read, "roles/:name", "Read a token role.", fields: name, run: Self.readRole),
            Route(.delete, "roles/:name", "Delete a token role.", fields: name, run: Self.deleteRole),
            Route(
                .update, "roles/:name", "Create or change a token role.", fields: name, allowed, disallowed,
                allowedGlobs, disallowedGlobs, orphan, renewable, period, oldPeriod, most, oldMost, suffix,
                networks,
                oldNetworks, uses, tokenType, noDefault, aliases,
                exists: { method in
                    { request, tx throws(VaultError) in
                        try method.store.role(try request[Self.name], &tx) != nil
                    }
                }, run: Self.writeRole),
        ]
    }

    @Sendable private func listRoles(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try .keys(store.roleNames(&tx))
    }

    @Sendable private func deleteRole(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        store.deleteRole(&tx, try request[Self.name])
        return .empty
    }

    @Sendable private func readRole(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let role = try store.role(try request[Self.name], &tx) else { throw .notFound }
        let period = Int(role.period.wholeSeconds), most = Int(role.explicitMaxTTL.wholeSeconds)
        var members: [(String, JSONValue)] = [
            ("allowed_entity_aliases", role.allowedAliases.isEmpty ? .null : .strings(role.allowedAliases)),
            ("allowed_policies", .strings(role.allowedPolicies)),
            ("allowed_policies_glob", .strings(role.allowedGlobs)),
            ("disallowed_policies", .strings(role.disallowedPolicies)),
            ("disallowed_policies_glob", .strings(role.disallowedGlobs)),
            ("explicit_max_ttl", .int(role.hasOldMaximum ? most : 0)),
            ("name", .string(role.name)),
            ("orphan", .bool(role.isOrphan)),
            ("path_suffix", .string(role.pathSuffix)),
            ("period", .int(role.hasOldPeriod ? period : 0)),
            ("renewable", .bool(role.isRenewable)),
        ]
        if !role.boundCIDRs.isEmpty {
            members.append(("token_bound_cidrs", .strings(role.boundCIDRs.map(\.description))))
        }
        members.append(("token_explicit_max_ttl", .int(most)))
        members.append(("token_no_default_policy", .bool(role.hasNoDefaultPolicy)))
        if role.numberOfUses > 0 { members.append(("token_num_uses", .int(role.numberOfUses))) }
        members.append(("token_period", .int(period)))
        members.append(("token_type", .string(role.typeName)))
        return LogicalResponse(data: .object(members))
    }

    @Sendable private func writeRole(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let name = try request[Self.name]
        var role = try store.role(name, &tx) ?? TokenRole(name: name)
        if let names = try request.optional(Self.allowed) {
            role.allowedPolicies = TokenPolicies.sanitized(names, addingDefault: false)
        }
        if let names = try request.optional(Self.disallowed) {
            role.disallowedPolicies = TokenPolicies.sanitized(names, addingDefault: false)
        }
        role.allowedGlobs = try request.optional(Self.allowedGlobs) ?? role.allowedGlobs
        role.disallowedGlobs = try request.optional(Self.disallowedGlobs) ?? role.disallowedGlobs
        role.isOrphan = try request.optional(Self.orphan) ?? role.isOrphan
        role.isRenewable = try request.optional(Self.renewable) ?? role.isRenewable
        role.pathSuffix = try request.optional(Self.suffix) ?? role.pathSuffix
        role.numberOfUses = try request.optional(Self.uses) ?? role.numberOfUses
        role.typeName = try request.optional(Self.tokenType) ?? role.typeName
        role.hasNoDefaultPolicy = try request.optional(Self.noDefault) ?? role.hasNoDefaultPolicy
        role.allowedAliases = try request.optional(Self.aliases) ?? role.allowedAliases
        try setSpans(&role, request)
        try setNetworks(&role, request)
        try check(role)
        store.putRole(&tx, role)
        return .empty
    }

    private func setSpans(_ role: inout TokenRole, _ request: LogicalRequest) throws(VaultError) {
        if let span = try request.optional(Self.oldPeriod) {
            role.period = span
            role.hasOldPeriod = true
        }
        if let span = try request.optional(Self.period) {
            role.period = span
            role.hasOldPeriod = false
        }
        if let span = try request.optional(Self.oldMost) {
            role.explicitMaxTTL = span
            role.hasOldMaximum = true
        }
        if let span = try request.optional(Self.most) {
            role.explicitMaxTTL = span
            role.hasOldMaximum = false
        }
        if role.period < .zero { throw .badRequest("token_period cannot be negative") }
        if role.explicitMaxTTL < .zero { throw .badRequest("token_explicit_max_ttl cannot be negative") }
    }

    private func setNetworks(_ role: inout TokenRole, _ request: LogicalRequest) throws(VaultError) {
        let asked = try request.optional(Self.networks)
        let askedAsOld = try request.optional(Self.oldNetworks)
        guard let texts = asked ?? askedAsOld else { return }
        role.boundCIDRs = try CIDRBlock.parse(texts, field: Self.networks.name)
    }

    private func check(_ role: TokenRole) throws(VaultError) {
        guard ["service", "batch", "default-service", "default-batch"].contains(role.typeName) else {
            throw .badRequest(
                "invalid 'token_type' value: expected service, batch, default-service or default-batch")
        }
        if role.numberOfUses < 0 { throw .badRequest("token_num_uses cannot be negative") }
        if role.pathSuffix.utf8.count > 256 { throw .badRequest("path_suffix may have 256 bytes at most") }
        guard role.typeName == "batch" else { return }
        if !role.isOrphan {
            throw .badRequest("'token_type' cannot be 'batch' when role is set to not be orphan")
        }
        if role.isRenewable {
            throw .badRequest("'token_type' cannot be 'batch' when role is set to be renewable")
        }
        if role.period > .zero { throw .badRequest("'token_type' cannot be 'batch' when role is periodic") }
        if role.explicitMaxTTL > .zero {
            throw .badRequest("'token_type' cannot be 'batch' when role has an explicit max TTL")
        }
        if role.numberOfUses > 0 {
            throw .badRequest("'token_type' cannot be 'batch' when role has token_num_uses")
        }
    }
}
