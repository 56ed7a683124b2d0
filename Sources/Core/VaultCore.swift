package import Barrier
package import Base
import Crypto
package import PluginKit
import Synchronization

/// Owns what lives as long as the process, and the passage between sealed and unsealed.
///
/// Invariants: there is at most one `ActiveCore`; it exists exactly while the server is unsealed; when
/// `seal` returns, nothing more is committed, every thread has been told to drop its keys, and the
/// barrier's keys are wiped. In a cluster the node takes part exactly while it is unsealed
/// (docs/decisions/010).
package final class VaultCore: Sendable {
    package let backend: any StorageBackend
    package let mounts: MountRegistry
    package let audit: AuditBroker
    package let clock: any Clock
    package let random: any RandomSource
    package let log: Log
    package let inFlight = InFlightRequests()
    package let monitors: LogMonitors
    package let rateLimiter: RateLimiter
    /// Nil for a node that is alone.
    package let role: (any ClusterRole)?
    /// Where requests wait for the cluster; nil for a node that is alone.
    package let gate: ClusterGate?

    private let state = Mutex<ActiveCore?>(nil)
    private let member = Mutex<ClusterMembership?>(nil)
    /// Nil while sealed, and for a node that is alone.
    var membership: ClusterMembership? { member.withLock { $0 } }
    /// What operators have set about HTTP answers.
    package let http = HTTPSettings()
    private let hooks = Mutex(CoreHooks())
    /// Held while the server passes from one state to the other.
    private let passage = Mutex<Void>(())

    package init(
        backend: any StorageBackend, mounts: MountRegistry, audit: AuditBroker, clock: any Clock,
        random: any RandomSource, log: Log, role: (any ClusterRole)? = nil
    ) {
        self.role = role
        gate = role.map { ClusterGate(role: $0, clock: SystemClock()) }
        self.backend = backend
        self.mounts = mounts
        self.audit = audit
        self.clock = clock
        self.random = random
        self.log = log
        monitors = LogMonitors(log: log)
        rateLimiter = RateLimiter(clock: clock)
        role?.observe(self)
    }

    /// What there is while the server is unsealed; nil while it is sealed.
    package var active: ActiveCore? { state.withLock { $0 } }

    /// `hook` is called after each sealing, for whoever holds keys or plain text.
    package func onSeal(_ hook: @escaping @Sendable () -> Void) { hooks.withLock { $0.sealed.append(hook) } }

    /// `hook` is called when this node of a cluster has become the active one. It must not wait.
    package func onDutyBegin(_ hook: @escaping @Sendable () -> Void) {
        hooks.withLock { $0.dutyBegun.append(hook) }
    }

    /// `hook` is called after each sealing and behind each term of duty, for what only the active node knows.
    package func onDutyEnd(_ hook: @escaping @Sendable () -> Void) {
        hooks.withLock { $0.dutyEnded.append(hook) }
    }

    /// `hook` is called when another node has changed the seal's records.
    package func onKeysFollowed(_ hook: @escaping @Sendable () -> Void) {
        hooks.withLock { $0.keysFollowed.append(hook) }
    }

    /// How the node begins and ends to take part in its cluster: `join` is called when it has been unsealed
    /// and follows what is applied, `leave` first thing when it is sealed. Set before the first unsealing.
    package func takePart(
        join: @escaping @Sendable (ActiveCore) throws(VaultError) -> Void,
        leave: @escaping @Sendable () -> Void
    ) {
        hooks.withLock {
            $0.join = join
            $0.leave = leave
        }
    }

    /// Bytes of a token's hash: nobody finds a second token for one of 192 bits.
    private static let tokenHashBytes = 24

    /// The service that stores tokens, over keys that only an unsealed barrier gives.
    ///
    /// - Parameter sequence: the newest commit.
    package func makeTokenStore(
        _ barrier: UnsealedBarrier, at sequence: UInt64
    ) throws(VaultError) -> TokenStore {
        let mac = HMACSHA256(key: try barrier.derivedKey("token-hash"))
        let batchKey = try barrier.derivedKey("batch-tokens")
        // An AESGCM belongs to one thread at a time.
        let cipher = Guarded(try AESGCM(key: batchKey))
        let random = self.random
        let sealing = BatchSealing(
            seal: { (plain: [UInt8]) throws(VaultError) in
                let nonce = random.bytes(AESGCM.nonceBytes)
                return nonce
                    + (try cipher.use { (cipher: AESGCM) throws(VaultError) in
                        try cipher.seal(plain, nonce: nonce)
                    })
            },
            open: { sealed in
                guard sealed.count > AESGCM.nonceBytes else { return nil }
                let nonce = Array(sealed.prefix(AESGCM.nonceBytes))
                return cipher.use { $0.open(Array(sealed.dropFirst(AESGCM.nonceBytes)), nonce: nonce) }
            })
        return TokenStore(
            hash: { Base64.url.encode(Array(mac.code($0).prefix(Self.tokenHashBytes))) }, batch: sealing,
            random: random,
            leases: LeaseStore(random: random),
            pending: PendingRevocations(), changes: TokenChanges(startingAfter: sequence),
            cubbyholePrefix: { [mounts] storageID in
                (mounts.current.exactly("cubbyhole/")?.storagePrefix ?? "logical/none/") + storageID + "/"
            })
    }

    private func tokenRoutes(
        _ tokens: TokenStore, _ policies: ACLCache, _ identities: IdentityCache
    ) -> [BoundRoute] {
        let store = PolicyStore()
        let environment = TokenEnvironment(
            hasSudo: { (request, tx, path) throws(VaultError) in
                let identity = try identities.goodIdentity(of: request.client.entityID, tx)
                return try policies.acl(for: request.client.policies, of: identity, in: tx)
                    .capabilitySet(path).contains(.sudo)
            },
            accessor: { [mounts] in mounts.current.exactly("auth/token/")?.entry.accessor ?? "" },
            caps: { [mounts] in
                let ttl =
                    mounts.current.exactly("auth/token/").map { mounts.ttl(of: $0.entry) } ?? mounts.defaults
                return TTLCaps(defaultTTL: ttl.default, maxTTL: ttl.max)
            },
            policyExists: { (name, tx) throws(VaultError) in try store.exists(name, in: tx) },
            renewLogin: { [mounts] (origin, renewal, tx) throws(VaultError) in
                guard let mount = mounts.current.mount(accessor: origin.mountAccessor),
                    let login = mount.login
                else {
                    throw .badRequest("the auth method that granted this token is gone; not renewing")
                }
                var scoped = tx.scoped(to: mount.storagePrefix)
                let terms = try login.renew(renewal, &scoped)
                let ttl = mounts.ttl(of: mount.entry)
                return (terms, TTLCaps(defaultTTL: ttl.default, maxTTL: ttl.max))
            })
        return TokenMethod(store: tokens, environment: environment).mountRoutes
    }

    private func identityRoutes(_ store: IdentityStore) -> [BoundRoute] {
        IdentityMount(store: store) { [mounts] accessor in
            mounts.current.mount(accessor: accessor).flatMap { $0.entry.kind == .auth ? $0 : nil }
        }.mountRoutes
    }

    // MARK: Unsealing

    /// Takes up service with an open barrier.
    package func activate(_ barrier: UnsealedBarrier) throws(VaultError) {
        let failure: VaultError? = passage.withLock { _ in
            do throws(VaultError) {
                guard active == nil else { return nil }
                try start(barrier)
                return nil
            } catch { return error }
        }
        if let failure { throw failure }
    }

    private func start(_ barrier: UnsealedBarrier) throws(VaultError) {
        let reader = try backend.makeReader()
        let view = try barrier.makeView(reader: reader)
        try view.refresh()
        defer { view.release() }
        let tokens = try makeTokenStore(barrier, at: view.sequence)
        let policies = ACLCache()
        let identities = IdentityCache(store: tokens.identities, startingAfter: view.sequence)
        mounts.clear()
        mounts.setBuiltIn("auth/token/", tokenRoutes(tokens, policies, identities))
        mounts.setBuiltIn("identity/", identityRoutes(tokens.identities))
        let fresh = ActiveCore(
            barrier: barrier, mounts: mounts, tokens: tokens, policies: policies,
            identities: identities, audit: audit, cluster: try ClusterIdentity.read(view), http: http)
        let follower = CacheFollower(
            core: fresh, backend: backend, rateLimiter: rateLimiter, log: log,
            onKeys: { [weak self] in self?.run { $0.keysFollowed } },
            onKeysLost: { [weak self] in self?.sealSoon() })
        try follower.load(view)
        if let role {
            try join(fresh, follower, role)
        } else {
            try begin(fresh, follower)
        }
        log.info(
            "unsealed", ["cluster": fresh.cluster.name, "mounts": String(mounts.current.mounts.count)])
    }

    /// A node that is alone is active from the first moment on.
    private func begin(_ fresh: ActiveCore, _ follower: CacheFollower) throws(VaultError) {
        fresh.set(try makeDuty(fresh, term: 0) { follower.note($0, at: $1.sequence, $1) })
        state.withLock { $0 = fresh }
    }

    private func join(
        _ fresh: ActiveCore, _ follower: CacheFollower, _ role: any ClusterRole
    ) throws(VaultError) {
        let leadership = Leadership(
            core: fresh, role: role, log: log,
            makeDuty: { [self] term throws(VaultError) in try makeDuty(fresh, term: term) { _, _ in } },
            onDuty: { [self] in run { $0.dutyBegun } },
            afterDuty: { [self] in
                mounts.lockouts.store(in: nil)
                run { $0.dutyEnded }
            })
        // Nothing may be applied that the caches do not hear of: what came before is read anew.
        member.withLock { $0 = ClusterMembership(follower: follower, leadership: leadership) }
        follower.followAll()
        state.withLock { $0 = fresh }
        do throws(VaultError) {
            try gate?.start()
            try hooks.withLock({ $0.join })(fresh)
            try leadership.start()
        } catch {
            sealed(fresh)
            throw error
        }
    }

    /// Makes the active node's part and starts it.
    /// - Parameter invalidate: gets the keys of each commit of its thread, and a view behind it.
    private func makeDuty(
        _ core: ActiveCore, term: UInt64,
        invalidate: @escaping @Sendable ([String], any StorageView) -> Void
    ) throws(VaultError) -> ActiveDuty {
        let commits = CommitThread()
        let revoker = LeaseRevoker(
            mounts: mounts, leases: core.tokens.leases, commits: commits, clock: clock, log: log)
        let maintenance = Maintenance(
            core: core, revoker: revoker, backend: backend, clock: clock, log: log)
        let duty = ActiveDuty(
            term: term, since: clock.now(), commits: commits, revoker: revoker, maintenance: maintenance)
        try commits.start(
            backend: backend, barrier: core.barrier, log: log, confirm: role.map(Self.confirmation),
            invalidate: invalidate)
        do throws(VaultError) {
            try VersionHistory.noteThisVersion(CommitTransactions(commits), now: clock.now())
            try duty.start()
        } catch {
            duty.end(refusing: .standby)
            throw error
        }
        mounts.lockouts.store(in: CommitTransactions(commits))
        return duty
    }

    /// Asks, on a thread that may wait, whether this node is still the active one.
    private static func confirmation(_ role: any ClusterRole) -> @Sendable () -> VaultError? {
        {
            let answers = BlockingQueue<VaultError?>(limit: 1)
            role.confirmRead { _ = answers.push($0) }
            return answers.take(most: 1).first ?? .standby
        }
    }

    private func run(_ which: (CoreHooks) -> [@Sendable () -> Void]) {
        for hook in which(hooks.withLock { $0 }) { hook() }
    }

    // MARK: Sealing

    /// Stops serving and forgets every key. Returns when that is done.
    package func seal() {
        // Where another node can take over, no write has to wait for an election.
        if let failure = stepDownBlocking() {
            log.warn("no other node took over", ["cause": failure.messages.joined(separator: "; ")])
        }
        passage.withLock { _ in
            guard let last = active else { return }
            sealed(last)
            log.info("sealed")
            monitors.endAll()
        }
    }

    /// For threads that sealing waits for.
    private func sealSoon() {
        do throws(VaultError) { _ = try Thread(name: "sealing") { [self] in seal() } } catch {
            log.error("the server cannot seal itself", ["cause": "\(error)"])
        }
    }

    private func sealed(_ last: ActiveCore) {
        state.withLock { $0 = nil }
        if let member = membership {
            member.leadership.stop()
            hooks.withLock { $0.leave }()
            if let duty = last.duty { member.leadership.end(duty, refusing: .sealed) }
            gate?.stop()
        } else if let duty = last.duty {
            duty.finish { last.storeKeyCounts() }
        }
        member.withLock { $0 = nil }
        audit.clear()
        mounts.lockouts.stop()
        rateLimiter.clear()
        http.set(HTTPConfig())
        mounts.clear()
        mounts.setBuiltIn("auth/token/", [])
        mounts.setBuiltIn("identity/", [])
        last.barrier.seal()
        run { $0.dutyEnded + $0.sealed }
    }
}
