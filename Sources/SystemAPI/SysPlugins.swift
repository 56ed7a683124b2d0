package import Base
package import Core
package import PluginKit

/// `sys/plugins/*`. Every engine and method is part of the program: the catalog names them, and takes no
/// others, for a plug-in from outside would run with all that the server may do.
package struct SysPlugins: Sendable {
    private let registry: MountRegistry
    private let random: any RandomSource

    package init(registry: MountRegistry, random: any RandomSource) {
        self.registry = registry
        self.random = random
    }

    private static let type = Field<String>(required: "type", "auth, database or secret.")
    private static let name = Field<String>(required: "name", "Name of the plug-in.")
    private static let plugin = Field<String>("plugin", "Type whose mounts are reloaded.")
    private static let mounts = Field<[String]>("mounts", "Paths of the mounts to reload.")
    private static let scope = Field<String>("scope", default: "", "Empty, or global.")

    package static var routes: [Route<Self>] {
        let listings = Kind.allCases.map { kind in
            Route<Self>(
                .list, "plugins/catalog/\(kind.rawValue)", "List the plug-ins of a type.", .sudo,
                run: { $0.list(kind) })
        }
        return listings + [
            Route(.read, "plugins/catalog", "List all plug-ins.", run: Self.listAll),
            Route(.read, "plugins/catalog/", "List all plug-ins.", .hidden, run: Self.listAll),
            Route(
                .read, "plugins/catalog/:type/:name", "Read a plug-in.", .sudo, fields: type, name,
                run: Self.read),
            Route(
                .update, "plugins/catalog/:type/:name", "Refused: plug-ins are part of the program.", .sudo,
                fields: type, name, run: Self.register),
            Route(
                .delete, "plugins/catalog/:type/:name", "Refused for what is part of the program.", .sudo,
                fields: type, name, run: Self.deregister),
            Route(
                .read, "plugins/catalog/:name", "Refused: the type is missing.", [.sudo, .hidden],
                fields: name,
                run: Self.missingType),
            Route(
                .read, "plugins/catalog/:name/", "Refused: the type is missing.", [.sudo, .hidden],
                fields: name,
                run: Self.missingType),
            Route(
                .update, "plugins/reload/backend", "Make the engines of mounts anew.",
                fields: plugin, mounts, scope, runAsync: Self.reload),
        ]
    }

    private enum Kind: String, CaseIterable { case auth, database, secret }

    private func names(_ kind: Kind) -> [String] {
        switch kind {
        case .auth: registry.types(.auth)
        case .secret: registry.types(.secret)
        // Databases are drivers of one engine, and listed with it.
        case .database: []
        }
    }

    private static var version: String { "v\(Version.product)+builtin" }

    private func listAll(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        var members: [(String, JSONValue)] = []
        var detailed: [JSONValue] = []
        for kind in Kind.allCases {
            members.append((kind.rawValue, .strings(names(kind))))
            for name in names(kind) {
                detailed.append([
                    "name": .string(name), "type": .string(kind.rawValue), "builtin": true,
                    "version": .string(Self.version), "deprecation_status": "supported",
                ])
            }
        }
        members.append(("detailed", .array(detailed)))
        return LogicalResponse(data: .object(members))
    }

    private func list(_ kind: Kind) -> SyncHandler {
        { (request, tx) throws(VaultError) in try .keys(names(kind)) }
    }

    /// Whether the plug-in that the path names is part of the program.
    private func isBuiltIn(_ request: LogicalRequest) throws(VaultError) -> Bool {
        guard let kind = Kind(rawValue: try request[Self.type]) else {
            throw .badRequest("type: expected auth, database or secret")
        }
        return names(kind).contains(try request[Self.name])
    }

    private func read(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard try isBuiltIn(request) else { throw .notFound }
        return LogicalResponse(data: [
            "name": .string(try request[Self.name]), "builtin": true, "command": "", "args": nil,
            "sha256": "",
            "version": .string(Self.version), "deprecation_status": "supported",
        ])
    }

    private func register(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        throw .badRequest("no plug-in can be registered: all engines and methods are part of the program")
    }

    private func deregister(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        if try isBuiltIn(request) {
            throw .badRequest("\(try request[Self.name]) is part of the program and cannot be removed")
        }
        return .empty
    }

    private func missingType(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        throw .badRequest("missing type: expected sys/plugins/catalog/<type>/<name>")
    }

    private func reload(_ request: LogicalRequest, _ transactions: any Transactions)
        async throws(VaultError) -> LogicalResponse
    {
        let plugin = try request.optional(Self.plugin) ?? ""
        let paths = try request.optional(Self.mounts) ?? []
        guard plugin.isEmpty != paths.isEmpty else {
            throw .badRequest("plugin, mounts: expected one of them")
        }
        guard ["", "global"].contains(try request[Self.scope]) else {
            throw .badRequest("scope: expected nothing or \"global\"")
        }
        if !plugin.isEmpty, !registry.knows(plugin, .secret), !registry.knows(plugin, .auth) {
            throw .badRequest("plugin: there is no \(plugin) in the catalog")
        }
        try await transactions.run { [registry] tx throws(VaultError) in
            let entries = try registry.readEntries(&tx)
            var chosen = entries.filter { $0.type == plugin }.map(\.apiPath)
            for path in paths {
                let wanted = path.hasSuffix("/") ? path : path + "/"
                guard let entry = entries.first(where: { $0.apiPath == wanted }) else {
                    throw .badRequest("mounts: no mount at \(wanted)")
                }
                chosen.append(entry.apiPath)
            }
            registry.markStale(chosen)
            registry.writeEntries(entries, &tx)
        }
        return LogicalResponse(data: ["reload_id": .string(random.uuid())])
    }
}
