package import Base
package import PluginKit

/// Where entities and groups are kept. Nothing of it is held in memory; everything works on a transaction
/// over storage's root.
///
///     sys/identity/entity/id/<id>                        the record, its aliases included
///     sys/identity/entity/name/<name>                    the id, then the name as it was written
///     sys/identity/entity/merged/<id>                    the id of the entity that this one was merged into
///     sys/identity/alias/id/<id>                         the id of the alias's entity
///     sys/identity/alias/name/<mount accessor>/<name>    the same
///     sys/identity/group/id/<id>                         the record, its alias included
///     sys/identity/group/name/<name>                     the id, then the name as it was written
///     sys/identity/group/alias/id/<id>                   the id of the alias's group
///     sys/identity/group/alias/name/<accessor>/<name>    the same
///     sys/identity/group/members/<group>/<entity>        empty: the entity's record names the group
///
/// Names stand there as `IdentityKeys` writes them. Invariants: all but the two records is derived from them
/// and changes with them in one transaction (`replace`); a group's `parentIDs` are those whose
/// `memberGroupIDs` name it, and no group is above itself. The entity's record names its groups, and theirs
/// name the groups above them, so that a request reads records by their ids alone and lists nothing. A
/// deleted group's members are not rewritten: an id without a record gives nothing, and never comes again.
package struct IdentityStore: Sendable {
    let random: any RandomSource

    /// Holds nothing itself.
    /// - Parameter random: for ids.
    package init(random: any RandomSource) { self.random = random }

    // MARK: Entities

    /// The entity of that very id; nil when there is none, or when it was merged into another.
    func entity(id: String, _ tx: Transaction) throws(VaultError) -> Entity? {
        guard IdentityKeys.isID(id), let bytes = try tx.get(IdentityKeys.entities + id) else { return nil }
        guard let entity = IdentityCodec.entity(bytes, id: id) else {
            throw .corrupted(place: IdentityKeys.entities + id)
        }
        return entity
    }

    func entity(named name: String, _ tx: Transaction) throws(VaultError) -> Entity? {
        guard let bytes = try tx.get(IdentityKeys.entity(named: name)) else { return nil }
        return try entity(id: Self.namedID(bytes), tx)
    }

    func entity(ofAlias id: String, _ tx: Transaction) throws(VaultError) -> Entity? {
        guard IdentityKeys.isID(id) else { return nil }
        return try entity(at: IdentityKeys.aliases + id, tx)
    }

    func entity(
        ofAlias name: String, at accessor: String, _ tx: Transaction
    ) throws(VaultError) -> Entity? {
        try entity(at: IdentityKeys.alias(name, at: accessor), tx)
    }

    private func entity(at key: String, _ tx: Transaction) throws(VaultError) -> Entity? {
        guard let bytes = try tx.get(key) else { return nil }
        guard let found = try entity(id: String(decoding: bytes, as: UTF8.self), tx) else {
            throw .corrupted(place: key)
        }
        return found
    }

    /// Puts one state of an entity in the place of another: nil before for a new one, nil behind for one that
    /// goes. Where an alias moves, its entity that was is replaced first.
    func replace(_ tx: inout Transaction, _ old: Entity?, with new: Entity?) {
        Self.replaceIndex(&tx, old.map(Self.index) ?? [:], with: new.map(Self.index) ?? [:])
        if let new {
            tx.put(IdentityKeys.entities + new.id, IdentityCodec.encode(new))
        } else if let old {
            tx.delete(IdentityKeys.entities + old.id)
        }
    }

    /// A new entity, without a name of its choice, that is yet to be stored.
    func newEntity(named name: String? = nil, now: Timestamp, _ tx: Transaction) throws(VaultError) -> Entity
    {
        var chosen = name ?? ""
        if chosen.isEmpty { chosen = try freeName("entity", tx, key: IdentityKeys.entity) }
        return Entity(id: random.uuid(), name: chosen, created: now)
    }

    /// `entity_` or `group_` with digits that nothing is called yet.
    private func freeName(
        _ kind: String, _ tx: Transaction, key: (String) -> String
    ) throws(VaultError) -> String {
        while true {
            let name = "\(kind)_\(Hex.encode(random.bytes(8)))"
            if try tx.get(key(name)) == nil { return name }
        }
    }

    private static func index(_ entity: Entity) -> [String: [UInt8]] {
        let id = Array(entity.id.utf8)
        var keys = [IdentityKeys.entity(named: entity.name): id + Array(entity.name.utf8)]
        for alias in entity.aliases {
            keys[IdentityKeys.aliases + alias.id] = id
            keys[IdentityKeys.alias(alias.name, at: alias.mountAccessor)] = id
        }
        for merged in entity.mergedIDs { keys[IdentityKeys.merged + merged] = id }
        for group in entity.groupIDs { keys[IdentityKeys.members(of: group) + entity.id] = [] }
        return keys
    }

    private static func replaceIndex(
        _ tx: inout Transaction, _ old: [String: [UInt8]], with new: [String: [UInt8]]
    ) {
        for key in old.keys where new[key] == nil { tx.delete(key) }
        for (key, value) in new where old[key] != value { tx.put(key, value) }
    }

    private static func namedID(_ bytes: [UInt8]) -> String {
        String(decoding: bytes.prefix(36), as: UTF8.self)
    }

    /// The names below a prefix as they were written, in the order of their keys.
    private func names(_ prefix: String, _ tx: Transaction) throws(VaultError) -> [String] {
        var names: [String] = []
        for key in try tx.list(prefix) {
            if let bytes = try tx.get(prefix + key) {
                names.append(String(decoding: bytes.dropFirst(36), as: UTF8.self))
            }
        }
        return names
    }

    func entityNames(_ tx: Transaction) throws(VaultError) -> [String] {
        try names(IdentityKeys.entityNames, tx)
    }
    func groupNames(_ tx: Transaction) throws(VaultError) -> [String] {
        try names(IdentityKeys.groupNames, tx)
    }
    /// Ids of entities, in the order of their bytes.
    package func entityIDs(
        _ tx: Transaction, after: String? = nil, limit: Int = .max
    ) throws(VaultError) -> [String] {
        try tx.list(IdentityKeys.entities, after: after, limit: limit)
    }
    func aliasIDs(_ tx: Transaction) throws(VaultError) -> [String] { try tx.list(IdentityKeys.aliases) }
    func groupIDs(_ tx: Transaction) throws(VaultError) -> [String] { try tx.list(IdentityKeys.groups) }
    func groupAliasIDs(_ tx: Transaction) throws(VaultError) -> [String] {
        try tx.list(IdentityKeys.groupAliases)
    }

    // MARK: Groups

    func group(id: String, _ tx: Transaction) throws(VaultError) -> IdentityGroup? {
        guard IdentityKeys.isID(id), let bytes = try tx.get(IdentityKeys.groups + id) else { return nil }
        guard let group = IdentityCodec.group(bytes, id: id) else {
            throw .corrupted(place: IdentityKeys.groups + id)
        }
        return group
    }

    func group(named name: String, _ tx: Transaction) throws(VaultError) -> IdentityGroup? {
        guard let bytes = try tx.get(IdentityKeys.group(named: name)) else { return nil }
        return try group(id: Self.namedID(bytes), tx)
    }

    func group(ofAlias id: String, _ tx: Transaction) throws(VaultError) -> IdentityGroup? {
        guard IdentityKeys.isID(id), let bytes = try tx.get(IdentityKeys.groupAliases + id) else {
            return nil
        }
        return try group(id: String(decoding: bytes, as: UTF8.self), tx)
    }

    func group(
        ofAlias name: String, at accessor: String, _ tx: Transaction
    ) throws(VaultError) -> IdentityGroup? {
        guard let bytes = try tx.get(IdentityKeys.groupAlias(name, at: accessor)) else { return nil }
        return try group(id: String(decoding: bytes, as: UTF8.self), tx)
    }

    func newGroup(named name: String? = nil, now: Timestamp, _ tx: Transaction) throws(VaultError)
        -> IdentityGroup
    {
        var chosen = name ?? ""
        if chosen.isEmpty { chosen = try freeName("group", tx, key: IdentityKeys.group) }
        return IdentityGroup(id: random.uuid(), name: chosen, created: now)
    }

    /// As for entities. What refers to the group elsewhere is up to the caller.
    func replace(_ tx: inout Transaction, _ old: IdentityGroup?, with new: IdentityGroup?) {
        Self.replaceIndex(&tx, old.map(Self.index) ?? [:], with: new.map(Self.index) ?? [:])
        if var new {
            new.modifyIndex += 1
            tx.put(IdentityKeys.groups + new.id, IdentityCodec.encode(new))
        } else if let old {
            tx.delete(IdentityKeys.groups + old.id)
        }
    }

    private static func index(_ group: IdentityGroup) -> [String: [UInt8]] {
        let id = Array(group.id.utf8)
        var keys = [IdentityKeys.group(named: group.name): id + Array(group.name.utf8)]
        if let alias = group.alias {
            keys[IdentityKeys.groupAliases + alias.id] = id
            keys[IdentityKeys.groupAlias(alias.name, at: alias.mountAccessor)] = id
        }
        return keys
    }

    // MARK: Who an entity is

    /// The identity behind an entity's id, which may be that of one that was merged; nil when it is gone.
    func identity(of id: String, _ tx: Transaction) throws(VaultError) -> Identity? {
        guard IdentityKeys.isID(id) else { return nil }
        var keys = [IdentityKeys.entities + id]
        var found = try entity(id: id, tx)
        if found == nil, let bytes = try tx.get(IdentityKeys.merged + id) {
            let target = String(decoding: bytes, as: UTF8.self)
            keys += [IdentityKeys.merged + id, IdentityKeys.entities + target]
            found = try entity(id: target, tx)
        }
        guard let entity = found else { return nil }
        var queue = entity.groupIDs
        var seen = Set(queue)
        var groups: [IdentityGroup] = []
        var directCount = 0
        var next = 0
        while next < queue.count {
            let isDirect = next < entity.groupIDs.count
            let id = queue[next]
            next += 1
            keys.append(IdentityKeys.groups + id)
            guard let group = try group(id: id, tx) else { continue }
            groups.append(group)
            if isDirect { directCount += 1 }
            for parent in group.parentIDs where seen.insert(parent).inserted { queue.append(parent) }
        }
        return Identity(entity, groups: groups, directCount: directCount, keys: keys)
    }
}
