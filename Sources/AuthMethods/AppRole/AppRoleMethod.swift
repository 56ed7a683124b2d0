package import Base
import Crypto
package import PluginKit

/// Roles for machines: a role id, which is no secret, and secret ids, which are. Vault API: `auth/approle`.
///
///     role/<name>                     RoleRecord; the name in lower case
///     role_id/<SHA-256 of a role id>  the role's name
///     secret_id/<uid>/<code>          SecretIDRecord
///     accessor/<uid>/<accessor>       the code
///     expiry/<time>/<uid>/<code>      empty: secret ids in the order in which they end
///
/// `uid` is the role's own random name, so that a role which is deleted and made again does not see what
/// the first one had, and an accessor of another role leads nowhere. `code` is the HMAC of a secret id
/// under the role's key: secret ids themselves are never stored. All entries of a secret id change in one
/// transaction, which is also the one that makes the token of a login: a counted use cannot be used twice.
package struct AppRoleMethod: AuthMethod {
    package static let type = "approle"
    package static let summary = "roles with secret ids, for machines"
    package static let locksOut = true

    static let roleName = Field<String>(required: "role_name", "Name of the role; case does not count.")
    static let roleID = Field<String>("role_id", "Id of the role; a random one when left out.")
    static let secretID = Field<SecretBytes>("secret_id", "Secret id of the role.")
    static let accessor = Field<String>("secret_id_accessor", "Accessor of a secret id.")

    let random: any RandomSource
    let mountMaxTTL: Duration

    package init(_ context: MountContext) throws(VaultError) {
        random = context.random
        mountMaxTTL = context.maxTTL
    }

    package static var routes: [Route<Self>] { loginRoutes + roleRoutes + partRoutes + secretIDRoutes }

    private static var loginRoutes: [Route<Self>] {
        [
            Route(
                .update, "login", "Log in.", .unauthenticated, fields: roleID, secretID, run: Self.logIn),
            Route(
                .update, "tidy/secret-id", "Remove secret ids that have ended.", run: Self.tidySecretIDs),
        ]
    }

    // MARK: Logging in

    package func loginName(_ request: LogicalRequest) -> String? {
        (try? request.optional(Self.roleID)).flatMap { $0 }
    }

    @Sendable private func logIn(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let id = try request.optional(Self.roleID), !id.isEmpty else {
            throw .badRequest("missing role_id")
        }
        guard let role = try role(withID: id, &tx) else { throw .badRequest("invalid role ID") }
        let address = request.connection.remoteAddress
        var metadata: [String: String] = [:]
        var networks: [CIDRBlock] = []
        if role.bindSecretID {
            guard let secret = try request.optional(Self.secretID), secret.count > 0 else {
                throw .badRequest("missing secret_id")
            }
            let record = try spend(secret, of: role, from: address, now: request.now, &tx)
            metadata = record.metadata
            networks = record.tokenBoundCIDRs
        }
        let allowed = role.secretIDBoundCIDRs
        guard allowed.isEmpty || allowed.contains(where: { $0.contains(address) }) else {
            throw .badRequest("source address \"\(address)\" unauthorized by CIDR restrictions on the role")
        }
        guard role.token.allows(address) else { throw .permissionDenied }
        metadata["role_name"] = role.name
        var grant = role.token.grant(displayName: "")
        if !networks.isEmpty { grant.boundCIDRs = networks }
        grant.metadata = metadata
        grant.alias = LoginAlias(name: role.id)
        grant.internalData = ["role_name": role.name]
        var response = LogicalResponse()
        response.auth = grant
        return response
    }

    /// Uses a secret id once, or says why not.
    private func spend(
        _ secret: SecretBytes, of role: RoleRecord, from address: String, now: Timestamp,
        _ tx: inout Transaction
    ) throws(VaultError) -> SecretIDRecord {
        guard var record = try secretID(role.code(of: secret), of: role, now: now, &tx) else {
            throw .invalidCredentials("invalid secret id")
        }
        guard record.allows(address) else {
            throw .badRequest(
                "source address \"\(address)\" unauthorized through CIDR restrictions on the secret ID")
        }
        if record.usesLeft == 1 {
            remove(record, of: role, &tx)
        } else if record.usesLeft > 1 {
            record.usesLeft -= 1
            record.updated = now
            put(record, of: role, &tx)
        }
        return record
    }

    package func renew(
        _ renewal: LoginRenewal, _ tx: inout Transaction
    ) throws(VaultError) -> LoginTerms {
        let name = renewal.internalData["role_name"] ?? ""
        guard let role = try role(name, &tx) else {
            throw .badRequest("role \"\(name)\" does not exist during renewal")
        }
        return role.token.terms
    }
}
