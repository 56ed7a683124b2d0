import Base

/// One person or machine, however it logs in. Vault API: `identity/entity`.
///
/// Identity/ holds: these records (`Entity`, `IdentityAlias`, `IdentityGroup`), `IdentityStore` (where they
/// are kept, and what changes together), `Identity` (an entity with all its groups and what they give, as a
/// request needs it), `IdentityCache` (those that requests asked for lately), `IdentityMount` (the routes of
/// `identity/`), and what policies may read of an identity (`Identity.value`).
package struct Entity: Sendable, Equatable {
    /// A UUID, for ever the same.
    package let id: String
    /// As it was written; no two differ only in the case of ASCII letters.
    package var name: String
    var metadata: [String: String] = [:]
    /// Sanitized; never `root`.
    var policies: [String] = []
    /// A disabled entity's tokens are refused, and it gets no new ones.
    var isDisabled = false
    var created: Timestamp
    var updated: Timestamp
    /// Entities that were merged into this one, the earliest first; their tokens are this one's.
    var mergedIDs: [String] = []
    /// Groups that it is a member of itself. One that was deleted meanwhile may still be among them: it gives
    /// nothing, and goes when the record is written next.
    var groupIDs: [String] = []
    /// The oldest first.
    var aliases: [IdentityAlias] = []

    init(id: String, name: String, created: Timestamp) {
        self.id = id
        self.name = name
        self.created = created
        updated = created
    }
}

/// The name by which one auth mount knows an entity, or a group outside.
package struct IdentityAlias: Sendable, Equatable {
    let id: String
    var name: String
    /// The accessor of the auth mount.
    var mountAccessor: String
    /// What the mount said at the last login.
    var metadata: [String: String] = [:]
    /// What operators wrote.
    var customMetadata: [String: String] = [:]
    var created: Timestamp
    var updated: Timestamp
    /// Entities that it belonged to before they were merged.
    var mergedFrom: [String] = []

    init(id: String, name: String, mountAccessor: String, created: Timestamp) {
        self.id = id
        self.name = name
        self.mountAccessor = mountAccessor
        self.created = created
        updated = created
    }

    /// Whether both stand for the same name at the same mount.
    func means(_ other: IdentityAlias) -> Bool {
        mountAccessor == other.mountAccessor && IdentityKeys.isSame(name, other.name)
    }
}

/// Entities with policies in common. Vault API: `identity/group`.
///
/// Members of an internal group are chosen by operators. Those of an external group are the entities whose
/// last login through the alias's mount named it.
package struct IdentityGroup: Sendable, Equatable {
    let id: String
    var name: String
    var isExternal = false
    /// Sanitized; never `root`.
    var policies: [String] = []
    var metadata: [String: String] = [:]
    var created: Timestamp
    var updated: Timestamp
    /// Counts the writes of this record.
    var modifyIndex = 0
    /// Groups that this one is a member of, so that its entities get their policies too.
    var parentIDs: [String] = []
    var memberGroupIDs: [String] = []
    /// Of an external group, once it has one.
    var alias: IdentityAlias?

    init(id: String, name: String, created: Timestamp) {
        self.id = id
        self.name = name
        self.created = created
        updated = created
    }
}
