import Base
import PluginKit

/// The server's own work in the background: expiry of tokens and leases, revocation of large trees,
/// deletion of what was disabled, rotation of the barrier's key.
///
/// One thread, bounded batches, each an ordinary transaction: clients' writes come between them.
final class Maintenance: Sendable {
    /// Storage entries removed in one transaction.
    private static let batch = 500
    /// Due leases looked at in one turn, so that other work gets its own. One takes about 80 bytes.
    private static let window = 250_000
    /// Of these, how many are listed at a time.
    private static let page = 5_000
    /// Time between two looks at the clock.
    private static let pause = Duration.milliseconds(500)
    /// How long a due lease is put off whose engine does not get on.
    private static let delay = Duration.seconds(60)

    private let core: ActiveCore
    private let revoker: LeaseRevoker
    private let backend: any StorageBackend
    private let clock: any Clock
    private let log: Log
    private let wakeups = WakeFlag()
    private let keys = KeyRotation()
    private let upkeep = MountUpkeep()

    init(
        core: ActiveCore, revoker: LeaseRevoker, backend: any StorageBackend, clock: any Clock, log: Log
    ) {
        self.core = core
        self.revoker = revoker
        self.backend = backend
        self.clock = clock
        self.log = log
    }

    /// Whether a commit of these keys may leave work that should not wait.
    func isConcerned(by keys: [String]) -> Bool {
        let now = clock.now()
        return keys.contains {
            $0.hasPrefix("sys/token/revoking/") || $0.hasPrefix("core/deleting/")
                || $0.hasPrefix(LeaseSweep.keys) || LeaseStore.isDue(key: $0, now: now)
        }
    }

    func start() throws(VaultError) { wakeups.thread = try Thread(name: "maintenance") { [self] in run() } }

    func wake() { wakeups.wake() }

    func stop() { wakeups.stop() }

    private func run() {
        let context = LoopContext(backend: backend)
        let sweeper = LeaseSweeper()
        while wakeups.wait(Self.pause) {
            do throws(VaultError) {
                while try expire(context), !wakeups.isStopped {}
                while try sweeper.run(core, now: clock.now()), !wakeups.isStopped {}
                while try cleanUpTokens(context), !wakeups.isStopped {}
                while try core.transactions.runBlocking(Cleanup.run), !wakeups.isStopped {}
                try keys.run(core, backend, clock, log)
                try upkeep.run(core, clock: clock) { wakeups.isStopped }
            } catch {
                if !wakeups.isStopped {
                    log.warn(
                        "background work failed and is tried again",
                        ["cause": error.privateCause ?? "\(error)"])
                }
            }
        }
        context.forget()
    }

    private func cleanUpTokens(_ context: LoopContext) throws(VaultError) -> Bool {
        let now = clock.now()
        let tokens = core.tokens
        return try begin(context) { tx throws(VaultError) in
            try tokens.cleanUp(&tx, now: now, limit: Self.batch)
        }.finish()
    }

    // MARK: Expiry

    /// Ends what is due: tokens here, secrets by their engines.
    /// - Returns: whether there is more to do at once.
    private func expire(_ context: LoopContext) throws(VaultError) -> Bool {
        let now = clock.now()
        let tokens = core.tokens
        let due = try lookForDue(context, now)
        var hasMoved = false
        var previous: CommitUnderWay<ExpiredLeases>?
        var crowded: Set<String> = []
        for start in stride(from: 0, to: due.count, by: Self.batch) {
            if wakeups.isStopped { return false }
            let batch = due.leases(start..<min(start + Self.batch, due.count)).filter { lease in
                !crowded.contains { lease.id.utf8.starts(with: $0.utf8) }
            }
            if batch.isEmpty { continue }
            let next = try begin(context) { tx throws(VaultError) in
                try tokens.expire(&tx, due: batch, now: now, limit: Self.batch)
            }
            // One batch is read here while the one before it is written there.
            if let previous, try settle(previous.finish(), now, &crowded) { hasMoved = true }
            previous = next
        }
        if let previous, try settle(previous.finish(), now, &crowded) { hasMoved = true }
        // Where only engines have to get on, they wake this thread when they have.
        return hasMoved
    }

    /// What no engine is busy with, in the order of names: a batch's entries are neighbours then, and it
    /// writes fewer pages of the store.
    private func lookForDue(_ context: LoopContext, _ now: Timestamp) throws(VaultError) -> DueList {
        var due = DueList()
        var last: DueLease?
        repeat {
            // Looking lists the order of time, which every new lease changes: so it commits nothing.
            let page = try look(context) { tx throws(VaultError) in
                try core.tokens.leases.due(&tx, now: now, after: last, limit: Self.page)
            }
            for lease in page where !revoker.isBusy(lease.id) { due.add(lease) }
            last = page.count < Self.page ? nil : page.last
        } while last != nil && due.count < Self.window && !wakeups.isStopped
        due.sort()
        return due
    }

    /// - Parameter crowded: gets the paths of mounts whose engines have enough to do in this turn.
    /// - Returns: whether anything has become less.
    private func settle(
        _ done: ExpiredLeases, _ now: Timestamp, _ crowded: inout Set<String>
    ) throws(VaultError) -> Bool {
        for id in done.damaged { log.error("a lease cannot be read", ["lease_id": id]) }
        let delayed = try handOver(done.secrets, now, &crowded)
        return done.tokens + done.damaged.count + delayed > 0
    }

    /// - Returns: how many leases were put off.
    private func handOver(
        _ secrets: [LeaseRecord], _ now: Timestamp, _ crowded: inout Set<String>
    ) throws(VaultError) -> Int {
        var stuck: [LeaseRecord] = []
        for record in secrets {
            guard let uuid = record.mount else { continue }
            switch revoker.offer(record.id, mount: uuid) {
            case .taken: break
            case .stuck: stuck.append(record)
            case .full:
                // There may be very many more of them: those are not even read.
                let mount = core.mounts.current.mounts.first { $0.entry.uuid == uuid }
                if let mount { crowded.insert(mount.apiPath) }
            }
        }
        if stuck.isEmpty { return 0 }
        // Else they would stand before all others in the order of time.
        let leases = core.tokens.leases
        try core.transactions.runBlocking { [stuck] tx throws(VaultError) in
            for record in stuck {
                guard let held = try leases.readable(&tx, id: record.id), held.expires <= now else {
                    continue
                }
                leases.delay(&tx, held, until: now + Self.delay)
            }
        }
        return stuck.count
    }

    // MARK: Transactions of this thread

    /// Reads over the newest commit.
    private func look<Result>(
        _ context: LoopContext, _ body: (inout Transaction) throws(VaultError) -> Result
    ) throws(VaultError) -> Result {
        var tx = Transaction(view: try context.begin(core))
        defer { context.release() }
        return try body(&tx)
    }

    /// Runs `body` on this thread; the commit thread runs it again only when something that it read has
    /// changed meanwhile. So large batches hold up no client's writes.
    private func begin<Result: Sendable>(
        _ context: LoopContext,
        _ body: @escaping @Sendable (inout Transaction) throws(VaultError) -> Result
    ) throws(VaultError) -> CommitUnderWay<Result> {
        let (result, writeSet) = try look(context) { tx throws(VaultError) in
            let result = try body(&tx)
            return (result, tx.log.writeSet)
        }
        return core.transactions.begin(result, writeSet, again: body)
    }
}
