import Base
import PluginKit

/// From a login to an entity.
extension IdentityStore {
    /// The entity that an auth mount knows by this alias, made when there is none. What it writes is
    /// committed with the token, or not at all.
    /// - Parameter groups: names of the groups outside that the login came with; nil when its method knows of
    ///   none.
    /// - Throws: `.permissionDenied` for a disabled entity, `.badRequest` for a name that cannot be one.
    func entity(
        for alias: LoginAlias, groups: [String]?, at accessor: String, now: Timestamp,
        _ tx: inout Transaction
    ) throws(VaultError) -> Entity {
        try IdentityRules.check(name: alias.name, "alias name", most: IdentityRules.aliasNameBytes)
        let old = try entity(ofAlias: alias.name, at: accessor, tx)
        if let old, old.isDisabled { throw .permissionDenied }
        var entity: Entity
        if let old { entity = old } else { entity = try newEntity(now: now, tx) }
        let place = entity.aliases.firstIndex {
            $0.mountAccessor == accessor && IdentityKeys.isSame($0.name, alias.name)
        }
        if let place {
            if entity.aliases[place].metadata != alias.metadata {
                entity.aliases[place].metadata = alias.metadata
                entity.aliases[place].updated = now
            }
        } else {
            var fresh = IdentityAlias(
                id: random.uuid(), name: alias.name, mountAccessor: accessor, created: now)
            fresh.metadata = alias.metadata
            entity.aliases.append(fresh)
        }
        if let groups {
            entity.groupIDs = try following(groups, at: accessor, from: entity.groupIDs, tx)
        }
        // Nearly every login finds all as it was.
        if entity != old { replace(&tx, old, with: entity) }
        return entity
    }

    /// Follows what a login or renewal says about the groups outside that an entity is in.
    func follow(
        _ groups: [String], of id: String, at accessor: String, _ tx: inout Transaction
    ) throws(VaultError) {
        guard let old = try identity(of: id, tx)?.entity else { return }
        var entity = old
        entity.groupIDs = try following(groups, at: accessor, from: entity.groupIDs, tx)
        if entity != old { replace(&tx, old, with: entity) }
    }

    /// An entity's groups with those external ones of this mount that were named, and none of its others.
    private func following(
        _ names: [String], at accessor: String, from current: [String], _ tx: Transaction
    ) throws(VaultError) -> [String] {
        var wanted: Set<String> = []
        for name in names {
            if let group = try group(ofAlias: name, at: accessor, tx) { wanted.insert(group.id) }
        }
        var result: [String] = []
        for id in current {
            guard let group = try group(id: id, tx) else { continue }
            if group.isExternal, group.alias?.mountAccessor == accessor, !wanted.contains(id) { continue }
            wanted.remove(id)
            result.append(id)
        }
        return result + wanted.sorted()
    }
}
