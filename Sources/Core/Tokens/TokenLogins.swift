import Base
import PluginKit

/// The auth mount that a login came through.
struct LoginMount: Sendable {
    /// Below `/v1/`: `auth/userpass/`.
    let path: String
    let accessor: String
    let storagePrefix: String
    /// The mount's `token_type`.
    let tokenType: String?
    let caps: TTLCaps
    /// False once the mount was disabled, or its path given to another.
    let isStillThere: @Sendable () -> Bool

    init(_ mount: Mount, in registry: MountRegistry) {
        let entry = mount.entry
        let ttl = registry.ttl(of: entry)
        path = mount.apiPath
        accessor = entry.accessor
        storagePrefix = mount.storagePrefix
        tokenType = entry.config.tokenType
        caps = TTLCaps(defaultTTL: ttl.default, maxTTL: ttl.max)
        isStillThere = { registry.current.exactly(mount.apiPath)?.entry.uuid == entry.uuid }
    }

    init(
        path: String, accessor: String, storagePrefix: String = "", tokenType: String? = nil, caps: TTLCaps
    ) {
        self.path = path
        self.accessor = accessor
        self.storagePrefix = storagePrefix
        self.tokenType = tokenType
        self.caps = caps
        isStillThere = { true }
    }

    /// The kind of token: `service` and `batch` of the mount rule; else the user or role says, or the
    /// mount's `default-…`.
    func type(wanted: LoginTokenType) -> TokenType {
        switch (tokenType, wanted) {
        case ("service", _): .service
        case ("batch", _): .batch
        case (_, .service), (_, .defaultService): .service
        case (_, .batch), (_, .defaultBatch): .batch
        case ("default-batch", .mountDefault): .batch
        case (_, .mountDefault): .service
        }
    }

    /// `auth/team/ldap/` and `ann` give `team-ldap-ann`.
    func displayName(_ name: String) -> String {
        let mount = path.split(separator: "/").dropFirst().joined(separator: "-")
        return name.isEmpty ? mount : "\(mount)-\(name)"
    }
}

extension TokenStore {
    /// The token that a login grants: an orphan, with the mount's caps on its life.
    ///
    /// - Parameter path: the API path of the login, `auth/userpass/login/ann`.
    /// - Throws: `.badRequest` for what no login may grant, and what the grant's `recheck` throws.
    func issueLogin(
        _ tx: inout Transaction, _ grant: AuthGrant, path: String, mount: LoginMount, now: Timestamp
    ) throws(VaultError) -> (grant: AuthGrant, warnings: [String]) {
        // A handler that waited may have outlived its mount. The table is a cache: depend on its record.
        tx.log.noteRead(MountRegistry.recordKey)
        guard mount.isStillThere() else { throw .noHandler(path: path) }
        if let recheck = grant.recheck {
            var scoped = tx.scoped(to: mount.storagePrefix)
            try recheck(&scoped)
        }
        var entry = TokenEntry(hash: "", created: now)
        entry.policies = try Self.grantable(grant)
        entry.type = mount.type(wanted: grant.tokenType)
        entry.path = path
        entry.displayName = mount.displayName(grant.displayName)
        entry.metadata = grant.metadata
        entry.boundCIDRs = grant.boundCIDRs
        var wanted = TTLRequest(issued: now)
        wanted.increment = grant.ttl
        wanted.maxTTL = grant.maxTTL
        wanted.explicitMaxTTL = grant.explicitMaxTTL
        if entry.type == .service {
            wanted.period = grant.period
            entry.lifetime.period = grant.period
            entry.lifetime.explicitMaxTTL = grant.explicitMaxTTL
            entry.lifetime.isRenewable = grant.isRenewable
            entry.numberOfUses = grant.numberOfUses
            entry.login = LoginOrigin(mountAccessor: mount.accessor, internalData: grant.internalData)
        }
        let (ttl, warnings) = try wanted.resolve(caps: mount.caps, now: now)
        entry.lifetime.ttl = ttl
        entry.lifetime.expires = now + ttl
        if let alias = grant.alias {
            entry.entityID = try identities.entity(
                for: alias, groups: grant.groups, at: mount.accessor, now: now, &tx
            ).id
        }
        let (token, made) = try issue(&tx, entry)
        var answer = grant
        answer.issued = made.issued(
            token: token, now: now, identity: try identities.identity(of: entry.entityID, tx))
        return (answer, warnings)
    }

    private static func grantable(_ grant: AuthGrant) throws(VaultError) -> [String] {
        let names = TokenPolicies.sanitized(grant.policies, addingDefault: !grant.hasNoDefaultPolicy)
        if names == ["root"] { throw .badRequest("auth methods cannot create root tokens") }
        if let name = names.first(where: TokenPolicies.internalNames.contains) {
            throw .badRequest("cannot assign policy \"\(name)\"")
        }
        return names
    }
}
