import Barrier
package import Base
import PluginKit
import Synchronization

/// Initialisation, unsealing and sealing, by key shares and by seals that need nobody.
///
/// The root key opens the barrier. It is wrapped by the seal key: with Shamir's seal holders have shares of
/// that key; else it is random, and each configured seal has wrapped a copy of it (`SealConfig`). Shares
/// entered so far live in locked memory and are wiped with the attempt.
///
/// Everything but `status` and `resetProgress` may wait for a disk or a KMS: never call it on an I/O thread.
/// The parts: initialising, unsealing, migration, keys (rekeying, wrapping anew), the keeper's thread.
package final class SealController: Sendable {
    let core: VaultCore
    package let seals: SealSet
    let clusterName: String
    /// Held by whoever changes the seal's configuration, also while a KMS is asked.
    let work = Mutex<Void>(())
    let attempt = Mutex(Attempt())
    private let state: Mutex<State>
    private let keeper: SealKeeper
    /// Set while this node waits for the root key of a cluster that it joins.
    let pendingJoin = Mutex<PendingJoin?>(nil)
    /// The holders' key, from unsealing with `-migrate` until this node or another has gone over to the
    /// configured seal.
    let migrationKey = Mutex<SecretBytes?>(nil)

    /// Shares on their way to unseal the server.
    struct Attempt {
        var shares = KeyShares()
        var nonce = ""
        var isMigration = false
    }

    private struct State {
        /// As it is stored. It changes by initialising, rekeying, migrating and wrapping anew, and on a
        /// standby by what its leader does: see `reload`.
        var config: SealConfig?
        /// What the configuration makes of it; nil before initialising.
        var plan: SealPlan?
        var reason = ""
        /// An operator has sealed the server: it waits for holders or a restart.
        var isHeld = false
    }

    /// - Parameters:
    ///   - seals: those of the configuration; none for Shamir's.
    ///   - checkInterval: time between two looks at how the seals do, while all of them are well.
    /// - Throws: `.corrupted` when the storage holds a seal configuration that cannot be read.
    package init(
        core: VaultCore, clusterName: String, seals: SealSet = SealSet(),
        checkInterval: Duration = SealKeeper.usualInterval
    ) throws(VaultError) {
        self.core = core
        self.clusterName = clusterName
        self.seals = seals
        state = Mutex(State())
        keeper = SealKeeper(clock: core.clock, random: core.random, log: core.log, interval: checkInterval)
        adopt(try Self.stored(core))
        core.onKeysFollowed { [weak self] in self?.follow() }
        core.onDutyBegin { [weak self] in self?.keeper.lookAgain() }
        core.onSeal { [weak self] in
            self?.migrationKey.withLock { $0 = nil }
            // It may have sealed itself, and then unseals itself, too.
            self?.wake()
        }
    }

    static func stored(_ core: VaultCore) throws(VaultError) -> SealConfig? {
        try BarrierBootstrap.readSealConfig(core.backend).map { bytes throws(VaultError) in
            try SealConfig(record: bytes)
        }
    }

    // MARK: State

    /// What is stored as the seal's configuration; nil before initialising.
    var config: SealConfig? { state.withLock { $0.config } }

    /// What has been committed as the seal's configuration.
    func adopt(_ config: SealConfig?) { state.withLock { adopt(config, &$0) } }

    private func adopt(_ config: SealConfig?, _ state: inout State) {
        state.config = config
        state.plan = config.map { SealPlan($0, seals) }
        seals.noteCopies(config?.automatic?.copies ?? [])
    }

    /// Reads the seal's configuration again: another node may have changed what this one stores.
    package func reload() throws(VaultError) {
        // Read and kept in one: who comes later has read what is newer.
        let failure: VaultError? = state.withLock { state in
            do throws(VaultError) {
                if let config = try Self.stored(core) { adopt(config, &state) }
                return nil
            } catch { return error }
        }
        if let failure { throw failure }
    }

    /// The active node has changed what this one stores.
    private func follow() {
        do throws(VaultError) {
            let before = plan
            try reload()
            followMigration(from: before)
        } catch {
            core.log.error(
                "the seal's configuration cannot be read", ["cause": error.privateCause ?? "\(error)"])
        }
    }

    /// What the configuration makes of what is stored; nil before initialising.
    var plan: SealPlan? { state.withLock { $0.plan } }

    /// Why the server that should unseal itself has not; empty when it has, or does not.
    var reason: String {
        get { state.withLock { $0.reason } }
        set { state.withLock { $0.reason = newValue } }
    }

    /// Whether an operator has sealed the server.
    var isHeld: Bool {
        get { state.withLock { $0.isHeld } }
        set { state.withLock { $0.isHeld = newValue } }
    }

    package var status: SealStatus {
        let (config, plan, reason) = state.withLock { ($0.config, $0.plan, $0.reason) }
        let active = core.active
        let (progress, nonce) = attempt.withLock { ($0.shares.count, $0.nonce) }
        var status = SealStatus(
            type: config?.type ?? seals.enabled.first?.type ?? SealConfig.shamir,
            storageType: Swift.type(of: core.backend).type, isInitialized: config != nil,
            isSealed: active == nil, threshold: config?.holders.threshold ?? 0,
            shares: config?.holders.shares ?? 0, progress: progress, nonce: nonce,
            clusterName: active?.cluster.name ?? "", clusterID: active?.cluster.id ?? "")
        status.isAutomatic = config.map { $0.automatic != nil } ?? !seals.enabled.isEmpty
        status.hasBreakGlass = config?.automatic?.breakGlass != nil
        guard let plan else { return status }
        if active != nil {
            status.isMigrating = plan.isMigration && isGoingOver
            status.warning = warning(plan, reason)
            return status
        }
        status.isMigrating = plan.isMigration
        status.reason = reason
        if case .impossible(let why) = plan { status.reason = why }
        return status
    }

    /// Forgets the shares entered so far.
    package func resetProgress() { attempt.withLock { $0 = Attempt() } }

    /// Seals the server. Returns when every key is gone. It does not unseal itself again before a restart, or
    /// before enough holders have entered their shares.
    package func seal() {
        resetProgress()
        isHeld = true
        reason =
            seals.enabled.isEmpty ? "" : "sealed by an operator: restart it, or enter recovery key shares"
        core.seal()
    }

    // MARK: The keeper

    /// Begins to unseal without a person, where the configuration names a seal for it, and to look after
    /// the seals from then on.
    package func start() throws(VaultError) {
        if seals.members.isEmpty { return }
        try keeper.start(self)
    }

    /// Ends what `start` began; waits for a call to a KMS that is on its way.
    package func stop() { keeper.stop() }

    /// Looks at once at what there is to do: the storage may have been initialised, or a KMS be back.
    package func wake() { keeper.wake() }

    /// The same, and asks every seal.
    func lookAgain() { keeper.lookAgain() }

    // MARK: For rekeying and root tokens

    /// How many holders make a quorum.
    /// - Throws: `.notInitialized`.
    func threshold() throws(VaultError) -> Int {
        guard let config else { throw .notInitialized }
        return config.holders.threshold
    }

    /// Checks that these shares are a quorum of this very server's holders, while it is unsealed.
    /// - Returns: the key that they make.
    /// - Throws: `.badRequest` when they are not.
    @discardableResult
    func prove(_ shares: KeyShares, _ active: ActiveCore) throws(VaultError) -> SecretBytes {
        guard let config else { throw .notInitialized }
        let key = try shares.combined()
        if config.automatic != nil {
            try Self.checkRecovery(key, config)
        } else {
            guard try active.barrier.isRootKey(try rootKey(under: key)) else {
                throw .badRequest(
                    "the unseal key is wrong: expected key shares of this server's current set")
            }
        }
        return key
    }

    /// - Throws: `.badRequest` when this is not the server's recovery key.
    static func checkRecovery(_ key: SecretBytes, _ config: SealConfig) throws(VaultError) {
        guard let automatic = config.automatic,
            constantTimeEqual(SealConfig.check(of: key), automatic.recoveryCheck)
        else {
            throw .badRequest("the recovery key is wrong: expected key shares of this server's current set")
        }
    }

    /// The root key, opened by a seal key.
    /// - Throws: `.badRequest` for a wrong one.
    func rootKey(under key: SecretBytes) throws(VaultError) -> SecretBytes {
        try SealEnvelope.unwrapRootKey(try wrappedRootKey(), under: key)
    }

    /// What is stored of the root key.
    func wrappedRootKey() throws(VaultError) -> [UInt8] {
        if let join = pendingJoin.withLock({ $0 }) { return join.wrappedRootKey }
        guard let wrapped = try BarrierBootstrap.readWrappedRootKey(core.backend) else {
            throw .notInitialized
        }
        return wrapped
    }

    /// Runs `body` alone among those who change the seal's configuration.
    func alone<Result: Sendable>(_ body: () throws(VaultError) -> Result) throws(VaultError) -> Result {
        let outcome: Swift.Result<Result, VaultError> = work.withLock { _ in
            do throws(VaultError) { return .success(try body()) } catch { return .failure(error) }
        }
        return try outcome.get()
    }
}
