import Base
package import Core
package import PluginKit

/// `sys/internal/ui/*`: what clients and the web page ask before they know what they may see.
package struct SysInternal: Sendable {
    private let active: @Sendable () -> ActiveCore?

    package init(active: @escaping @Sendable () -> ActiveCore?) { self.active = active }

    private static let path = Field<String>(required: "path", "A path below /v1/, or a mount's.")

    package static var routes: [Route<Self>] {
        [
            Route(
                .read, "internal/ui/mounts", "Mounts that the caller may see.", .optionalToken,
                run: Self.mounts),
            Route(
                .read, "internal/ui/mounts/*path", "The mount that serves a path.", .optionalToken,
                fields: path,
                run: Self.mount),
            Route(
                .read, "internal/ui/feature-flags", "Features of this server.", .unauthenticated,
                run: Self.featureFlags),
            Route(
                .read, "internal/ui/namespaces", "Namespaces that the caller may see.", .optionalToken,
                run: Self.namespaces),
            Route(
                .read, "internal/ui/resultant-acl", "All that the caller's policies allow.", .optionalToken,
                run: Self.resultantACL),
        ]
    }

    private func mounts(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let active = active() else { throw .sealed }
        let isKnown = !request.client.storageID.isEmpty
        let acl = isKnown ? try active.acl(of: request.client, in: tx) : nil
        var secret: [(String, JSONValue)] = []
        var auth: [(String, JSONValue)] = []
        for mount in active.mounts.current.mounts {
            let entry = mount.entry
            let row: JSONValue
            if let acl, acl.grantsAnything(below: mount.apiPath) {
                row = entry.listing
            } else if entry.config.listingVisibility == "unauth" {
                row = .object([
                    ("description", .string(entry.description)), ("options", .map(entry.options)),
                    ("type", .string(entry.type)),
                ])
            } else {
                continue
            }
            if entry.kind == .auth {
                auth.append((entry.path, row))
            } else {
                secret.append((entry.path, row))
            }
        }
        return LogicalResponse(data: ["auth": .object(auth), "secret": .object(secret)])
    }

    private func mount(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let active = active() else { throw .sealed }
        if request.client.storageID.isEmpty { throw .missingToken }
        let path = try request[Self.path]
        let acl = try active.acl(of: request.client, in: tx)
        guard let mount = active.mounts.current.mount(for: path),
            acl.grantsAnything(below: path) || acl.grantsAnything(below: mount.apiPath)
        else {
            throw .forbidden(
                "preflight capability check returned 403, please ensure client's policies grant access to path \"\(path)\""
            )
        }
        guard case .object(let members) = mount.entry.listing else {
            throw .internal("a mount's listing is no object")
        }
        return LogicalResponse(data: .object(members + [("path", .string(mount.apiPath))]))
    }

    private func featureFlags(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        .plain(["feature_flags": nil])
    }

    /// There is one, the root namespace, whose path is empty.
    private func namespaces(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    { LogicalResponse(data: ["keys": [""]]) }

    private func resultantACL(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let active = active() else { throw .sealed }
        if request.client.storageID.isEmpty { throw .missingToken }
        let acl = try active.acl(of: request.client, in: tx)
        if acl.isRoot { return LogicalResponse(data: ["root": true]) }
        var exact: [(String, JSONValue)] = []
        var glob: [(String, JSONValue)] = []
        for rule in acl.rules {
            let row: JSONValue = ["capabilities": .strings(rule.capabilities.names)]
            if rule.kind == .exact { exact.append((rule.path, row)) } else { glob.append((rule.path, row)) }
        }
        return LogicalResponse(data: [
            "root": false, "exact_paths": .object(exact), "glob_paths": .object(glob),
        ])
    }
}
