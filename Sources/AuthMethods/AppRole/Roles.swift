import Base
import Crypto
import PluginKit

/// `role/`: roles as a whole, and their role ids.
extension AppRoleMethod {
    private static let roles = "role/"
    /// Bytes of a role id of one's own choosing.
    private static let mostRoleID = 4_096

    static let oldNames = TokenParameters.OldNames(policies: "policies", period: "period")
    static let bindSecretID = Field<Bool>("bind_secret_id", "Whether a login needs a secret id.")
    static let localSecretIDs = Field<Bool>(
        "local_secret_ids", "Keep secret ids to this cluster; only when the role is made.")
    static let secretIDCIDRs = Field<[String]>(
        "secret_id_bound_cidrs", "Addresses or networks from which secret ids may be used.")
    static let oldCIDRs = Field<[String]>("bound_cidr_list", "An old name of `secret_id_bound_cidrs`.")
    static let secretIDUses = Field<Int>(
        "secret_id_num_uses", "How often a secret id may be used; 0 for no limit.")
    static let secretIDTTL = Field<Duration>("secret_id_ttl", "How long a secret id lives; 0 for ever.")

    static var roleRoutes: [Route<Self>] {
        [
            Route(.list, "role", "List the roles.", run: Self.listRoles),
            Route(.read, "role/:role_name", "Read a role.", fields: roleName, run: Self.readRole),
            Route(
                .update, "role/:role_name", "Create or change a role.", fields: roleName, roleID,
                bindSecretID, localSecretIDs, secretIDCIDRs, oldCIDRs, secretIDUses, secretIDTTL,
                exists: { method in
                    { request, tx throws(VaultError) in
                        try method.role(LoginNames.canonical(try request[Self.roleName]), &tx) != nil
                    }
                }, run: Self.writeRole
            ).adding(TokenParameters.fields + oldNames.fields),
            Route(
                .delete, "role/:role_name", "Delete a role with its secret ids.", fields: roleName,
                run: Self.deleteRole),
            Route(
                .read, "role/:role_name/role-id", "Read a role's id.", fields: roleName,
                run: Self.readRoleID),
            Route(
                .update, "role/:role_name/role-id", "Choose a role's id.", fields: roleName, roleID,
                run: Self.writeRoleID),
        ]
    }

    // MARK: Storage

    /// The role of that canonical name.
    func role(_ name: String, _ tx: inout Transaction) throws(VaultError) -> RoleRecord? {
        guard LoginNames.isPossible(name), let bytes = try tx.get(Self.roles + name) else { return nil }
        guard let role = RoleRecord(name: name, stored: bytes) else {
            throw .corrupted(place: "approle: \(name)")
        }
        return role
    }

    func role(withID id: String, _ tx: inout Transaction) throws(VaultError) -> RoleRecord? {
        guard let name = try tx.get(Self.key(ofRoleID: id)) else { return nil }
        return try role(String(decoding: name, as: UTF8.self), &tx)
    }

    /// The role that a path names.
    /// - Throws: `.notFoundBecause` when there is none.
    func named(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError) -> RoleRecord {
        let name = LoginNames.canonical(try request[Self.roleName])
        guard let role = try role(name, &tx) else {
            throw .notFoundBecause("role \"\(name)\" does not exist")
        }
        return role
    }

    func put(_ role: RoleRecord, _ tx: inout Transaction) { tx.put(Self.roles + role.name, role.encoded) }

    /// An id may hold anything: it becomes a key by its hash.
    private static func key(ofRoleID id: String) -> String {
        "role_id/\(Hex.encode(SHA256.hash(Array(id.utf8))))"
    }

    /// Gives a role an id that no other role of the mount has.
    private func setID(
        _ id: String, of role: inout RoleRecord, _ tx: inout Transaction
    ) throws(VaultError) {
        if id.utf8.count > Self.mostRoleID {
            throw .badRequest("field 'role_id': expected at most \(Self.mostRoleID) bytes")
        }
        if let other = try tx.get(Self.key(ofRoleID: id)), other != Array(role.name.utf8) {
            throw .badRequest("role_id already in use")
        }
        if role.id != id { tx.delete(Self.key(ofRoleID: role.id)) }
        role.id = id
        tx.put(Self.key(ofRoleID: id), Array(role.name.utf8))
    }

    // MARK: Handlers

    @Sendable private func listRoles(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try .keys(tx.list(Self.roles))
    }

    @Sendable private func readRole(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let role = try role(LoginNames.canonical(try request[Self.roleName]), &tx) else {
            throw .notFound
        }
        let networks = role.secretIDBoundCIDRs.map(\.description)
        var members: [(String, JSONValue)] = [
            ("bind_secret_id", .bool(role.bindSecretID)), ("local_secret_ids", .bool(role.hasLocalSecretIDs)),
        ]
        if role.hasOldCIDRList { members.append(("bound_cidr_list", .strings(networks))) }
        members += [
            ("secret_id_bound_cidrs", networks.isEmpty ? .null : .strings(networks)),
            ("secret_id_num_uses", .int(role.secretIDUses)),
            ("secret_id_ttl", .int(Int(role.secretIDTTL.wholeSeconds))),
        ]
        return LogicalResponse(data: .object(members + role.token.members(old: Self.oldNames)))
    }

    @Sendable private func writeRole(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let name = try LoginNames.parse(request, Self.roleName)
        let known = try role(name, &tx)
        var role = known ?? RoleRecord(name: name, id: random.uuid(), random: random)
        if let isLocal = try request.optional(Self.localSecretIDs) {
            if known != nil, isLocal != role.hasLocalSecretIDs {
                throw .badRequest("local_secret_ids can only be modified during role creation")
            }
            role.hasLocalSecretIDs = isLocal
        }
        try Self.update(&role, from: request)
        try role.check()
        let sentID = try request.optional(Self.roleID) ?? ""
        if known == nil || !sentID.isEmpty { try setID(sentID.isEmpty ? role.id : sentID, of: &role, &tx) }
        put(role, &tx)
        var response = LogicalResponse()
        let most = role.token.maxTTL
        if most > mountMaxTTL {
            response.warnings.append(
                "token_max_ttl is greater than the mount's maximum of \(mountMaxTTL.goText), which is what "
                    + "tokens will get")
        }
        return response
    }

    /// Takes over what a request says of a role, but for its id.
    static func update(_ role: inout RoleRecord, from request: LogicalRequest) throws(VaultError) {
        role.bindSecretID = try request.optional(bindSecretID) ?? role.bindSecretID
        role.secretIDUses = try request.optional(secretIDUses) ?? role.secretIDUses
        role.secretIDTTL = try request.optional(secretIDTTL) ?? role.secretIDTTL
        if let texts = try request.optional(secretIDCIDRs) {
            role.secretIDBoundCIDRs = try CIDRBlock.parse(texts, field: secretIDCIDRs.name)
            role.hasOldCIDRList = false
        } else if let texts = try request.optional(oldCIDRs) {
            role.secretIDBoundCIDRs = try CIDRBlock.parse(texts, field: oldCIDRs.name)
            role.hasOldCIDRList = !role.secretIDBoundCIDRs.isEmpty
        }
        try role.token.update(from: request, old: oldNames)
    }

    @Sendable private func deleteRole(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let role = try role(LoginNames.canonical(try request[Self.roleName]), &tx) else {
            return .empty
        }
        tx.delete(Self.roles + role.name)
        tx.delete(Self.key(ofRoleID: role.id))
        abandonSecretIDs(of: role, &tx)
        return .empty
    }

    @Sendable private func readRoleID(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let role = try role(LoginNames.canonical(try request[Self.roleName]), &tx) else {
            throw .notFound
        }
        return LogicalResponse(data: ["role_id": .string(role.id)])
    }

    @Sendable private func writeRoleID(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        var role = try named(request, &tx)
        guard let id = try request.optional(Self.roleID), !id.isEmpty else {
            throw .badRequest("missing role_id")
        }
        try setID(id, of: &role, &tx)
        put(role, &tx)
        return .empty
    }
}
