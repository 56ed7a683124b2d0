import Base
import PluginKit

/// `identity/entity-alias`.
extension IdentityMount {
    private static let oldEntityID = Field<String>("entity_id", "An old name of `canonical_id`.")
    private static let custom = Field<[String: String]>(
        "custom_metadata", "Texts by name; replaces those before.")
    private static let aliasOwnName = Field<String>("name", "The name by which the auth mount knows it.")

    static var entityAliasRoutes: [Route<Self>] {
        [
            Route(
                .update, "entity-alias", "Create an alias, or change the one of that name and mount.",
                fields: id, aliasOwnName, canonicalID, oldEntityID, accessor, custom, run: Self.writeAlias),
            Route(.list, "entity-alias/id", "List the aliases of all entities.", run: Self.listAliases),
            Route(.read, "entity-alias/id/:id", "Read an alias.", fields: id, run: Self.readAlias),
            Route(
                .update, "entity-alias/id/:id", "Change an alias, or give it to another entity.", fields: id,
                aliasOwnName, canonicalID, oldEntityID, accessor, custom, run: Self.writeAlias),
            Route(.delete, "entity-alias/id/:id", "Delete an alias.", fields: id, run: Self.deleteAlias),
        ]
    }

    @Sendable private func writeAlias(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let name = try text(Self.aliasOwnName, request)
        let accessor = try text(Self.accessor, request)
        if let name { try IdentityRules.check(name: name, most: IdentityRules.aliasNameBytes) }
        if let accessor { try checkedAccessor(accessor) }
        let old = try owner(request, name, accessor, tx)
        var current: IdentityAlias?
        if let old { current = try alias(of: old, request, name, accessor) }
        var alias: IdentityAlias
        if let current { alias = current } else { alias = try newAlias(name, accessor, now: request.now) }
        alias.name = name ?? alias.name
        alias.mountAccessor = accessor ?? alias.mountAccessor
        let taken = try store.entity(ofAlias: alias.name, at: alias.mountAccessor, tx)
        if let taken, Self.alias(of: taken, alias.name, at: alias.mountAccessor)?.id != alias.id {
            throw .badRequest("name: this mount has another alias called \"\(alias.name)\"")
        }
        if let custom = try request.optional(Self.custom) {
            try IdentityRules.check(metadata: custom, Self.custom.name)
            alias.customMetadata = custom
        }
        alias.updated = request.now
        let id = try attach(alias, from: old, request, &tx)
        return LogicalResponse(data: ["canonical_id": .string(id), "id": .string(alias.id)])
    }

    /// The entity that has the alias which a request is about: by its id, or else by name and mount.
    private func owner(
        _ request: LogicalRequest, _ name: String?, _ accessor: String?, _ tx: Transaction
    ) throws(VaultError) -> Entity? {
        if let id = try text(Self.id, request) {
            guard let entity = try store.entity(ofAlias: id, tx) else {
                throw .badRequest("id: there is no alias \"\(id)\"; leave it out to create one")
            }
            return entity
        }
        guard let name else { throw .badRequest("missing name") }
        guard let accessor else { throw .badRequest("missing mount_accessor") }
        return try store.entity(ofAlias: name, at: accessor, tx)
    }

    private func alias(
        of entity: Entity, _ request: LogicalRequest, _ name: String?, _ accessor: String?
    ) throws(VaultError) -> IdentityAlias? {
        if let id = try text(Self.id, request) { return entity.aliases.first { $0.id == id } }
        return Self.alias(of: entity, name ?? "", at: accessor ?? "")
    }

    private static func alias(of entity: Entity, _ name: String, at accessor: String) -> IdentityAlias? {
        entity.aliases.first { $0.mountAccessor == accessor && IdentityKeys.isSame($0.name, name) }
    }

    private func newAlias(
        _ name: String?, _ accessor: String?, now: Timestamp
    ) throws(VaultError) -> IdentityAlias {
        guard let name, let accessor else { throw .badRequest("missing name or mount_accessor") }
        return IdentityAlias(
            id: store.random.uuid(), name: name, mountAccessor: accessor, created: now)
    }

    /// Puts an alias where it belongs: to the entity that the request names, to the one that has it, or to a
    /// new one.
    /// - Returns: the entity's id.
    private func attach(
        _ alias: IdentityAlias, from old: Entity?, _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> String {
        let asked = try text(Self.canonicalID, request)
        let askedAsOld = try text(Self.oldEntityID, request)
        guard let wanted = asked ?? askedAsOld, wanted != old?.id else {
            var entity: Entity
            if let old { entity = old } else { entity = try store.newEntity(now: request.now, tx) }
            if let place = entity.aliases.firstIndex(where: { $0.id == alias.id }) {
                entity.aliases[place] = alias
            } else {
                entity.aliases.append(alias)
            }
            store.replace(&tx, old, with: entity)
            return entity.id
        }
        guard let target = try store.entity(id: wanted, tx) else {
            throw .badRequest("canonical_id: there is no entity \"\(wanted)\"")
        }
        if let old {
            var without = old
            without.aliases.removeAll { $0.id == alias.id }
            store.replace(&tx, old, with: without)
        }
        var with = target
        with.aliases.append(alias)
        store.replace(&tx, target, with: with)
        return target.id
    }

    @Sendable private func readAlias(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let id = try request[Self.id]
        guard let entity = try store.entity(ofAlias: id, tx),
            let alias = entity.aliases.first(where: { $0.id == id })
        else { throw .notFound }
        return LogicalResponse(
            data: .object(describe(alias, of: entity.id) + [("namespace_id", "root")]))
    }

    @Sendable private func deleteAlias(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let id = try request[Self.id]
        guard let entity = try store.entity(ofAlias: id, tx) else { return .empty }
        var without = entity
        without.aliases.removeAll { $0.id == id }
        without.updated = request.now
        store.replace(&tx, entity, with: without)
        return .empty
    }

    @Sendable private func listAliases(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let view = tx
        return try list(try store.aliasIDs(view)) { id throws(VaultError) in
            guard let entity = try store.entity(ofAlias: id, view),
                let alias = entity.aliases.first(where: { $0.id == id })
            else { return nil }
            return .object(
                [
                    ("canonical_id", .string(entity.id)), ("custom_metadata", Self.map(alias.customMetadata)),
                    ("local", false),
                ] + summary(of: alias))
        }
    }
}
