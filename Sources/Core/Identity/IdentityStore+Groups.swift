import Base
import PluginKit

/// Who belongs to a group, and what of it stands in other records.
extension IdentityStore {
    /// Members that one request may name.
    static let mostMembers = 10_000

    // MARK: Entities in groups

    /// Ids of the entities that are members of a group themselves, in the order of their bytes.
    func memberIDs(of group: String, _ tx: Transaction) throws(VaultError) -> [String] {
        try tx.list(IdentityKeys.members(of: group))
    }

    /// Makes these entities the members of a group, and no others.
    /// - Throws: `.badRequest` for an entity that does not exist.
    func setMembers(
        of group: String, _ wanted: [String], now: Timestamp, _ tx: inout Transaction
    ) throws(VaultError) {
        if wanted.count > Self.mostMembers {
            throw .badRequest("member_entity_ids: expected at most \(Self.mostMembers)")
        }
        let wanted = Set(wanted)
        let current = Set(try memberIDs(of: group, tx))
        var changes: [(old: Entity, new: Entity)] = []
        for id in wanted.subtracting(current) {
            guard let entity = try entity(id: id, tx) else {
                throw .badRequest("member_entity_ids: there is no entity \"\(id)\"")
            }
            var new = entity
            new.groupIDs = try existing(new.groupIDs, tx) + [group]
            changes.append((entity, new))
        }
        for id in current.subtracting(wanted) {
            guard let entity = try entity(id: id, tx) else { continue }
            var new = entity
            new.groupIDs = try existing(new.groupIDs, tx).filter { $0 != group }
            changes.append((entity, new))
        }
        for (old, new) in changes { replace(&tx, old, with: new) }
    }

    /// Takes all entities out of a group.
    /// - Throws: `.badRequest` when they are more than one commit should change.
    func removeMembers(of group: String, _ tx: inout Transaction) throws(VaultError) {
        let members = try tx.list(IdentityKeys.members(of: group), limit: Self.mostMembers + 1)
        if members.count > Self.mostMembers {
            throw .badRequest(
                "the group has more than \(Self.mostMembers) members: delete it, and make it anew")
        }
        for id in members {
            guard let entity = try entity(id: id, tx) else { continue }
            var without = entity
            without.groupIDs.removeAll { $0 == group }
            replace(&tx, entity, with: without)
        }
    }

    /// Without groups that were deleted, and each once.
    func existing(_ groups: [String], _ tx: Transaction) throws(VaultError) -> [String] {
        var seen: Set<String> = []
        var found: [String] = []
        for id in groups where seen.insert(id).inserted {
            if try group(id: id, tx) != nil { found.append(id) }
        }
        return found
    }

    // MARK: Groups in groups

    /// Puts a group into storage, and its place into the records of the groups that it now has, or no longer
    /// has, as members.
    /// - Throws: `.badRequest` for members that do not exist, or that would make it a member of itself.
    func put(
        _ tx: inout Transaction, _ old: IdentityGroup?, with new: IdentityGroup
    ) throws(VaultError) {
        let before = Set(old?.memberGroupIDs ?? [])
        let behind = Set(new.memberGroupIDs)
        let added = behind.subtracting(before)
        if !added.isEmpty {
            let above = try ancestors(of: new, tx)
            if !added.isDisjoint(with: above.union([new.id])) {
                throw .badRequest(
                    "member_group_ids: a group cannot be a member of itself, also not of a member")
            }
        }
        for id in added {
            guard let member = try group(id: id, tx) else {
                throw .badRequest("member_group_ids: there is no group \"\(id)\"")
            }
            var changed = member
            changed.parentIDs.append(new.id)
            replace(&tx, member, with: changed)
        }
        for id in before.subtracting(behind) {
            guard let member = try group(id: id, tx) else { continue }
            var changed = member
            changed.parentIDs.removeAll { $0 == new.id }
            replace(&tx, member, with: changed)
        }
        replace(&tx, old, with: new)
    }

    private func ancestors(of group: IdentityGroup, _ tx: Transaction) throws(VaultError) -> Set<String> {
        var queue = group.parentIDs
        var seen = Set(queue)
        while let id = queue.popLast() {
            guard let above = try self.group(id: id, tx) else { continue }
            for parent in above.parentIDs where seen.insert(parent).inserted { queue.append(parent) }
        }
        return seen
    }

    /// Removes a group, from the groups above and below it too. Its entities lose its policies with this
    /// commit; the list of them goes in the background.
    func delete(_ tx: inout Transaction, _ group: IdentityGroup) throws(VaultError) {
        for id in group.memberGroupIDs {
            guard let member = try self.group(id: id, tx) else { continue }
            var changed = member
            changed.parentIDs.removeAll { $0 == group.id }
            replace(&tx, member, with: changed)
        }
        for id in group.parentIDs {
            guard let parent = try self.group(id: id, tx) else { continue }
            var changed = parent
            changed.memberGroupIDs.removeAll { $0 == group.id }
            replace(&tx, parent, with: changed)
        }
        replace(&tx, group, with: nil)
        let members = IdentityKeys.members(of: group.id)
        if try !tx.list(members, limit: 1).isEmpty { tx.deleteLater(members) }
    }

    // MARK: Merging

    /// Makes one entity of several: aliases, groups, and the tokens of the others become the target's.
    /// - Throws: `.badRequest` that names what is wrong with the ids.
    func merge(
        _ sources: [String], into target: String, now: Timestamp, _ tx: inout Transaction
    ) throws(VaultError) {
        guard !sources.isEmpty else { throw .badRequest("missing from_entity_ids") }
        if target.isEmpty { throw .badRequest("missing to_entity_id") }
        if sources.count > Self.mostMembers {
            throw .badRequest("from_entity_ids: expected at most \(Self.mostMembers)")
        }
        if sources.contains(target) {
            throw .badRequest("to_entity_id must not be one of from_entity_ids")
        }
        guard let old = try entity(id: target, tx) else {
            throw .badRequest("to_entity_id: there is no entity \"\(target)\"")
        }
        var merged = old
        var seen: Set<String> = []
        for id in sources where seen.insert(id).inserted {
            guard let source = try entity(id: id, tx) else {
                throw .badRequest("from_entity_ids: there is no entity \"\(id)\"")
            }
            for var alias in source.aliases {
                alias.mergedFrom.append(source.id)
                alias.updated = now
                merged.aliases.append(alias)
            }
            merged.mergedIDs += [source.id] + source.mergedIDs
            merged.groupIDs += source.groupIDs
            replace(&tx, source, with: nil)
        }
        merged.groupIDs = try existing(merged.groupIDs, tx)
        merged.updated = now
        replace(&tx, old, with: merged)
    }
}
