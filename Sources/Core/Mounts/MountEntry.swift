package import Base
import PluginKit

/// The two tables of mounts: secrets engines at the root, auth methods below `auth/`.
package enum MountKind: String, Sendable {
    case secret, auth

    /// What stands before a mount's own path in the API.
    package var apiPrefix: String { self == .auth ? "auth/" : "" }
}

/// What can be tuned on a mount. Zero durations mean the server's defaults.
package struct MountConfig: Sendable, Equatable {
    package var defaultTTL: Duration = .zero
    package var maxTTL: Duration = .zero
    package var forceNoCache = false
    /// Empty, `hidden` or `unauth`.
    package var listingVisibility = ""
    package var auditNonHMACRequestKeys: [String]?
    package var auditNonHMACResponseKeys: [String]?
    package var passthroughRequestHeaders: [String]?
    package var allowedResponseHeaders: [String]?
    /// Auth methods only: `default-service`, `default-batch`, `service`, `batch`.
    package var tokenType: String?
    /// Auth methods only: what was tuned of the lockout.
    package var userLockout: LockoutSettings?

    package init() {}
}

/// One row of the mount table, as it is stored and shown.
package struct MountEntry: Sendable, Equatable {
    package var kind: MountKind
    /// With a trailing slash, without `auth/`.
    package var path: String
    package var type: String
    package var description: String
    package var uuid: String
    package var accessor: String
    package var config = MountConfig()
    /// Nil for the built-in mounts, which have none.
    package var options: [String: String]?
    package var isLocal = false
    package var isSealWrapped = false

    package init(kind: MountKind, path: String, type: String, description: String, random: any RandomSource) {
        self.kind = kind
        self.path = path
        self.type = type
        self.description = description
        uuid = random.uuid()
        let suffix = random.bytes(4).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        accessor = (kind == .auth ? "auth_" : "") + type + "_" + suffix
    }

    /// The path below `/v1/`, with a trailing slash.
    package var apiPath: String { kind.apiPrefix + path }

    /// What stands before all of the mount's storage keys.
    package var storagePrefix: String { (kind == .auth ? "auth/" : "logical/") + uuid + "/" }
}

// MARK: JSON

extension MountEntry {
    /// The record in storage: everything, zero or not.
    var record: JSONValue {
        .object([
            ("kind", .string(kind.rawValue)), ("path", .string(path)), ("type", .string(type)),
            ("description", .string(description)), ("uuid", .string(uuid)), ("accessor", .string(accessor)),
            ("options", .map(options)), ("local", .bool(isLocal)), ("seal_wrap", .bool(isSealWrapped)),
            ("config", .object(config.members)),
        ])
    }

    init(record json: RawJSON) throws(VaultError) {
        func text(_ name: String) throws(VaultError) -> String {
            guard let value = json[name]?.string else { throw .corrupted(place: "mount table: \(name)") }
            return value
        }
        guard let kind = MountKind(rawValue: try text("kind")) else {
            throw .corrupted(place: "mount table: kind")
        }
        self.kind = kind
        path = try text("path")
        type = try text("type")
        description = try text("description")
        uuid = try text("uuid")
        accessor = try text("accessor")
        isLocal = json["local"]?.bool ?? false
        isSealWrapped = json["seal_wrap"]?.bool ?? false
        options = json["options"].flatMap { $0.isNull ? nil : [String: String].parse(.json($0)) }
        if let stored = json["config"] { config = MountConfig(record: stored) }
    }

    /// The object in `sys/mounts` and `sys/auth`.
    package var listing: JSONValue {
        .object([
            ("accessor", .string(accessor)), ("config", .object(config.members)),
            ("description", .string(description)), ("external_entropy_access", false),
            ("local", .bool(isLocal)),
            ("options", .map(options)), ("plugin_version", ""), ("running_plugin_version", ""),
            ("running_sha256", ""), ("seal_wrap", .bool(isSealWrapped)), ("type", .string(type)),
            ("uuid", .string(uuid)),
        ])
    }
}

extension MountConfig {
    /// The members as Vault shows them: the rarely used ones only when set.
    package var members: [(String, JSONValue)] {
        var members: [(String, JSONValue)] = [
            ("default_lease_ttl", .int(Int(defaultTTL.wholeSeconds))),
            ("max_lease_ttl", .int(Int(maxTTL.wholeSeconds))),
            ("force_no_cache", .bool(forceNoCache)),
        ]
        func add(_ name: String, _ values: [String]?) {
            if let values, !values.isEmpty { members.append((name, .strings(values))) }
        }
        add("audit_non_hmac_request_keys", auditNonHMACRequestKeys)
        add("audit_non_hmac_response_keys", auditNonHMACResponseKeys)
        add("passthrough_request_headers", passthroughRequestHeaders)
        add("allowed_response_headers", allowedResponseHeaders)
        if !listingVisibility.isEmpty { members.append(("listing_visibility", .string(listingVisibility))) }
        if let tokenType { members.append(("token_type", .string(tokenType))) }
        if let userLockout { members.append(("user_lockout_config", .object(userLockout.members))) }
        return members
    }

    init(record json: RawJSON) {
        defaultTTL = .seconds(json["default_lease_ttl"]?.int ?? 0)
        maxTTL = .seconds(json["max_lease_ttl"]?.int ?? 0)
        forceNoCache = json["force_no_cache"]?.bool ?? false
        listingVisibility = json["listing_visibility"]?.string ?? ""
        func list(_ name: String) -> [String]? { json[name].flatMap { [String].parse(.json($0)) } }
        auditNonHMACRequestKeys = list("audit_non_hmac_request_keys")
        auditNonHMACResponseKeys = list("audit_non_hmac_response_keys")
        passthroughRequestHeaders = list("passthrough_request_headers")
        allowedResponseHeaders = list("allowed_response_headers")
        tokenType = json["token_type"]?.string
        if let stored = json["user_lockout_config"] { userLockout = LockoutSettings(record: stored) }
    }
}
