package import Base
package import Core
package import PluginKit

/// `sys/mounts`, `sys/auth` and `sys/remount`: the mount table as clients see and change it.
package struct SysMounts: Sendable {
    private let registry: MountRegistry
    private let random: any RandomSource

    package init(registry: MountRegistry, random: any RandomSource) {
        self.registry = registry
        self.random = random
    }

    private static let path = Field<String>(required: "path", "Where to mount, without leading slash.")
    private static let type = Field<String>("type", "Type of the engine or method: kv, userpass, …")
    private static let description = Field<String>("description", "A sentence for people.")
    private static let config = Field<RawJSON>(
        "config", "TTLs, listing visibility, headers and audit exceptions.")
    private static let options = Field<[String: String]>(
        "options", "Options of the type, such as version for kv.")
    private static let local = Field<Bool>("local", default: false, "Not replicated to other clusters.")
    private static let sealWrap = Field<Bool>("seal_wrap", default: false, "Kept for compatibility.")
    private static let from = Field<String>(required: "from", "The mount's path now.")
    private static let to = Field<String>(required: "to", "The mount's path afterwards.")
    private static let migration = Field<String>(required: "migration_id", "Id that sys/remount answered.")

    package static var routes: [Route<Self>] {
        secretRoutes + authRoutes + [
            Route(
                .update, "remount", "Move a mount to another path.", .sudo, fields: from, to,
                run: Self.remount),
            Route(
                .read, "remount/status/:migration_id", "How a move stands.", fields: migration,
                run: Self.remountStatus),
        ]
    }

    private static var secretRoutes: [Route<Self>] {
        [
            Route(.read, "mounts", "List the mounted secrets engines.", run: { $0.list(.secret) }),
            Route(
                .read, "mounts/*path/tune", "Read a mount's settings.", fields: path,
                run: { $0.readTune(.secret) }),
            Route(
                .update, "mounts/*path/tune", "Change a mount's settings.",
                fields: path, description, options, MountTuning.defaultTTL, MountTuning.maxTTL,
                MountTuning.visibility, MountTuning.auditedRequestKeys, MountTuning.auditedResponseKeys,
                MountTuning.requestHeaders, MountTuning.responseHeaders,
                run: { $0.writeTune(.secret) }),
            Route(.read, "mounts/*path", "Read one mount.", fields: path, run: { $0.read(.secret) }),
            Route(
                .update, "mounts/*path", "Enable a secrets engine.",
                fields: path, type, description, config, options, local, sealWrap, run: { $0.enable(.secret) }
            ),
            Route(
                .delete, "mounts/*path", "Disable a secrets engine and delete all it holds.", fields: path,
                run: { $0.disable(.secret) }),
        ]
    }

    private static var authRoutes: [Route<Self>] {
        [
            Route(.read, "auth", "List the enabled auth methods.", run: { $0.list(.auth) }),
            Route(
                .read, "auth/*path/tune", "Read a method's settings.", .sudo, fields: path,
                run: { $0.readTune(.auth) }),
            Route(
                .update, "auth/*path/tune", "Change a method's settings.", .sudo,
                fields: path, description, options, MountTuning.defaultTTL, MountTuning.maxTTL,
                MountTuning.visibility, MountTuning.auditedRequestKeys, MountTuning.auditedResponseKeys,
                MountTuning.requestHeaders, MountTuning.responseHeaders, MountTuning.tokenType,
                MountTuning.userLockout,
                run: { $0.writeTune(.auth) }),
            Route(.read, "auth/*path", "Read one method.", .sudo, fields: path, run: { $0.read(.auth) }),
            Route(
                .update, "auth/*path", "Enable an auth method.", .sudo,
                fields: path, type, description, config, options, local, sealWrap, run: { $0.enable(.auth) }),
            Route(
                .delete, "auth/*path", "Disable an auth method and revoke what it issued.", .sudo,
                fields: path,
                run: { $0.disable(.auth) }),
        ]
    }

    // MARK: Reading

    private func list(_ kind: MountKind) -> SyncHandler {
        { (request, tx) throws(VaultError) in
            let rows = try registry.readEntries(&tx).filter { $0.kind == kind }.sorted { $0.path < $1.path }
            var response = LogicalResponse(data: .object(rows.map { ($0.path, $0.listing) }))
            response.mirrorsData = true
            return response
        }
    }

    private func read(_ kind: MountKind) -> SyncHandler {
        { (request, tx) throws(VaultError) in
            let (entries, index) = try find(request, kind, &tx)
            return LogicalResponse(data: entries[index].listing)
        }
    }

    private func readTune(_ kind: MountKind) -> SyncHandler {
        { (request, tx) throws(VaultError) in
            let (entries, index) = try find(request, kind, &tx)
            let entry = entries[index]
            var response = LogicalResponse(data: .object(MountTuning.describe(entry, registry.defaults)))
            response.mirrorsData = true
            return response
        }
    }

    /// The row that `path` names; `mounts/auth/x` names an auth method too.
    private func find(
        _ request: LogicalRequest, _ kind: MountKind, _ tx: inout Transaction
    ) throws(VaultError) -> (entries: [MountEntry], index: Int) {
        let wanted = kind.apiPrefix + Self.clean(try request[Self.path])
        let entries = try registry.readEntries(&tx)
        guard let index = entries.firstIndex(where: { $0.apiPath == wanted }) else {
            throw .badRequest("no mount at \(wanted)")
        }
        return (entries, index)
    }

    // MARK: Changing

    private func enable(_ kind: MountKind) -> SyncHandler {
        { (request, tx) throws(VaultError) in
            let path = Self.clean(try request[Self.path])
            try Self.check(path, kind)
            guard var type = try request.optional(Self.type), !type.isEmpty else {
                throw .badRequest("backend type must be specified as a string: field 'type'")
            }
            var entries = try registry.readEntries(&tx)
            if let conflict = Self.conflict(kind.apiPrefix + path, entries) {
                throw .badRequest("path is already in use at \(conflict.path)")
            }
            var options = try request.optional(Self.options) ?? [:]
            if kind == .secret { Self.resolveAlias(&type, &options) }
            guard registry.knows(type, kind) else {
                throw .badRequest(
                    "plugin not found in the catalog: \(type); known types: \(registry.types(kind).joined(separator: ", "))"
                )
            }
            var entry = MountEntry(
                kind: kind, path: path, type: type, description: try request.optional(Self.description) ?? "",
                random: random)
            // A null stays one: the official clients send it, and want it back.
            let isNull = options.isEmpty && request.body?["options"]?.isNull ?? false
            entry.options = isNull ? nil : options
            entry.isLocal = try request[Self.local]
            entry.isSealWrapped = try request[Self.sealWrap]
            if kind == .auth { entry.config.tokenType = "default-service" }
            if let config = try request.optional(Self.config) {
                try MountTuning.apply(config, to: &entry, systemMax: registry.defaults.max)
            }
            let mount = try registry.build(entry)
            var scoped = tx.scoped(to: mount.storagePrefix)
            try mount.prepare(&scoped)
            entries.append(entry)
            registry.writeEntries(entries, &tx)
            return .empty
        }
    }

    private func disable(_ kind: MountKind) -> SyncHandler {
        { (request, tx) throws(VaultError) in
            let wanted = kind.apiPrefix + Self.clean(try request[Self.path])
            var entries = try registry.readEntries(&tx)
            guard let index = entries.firstIndex(where: { $0.apiPath == wanted }) else { return .empty }
            let entry = entries[index]
            if MountRegistry.isBuiltIn(entry) {
                throw .badRequest("\(wanted) is part of the server and cannot be disabled")
            }
            entries.remove(at: index)
            registry.writeEntries(entries, &tx)
            // The mount is gone with this commit; what it leased is revoked in the background, then what it
            // stored is deleted.
            try registry.retire(entry, isDisabled: true, &tx)
            return .empty
        }
    }

    private func writeTune(_ kind: MountKind) -> SyncHandler {
        { (request, tx) throws(VaultError) in
            var (entries, index) = try find(request, kind, &tx)
            var entry = entries[index]
            guard let body = request.body else { return .empty }
            try MountTuning.apply(body, to: &entry, systemMax: registry.defaults.max)
            if let description = try request.optional(Self.description) { entry.description = description }
            var warnings: [String] = []
            if let options = try request.optional(Self.options) {
                let merged = (entry.options ?? [:]).merging(options) { _, new in new }
                try Self.checkVersionChange(entry, merged)
                if entry.type == "kv", entry.options?["version"] != "2", merged["version"] == "2" {
                    warnings.append(
                        "Upgrading mount from version 1 to version 2: its paths now start with data/ and metadata/."
                    )
                }
                entry.options = merged
                let mount = try registry.build(entry)
                var scoped = tx.scoped(to: mount.storagePrefix)
                try mount.prepare(&scoped)
            }
            entries[index] = entry
            registry.writeEntries(entries, &tx)
            return LogicalResponse(warnings: warnings)
        }
    }

    // MARK: Moving

    private func remount(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let from = Self.clean(try request[Self.from])
        let to = Self.clean(try request[Self.to])
        if from == "/" || to == "/" {
            throw .badRequest("fields 'from' and 'to': expected the path of a mount")
        }
        var entries = try registry.readEntries(&tx)
        guard let index = entries.firstIndex(where: { $0.apiPath == from }) else {
            throw .badRequest("no matching mount at \"\(from)\"")
        }
        if MountRegistry.isBuiltIn(entries[index]) { throw .badRequest("cannot remount \"\(from)\"") }
        let kind: MountKind = to.hasPrefix("auth/") ? .auth : .secret
        guard kind == entries[index].kind else {
            throw .badRequest(
                "an auth method can only be moved below auth/, a secrets engine only outside of it")
        }
        if let conflict = Self.conflict(to, entries.filter { $0.apiPath != from }) {
            throw .badRequest("existing mount at \"\(conflict.apiPath)\"")
        }
        let path = kind == .auth ? String(to.dropFirst(5)) : to
        try Self.check(path, kind)
        // Leases and tokens are named for the path that granted them: as in Vault they end with it.
        try registry.retire(entries[index], isDisabled: false, &tx)
        entries[index].path = path
        registry.writeEntries(entries, &tx)
        let id = random.uuid()
        let info: JSONValue = [
            "source_mount": .string(from), "target_mount": .string(to), "status": "success",
        ]
        tx.put("core/remount/\(id)", info.encoded())
        return LogicalResponse(data: ["migration_id": .string(id)])
    }

    private func remountStatus(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let id = try request[Self.migration]
        guard !id.contains("/"), let info = try tx.get("core/remount/\(id)") else { throw .notFound }
        return LogicalResponse(data: [
            "migration_id": .string(id), "migration_info": .raw(RawJSON(trusted: info)),
        ])
    }

    // MARK: Rules

    /// With exactly one slash, at the end.
    private static func clean(_ path: String) -> String {
        var path = path[...]
        while path.hasSuffix("/") { path.removeLast() }
        while path.hasPrefix("/") { path.removeFirst() }
        return path + "/"
    }

    private static func check(_ path: String, _ kind: MountKind) throws(VaultError) {
        if path == "/" { throw .badRequest("field 'path': expected the path of a mount") }
        if path.utf8.count > 512 { throw .badRequest("field 'path': expected at most 512 bytes") }
        let segments = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        if segments.contains(where: {
            $0.isEmpty || $0 == "." || $0 == ".." || $0.contains("*") || $0.contains("+")
        }) {
            throw .badRequest("field 'path': expected segments without *, + or dots alone")
        }
        if path.unicodeScalars.contains(where: {
            $0.value < 32 || $0.value == 127 || $0.properties.isWhitespace
        }) {
            throw .badRequest("field 'path': expected no blanks or control characters")
        }
        let reserved = ["auth/", "audit/", "sys/", "cubbyhole/", "identity/"]
        if kind == .secret, let taken = reserved.first(where: { path.hasPrefix($0) }) {
            throw .badRequest("cannot mount below the reserved path \(taken)")
        }
    }

    private static func conflict(_ apiPath: String, _ entries: [MountEntry]) -> MountEntry? {
        entries.first { $0.apiPath.hasPrefix(apiPath) || apiPath.hasPrefix($0.apiPath) }
    }

    /// `kv-v2` and `generic` are names that older and newer clients use for kv.
    private static func resolveAlias(_ type: inout String, _ options: inout [String: String]) {
        switch type {
        case "kv-v1", "generic": (type, options["version"]) = ("kv", "1")
        case "kv-v2": (type, options["version"]) = ("kv", "2")
        default: break
        }
    }

    private static func checkVersionChange(_ entry: MountEntry, _ merged: [String: String]) throws(VaultError)
    {
        guard entry.type == "kv", let version = merged["version"] else { return }
        guard version == "1" || version == "2" else { throw .badRequest("options: version: expected 1 or 2") }
        if entry.options?["version"] == "2", version == "1" {
            throw .badRequest("cannot downgrade a kv mount from version 2 to version 1")
        }
    }
}
