import Base
import PluginKit

/// One setting of a role that has a path of its own, `role/<name>/<part>`, to be read, written and reset.
struct RolePart: Sendable {
    let path: String
    /// The fields that its path takes; the first is the one that it is called by.
    let fields: [FieldDescription]
    let reset: @Sendable (inout RoleRecord) -> Void
    let read: @Sendable (RoleRecord) -> JSONValue

    static let all: [RolePart] = [
        RolePart(path: "policies", fields: token("token_policies", "policies")) {
            $0.token.policies = []
        } read: {
            .strings($0.token.policies)
        },
        RolePart(path: "bound-cidr-list", fields: [AppRoleMethod.oldCIDRs.description]) {
            $0.secretIDBoundCIDRs = []
        } read: {
            .strings($0.secretIDBoundCIDRs.map(\.description))
        },
        RolePart(path: "secret-id-bound-cidrs", fields: [AppRoleMethod.secretIDCIDRs.description]) {
            $0.secretIDBoundCIDRs = []
        } read: {
            .strings($0.secretIDBoundCIDRs.map(\.description))
        },
        RolePart(path: "token-bound-cidrs", fields: token("token_bound_cidrs")) {
            $0.token.boundCIDRs = []
        } read: {
            .strings($0.token.boundCIDRs.map(\.description))
        },
        RolePart(path: "bind-secret-id", fields: [AppRoleMethod.bindSecretID.description]) {
            $0.bindSecretID = true
        } read: {
            .bool($0.bindSecretID)
        },
        RolePart(path: "secret-id-num-uses", fields: [AppRoleMethod.secretIDUses.description]) {
            $0.secretIDUses = 0
        } read: {
            .int($0.secretIDUses)
        },
        RolePart(path: "secret-id-ttl", fields: [AppRoleMethod.secretIDTTL.description]) {
            $0.secretIDTTL = .zero
        } read: {
            .int(Int($0.secretIDTTL.wholeSeconds))
        },
        RolePart(path: "period", fields: token("token_period", "period")) {
            $0.token.period = .zero
        } read: {
            .int(Int($0.token.period.wholeSeconds))
        },
        RolePart(path: "token-num-uses", fields: token("token_num_uses")) {
            $0.token.numberOfUses = 0
        } read: {
            .int($0.token.numberOfUses)
        },
        RolePart(path: "token-ttl", fields: token("token_ttl")) {
            $0.token.ttl = .zero
        } read: {
            .int(Int($0.token.ttl.wholeSeconds))
        },
        RolePart(path: "token-max-ttl", fields: token("token_max_ttl")) {
            $0.token.maxTTL = .zero
        } read: {
            .int(Int($0.token.maxTTL.wholeSeconds))
        },
    ]

    private static func token(_ names: String...) -> [FieldDescription] {
        (TokenParameters.fields + AppRoleMethod.oldNames.fields).filter { names.contains($0.name) }
    }

    var name: String { fields.first?.name ?? path }
}

extension AppRoleMethod {
    static var partRoutes: [Route<Self>] {
        let local = Route<Self>(
            .read, "role/:role_name/local-secret-ids", "Whether secret ids are kept to this cluster.",
            fields: roleName,
            run: { method in
                { request, tx throws(VaultError) in
                    let role = try method.existing(request, &tx)
                    return LogicalResponse(data: ["local_secret_ids": .bool(role.hasLocalSecretIDs)])
                }
            })
        return [local] + RolePart.all.flatMap { routes(of: $0) }
    }

    private static func routes(of part: RolePart) -> [Route<Self>] {
        let pattern = "role/:role_name/\(part.path)"
        return [
            Route(
                .read, pattern, "Read a role's \(part.name).", fields: roleName, run: { $0.readPart(part) }),
            Route(
                .update, pattern, "Change a role's \(part.name).", fields: roleName,
                run: { $0.writePart(part) }
            ).adding(part.fields),
            Route(
                .delete, pattern, "Reset a role's \(part.name).", fields: roleName,
                run: { $0.resetPart(part) }),
        ]
    }

    private func existing(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> RoleRecord {
        guard let role = try role(LoginNames.canonical(try request[Self.roleName]), &tx) else {
            throw .notFound
        }
        return role
    }

    private func readPart(_ part: RolePart) -> SyncHandler {
        { request, tx throws(VaultError) in
            let role = try existing(request, &tx)
            var members = [(part.name, part.read(role))]
            let old = role.token.members(old: Self.oldNames)
            for field in part.fields.dropFirst() { members += old.filter { $0.0 == field.name } }
            return LogicalResponse(data: .object(members))
        }
    }

    private func writePart(_ part: RolePart) -> SyncHandler {
        { request, tx throws(VaultError) in
            var role = try named(request, &tx)
            // Whatever else the body holds is not for this path.
            var partOnly = request
            partOnly.fields = request.fields.filter { sent in part.fields.contains { $0.name == sent.name } }
            guard part.fields.contains(where: { partOnly.input($0.name) != nil }) else {
                throw .badRequest("missing \(part.name)")
            }
            try Self.update(&role, from: partOnly)
            try role.check()
            put(role, &tx)
            return .empty
        }
    }

    private func resetPart(_ part: RolePart) -> SyncHandler {
        { request, tx throws(VaultError) in
            guard var role = try role(LoginNames.canonical(try request[Self.roleName]), &tx) else {
                return .empty
            }
            part.reset(&role)
            if role.secretIDBoundCIDRs.isEmpty { role.hasOldCIDRList = false }
            try role.check()
            put(role, &tx)
            return .empty
        }
    }
}
