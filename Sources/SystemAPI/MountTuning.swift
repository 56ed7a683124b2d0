import Base
import Core
import PluginKit

/// The settings of a mount that `config` (when enabling) and `tune` share.
enum MountTuning {
    static let defaultTTL = Field<String>(
        "default_lease_ttl", "Usual lifetime of leases; \"system\" for the server's.")
    static let maxTTL = Field<String>(
        "max_lease_ttl", "Longest lifetime of leases; \"system\" for the server's.")

    static let visibility = Field<String>(
        "listing_visibility", "\"unauth\" lists the mount to everyone; \"hidden\" or empty to nobody.")
    static let auditedRequestKeys = Field<[String]>(
        "audit_non_hmac_request_keys", "Names of request fields that audit devices record in the clear.")
    static let auditedResponseKeys = Field<[String]>(
        "audit_non_hmac_response_keys", "Names of answered fields that audit devices record in the clear.")
    static let requestHeaders = Field<[String]>(
        "passthrough_request_headers", "Headers of requests that the engine gets to see.")
    static let responseHeaders = Field<[String]>(
        "allowed_response_headers", "Headers that the engine may add to answers.")
    static let tokenType = Field<String>(
        "token_type", "Kind of the tokens that logins get: service, batch, default-service, default-batch.")
    static let userLockout = Field<RawJSON>(
        "user_lockout_config",
        "lockout_threshold, lockout_duration, lockout_counter_reset_duration, lockout_disable.")

    /// Applies the members that are present. Nothing is changed when one of them is wrong.
    static func apply(_ json: RawJSON, to entry: inout MountEntry, systemMax: Duration) throws(VaultError) {
        guard json.kind == .object else { throw .badRequest("field 'config': expected an object") }
        var config = entry.config
        if let ttl = try duration(json, "default_lease_ttl") { config.defaultTTL = ttl }
        if let ttl = try duration(json, "max_lease_ttl") { config.maxTTL = ttl }
        let most = config.maxTTL == .zero ? systemMax : config.maxTTL
        if config.defaultTTL > most {
            throw .badRequest("default_lease_ttl must not be greater than max_lease_ttl (\(most.goText))")
        }
        if let value = json["force_no_cache"], !value.isNull {
            guard let flag = Bool.parse(.json(value)) else {
                throw .badRequest("force_no_cache: expected a boolean")
            }
            config.forceNoCache = flag
        }
        if let value = json["listing_visibility"], !value.isNull {
            guard let text = value.string, ["", "hidden", "unauth"].contains(text) else {
                throw .badRequest("listing_visibility: expected \"\", \"hidden\" or \"unauth\"")
            }
            config.listingVisibility = text == "hidden" ? "" : text
        }
        try list(json, "audit_non_hmac_request_keys", &config.auditNonHMACRequestKeys)
        try list(json, "audit_non_hmac_response_keys", &config.auditNonHMACResponseKeys)
        try headers(json, "passthrough_request_headers", &config.passthroughRequestHeaders)
        try headers(json, "allowed_response_headers", &config.allowedResponseHeaders)
        if let value = json["token_type"], !value.isNull {
            config.tokenType = try readTokenType(value, entry)
        }
        if let value = json["user_lockout_config"], !value.isNull {
            config.userLockout = try LockoutTuning.read(value, over: config.userLockout, entry)
        }
        entry.config = config
    }

    /// What `tune` shows: the mount's TTLs or else the system's, and the rest where it is set.
    static func describe(_ entry: MountEntry, _ system: (default: Duration, max: Duration)) -> [(
        String, JSONValue
    )] {
        var effective = entry.config
        if effective.defaultTTL == .zero { effective.defaultTTL = system.default }
        if effective.maxTTL == .zero { effective.maxTTL = system.max }
        effective.userLockout = nil
        var members = effective.members + (entry.config.userLockout?.members ?? [])
        members.append(("description", .string(entry.description)))
        if let options = entry.options, !options.isEmpty { members.append(("options", .map(options))) }
        return members
    }

    private static func duration(_ json: RawJSON, _ name: String) throws(VaultError) -> Duration? {
        guard let value = json[name], !value.isNull else { return nil }
        if value.string == "system" { return .zero }
        guard let span = Duration.parse(.json(value)), span >= .zero, span.wholeSeconds < 1 << 33 else {
            throw .badRequest("\(name): expected a duration such as \"768h\", or \"system\"")
        }
        return span
    }

    private static func headers(_ json: RawJSON, _ name: String, _ target: inout [String]?)
        throws(VaultError)
    {
        var names = target
        try list(json, name, &names)
        guard names?.allSatisfy({ HeaderText.isName($0) }) ?? true else {
            throw .badRequest("\(name): expected names of HTTP headers")
        }
        target = names
    }

    private static func list(_ json: RawJSON, _ name: String, _ target: inout [String]?) throws(VaultError) {
        guard let value = json[name], !value.isNull else { return }
        guard let names = [String].parse(.json(value)), names.count <= 128 else {
            throw .badRequest("\(name): expected a list of strings")
        }
        target = names.filter { !$0.isEmpty }
    }

    private static func readTokenType(_ value: RawJSON, _ entry: MountEntry) throws(VaultError) -> String {
        let known = ["default-service", "default-batch", "service", "batch"]
        guard entry.kind == .auth else { throw .badRequest("token_type: only auth methods have one") }
        guard let text = value.string, known.contains(text) else {
            throw .badRequest("token_type: expected one of \(known.joined(separator: ", "))")
        }
        return text
    }
}
