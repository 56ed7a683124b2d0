package import Base
package import PluginKit

/// What the token method needs of the rest of the core.
package struct TokenEnvironment: Sendable {
    /// Whether the caller's policies give `sudo` on an API path. Not asked for root.
    let hasSudo: @Sendable (LogicalRequest, inout Transaction, String) throws(VaultError) -> Bool
    /// The accessor of the mount `auth/token/`.
    let accessor: @Sendable () -> String
    /// The TTLs of the mount `auth/token/`, which default to the system's.
    let caps: @Sendable () -> TTLCaps
    /// Whether there is a policy of that name; one that is missing is worth a warning.
    let policyExists: @Sendable (String, inout Transaction) throws(VaultError) -> Bool
    /// Asks the auth method that granted a token whether and how long it may go on, and what its mount
    /// allows.
    let renewLogin: RenewGrantedToken

    package typealias RenewGrantedToken =
        @Sendable (LoginOrigin, LoginRenewal, inout Transaction) throws(VaultError) -> (
            terms: LoginTerms, caps: TTLCaps
        )

    package init(
        hasSudo: @escaping @Sendable (LogicalRequest, inout Transaction, String) throws(VaultError) -> Bool,
        accessor: @escaping @Sendable () -> String,
        caps: @escaping @Sendable () -> TTLCaps,
        policyExists: @escaping @Sendable (String, inout Transaction) throws(VaultError) -> Bool,
        renewLogin: @escaping RenewGrantedToken
    ) {
        self.hasSudo = hasSudo
        self.accessor = accessor
        self.caps = caps
        self.policyExists = policyExists
        self.renewLogin = renewLogin
    }
}

/// `auth/token/`: tokens make, look up, renew and revoke tokens.
///
/// It is part of the core, mounted once and never disabled. Its transactions start at storage's root.
/// Who calls is read from storage again by `request.client.storageID`, in the handler's own
/// transaction, so that a caller that is revoked meanwhile makes the commit fail and the handler run again.
package struct TokenMethod: Mountable {
    package static let type = "token"
    package static let summary = "token based credentials"

    let store: TokenStore
    let environment: TokenEnvironment

    package init(store: TokenStore, environment: TokenEnvironment) {
        self.store = store
        self.environment = environment
    }

    /// There is one token method, and the core makes it.
    package init(_ context: MountContext) throws(VaultError) {
        throw .badRequest("token credential backend cannot be instantiated")
    }

    static let token = Field<RawJSON>("token", "The token.")
    static let accessor = Field<String>("accessor", default: "", "The token's accessor.")
    static let increment = Field<Duration>("increment", default: .zero, "The span asked for.")
    static let roleName = Field<String>(required: "role_name", "Name of the token role.")

    package static var routes: [Route<Self>] { creationRoutes + lookupRoutes + changeRoutes + roleRoutes }

    private static var creationRoutes: [Route<Self>] {
        [
            creation("create", "Make a token.") { method in
                { request, tx throws(VaultError) in try method.create(request, &tx) }
            },
            creation("create-orphan", "Make a token without a parent.") { method in
                { request, tx throws(VaultError) in try method.create(request, &tx, makesOrphans: true) }
            },
            creation("create/:role_name", "Make a token within the limits of a token role.") { method in
                { request, tx throws(VaultError) in
                    try method.create(request, &tx, roleName: try request[Self.roleName])
                }
            },
        ]
    }

    private static func creation(
        _ pattern: String, _ summary: String, run: @escaping @Sendable (Self) -> SyncHandler
    ) -> Route<Self> {
        typealias Asked = TokenRequest
        return Route(
            .update, pattern, summary, fields: Asked.idField, Asked.policiesField, Asked.metaField,
            Asked.noParentField, Asked.noDefaultField, Asked.renewableField, Asked.ttlField, Asked.leaseField,
            Asked.typeField, Asked.explicitMaxField, Asked.displayNameField, Asked.usesField,
            Asked.periodField,
            Asked.aliasField, run: run)
    }

    private static var lookupRoutes: [Route<Self>] {
        [
            Route(.read, "lookup", "Look up a token.", fields: token, run: Self.lookUp),
            Route(.update, "lookup", "Look up a token.", fields: token, run: Self.lookUp),
            Route(.read, "lookup-self", "Look up one's own token.", run: Self.lookUpSelf),
            Route(.update, "lookup-self", "Look up one's own token.", run: Self.lookUpSelf),
            Route(
                .update, "lookup-accessor", "Look up a token by its accessor.", fields: accessor,
                run: Self.lookUpAccessor),
            Route(.list, "accessors/", "List the accessors of all tokens.", .sudo, run: Self.listAccessors),
        ]
    }

    private static var changeRoutes: [Route<Self>] {
        [
            Route(.update, "renew", "Renew a token.", fields: token, increment, run: Self.renew),
            Route(.update, "renew-self", "Renew one's own token.", fields: increment, run: Self.renewSelf),
            Route(
                .update, "renew-accessor", "Renew a token by its accessor.", fields: accessor, increment,
                run: Self.renewAccessor),
            Route(.update, "revoke", "Revoke a token with its descendants.", fields: token, run: Self.revoke),
            Route(.update, "revoke-self", "Revoke one's own token.", run: Self.revokeSelf),
            Route(
                .update, "revoke-accessor", "Revoke a token by its accessor.", fields: accessor,
                run: Self.revokeAccessor),
            Route(
                .update, "revoke-orphan", "Revoke a token; its children become orphans.", .sudo,
                fields: token,
                run: Self.revokeOrphan),
            Route(.update, "tidy", "Remove what is left of tokens that are gone.", .sudo, run: Self.tidy),
        ]
    }

    // MARK: Making

    private func create(
        _ request: LogicalRequest, _ tx: inout Transaction, makesOrphans: Bool = false,
        roleName: String? = nil
    ) throws(VaultError) -> LogicalResponse {
        let parent = try caller(request, &tx)
        var role: TokenRole?
        if let roleName {
            role = try store.role(roleName, &tx)
            if role == nil { throw .badRequest("unknown role \(roleName)") }
        }
        let wanted = try TokenRequest(request)
        let path = "auth/token/\(request.path)"
        let hasSudo = parent.isRoot ? true : try environment.hasSudo(request, &tx, path)
        let creation = TokenCreation(
            parent: parent, role: role, path: path, makesOrphans: makesOrphans,
            hasSudo: hasSudo, caps: environment.caps(), now: request.now)
        var (entry, warnings) = try creation.describe(wanted)
        if !wanted.entityAlias.isEmpty {
            entry.entityID = try store.identities.entity(
                for: LoginAlias(name: wanted.entityAlias), groups: nil, at: environment.accessor(),
                now: request.now, &tx
            ).id
        }
        for policy in entry.policies where policy != "root" {
            if try !environment.policyExists(policy, &tx) {
                warnings.append("policy \"\(policy)\" does not exist")
            }
        }
        if wanted.id != nil {
            warnings.append(
                "a token of your own choosing is only as hard to guess as you made it; prefer a random one")
        }
        let made = try store.issue(&tx, entry, id: wanted.id)
        return try answer(made.entry, token: made.token, request.now, warnings, tx)
    }

    // MARK: Renewing

    @Sendable private func renew(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let token = try Self.tokenSent(request) else { throw .badRequest("missing token ID") }
        let entry = try token.withBytes { bytes throws(VaultError) in
            try store.authenticate(bytes, now: request.now, &tx)
        }
        return try renew(request, &tx, entry, token: token)
    }

    @Sendable private func renewSelf(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let entry = try caller(request, &tx)
        return try renew(request, &tx, entry.isLastUseSpent ? nil : entry, token: request.clientToken)
    }

    @Sendable private func renewAccessor(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try renew(request, &tx, try named(request, &tx), token: nil)
    }

    private func renew(
        _ request: LogicalRequest, _ tx: inout Transaction, _ entry: TokenEntry?, token: SecretBytes?
    ) throws(VaultError) -> LogicalResponse {
        guard let entry else { throw .badRequest("token not found") }
        let identity = try store.identities.identity(of: entry.entityID, tx)
        if !entry.entityID.isEmpty, identity?.entity.isDisabled ?? true {
            throw .badRequest("the token's entity is disabled or gone; not renewing")
        }
        let increment = try request[Self.increment]
        let (terms, caps) = try renewalTerms(of: entry, request, &tx)
        let (renewed, warnings) = try store.renew(
            &tx, entry, increment: increment, terms: terms, caps: caps, now: request.now)
        return try answer(renewed, token: token, request.now, warnings, tx)
    }

    /// What limits a renewal today: the auth method for a token of a login, the token role for one of a role.
    private func renewalTerms(
        of entry: TokenEntry, _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> (RenewalTerms, TTLCaps) {
        if let login = entry.login {
            let renewal = LoginRenewal(
                policies: entry.policies, metadata: entry.metadata ?? [:], internalData: login.internalData,
                connection: request.connection, now: request.now)
            let (terms, caps) = try environment.renewLogin(login, renewal, &tx)
            if let groups = terms.groups {
                try store.identities.follow(groups, of: entry.entityID, at: login.mountAccessor, &tx)
            }
            return (RenewalTerms(entry, login: terms), caps)
        }
        if entry.role.isEmpty { return (RenewalTerms(entry), environment.caps()) }
        guard let role = try store.role(entry.role, &tx) else {
            throw .badRequest("original token role \"\(entry.role)\" is gone; not renewing")
        }
        return (RenewalTerms(entry, role: role), environment.caps())
    }

    // MARK: Revoking

    @Sendable private func revoke(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let entry = try sent(request, &tx) else { return .empty }
        try refuseBatch(entry)
        try store.revoke(&tx, hash: entry.hash, now: request.now)
        return .empty
    }

    @Sendable private func revokeSelf(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let entry = try caller(request, &tx)
        try refuseBatch(entry)
        try store.revoke(&tx, hash: entry.hash, now: request.now)
        return .empty
    }

    @Sendable private func revokeAccessor(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try store.revoke(&tx, hash: try named(request, &tx).hash, now: request.now)
        return .empty
    }

    @Sendable private func revokeOrphan(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let entry = try sent(request, &tx) else { throw .badRequest("token to revoke not found") }
        try refuseBatch(entry)
        try store.revokeAlone(&tx, hash: entry.hash, now: request.now)
        return .empty
    }

    private func refuseBatch(_ entry: TokenEntry) throws(VaultError) {
        if entry.type == .batch { throw .badRequest("batch tokens cannot be revoked") }
    }

    // MARK: Whom it is about

    /// The caller's own token, also in its last use.
    func caller(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError) -> TokenEntry {
        if let entry = try store.live(hash: request.client.storageID, now: request.now, &tx) { return entry }
        // A batch token has no place in storage: it tells about itself.
        guard request.client.storageID.isEmpty, let token = request.clientToken,
            let entry = try token.withBytes({ bytes throws(VaultError) in
                try store.authenticate(bytes, now: request.now, &tx)
            })
        else { throw .permissionDenied }
        return entry
    }

    /// The token in the body; nil when it is no good. One in its last use counts.
    func sent(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError) -> TokenEntry? {
        guard let token = try Self.tokenSent(request) else { throw .badRequest("missing token ID") }
        return try token.withBytes { bytes throws(VaultError) in
            if BatchSealing.isBatch(bytes) { return try store.openBatch(bytes, now: request.now, &tx) }
            return try store.live(hash: store.hash(bytes), now: request.now, &tx)
        }
    }

    /// The token of the accessor in the body.
    func named(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError) -> TokenEntry {
        let accessor = try request[Self.accessor]
        if accessor.isEmpty { throw .badRequest("missing accessor") }
        guard let entry = try store.live(accessor: accessor, now: request.now, &tx) else {
            throw .badRequest("1 error occurred:\n\t* invalid accessor\n\n")
        }
        return entry
    }

    static func tokenSent(_ request: LogicalRequest) throws(VaultError) -> SecretBytes? {
        guard let json = try request.optional(token) else { return nil }
        guard var bytes = json.stringBytes else { throw .badRequest("field 'token': expected a string") }
        defer { bytes.wipe() }
        return bytes.isEmpty ? nil : SecretBytes(copying: bytes)
    }

    private func answer(
        _ entry: TokenEntry, token: SecretBytes?, _ now: Timestamp, _ warnings: [String], _ tx: Transaction
    ) throws(VaultError) -> LogicalResponse {
        var grant = AuthGrant(
            policies: entry.policies, displayName: entry.displayName, ttl: entry.lifetime.ttl)
        grant.metadata = entry.metadata
        grant.isRenewable = entry.lifetime.isRenewable
        grant.numberOfUses = entry.numberOfUses
        grant.issued = entry.issued(
            token: token, now: now, identity: try store.identities.identity(of: entry.entityID, tx))
        var response = LogicalResponse(warnings: warnings)
        response.auth = grant
        return response
    }
}
