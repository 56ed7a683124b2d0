import Base
import PluginKit

/// `identity/group`.
extension IdentityMount {
    private static let kind = Field<String>(
        "type", "`internal`, whose members are chosen here, or `external`, whose members logins tell.")
    private static let memberEntities = Field<[String]>(
        "member_entity_ids", "Entities in the group; replaces those before.")
    private static let memberGroups = Field<[String]>(
        "member_group_ids", "Groups whose entities are in this group too; replaces those before.")

    static var groupRoutes: [Route<Self>] {
        [
            Route(
                .update, "group", "Create a group, or change the one of that id or name.", fields: id, name,
                kind, metadata, policies, memberEntities, memberGroups, run: Self.writeGroup),
            Route(.list, "group/id", "List groups by their ids.", run: Self.listGroupIDs),
            Route(.read, "group/id/:id", "Read a group.", fields: id, run: Self.readGroup),
            Route(
                .update, "group/id/:id", "Change a group.", fields: id, name, kind, metadata, policies,
                memberEntities, memberGroups, run: Self.writeGroup),
            Route(.delete, "group/id/:id", "Delete a group.", fields: id, run: Self.deleteGroup),
            Route(.list, "group/name", "List groups by their names.", run: Self.listGroupNames),
            Route(.read, "group/name/*name", "Read a group.", fields: pathName, run: Self.readGroup),
            Route(
                .update, "group/name/*name", "Create or change the group of that name.", fields: pathName,
                kind, metadata, policies, memberEntities, memberGroups, run: Self.writeGroup),
            Route(.delete, "group/name/*name", "Delete a group.", fields: pathName, run: Self.deleteGroup),
        ]
    }

    private func group(_ request: LogicalRequest, _ tx: Transaction) throws(VaultError) -> IdentityGroup? {
        let (id, name) = try subject(request)
        if let id { return try store.group(id: id, tx) }
        guard let name else { return nil }
        return try store.group(named: name, tx)
    }

    @Sendable private func writeGroup(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let old = try group(request, tx)
        let id = try subject(request).id
        if old == nil, let id {
            throw .badRequest("id: there is no group \"\(id)\"; leave it out to create one")
        }
        let name = try text(Self.name, request)
        if let name { try IdentityRules.check(name: name) }
        var group: IdentityGroup
        if let old { group = old } else { group = try store.newGroup(named: name, now: request.now, tx) }
        if let name, let old, !IdentityKeys.isSame(name, old.name), try store.group(named: name, tx) != nil {
            throw .badRequest("name: another group is called \"\(name)\"")
        }
        if let name, id != nil { group.name = name }
        try setKind(of: &group, isNew: old == nil, request)
        if let metadata = try request.optional(Self.metadata) {
            try IdentityRules.check(metadata: metadata)
            group.metadata = metadata
        }
        if let names = try request.optional(Self.policies) {
            group.policies = try IdentityRules.policies(names)
        }
        group.updated = request.now
        try setMembers(of: group, old, request, &tx)
        if old != nil { return .empty }
        return LogicalResponse(data: ["id": .string(group.id), "name": .string(group.name)])
    }

    private func setKind(
        of group: inout IdentityGroup, isNew: Bool, _ request: LogicalRequest
    ) throws(VaultError) {
        guard let kind = try text(Self.kind, request) else { return }
        guard ["internal", "external"].contains(kind) else {
            throw .badRequest("type: expected 'internal' or 'external'")
        }
        let isExternal = kind == "external"
        if !isNew, isExternal != group.isExternal {
            throw .badRequest("type: a group's type cannot be changed")
        }
        group.isExternal = isExternal
    }

    private func setMembers(
        of group: IdentityGroup, _ old: IdentityGroup?, _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) {
        var group = group
        let entities = try request.optional(Self.memberEntities)
        let groups = try request.optional(Self.memberGroups)
        if group.isExternal, !(entities ?? []).isEmpty || !(groups ?? []).isEmpty {
            throw .badRequest("the members of an external group are not chosen: logins tell them")
        }
        if let groups {
            if groups.count > IdentityStore.mostMembers {
                throw .badRequest("member_group_ids: expected at most \(IdentityStore.mostMembers)")
            }
            var seen: Set<String> = []
            group.memberGroupIDs = groups.filter { seen.insert($0).inserted }
        }
        try store.put(&tx, old, with: group)
        if let entities, !group.isExternal {
            try store.setMembers(of: group.id, entities, now: request.now, &tx)
        }
    }

    @Sendable private func readGroup(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let group = try group(request, tx) else { throw .notFound }
        return LogicalResponse(data: try describe(group, tx))
    }

    @Sendable private func deleteGroup(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        if let group = try group(request, tx) { try store.delete(&tx, group) }
        return .empty
    }

    @Sendable private func listGroupIDs(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let view = tx
        return try list(try store.groupIDs(view)) { id throws(VaultError) in
            guard let group = try store.group(id: id, view) else { return nil }
            return [
                "name": .string(group.name),
                "num_member_entities": .int(try store.memberIDs(of: id, view).count),
                "num_parent_groups": .int(group.parentIDs.count),
            ]
        }
    }

    @Sendable private func listGroupNames(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try .keys(store.groupNames(tx))
    }

    func describe(_ group: IdentityGroup, _ tx: Transaction) throws(VaultError) -> JSONValue {
        [
            "alias": .object(group.alias.map { describe($0, of: group.id) } ?? []),
            "creation_time": .string(group.created.rfc3339()),
            "id": .string(group.id),
            "last_update_time": .string(group.updated.rfc3339()),
            "member_entity_ids": .encodedStrings(try store.memberIDs(of: group.id, tx)),
            "member_group_ids": Self.list(group.memberGroupIDs),
            "metadata": Self.map(group.metadata),
            "modify_index": .int(group.modifyIndex),
            "name": .string(group.name),
            "namespace_id": "root",
            "parent_group_ids": Self.list(group.parentIDs),
            "policies": Self.list(group.policies),
            "type": .string(group.isExternal ? "external" : "internal"),
        ]
    }
}
