import Base
package import Core
package import PluginKit

/// `sys/locked-users`: login names that too many wrong guesses have locked out, and lifting the lock.
package struct SysLockedUsers: Sendable {
    private let registry: MountRegistry

    package init(registry: MountRegistry) { self.registry = registry }

    private static let filter = Field<String>("mount_accessor", default: "", "Only names of this auth mount.")
    private static let accessor = Field<String>(required: "mount_accessor", "Accessor of the auth mount.")
    private static let alias = Field<String>(
        required: "alias_identifier", "The name: a user name, or a role id of AppRole.")

    package static var routes: [Route<Self>] {
        [
            Route(.read, "locked-users", "List the locked names.", .onActive, fields: filter, run: Self.list),
            Route(
                .update, "locked-users/:mount_accessor/unlock/*alias_identifier", "Lift a name's lock.",
                fields: accessor, alias, run: Self.unlock),
        ]
    }

    @Sendable private func list(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let wanted = try request[Self.filter]
        if !wanted.isEmpty { try check(wanted) }
        var names: [String: [String]] = [:]
        for locked in registry.lockouts.locked(now: request.now)
        where wanted.isEmpty || locked.accessor == wanted {
            names[locked.accessor, default: []].append(locked.name)
        }
        let mounts: [JSONValue] = names.sorted { $0.key < $1.key }.map { accessor, names in
            [
                "mount_accessor": .string(accessor), "counts": .int(names.count),
                "alias_identifiers": .strings(names),
            ]
        }
        let total = names.values.reduce(0) { $0 + $1.count }
        let root: JSONValue = [
            "namespace_id": "root", "namespace_path": "", "counts": .int(total),
            "mount_accessors": .array(mounts),
        ]
        return LogicalResponse(data: [
            "by_namespace": total > 0 ? .array([root]) : .array([]), "total": .int(total),
        ])
    }

    @Sendable private func unlock(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let accessor = try request[Self.accessor]
        try check(accessor)
        registry.lockouts.unlock(
            LoginLockouts.Name(accessor: accessor, name: try request[Self.alias]), &tx)
        return .empty
    }

    private func check(_ accessor: String) throws(VaultError) {
        let isKnown = registry.current.mounts.contains {
            $0.entry.accessor == accessor && $0.entry.kind == .auth
        }
        if !isKnown { throw .badRequest("field 'mount_accessor': there is no such auth mount") }
    }
}
