package import Base

/// A handler that reads a consistent view, buffers writes and touches nothing else. It runs on an
/// I/O thread and is run again when the commit finds that something it read has changed.
package typealias SyncHandler =
    @Sendable (LogicalRequest, inout Transaction) throws(VaultError) -> LogicalResponse

/// A handler that waits for the outside world, with transactions before and after.
package typealias AsyncHandler =
    @Sendable (LogicalRequest, any Transactions) async throws(VaultError) -> LogicalResponse

/// Tells whether what a write names is there already: then it needs `update`, else `create`.
package typealias ExistenceCheck = @Sendable (LogicalRequest, inout Transaction) throws(VaultError) -> Bool

/// What one mount knows of itself.
package struct MountContext: Sendable {
    package let uuid: String
    package let accessor: String
    /// With a trailing slash: `secret/`, `auth/userpass/`.
    package let path: String
    package let options: [String: String]
    package let defaultTTL: Duration
    package let maxTTL: Duration
    package let clock: any Clock
    package let random: any RandomSource
    package let log: Log

    package init(
        uuid: String, accessor: String, path: String, options: [String: String] = [:],
        defaultTTL: Duration = .seconds(2_764_800), maxTTL: Duration = .seconds(2_764_800),
        clock: any Clock = SystemClock(), random: any RandomSource = SystemRandom(), log: Log = Log()
    ) {
        self.uuid = uuid
        self.accessor = accessor
        self.path = path
        self.options = options
        self.defaultTTL = defaultTTL
        self.maxTTL = maxTTL
        self.clock = clock
        self.random = random
        self.log = log
    }
}

/// What secrets engines and auth methods have in common: a struct made per mount, and its routes.
/// State lives in storage; a transaction sees only the mount's own prefix.
package protocol Mountable: Sendable {
    /// The name in `sys/mounts` or `sys/auth`: `kv`, `userpass`.
    static var type: String { get }
    /// One line for `path-help` and the catalogue.
    static var summary: String { get }
    static var routes: [Route<Self>] { get }
    /// - Throws: `.badRequest` when the mount's options make no sense.
    init(_ context: MountContext) throws(VaultError)
    /// The routes of this very mount, where they depend on its options (KV's two versions).
    var mountRoutes: [BoundRoute] { get }
}

extension Mountable {
    package var mountRoutes: [BoundRoute] { Self.routes.map { $0.bind(self) } }
}

/// A kind of secrets engine.
package protocol SecretsEngine: Mountable {
    /// Work that the mount needs when it is enabled or its options change; runs in the same transaction.
    func prepare(_ tx: inout Transaction) throws(VaultError)
    /// Makes a secret that this mount leased last longer.
    /// - Returns: what is granted from now on; the internal data replaces the earlier.
    func renewLease(_ renewal: LeaseRenewal, _ transactions: any Transactions) async throws(VaultError)
        -> LeaseGrant
    /// Takes back a secret that this mount leased. It may be asked again for one that is gone already: that
    /// is no error. What it throws is kept with the lease, and it is asked again later.
    func revokeLease(_ secret: LeasedSecret, _ transactions: any Transactions) async throws(VaultError)
}

extension SecretsEngine {
    package func prepare(_ tx: inout Transaction) throws(VaultError) {}
    package func renewLease(_ renewal: LeaseRenewal, _ transactions: any Transactions)
        async throws(VaultError) -> LeaseGrant
    {
        throw .badRequest("lease is not renewable")
    }
    package func revokeLease(_ secret: LeasedSecret, _ transactions: any Transactions)
        async throws(VaultError)
    {
        throw .internal("a \(Self.type) mount has leased something, and does not know how to take it back")
    }
}

/// A kind of login.
///
/// A login route is `.unauthenticated`. It answers with an `AuthGrant`, from which the core makes the
/// token, and refuses with `.invalidCredentials` what counts as a wrong guess.
package protocol AuthMethod: Mountable {
    /// Whether wrong guesses lock a name out for a while.
    static var locksOut: Bool { get }

    /// The one spelling of the name that a login is about, under which wrong guesses are counted:
    /// whatever spellings log the same user in must give the same. Nil when the request is no such login.
    func loginName(_ request: LogicalRequest) -> String?

    /// Asked before a token that a login here granted is renewed: does what it rests on still hold?
    /// - Returns: how long tokens of this user or role may live now.
    /// - Throws: `.badRequest` with the reason why the token must not live longer.
    func renew(_ renewal: LoginRenewal, _ tx: inout Transaction) throws(VaultError) -> LoginTerms

    /// Removes some of what has ended; called every minute.
    /// - Returns: whether it is worth calling again at once.
    func tidy(_ tx: inout Transaction, now: Timestamp) throws(VaultError) -> Bool
}

extension AuthMethod {
    package static var locksOut: Bool { false }
    package func loginName(_ request: LogicalRequest) -> String? { nil }
    package func tidy(_ tx: inout Transaction, now: Timestamp) throws(VaultError) -> Bool { false }
}
