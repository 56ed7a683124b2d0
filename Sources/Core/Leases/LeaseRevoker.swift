package import Base
import PluginKit
import Synchronization

/// Gives secrets whose leases are over back to their engines, which talk to the outside for it.
///
/// Each mount has its own bounded queue and its own few tasks, so that an engine which hangs or fails holds
/// up no other's leases. A lease is removed only when its engine has taken the secret back; a failure is
/// written down with the lease, which then waits longer each time (`LeaseStore.postpone`). Nothing here is
/// remembered across a restart: what is due stands in storage.
package final class LeaseRevoker: Sendable {
    /// Tasks of one mount at a time.
    private static let tasksPerMount = 16
    /// Leases of one mount that wait for a task.
    private static let queuePerMount = 4_096
    /// A queue that has turned a lease away asks for more when this many are left.
    private static let lowWater = 512
    /// A mount whose last success is older than this counts as stuck.
    private static let patience = Duration.seconds(5)

    /// What became of an offered lease.
    enum Offer {
        case taken
        /// The mount has enough to do, and is getting on with it.
        case full
        /// The mount has enough to do, and nothing moves.
        case stuck
    }

    private struct Lane {
        var waiting: [String] = []
        var next = 0
        var tasks = 0
        /// When the lane was empty last, or a lease went.
        var progress: Timestamp
        var lastFailed = false
        var hasTurnedAway = false

        var count: Int { waiting.count - next }
    }
    private struct State {
        var lanes: [String: Lane] = [:]
        /// Leases that wait for a task or are with one.
        var busy: Set<String> = []
        var isStopped = false
        var onLowWater: @Sendable () -> Void = {}
    }
    private let state = Mutex(State())
    private let mounts: MountRegistry
    private let leases: LeaseStore
    private let transactions: CommitTransactions
    private let clock: any Clock
    private let log: Log

    init(mounts: MountRegistry, leases: LeaseStore, commits: CommitThread, clock: any Clock, log: Log) {
        self.mounts = mounts
        self.leases = leases
        transactions = CommitTransactions(commits)
        self.clock = clock
        self.log = log
    }

    /// `hook` is called when a queue that was full has room again.
    func onLowWater(_ hook: @escaping @Sendable () -> Void) { state.withLock { $0.onLowWater = hook } }

    /// Whether a lease waits here already.
    func isBusy(_ id: String) -> Bool { state.withLock { $0.busy.contains(id) } }

    /// Takes no more; what runs ends by itself, and commits nothing.
    func stop() {
        state.withLock { state in
            state.isStopped = true
            state.lanes = [:]
            state.busy = []
        }
    }

    /// Hands a due lease over, to be revoked soon.
    func offer(_ id: String, mount: String) -> Offer {
        let now = clock.now()
        let (offer, needsTask): (Offer, Bool) = state.withLock { state in
            if state.isStopped || state.busy.contains(id) { return (.taken, false) }
            var lane = state.lanes[mount] ?? Lane(progress: now)
            defer { state.lanes[mount] = lane }
            if lane.count >= Self.queuePerMount {
                lane.hasTurnedAway = true
                return (lane.lastFailed || now - lane.progress > Self.patience ? .stuck : .full, false)
            }
            if lane.count == 0, lane.tasks == 0 { lane.progress = now }
            state.busy.insert(id)
            lane.waiting.append(id)
            if lane.tasks >= Self.tasksPerMount { return (.taken, false) }
            lane.tasks += 1
            return (.taken, true)
        }
        if needsTask {
            Task.detached(executorPreference: ServerExecutor.shared) { [self] in await drain(mount) }
        }
        return offer
    }

    private func drain(_ mount: String) async {
        while let id = next(mount) {
            do throws(VaultError) {
                try await revoke(id)
                finish(id, mount, failed: false)
            } catch {
                finish(id, mount, failed: true)
            }
        }
    }

    private func next(_ mount: String) -> String? {
        let (id, hook): (String?, (@Sendable () -> Void)?) = state.withLock { state in
            guard var lane = state.lanes[mount] else { return (nil, nil) }
            if lane.count == 0 {
                lane.tasks -= 1
                state.lanes[mount] = lane.tasks == 0 ? nil : lane
                return (nil, nil)
            }
            let id = lane.waiting[lane.next]
            lane.next += 1
            if lane.next == 1_024 {
                lane.waiting.removeFirst(lane.next)
                lane.next = 0
            }
            let isLow = lane.hasTurnedAway && lane.count <= Self.lowWater
            if isLow { lane.hasTurnedAway = false }
            state.lanes[mount] = lane
            return (id, isLow ? state.onLowWater : nil)
        }
        hook?()
        return id
    }

    private func finish(_ id: String, _ mount: String, failed: Bool) {
        let now = clock.now()
        state.withLock { state in
            state.busy.remove(id)
            state.lanes[mount]?.lastFailed = failed
            if !failed { state.lanes[mount]?.progress = now }
        }
    }

    // MARK: One lease

    /// Has a secret taken back by its engine, and removes its lease. One that is gone is no error.
    /// - Throws: what the engine says; it is kept with the lease then, which is tried again later.
    package func revoke(_ id: String) async throws(VaultError) {
        do throws(VaultError) { try await takeBack(id) } catch {
            try await keep(error, with: id)
            throw error
        }
        try await forget(id)
    }

    /// Removes a lease whether its secret can be taken back or not.
    /// - Parameter patience: what its engine gets to do so.
    package func force(_ id: String, patience: Duration) async throws(VaultError) {
        let failure = await withCheckedContinuation { continuation in
            let first = FirstAnswer(continuation)
            Task.detached(executorPreference: ServerExecutor.shared) { [self] in
                do throws(VaultError) {
                    try await takeBack(id)
                    first.give(nil)
                } catch { first.give(error) }
            }
            Task.detached(executorPreference: ServerExecutor.shared) {
                try? await Task.sleep(for: patience)
                first.give(.unavailable("its engine did not answer in time", retryAfterSeconds: 0))
            }
        }
        if let failure {
            log.warn(
                "a lease was removed by force; its secret may live on",
                ["lease_id": id, "cause": failure.privateCause ?? failure.messages.joined(separator: "; ")])
        }
        try await forget(id)
    }

    private func takeBack(_ id: String) async throws(VaultError) {
        // A deposed leader must not take back what its successor has renewed.
        let confirmed = transactions.confirmed
        let found = try await confirmed.run { [leases, mounts] tx throws(VaultError) -> Target? in
            guard let record = try leases.get(&tx, id: id), let uuid = record.mount else { return nil }
            return Target(record: record, mount: try mounts.mount(uuid: uuid, &tx))
        }
        guard let found, let secret = found.record.leased(now: clock.now()) else { return }
        guard let mount = found.mount, let hooks = mount.leases else {
            throw .badRequest("the mount that leased this is gone, or cannot revoke")
        }
        try await hooks.revoke(secret, transactions.scoped(to: mount.storagePrefix))
    }

    private func forget(_ id: String) async throws(VaultError) {
        try await transactions.run { [leases] tx throws(VaultError) in
            if let record = try leases.get(&tx, id: id) { leases.remove(&tx, record) }
        }
    }

    private func keep(_ failure: VaultError, with id: String) async throws(VaultError) {
        let text = failure.messages.joined(separator: "; ")
        let now = clock.now()
        let attempts = try await transactions.run { [leases] tx throws(VaultError) -> Int in
            guard let record = try leases.get(&tx, id: id) else { return 0 }
            leases.postpone(&tx, record, failure: text, now: now)
            return record.failures + 1
        }
        if attempts > 0 {
            log.warn(
                "a lease could not be revoked and is tried again later",
                ["lease_id": id, "attempts": String(attempts), "cause": failure.privateCause ?? text])
        }
    }

    private struct Target: Sendable {
        let record: LeaseRecord
        let mount: Mount?
    }
}

/// Resumes a continuation with the first of several answers.
private final class FirstAnswer: Sendable {
    private let continuation: Mutex<CheckedContinuation<VaultError?, Never>?>

    init(_ continuation: CheckedContinuation<VaultError?, Never>) { self.continuation = Mutex(continuation) }

    func give(_ answer: VaultError?) {
        let first = continuation.withLock { held in
            defer { held = nil }
            return held
        }
        first?.resume(returning: answer)
    }
}
