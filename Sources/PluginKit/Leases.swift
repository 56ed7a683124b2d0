package import Base

/// A secret that an engine has leased, as the core gives it back to be prolonged or ended.
package struct LeasedSecret: Sendable {
    /// The whole id, as clients know it.
    package let leaseID: String
    /// What the engine put into its grant, or into the last renewal's.
    package let internalData: RawJSON
    /// When the secret was leased.
    package let issued: Timestamp
    /// When the lease ends, or has ended.
    package let expires: Timestamp
    /// The time at which this is judged.
    package let now: Timestamp

    package init(
        leaseID: String, internalData: RawJSON, issued: Timestamp, expires: Timestamp, now: Timestamp
    ) {
        self.leaseID = leaseID
        self.internalData = internalData
        self.issued = issued
        self.expires = expires
        self.now = now
    }
}

/// A client's wish to keep a secret for longer.
package struct LeaseRenewal: Sendable {
    package let secret: LeasedSecret
    /// The span that the client asks for; zero for none.
    package let increment: Duration
    private let resolve: @Sendable (Duration, Duration) throws(VaultError) -> Duration

    package init(
        secret: LeasedSecret, increment: Duration,
        resolve: @escaping @Sendable (Duration, Duration) throws(VaultError) -> Duration
    ) {
        self.secret = secret
        self.increment = increment
        self.resolve = resolve
    }

    /// The span from now that the core will grant for these limits of the engine's own: so that engine and
    /// core agree on the end before the engine tells it to the outside.
    ///
    /// - Parameters:
    ///   - ttl: the span to give when the client asks for none; zero for the mount's.
    ///   - maxTTL: counted from the first grant; zero for the mount's.
    /// - Throws: `.badRequest` when the last allowed moment has passed.
    package func span(ttl: Duration, maxTTL: Duration) throws(VaultError) -> Duration {
        try resolve(ttl, maxTTL)
    }
}

/// How a mount's engine prolongs and takes back what it has leased.
package struct LeaseHooks: Sendable {
    package typealias Renew =
        @Sendable (LeaseRenewal, any Transactions) async throws(VaultError) -> LeaseGrant
    package typealias Revoke = @Sendable (LeasedSecret, any Transactions) async throws(VaultError) -> Void

    package let renew: Renew
    package let revoke: Revoke

    package init(renew: @escaping Renew, revoke: @escaping Revoke) {
        self.renew = renew
        self.revoke = revoke
    }
}
