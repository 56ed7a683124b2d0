import Base
import PluginKit

/// `identity/group-alias`: the name by which an auth mount knows an external group.
extension IdentityMount {
    private static let groupName = Field<String>("name", "The name by which the auth mount knows the group.")

    static var groupAliasRoutes: [Route<Self>] {
        [
            Route(
                .update, "group-alias", "Create the alias of an external group.", fields: id, groupName,
                accessor, canonicalID, run: Self.writeGroupAlias),
            Route(.list, "group-alias/id", "List the aliases of all groups.", run: Self.listGroupAliases),
            Route(.read, "group-alias/id/:id", "Read an alias.", fields: id, run: Self.readGroupAlias),
            Route(
                .update, "group-alias/id/:id", "Change an alias.", fields: id, groupName, accessor,
                canonicalID,
                run: Self.writeGroupAlias),
            Route(.delete, "group-alias/id/:id", "Delete an alias.", fields: id, run: Self.deleteGroupAlias),
        ]
    }

    @Sendable private func writeGroupAlias(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let name = try text(Self.groupName, request)
        let accessor = try text(Self.accessor, request)
        if let name { try IdentityRules.check(name: name, most: IdentityRules.aliasNameBytes) }
        if let accessor { try checkedAccessor(accessor) }
        let old = try groupWithAlias(request, name, accessor, tx)
        var alias: IdentityAlias
        if let current = old?.alias {
            alias = current
            alias.name = name ?? current.name
            alias.mountAccessor = accessor ?? current.mountAccessor
        } else {
            guard let name, let accessor else { throw .badRequest("missing name or mount_accessor") }
            alias = IdentityAlias(
                id: store.random.uuid(), name: name, mountAccessor: accessor, created: request.now)
        }
        alias.updated = request.now
        let taken = try store.group(ofAlias: alias.name, at: alias.mountAccessor, tx)
        if let taken, taken.alias?.id != alias.id {
            throw .badRequest("name: this mount has another group alias called \"\(alias.name)\"")
        }
        let id = try attach(alias, to: old, request, &tx)
        return LogicalResponse(data: ["canonical_id": .string(id), "id": .string(alias.id)])
    }

    /// The group that has the alias which a request is about: by its id, or else by name and mount.
    private func groupWithAlias(
        _ request: LogicalRequest, _ name: String?, _ accessor: String?, _ tx: Transaction
    ) throws(VaultError) -> IdentityGroup? {
        if let id = try text(Self.id, request) {
            guard let group = try store.group(ofAlias: id, tx) else {
                throw .badRequest("id: there is no alias \"\(id)\"; leave it out to create one")
            }
            return group
        }
        guard let name else { throw .badRequest("missing name") }
        guard let accessor else { throw .badRequest("missing mount_accessor") }
        return try store.group(ofAlias: name, at: accessor, tx)
    }

    /// - Returns: the id of the group that has the alias now.
    private func attach(
        _ alias: IdentityAlias, to old: IdentityGroup?, _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> String {
        let wanted = try text(Self.canonicalID, request)
        if let old, wanted == nil || wanted == old.id {
            if let before = old.alias, !before.means(alias) { try store.removeMembers(of: old.id, &tx) }
            var group = old
            group.alias = alias
            group.updated = request.now
            store.replace(&tx, old, with: group)
            return group.id
        }
        var target: IdentityGroup?
        if let wanted {
            target = try store.group(id: wanted, tx)
            guard let found = target else {
                throw .badRequest("canonical_id: there is no group \"\(wanted)\"")
            }
            guard found.isExternal else { throw .badRequest("only external groups have aliases") }
            guard found.alias == nil else {
                throw .badRequest("the group has an alias already: change that one, or delete it first")
            }
        }
        if let old { try detach(old, request.now, &tx) }
        var group: IdentityGroup
        if let target { group = target } else { group = try store.newGroup(now: request.now, tx) }
        group.isExternal = true
        group.alias = alias
        group.updated = request.now
        store.replace(&tx, target, with: group)
        return group.id
    }

    @Sendable private func readGroupAlias(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let group = try store.group(ofAlias: try request[Self.id], tx), let alias = group.alias else {
            throw .notFound
        }
        return LogicalResponse(data: .object(describe(alias, of: group.id) + [("namespace_id", "root")]))
    }

    @Sendable private func deleteGroupAlias(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let group = try store.group(ofAlias: try request[Self.id], tx) else { return .empty }
        try detach(group, request.now, &tx)
        return .empty
    }

    /// Takes a group's alias away, and with it the members that logins put there in its name.
    private func detach(_ group: IdentityGroup, _ now: Timestamp, _ tx: inout Transaction) throws(VaultError)
    {
        try store.removeMembers(of: group.id, &tx)
        var without = group
        without.alias = nil
        without.updated = now
        store.replace(&tx, group, with: without)
    }

    @Sendable private func listGroupAliases(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let view = tx
        return try list(try store.groupAliasIDs(view)) { id throws(VaultError) in
            guard let group = try store.group(ofAlias: id, view), let alias = group.alias else { return nil }
            return .object([("canonical_id", .string(group.id))] + summary(of: alias))
        }
    }
}
