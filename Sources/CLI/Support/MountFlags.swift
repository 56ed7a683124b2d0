internal import APIClient
internal import Base

/// The flags and the request that secrets engines and auth methods share when mounted or tuned.
enum MountFlags {
    static let description = Flag<String>("description", "What the mount is for, in words.")
    static let path = Flag<String>("path", "Where to mount it; the type's name by default.")
    static let defaultTTL = Flag<Duration?>(
        "default-lease-ttl", "Lifetime of leases and tokens; negative is the system's.")
    static let maxTTL = Flag<Duration?>(
        "max-lease-ttl", "Longest lifetime of leases and tokens; negative is the system's.")
    static let requestKeys = Flag<[String]>(
        list: "audit-non-hmac-request-keys", commas: true,
        "Fields of requests that audit shows in plain text.")
    static let responseKeys = Flag<[String]>(
        list: "audit-non-hmac-response-keys", commas: true,
        "Fields of responses that audit shows in plain text.")
    static let visibility = Flag<String>(
        "listing-visibility", "Whom the mount is listed to: unauth or hidden.")
    static let passthrough = Flag<[String]>(
        list: "passthrough-request-headers", commas: true, "Request headers that the plug-in sees.")
    static let allowed = Flag<[String]>(
        list: "allowed-response-headers", commas: true, "Headers that the plug-in may send.")
    static let managedKeys = Flag<[String]>(
        list: "allowed-managed-keys", commas: true, "Managed keys that it may use.")
    static let delegated = Flag<[String]>(
        list: "delegated-auth-accessors", commas: true,
        "Accessors of auth methods that the plug-in may log in with.")
    static let identityKey = Flag<String>("identity-token-key", "Key that signs its identity tokens.")
    static let noCache = Flag<Bool>(switch: "force-no-cache", "Read storage without a cache.")
    static let options = Flag<[String: String]>(
        map: "options", "Option for the plug-in, as name=value. Repeatable.")
    static let local = Flag<Bool>(switch: "local", "Keep the mount out of replication.")
    static let sealWrap = Flag<Bool>(switch: "seal-wrap", "Wrap critical values with the seal.")
    static let entropy = Flag<Bool>(
        switch: "external-entropy-access", "Let it draw on an external source of entropy.")
    static let version = Flag<Int>("version", default: -1, "Version of the engine, as kv has two.")
    static let pluginVersion = Flag<String>("plugin-version", "Version of the plug-in.")
    static let pluginName = Flag<String>("plugin-name", "Name of the plug-in, when the type is plugin.")
    static let tokenType = Flag<String>("token-type", "Type of the tokens that logins give.")
    static let lockoutThreshold = Flag<Int>(
        "user-lockout-threshold", default: -1, "Failed logins after which a user is locked out.")
    static let lockoutDuration = Flag<Duration?>(
        "user-lockout-duration", "How long a user stays locked out.")
    static let lockoutReset = Flag<Duration?>(
        "user-lockout-counter-reset-duration", "Time without a failed login after which counting starts anew."
    )
    static let lockoutDisable = Flag<Bool?>(
        optionalSwitch: "user-lockout-disable", "Lock no user out.")

    static let shared: [any AnyFlag] = [
        description, defaultTTL, maxTTL, requestKeys, responseKeys, visibility, passthrough, allowed,
        managedKeys,
        options, pluginVersion, delegated, identityKey,
    ]
    static let enabling: [any AnyFlag] =
        shared + [path, noCache, local, sealWrap, entropy, version, pluginName]

    /// What only auth methods have.
    static let auth: [any AnyFlag] = [
        tokenType, lockoutThreshold, lockoutDuration, lockoutReset, lockoutDisable,
    ]

    private static func lockout(_ call: Invocation) -> [(String, JSONValue)] {
        var lockout: [(String, JSONValue)] = []
        if call[lockoutThreshold] >= 0 {
            lockout.append(("lockout_threshold", .string(String(call[lockoutThreshold]))))
        }
        if let span = call[lockoutDuration] { lockout.append(("lockout_duration", .string(span.goText))) }
        if let span = call[lockoutReset] {
            lockout.append(("lockout_counter_reset_duration", .string(span.goText)))
        }
        if let flag = call[lockoutDisable] { lockout.append(("lockout_disable", .bool(flag))) }
        return lockout
    }

    /// Only what the caller gave.
    static func config(_ call: Invocation) -> [(String, JSONValue)] {
        var config: [(String, JSONValue)] = []
        for (flag, name) in [(defaultTTL, "default_lease_ttl"), (maxTTL, "max_lease_ttl")] {
            guard let span = call[flag] else { continue }
            config.append((name, .string(span < .zero ? "system" : span.goText)))
        }
        for (flag, name) in [
            (requestKeys, "audit_non_hmac_request_keys"), (responseKeys, "audit_non_hmac_response_keys"),
            (passthrough, "passthrough_request_headers"), (allowed, "allowed_response_headers"),
            (managedKeys, "allowed_managed_keys"), (delegated, "delegated_auth_accessors"),
        ] where call.flags.has(flag) {
            config.append((name, .strings(call[flag])))
        }
        if call.flags.has(visibility) { config.append(("listing_visibility", .string(call[visibility]))) }
        if call.flags.has(tokenType) { config.append(("token_type", .string(call[tokenType]))) }
        if call.flags.has(pluginVersion) { config.append(("plugin_version", .string(call[pluginVersion]))) }
        if call.flags.has(identityKey) {
            config.append(("identity_token_key", .string(call[identityKey])))
        }
        let lockout = lockout(call)
        if !lockout.isEmpty { config.append(("user_lockout_config", lockout.asObject)) }
        return config
    }

    static func options(_ call: Invocation) -> JSONValue? {
        var options = call[self.options]
        if call[version] > 0 { options["version"] = String(call[version]) }
        return options.isEmpty ? nil : .map(options)
    }

    /// The body that mounts a plug-in of `type`.
    static func enableBody(_ type: String, _ call: Invocation) -> JSONValue {
        var config = self.config(call)
        if call[noCache] { config.append(("force_no_cache", true)) }
        var body: [(String, JSONValue)] = [
            ("type", .string(type)), ("description", .string(call[description])), ("config", config.asObject),
        ]
        // A null where there are none, as Vault's own client sends it: the mount then shows none.
        body.append(("options", options(call) ?? .null))
        if call[local] { body.append(("local", true)) }
        if call[sealWrap] { body.append(("seal_wrap", true)) }
        if call[entropy] { body.append(("external_entropy_access", true)) }
        return body.asObject
    }

    /// The body that tunes a mount: only what the caller gave changes.
    static func tuneBody(_ call: Invocation) -> JSONValue {
        var body = config(call)
        if call.flags.has(description) { body.append(("description", .string(call[description]))) }
        if let options = options(call) { body.append(("options", options)) }
        return body.asObject
    }

    /// The type to mount and its path, with a slash at its end.
    static func place(_ call: Invocation) throws(CommandFailure) -> (type: String, path: String) {
        var type = String(call.arguments[0].trimmed)
        if type == "plugin" {
            type = call[pluginName]
            if type.isEmpty { throw .usage("Missing plugin name: use -plugin-name with the type plugin") }
        }
        let path = call.flags.has(self.path) ? call[self.path] : type
        let clean = KVPath.sanitized(path)
        if clean.isEmpty { throw .usage("-path: expected where to mount it, got an empty path") }
        return (type, clean + "/")
    }
}

/// The table of mounts that `secrets list` and `auth list` print.
enum MountTable {
    static func fetch(_ endpoint: String, _ what: String, _ call: Invocation) throws(CommandFailure)
        -> JSONValue
    {
        let found = try call.api("Error listing \(what)") { (client) throws(APIError) in
            try client.read(endpoint)
        }
        let mounts = (found?.data?.tree.members ?? []).filter { !$0.1.members.isEmpty }
        let fields = [
            "uuid", "type", "description", "accessor", "config", "options", "local", "seal_wrap",
            "external_entropy_access",
        ]
        return .object(mounts.map { ($0.0, $0.1.ordered(fields)) })
    }

    static func simple(_ mounts: JSONValue) -> String {
        Table.text(
            [["Path", "Type", "Accessor", "Description"]]
                + mounts.members.map { path, mount in
                    [path, text(mount, "type"), text(mount, "accessor"), text(mount, "description")]
                })
    }

    /// Secrets engines show their cache setting where auth methods show their token type.
    static func detailed(_ mounts: JSONValue, isAuth: Bool) -> String {
        let header = [
            "Path", "Plugin", "Accessor", "Default TTL", "Max TTL", isAuth ? "Token Type" : "Force No Cache",
            "Replication", "Seal Wrap", "External Entropy Access", "Options", "Description", "UUID",
        ]
        let rows = mounts.members.map { path, mount in
            let type = text(mount, "type")
            let config = mount["config"] ?? .object([])
            // Not `?? .object([])` on a mapped optional: `nil` is a literal of JSONValue, too.
            let options = JSONValue.object(mount["options"]?.members ?? [])
            return [
                path, type, text(mount, "accessor"), ttl(config["default_lease_ttl"], type),
                ttl(config["max_lease_ttl"], type), text(config, isAuth ? "token_type" : "force_no_cache"),
                text(mount, "local") == "true" ? "local" : "replicated", text(mount, "seal_wrap"),
                text(mount, "external_entropy_access"), options.goText, text(mount, "description"),
                text(mount, "uuid"),
            ]
        }
        return Table.text([header] + rows)
    }

    private static func text(_ object: JSONValue, _ name: String) -> String {
        guard let value = object[name], !value.isNull else { return "" }
        return value.goText
    }

    private static func ttl(_ value: JSONValue?, _ type: String) -> String {
        if type == "system" || type == "cubbyhole" { return "" }
        let seconds = value?.goText ?? "0"
        return seconds == "0" ? "system" : seconds
    }
}
