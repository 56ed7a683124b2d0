package import Base
package import PluginKit
import Synchronization

/// Work that a mount needs when it is made or its options change, in the transaction that does so.
package typealias PrepareMount = @Sendable (inout Transaction) throws(VaultError) -> Void

/// What a plug-in gives to one mount.
package struct MountParts: Sendable {
    package var routes: [BoundRoute]
    package var prepare: PrepareMount = { _ in }
    /// What the core asks of an auth mount.
    package var login: LoginHooks?
    /// How a secrets engine's leases are renewed and revoked.
    package var leases: LeaseHooks?

    package init(routes: [BoundRoute]) { self.routes = routes }
}

/// What the core asks of an auth mount besides its routes.
package struct LoginHooks: Sendable {
    /// Whether wrong guesses lock names out.
    let locksOut: Bool
    let name: @Sendable (LogicalRequest) -> String?
    let renew: @Sendable (LoginRenewal, inout Transaction) throws(VaultError) -> LoginTerms
    let tidy: @Sendable (inout Transaction, Timestamp) throws(VaultError) -> Bool
}

/// Knows which engines and methods exist, keeps the current `MountTable`, and changes it.
///
/// The table is one record in storage, `core/mounts`. A change is an ordinary transaction on that
/// record; when it has committed, the commit thread calls `reload` before the client gets its answer.
/// Every request notes that it read the record, so that one which raced with the change is run again.
package final class MountRegistry: Sendable {
    package static let recordKey = "core/mounts"

    /// Makes a mount of one type.
    package typealias Factory = @Sendable (MountContext) throws(VaultError) -> MountParts

    private let factories: [MountKind: [String: Factory]]
    private let table = Mutex(MountTable([]))
    private let systemTTL: Mutex<(default: Duration, max: Duration)>
    private let clock: any Clock
    private let random: any RandomSource
    private let log: Log
    package let lockouts = LoginLockouts()
    /// Set in the server's configuration, by the type of auth method.
    private let lockoutSettings: [String: LockoutSettings]

    package init(
        secrets: [String: Factory], auth: [String: Factory], defaultTTL: Duration, maxTTL: Duration,
        lockouts lockoutSettings: [String: LockoutSettings] = [:],
        clock: any Clock, random: any RandomSource, log: Log
    ) {
        self.lockoutSettings = lockoutSettings
        factories = [.secret: secrets, .auth: auth]
        systemTTL = Mutex((defaultTTL, maxTTL))
        self.clock = clock
        self.random = random
        self.log = log
    }

    /// A factory for an engine type.
    package static func factory<Engine: SecretsEngine>(_ type: Engine.Type) -> Factory {
        { (context: MountContext) throws(VaultError) in parts(of: try Engine(context)) }
    }

    /// What an engine gives to its mount.
    package static func parts(of engine: some SecretsEngine) -> MountParts {
        var parts = MountParts(routes: engine.mountRoutes)
        parts.prepare = { (tx: inout Transaction) throws(VaultError) in try engine.prepare(&tx) }
        parts.leases = LeaseHooks(
            renew: { (renewal, transactions) async throws(VaultError) in
                try await engine.renewLease(renewal, transactions)
            },
            revoke: { (secret, transactions) async throws(VaultError) in
                try await engine.revokeLease(secret, transactions)
            })
        return parts
    }

    /// A factory for an auth method type.
    package static func factory<Method: AuthMethod>(_ type: Method.Type) -> Factory {
        { (context: MountContext) throws(VaultError) in
            let method = try Method(context)
            var parts = MountParts(routes: method.mountRoutes)
            parts.login = LoginHooks(
                locksOut: Method.locksOut, name: { method.loginName($0) },
                renew: { renewal, tx throws(VaultError) in try method.renew(renewal, &tx) },
                tidy: { tx, now throws(VaultError) in try method.tidy(&tx, now: now) })
            return parts
        }
    }

    package var current: MountTable { table.withLock { $0 } }
    package var defaults: (default: Duration, max: Duration) { systemTTL.withLock { $0 } }

    package func knows(_ type: String, _ kind: MountKind) -> Bool { factories[kind]?[type] != nil }
    package func types(_ kind: MountKind) -> [String] { (factories[kind]?.keys).map { $0.sorted() } ?? [] }

    /// Gives a built-in mount (`sys/`, `cubbyhole/`, `identity/`, `auth/token/`) its routes, before the
    /// table is loaded.
    package func setBuiltIn(_ apiPath: String, _ routes: [BoundRoute]) {
        builtInRoutes.withLock { $0[apiPath] = routes }
    }
    private let builtInRoutes = Mutex<[String: [BoundRoute]]>([:])

    /// A mount's effective TTLs: its own, or the server's.
    package func ttl(of entry: MountEntry) -> (default: Duration, max: Duration) {
        let system = defaults
        let most = entry.config.maxTTL == .zero ? system.max : entry.config.maxTTL
        let usual = entry.config.defaultTTL == .zero ? system.default : entry.config.defaultTTL
        return (min(usual, most), most)
    }

    // MARK: The record

    /// The rows of a new server.
    package func initialEntries() -> [MountEntry] {
        func entry(_ kind: MountKind, _ path: String, _ type: String, _ description: String) -> MountEntry {
            MountEntry(kind: kind, path: path, type: type, description: description, random: random)
        }
        var cubbyhole = entry(.secret, "cubbyhole/", "cubbyhole", "per-token private secret storage")
        cubbyhole.isLocal = true
        var system = entry(
            .secret, "sys/", "system", "system endpoints used for control, policy and debugging")
        system.config.passthroughRequestHeaders = ["Accept"]
        var token = entry(.auth, "token/", "token", "token based credentials")
        token.config.tokenType = "default-service"
        return [cubbyhole, entry(.secret, "identity/", "identity", "identity store"), system, token]
    }

    package func readEntries(_ tx: inout Transaction) throws(VaultError) -> [MountEntry] {
        guard let bytes = try tx.get(Self.recordKey) else { throw .corrupted(place: "no mount table") }
        var entries: [MountEntry] = []
        for record in RawJSON(trusted: bytes).elements { entries.append(try MountEntry(record: record)) }
        return entries
    }

    package func writeEntries(_ entries: [MountEntry], _ tx: inout Transaction) {
        tx.put(Self.recordKey, JSONValue.array(entries.map(\.record)).encoded())
    }

    /// Builds the table from storage: at unsealing, and after each commit that touched the record.
    package func reload(_ view: any StorageView) throws(VaultError) {
        var tx = Transaction(view: view)
        let known = current
        var mounts: [Mount] = []
        for entry in try readEntries(&tx) {
            // A mount that did not change keeps its engine.
            if let same = known.exactly(entry.apiPath), same.entry == entry, !isStale(entry) {
                mounts.append(same)
                continue
            }
            mounts.append(try build(entry))
        }
        let fresh = MountTable(mounts)
        table.withLock { $0 = fresh }
        asksForHeaders.store(
            mounts.contains { !Self.isBuiltIn($0.entry) && !$0.requestHeaders.isEmpty },
            ordering: .releasing)
    }

    /// Whether any mount wants to see headers of its requests.
    private let asksForHeaders = Atomic<Bool>(false)

    /// The names, in lower case, of the headers that the mount of this path asked for.
    func requestHeaders(for path: String) -> [String] {
        // Nearly always none: then this costs one load.
        guard asksForHeaders.load(ordering: .acquiring) else { return [] }
        return current.mount(for: path)?.requestHeaders ?? []
    }

    private let stale = Mutex<Set<String>>([])

    /// Lets the next `reload` make the engines of these mounts anew. A transaction that writes the record,
    /// as it is, brings the reload about.
    package func markStale(_ apiPaths: [String]) { stale.withLock { $0.formUnion(apiPaths) } }

    private func isStale(_ entry: MountEntry) -> Bool {
        stale.withLock { $0.remove(entry.apiPath) != nil }
    }

    /// Forgets the table, when the server is sealed.
    package func clear() { table.withLock { $0 = MountTable([]) } }

    /// Makes the engine of a row.
    package func build(_ entry: MountEntry) throws(VaultError) -> Mount {
        if Self.isBuiltIn(entry) {
            let routes = builtInRoutes.withLock { $0[entry.apiPath] } ?? []
            let seesAll = ["system", "token", "identity"].contains(entry.type)
            return Mount(
                entry: entry, storagePrefix: seesAll ? "" : entry.storagePrefix, routes: RouteTable(routes))
        }
        guard let factory = factories[entry.kind]?[entry.type] else {
            log.error(
                "no such plug-in: the mount answers nothing", ["path": entry.apiPath, "type": entry.type])
            return Mount(entry: entry, storagePrefix: entry.storagePrefix, routes: RouteTable([]))
        }
        let ttl = ttl(of: entry)
        let made = try factory(
            MountContext(
                uuid: entry.uuid, accessor: entry.accessor, path: entry.apiPath,
                options: entry.options ?? [:],
                defaultTTL: ttl.default, maxTTL: ttl.max, clock: clock, random: random, log: log))
        return Mount(
            entry: entry, storagePrefix: entry.storagePrefix,
            routes: RouteTable(guarded(made.routes, made.login, entry)),
            prepare: made.prepare, login: made.login, leases: made.leases)
    }

    private func guarded(_ routes: [BoundRoute], _ hooks: LoginHooks?, _ entry: MountEntry) -> [BoundRoute] {
        guard let hooks, hooks.locksOut else { return routes }
        return GuardedLogin(
            lockouts: lockouts, accessor: entry.accessor, rules: lockoutRules(of: entry),
            loginName: hooks.name
        ).guarding(routes)
    }

    /// The rules of an auth mount: what was tuned on it, then its type's stanza, then that for all types.
    private func lockoutRules(of entry: MountEntry) -> LockoutRules {
        var rules = LockoutRules()
        for settings in [lockoutSettings["all"], lockoutSettings[entry.type], entry.config.userLockout] {
            if let settings { rules = settings.applied(to: rules) }
        }
        return rules
    }

    /// The mount with this UUID, also one that has left the table and whose leases are still being revoked.
    package func mount(uuid: String, _ tx: inout Transaction) throws(VaultError) -> Mount? {
        if let mount = current.mount(uuid: uuid) { return mount }
        for sweep in try LeaseSweep.all(&tx) {
            if let entry = sweep.mount, entry.uuid == uuid { return try build(entry) }
        }
        return nil
    }

    /// Orders, for a mount that leaves the table or moves, that all it has leased is revoked. What a
    /// disabled one stored is deleted when that is done.
    package func retire(
        _ entry: MountEntry, isDisabled: Bool, _ tx: inout Transaction
    ) throws(VaultError) {
        try LeaseSweep.order(
            &tx, below: entry.apiPath, mount: entry, isDisabled: isDisabled, clock: clock, random: random)
    }

    package static func isBuiltIn(_ entry: MountEntry) -> Bool {
        switch entry.apiPath {
        case "sys/", "cubbyhole/", "identity/", "auth/token/": true
        default: false
        }
    }
}
