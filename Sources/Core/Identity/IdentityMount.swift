package import Base
package import PluginKit

/// `identity/`: entities, their aliases, groups, and who is behind a name. Vault API: `identity/entity`,
/// `identity/entity-alias`, `identity/group`, `identity/group-alias`, `identity/lookup`.
///
/// It is part of the core, mounted once and never disabled. Its transactions start at storage's root.
package struct IdentityMount: Mountable {
    /// In `sys/mounts`.
    package static let type = "identity"
    /// In the catalogue.
    package static let summary = "identity store"

    let store: IdentityStore
    /// The auth mount of an accessor; nil when there is none.
    let mount: @Sendable (String) -> Mount?

    /// Entities and groups in a list of ids that it says more about than their ids.
    static let mostDescribed = 10_000

    /// - Parameter mount: finds auth mounts by their accessors.
    package init(store: IdentityStore, mount: @escaping @Sendable (String) -> Mount?) {
        self.store = store
        self.mount = mount
    }

    /// There is one identity store, and the core makes it.
    package init(_ context: MountContext) throws(VaultError) {
        throw .badRequest("the identity store is mounted by the server itself")
    }

    /// All of `identity/`.
    package static var routes: [Route<Self>] {
        entityRoutes + entityAliasRoutes + groupRoutes + groupAliasRoutes + lookupRoutes
    }

    // MARK: What several routes take

    static let id = Field<String>("id", "Its id.")
    static let pathName = Field<String>(required: "name", "Its name.")
    static let name = Field<String>("name", "Its name; one is made up when it is left out.")
    static let metadata = Field<[String: String]>("metadata", "Texts by name; replaces those before.")
    static let policies = Field<[String]>(
        "policies", "Policies that it gives besides a token's own; replaces those before.")
    static let aliasName = Field<String>("alias_name", "Name of an alias, with `alias_mount_accessor`.")
    static let aliasMount = Field<String>("alias_mount_accessor", "Accessor of the alias's auth mount.")
    static let aliasID = Field<String>("alias_id", "Id of an alias.")
    static let accessor = Field<String>("mount_accessor", "Accessor of the auth mount.")
    static let canonicalID = Field<String>("canonical_id", "Id of what the alias belongs to.")

    /// What was sent for a field; nil when it was left out or is empty.
    func text(_ field: Field<String>, _ request: LogicalRequest) throws(VaultError) -> String? {
        let text = try request.optional(field) ?? ""
        return text.isEmpty ? nil : text
    }

    /// What a request is about: what its path names and nothing else, or where that names nothing, what was
    /// sent. Whoever may use one path must not reach another entity by it.
    func subject(_ request: LogicalRequest) throws(VaultError) -> (id: String?, name: String?) {
        if let id = request.parameters.first(where: { $0.name == Self.id.name }) { return (id.value, nil) }
        if let name = request.parameters.first(where: { $0.name == Self.name.name }) {
            return (nil, name.value)
        }
        return (try text(Self.id, request), try text(Self.name, request))
    }

    /// The accessor that was sent.
    /// - Throws: `.badRequest` when no auth mount has it.
    func checkedAccessor(_ accessor: String) throws(VaultError) {
        if mount(accessor) == nil {
            throw .badRequest("mount_accessor: no auth mount has the accessor \"\(accessor)\"")
        }
    }

    /// The answer to a list of ids: 404 when there is none.
    func list(
        _ ids: [String], describing each: (String) throws(VaultError) -> JSONValue?
    ) throws(VaultError) -> LogicalResponse {
        if ids.isEmpty { throw .notFound }
        var info: [(String, JSONValue)] = []
        for id in ids.prefix(Self.mostDescribed) {
            if let row = try each(id) { info.append((id, row)) }
        }
        var response = LogicalResponse(data: [
            "key_info": .object(info), "keys": .encodedStrings(ids),
        ])
        if ids.count > Self.mostDescribed {
            response.warnings.append("key_info holds the first \(Self.mostDescribed) of \(ids.count) only")
        }
        return response
    }

    // MARK: In JSON

    func describe(_ alias: IdentityAlias, of id: String) -> [(String, JSONValue)] {
        let entry = mount(alias.mountAccessor)?.entry
        return [
            ("canonical_id", .string(id)),
            ("creation_time", .string(alias.created.rfc3339())),
            ("custom_metadata", Self.map(alias.customMetadata)),
            ("id", .string(alias.id)),
            ("last_update_time", .string(alias.updated.rfc3339())),
            ("local", false),
            ("merged_from_canonical_ids", Self.list(alias.mergedFrom)),
            ("metadata", Self.map(alias.metadata)),
            ("mount_accessor", .string(alias.mountAccessor)),
            ("mount_path", .string(entry?.apiPath ?? "")),
            ("mount_type", .string(entry?.type ?? "")),
            ("name", .string(alias.name)),
        ]
    }

    /// As a row of a list.
    func summary(of alias: IdentityAlias) -> [(String, JSONValue)] {
        let entry = mount(alias.mountAccessor)?.entry
        return [
            ("mount_accessor", .string(alias.mountAccessor)),
            ("mount_path", .string(entry?.apiPath ?? "")),
            ("mount_type", .string(entry?.type ?? "")),
            ("name", .string(alias.name)),
        ]
    }

    /// `null` when empty.
    static func map(_ values: [String: String]) -> JSONValue { values.isEmpty ? .null : .map(values) }
    /// `null` when empty.
    static func list(_ values: [String]) -> JSONValue { values.isEmpty ? .null : .strings(values) }
}
