package import Base

/// What a login or token creation grants; the core makes the token.
package struct AuthGrant: Sendable {
    /// As the user or role has them. The core refuses `root`.
    package var policies: [String]
    /// The core puts the mount's path before it: `ann` becomes `userpass-ann`.
    package var displayName: String
    package var metadata: [String: String]?
    /// Zero for the mount's default.
    package var ttl: Duration
    /// Counted from the login, for every renewal too. Zero for the mount's.
    package var maxTTL: Duration = .zero
    /// As `maxTTL`, but fixed for the token's life, and for periodic tokens as well. Zero for none.
    package var explicitMaxTTL: Duration = .zero
    /// The span that each renewal gives; zero for none.
    package var period: Duration = .zero
    package var isRenewable = true
    /// Zero for any number.
    package var numberOfUses = 0
    /// Leaves the policy `default` out.
    package var hasNoDefaultPolicy = false
    /// Networks from which the token may be used; empty for all.
    package var boundCIDRs: [CIDRBlock] = []
    package var tokenType = LoginTokenType.mountDefault
    /// Who logged in, for the identity store.
    package var alias: LoginAlias?
    /// Names of the groups that the method knows the user to be in: external groups follow them. Nil for a
    /// method that knows of none, which leaves groups as they are.
    package var groups: [String]?
    /// What the method needs to know when the token is renewed; never shown.
    package var internalData: [String: String] = [:]
    /// Whether what the login rests on is still there, asked in the very transaction that makes the
    /// token: for methods that wait between looking and granting. It throws the reason when not.
    package var recheck: (@Sendable (inout Transaction) throws(VaultError) -> Void)?
    /// Filled by the core, or by the token method itself, when the token exists already.
    package var issued: IssuedToken?

    package init(policies: [String], displayName: String, ttl: Duration = .zero) {
        self.policies = policies
        self.displayName = displayName
        self.ttl = ttl
    }
}

/// The kind of token that a user or role asks for. The mount's own setting may overrule it.
package enum LoginTokenType: String, Sendable {
    case mountDefault = "default"
    case service, batch
    case defaultService = "default-service"
    case defaultBatch = "default-batch"
}

/// The name by which an auth method knows who logged in.
package struct LoginAlias: Sendable, Equatable {
    /// In the method's one spelling.
    package var name: String
    package var metadata: [String: String]

    package init(name: String, metadata: [String: String] = [:]) {
        self.name = name
        self.metadata = metadata
    }
}

/// A token that shall be renewed, as its method needs to know it.
package struct LoginRenewal: Sendable {
    /// The token's policies.
    package var policies: [String]
    package var metadata: [String: String]
    /// As the grant had it.
    package var internalData: [String: String]
    /// Where the renewal came from.
    package var connection: ConnectionInfo
    package var now: Timestamp

    package init(
        policies: [String], metadata: [String: String], internalData: [String: String],
        connection: ConnectionInfo = ConnectionInfo(), now: Timestamp
    ) {
        self.policies = policies
        self.metadata = metadata
        self.internalData = internalData
        self.connection = connection
        self.now = now
    }
}

/// How long a method lets its tokens live now. Zero means the mount's limits.
package struct LoginTerms: Sendable, Equatable {
    package var ttl: Duration
    package var maxTTL: Duration
    package var period: Duration
    /// As in `AuthGrant`, as of the renewal.
    package var groups: [String]?

    package init(ttl: Duration = .zero, maxTTL: Duration = .zero, period: Duration = .zero) {
        self.ttl = ttl
        self.maxTTL = maxTTL
        self.period = period
    }
}
