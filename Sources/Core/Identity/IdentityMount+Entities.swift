import Base
import PluginKit

/// `identity/entity`.
extension IdentityMount {
    private static let disabled = Field<Bool>("disabled", "Whether its tokens are refused.")
    private static let entityIDs = Field<[String]>("entity_ids", "Ids of the entities.")
    private static let fromIDs = Field<[String]>("from_entity_ids", "Entities that become part of another.")
    private static let toID = Field<String>("to_entity_id", default: "", "The entity that they become.")
    private static let force = Field<Bool>(
        "force", default: false, "Taken for the sake of older clients; nothing here needs it.")

    static var entityRoutes: [Route<Self>] {
        [
            Route(
                .update, "entity", "Create an entity, or change the one of that id or name.", fields: id,
                name,
                metadata, policies, disabled, run: Self.writeEntity),
            Route(
                .update, "entity/merge", "Make one entity of several.", fields: fromIDs, toID, force,
                run: Self.mergeEntities),
            Route(
                .update, "entity/batch-delete", "Delete several entities.", fields: entityIDs,
                run: Self.deleteEntities),
            Route(.list, "entity/id", "List entities by their ids.", run: Self.listEntityIDs),
            Route(.read, "entity/id/:id", "Read an entity.", fields: id, run: Self.readEntity),
            Route(
                .update, "entity/id/:id", "Change an entity.", fields: id, name, metadata, policies, disabled,
                run: Self.writeEntity),
            Route(.delete, "entity/id/:id", "Delete an entity.", fields: id, run: Self.deleteEntity),
            Route(.list, "entity/name", "List entities by their names.", run: Self.listEntityNames),
            Route(.read, "entity/name/*name", "Read an entity.", fields: pathName, run: Self.readEntity),
            Route(
                .update, "entity/name/*name", "Create or change the entity of that name.", fields: pathName,
                metadata, policies, disabled, run: Self.writeEntity),
            Route(
                .delete, "entity/name/*name", "Delete an entity.", fields: pathName, run: Self.deleteEntity),
        ]
    }

    /// The entity that a request is about, by id or else by name.
    private func entity(_ request: LogicalRequest, _ tx: Transaction) throws(VaultError) -> Entity? {
        let (id, name) = try subject(request)
        if let id { return try store.entity(id: id, tx) }
        guard let name else { return nil }
        return try store.entity(named: name, tx)
    }

    @Sendable private func writeEntity(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let old = try entity(request, tx)
        let id = try subject(request).id
        if old == nil, let id {
            throw .badRequest("id: there is no entity \"\(id)\"; leave it out to create one")
        }
        let name = try text(Self.name, request)
        if let name { try IdentityRules.check(name: name) }
        var entity: Entity
        if let old { entity = old } else { entity = try store.newEntity(named: name, now: request.now, tx) }
        if let name, let old, !IdentityKeys.isSame(name, old.name),
            try store.entity(named: name, tx) != nil
        {
            throw .badRequest("name: another entity is called \"\(name)\"")
        }
        // By its name an entity is found in any case of letters; only by its id is it called another.
        if let name, id != nil { entity.name = name }
        if let metadata = try request.optional(Self.metadata) {
            try IdentityRules.check(metadata: metadata)
            entity.metadata = metadata
        }
        if let names = try request.optional(Self.policies) {
            entity.policies = try IdentityRules.policies(names)
        }
        entity.isDisabled = try request.optional(Self.disabled) ?? entity.isDisabled
        entity.updated = request.now
        store.replace(&tx, old, with: entity)
        if old != nil { return .empty }
        return LogicalResponse(data: [
            "aliases": nil, "id": .string(entity.id), "name": .string(entity.name),
        ])
    }

    @Sendable private func readEntity(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let entity = try entity(request, tx) else { throw .notFound }
        return LogicalResponse(data: try describe(entity, tx))
    }

    @Sendable private func deleteEntity(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        if let entity = try entity(request, tx) { store.replace(&tx, entity, with: nil) }
        return .empty
    }

    @Sendable private func deleteEntities(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let ids = try request.optional(Self.entityIDs) ?? []
        if ids.isEmpty { throw .badRequest("missing entity_ids") }
        if ids.count > IdentityStore.mostMembers {
            throw .badRequest("entity_ids: expected at most \(IdentityStore.mostMembers)")
        }
        for id in Set(ids) {
            if let entity = try store.entity(id: id, tx) { store.replace(&tx, entity, with: nil) }
        }
        return .empty
    }

    @Sendable private func mergeEntities(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try store.merge(
            try request.optional(Self.fromIDs) ?? [], into: try request[Self.toID], now: request.now, &tx)
        return .empty
    }

    @Sendable private func listEntityIDs(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let view = tx
        return try list(try store.entityIDs(view)) { id throws(VaultError) in
            guard let entity = try store.entity(id: id, view) else { return nil }
            let aliases = entity.aliases.map { alias in
                JSONValue.object([("id", .string(alias.id))] + summary(of: alias))
            }
            return ["aliases": .array(aliases), "name": .string(entity.name)]
        }
    }

    @Sendable private func listEntityNames(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try .keys(store.entityNames(tx))
    }

    func describe(_ entity: Entity, _ tx: Transaction) throws(VaultError) -> JSONValue {
        let identity = try store.identity(of: entity.id, tx)
        let groups = identity?.groupIDs ?? []
        let directCount = identity?.directCount ?? 0
        return [
            "aliases": .array(entity.aliases.map { .object(describe($0, of: entity.id)) }),
            "creation_time": .string(entity.created.rfc3339()),
            "direct_group_ids": .strings(Array(groups.prefix(directCount))),
            "disabled": .bool(entity.isDisabled),
            "group_ids": .strings(groups),
            "id": .string(entity.id),
            "inherited_group_ids": .strings(Array(groups.dropFirst(directCount))),
            "last_update_time": .string(entity.updated.rfc3339()),
            "merged_entity_ids": Self.list(entity.mergedIDs),
            "metadata": Self.map(entity.metadata),
            "name": .string(entity.name),
            "namespace_id": "root",
            "policies": Self.list(entity.policies),
        ]
    }
}
