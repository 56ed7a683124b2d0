import Base
import PluginKit
import Synchronization

/// An entity with all its groups, as of one commit: what a request by one of its tokens needs to know.
package final class Identity: Sendable {
    /// Whose record it is; the target's, when the token names one that was merged.
    package let entity: Entity
    /// Groups that the entity is a member of: first those that name it, then those above them.
    let groups: [IdentityGroup]
    /// How many of `groups` name the entity itself.
    let directCount: Int
    /// What entity and groups give besides a token's own policies. Sorted; `root` is never among them,
    /// whatever storage says.
    package let policies: [String]
    /// The records that all of this was read from.
    let keys: [String]
    private let compiled = Mutex<[[String]: (generation: UInt64, acl: ACL)]>([:])
    /// Sets of token policies that one entity has compiled at a time.
    private static let mostCompiled = 4

    init(_ entity: Entity, groups: [IdentityGroup], directCount: Int, keys: [String]) {
        self.entity = entity
        self.groups = groups
        self.directCount = directCount
        self.keys = keys
        let names = TokenPolicies.sanitized(
            (entity.policies + groups.flatMap(\.policies)).filter {
                let name = PolicyStore.canonicalName($0)
                return name != BuiltInPolicies.rootName && !TokenPolicies.internalNames.contains(name)
            }, addingDefault: false)
        policies = names
    }

    /// The entity's.
    package var id: String { entity.id }

    /// The ids of `groups`.
    var groupIDs: [String] { groups.map(\.id) }

    /// What was compiled for these policies of a token, when no policy has changed since.
    func acl(for tokenPolicies: [String], generation: UInt64) -> ACL? {
        compiled.withLock { $0[tokenPolicies].flatMap { $0.generation == generation ? $0.acl : nil } }
    }

    /// Keeps what was compiled.
    func keep(_ acl: ACL, for tokenPolicies: [String], generation: UInt64) {
        compiled.withLock { compiled in
            if compiled.count >= Self.mostCompiled { compiled = [:] }
            compiled[tokenPolicies] = (generation, acl)
        }
    }
}

// MARK: What policies may read

extension Identity {
    /// The value behind the text between `{{` and `}}` of a policy's path; nil for what this identity does
    /// not have. Vault docs: concepts/policies, templated policies.
    ///
    /// Of several aliases at one mount the oldest counts; an alias at another mount never does.
    package func value(of template: Substring) -> String? {
        if let name = template.dropping("identity.entity.") { return entityValue(name) }
        if let rest = template.dropping("identity.groups.ids.") {
            return member(rest) { $0.id }.flatMap { groupValue($0, $1) }
        }
        if let rest = template.dropping("identity.groups.names.") {
            return member(rest) { $0.name }.flatMap { groupValue($0, $1) }
        }
        return nil
    }

    private func entityValue(_ name: Substring) -> String? {
        if name == "id" { return entity.id }
        if name == "name" { return entity.name }
        if let key = name.dropping("metadata.") { return entity.metadata[String(key)] }
        guard let rest = name.dropping("aliases."), let dot = rest.firstIndex(of: ".") else { return nil }
        guard let alias = entity.aliases.first(where: { $0.mountAccessor == rest[..<dot] }) else {
            return nil
        }
        let member = rest[rest.index(after: dot)...]
        if member == "id" { return alias.id }
        if member == "name" { return alias.name }
        if let key = member.dropping("metadata.") { return alias.metadata[String(key)] }
        if let key = member.dropping("custom_metadata.") { return alias.customMetadata[String(key)] }
        return nil
    }

    /// A group that the entity is in, and what is asked of it. A name may have dots of its own: the longest
    /// that fits counts.
    private func member(
        _ rest: Substring, _ name: (IdentityGroup) -> String
    ) -> (IdentityGroup, Substring)? {
        let fitting = groups.compactMap { group in
            rest.dropping(name(group) + ".").map { (group, $0) }
        }
        return fitting.min { $0.1.utf8.count < $1.1.utf8.count }
    }

    private func groupValue(_ group: IdentityGroup, _ member: Substring) -> String? {
        if member == "id" { return group.id }
        if member == "name" { return group.name }
        return member.dropping("metadata.").flatMap { group.metadata[String($0)] }
    }
}

extension Substring {
    /// What follows `prefix`, compared byte by byte; nil when the text does not begin with it.
    fileprivate func dropping(_ prefix: String) -> Substring? {
        guard utf8.starts(with: prefix.utf8) else { return nil }
        return Substring(utf8.dropFirst(prefix.utf8.count))
    }
}
