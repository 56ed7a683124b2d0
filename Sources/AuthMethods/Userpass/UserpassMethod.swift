package import Base
import Crypto
package import PluginKit

/// User names and passwords. Vault API: `auth/userpass`.
///
///     user/<name>     {"v", "hash", "token"}; the name in lower case
///
/// Passwords are hashed with scrypt away from the I/O threads. A login costs the same work and gets the
/// same words whether the name or the password is wrong; where one may log in from is looked at behind
/// the password, so that only its owner learns of it.
package struct UserpassMethod: AuthMethod {
    package static let type = "userpass"
    package static let summary = "user names and passwords"
    package static let locksOut = true

    static let oldNames = TokenParameters.OldNames(
        policies: "policies", ttl: "ttl", maxTTL: "max_ttl", boundCIDRs: "bound_cidrs")
    static let username = Field<String>(required: "username", "Name of the user; case does not count.")
    static let password = Field<SecretBytes>("password", "Password of the user.")
    static let policies = Field<[String]>("policies", "An old name of `token_policies`.")
    static let tokenPolicies = Field<[String]>("token_policies", "Policies of the user's tokens.")

    let random: any RandomSource
    /// The slow comparison. Tests put a counting one here: how often it is made must not tell who exists.
    var isRight: @Sendable (PasswordHash, SecretBytes) async throws(VaultError) -> Bool = {
        (hash, password) async throws(VaultError) in try await hash.matches(password)
    }

    package init(_ context: MountContext) throws(VaultError) { random = context.random }

    package static var routes: [Route<Self>] {
        [
            Route(.list, "users", "List the users.", run: Self.listUsers),
            Route(.read, "users/:username", "Read a user.", fields: username, run: Self.readUser),
            Route(
                .update, "users/:username", "Create or change a user.", fields: username, password,
                exists: { method in
                    { request, tx throws(VaultError) in
                        try method.user(LoginNames.canonical(try request[Self.username]), &tx) != nil
                    }
                }, runAsync: Self.writeUser
            ).adding(TokenParameters.fields + oldNames.fields),
            Route(.delete, "users/:username", "Delete a user.", fields: username, run: Self.deleteUser),
            Route(
                .update, "users/:username/password", "Change a user's password.", fields: username, password,
                runAsync: Self.writePassword),
            Route(
                .update, "users/:username/policies", "Change a user's policies.", fields: username,
                tokenPolicies, policies, run: Self.writePolicies),
            Route(
                .update, "login/:username", "Log in.", .unauthenticated, fields: username, password,
                runAsync: Self.logIn),
        ]
    }

    // MARK: Logging in

    package func loginName(_ request: LogicalRequest) -> String? {
        (try? request.optional(Self.username)).flatMap { $0 }.map(LoginNames.canonical)
    }

    @Sendable private func logIn(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let name = LoginNames.canonical(try request[Self.username])
        guard let password = try request.optional(Self.password), password.count > 0 else {
            throw .badRequest("missing password")
        }
        let found = try await transactions.run { tx throws(VaultError) in try user(name, &tx) }
        let hash = found?.hash ?? PasswordHash.unmatchable(random: random)
        guard try await isRight(hash, password), let user = found else {
            throw .invalidCredentials("invalid username or password")
        }
        guard user.token.allows(request.connection.remoteAddress) else { throw .permissionDenied }
        var grant = user.token.grant(displayName: name)
        grant.metadata = ["username": name]
        grant.alias = LoginAlias(name: name)
        grant.internalData = ["username": name]
        grant.recheck = { tx throws(VaultError) in
            // Deleted, changed or given another password while the old one was being checked.
            guard try self.user(name, &tx) == user else {
                throw .invalidCredentials("invalid username or password")
            }
        }
        var response = LogicalResponse()
        response.auth = grant
        return response
    }

    package func renew(
        _ renewal: LoginRenewal, _ tx: inout Transaction
    ) throws(VaultError) -> LoginTerms {
        guard let user = try user(renewal.internalData["username"] ?? "", &tx) else {
            throw .badRequest("the user no longer exists; not renewing")
        }
        guard TokenPolicies.areEquivalent(user.token.policies, renewal.policies) else {
            throw .badRequest("policies have changed, not renewing")
        }
        return user.token.terms
    }
}
