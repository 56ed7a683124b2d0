import Barrier
import Base
import PluginKit

/// What the commit thread does: settles what each job wants written, puts jobs together, has them committed,
/// and tells caches and clients.
///
/// One batch may be under way while the next, `open`, grows on top of it: a job that read what the one
/// under way writes is run again over a view that includes it. When that one fails after all, whatever saw
/// it is run once more. What is alone in waiting is committed right here: another thread would only cost it
/// time.
final class CommitWriter {
    private typealias Job = CommitThread.Job

    /// Jobs in one commit.
    private struct Batch {
        struct Taken {
            let job: Job
            /// Why this job alone gets nothing.
            var refusal: VaultError?
            /// Whether it was run here, over what may never be committed.
            var hasRunHere = false

            /// The job as it is to be settled once more.
            var again: Job {
                var job = job
                if hasRunHere { job.writeSet = nil }
                return job
            }
        }
        var jobs: [Taken] = []
        var writes: [String: [UInt8]?] = [:]
        /// The same, encrypted, in the order in which they came.
        var sealed: [SealedWrite] = []
        var bytes = 0
        /// Whether some answer is certain only when this node is still the active one.
        var needsConfirmation = false
        var start: UInt64 = 0

        var isFull: Bool { bytes >= CommitThread.mostBytes || jobs.count >= CommitThread.mostJobs }

        mutating func add(_ set: WriteSet, _ sealed: [SealedWrite]) {
            self.sealed += sealed
            if writes.isEmpty {
                writes = set.writes
            } else {
                writes.merge(set.writes) { _, later in later }
            }
            bytes += set.writes.reduce(0) { $0 + ($1.value?.count ?? 0) }
        }
    }

    private let queue: BlockingQueue<CommitThread.Job>
    private let committer: BatchCommitter
    private let view: BarrierView
    private let sealer: EntrySealer
    private let log: Log
    private let confirm: (@Sendable () -> VaultError?)?
    private let ending: CommitThread.Ending
    private let invalidate: @Sendable ([String], any StorageView) -> Void
    private var window: ConflictWindow
    /// Set when a commit failed, which in a cluster may yet take effect: what changed is not known.
    private var isWindowLost = false
    private var isViewing = false
    private var open = Batch()
    private var underWay: Batch?
    /// Jobs in the batch that was begun last.
    private var lastCount = 0

    /// Nil, and logged, when the storage cannot be read.
    init?(
        _ queue: BlockingQueue<CommitThread.Job>, backend: any StorageBackend, barrier: UnsealedBarrier,
        log: Log,
        confirm: (@Sendable () -> VaultError?)?, ending: CommitThread.Ending,
        invalidate: @escaping @Sendable ([String], any StorageView) -> Void
    ) {
        self.queue = queue
        self.log = log
        self.confirm = confirm
        self.ending = ending
        self.invalidate = invalidate
        sealer = barrier.makeSealer()
        do throws(VaultError) {
            let reader = try backend.makeReader()
            try reader.refresh()
            view = try barrier.makeView(reader: reader)
            let encoder = try barrier.makeWriter(reader: try backend.makeReader())
            window = ConflictWindow(startingAfter: reader.sequence)
            reader.release()
            committer = try BatchCommitter(backend: backend, encoder: encoder) { [queue] in queue.wake() }
        } catch {
            log.error("the commit thread cannot read the storage", ["cause": "\(error)"])
            return nil
        }
    }

    /// Works until the queue is closed and empty.
    func run() {
        while true {
            let jobs = queue.take(most: CommitThread.mostJobs)
            for job in jobs { take(job) }
            if jobs.isEmpty, queue.isDrained { break }
            advance()
        }
        finishAll()
        committer.stop()
    }

    // MARK: Taking

    private func take(_ job: Job) {
        if let refusal = ending.refusal { return job.done(refusal) }
        if job.isAlone {
            finishAll()
            return runAlone(job)
        }
        while open.isFull { advance(waiting: true) }
        // Routing comes from a cache that follows commits: what comes behind must be run over it.
        if settle(job) { finishAll() } else if underWay != nil { advance() }
    }

    /// Puts into the open batch what the job wants written.
    /// - Returns: whether that changes the routing.
    @discardableResult private func settle(_ job: Job) -> Bool {
        do throws(VaultError) { try beginViewing() } catch {
            job.done(error)
            return false
        }
        var taken = Batch.Taken(job: job)
        defer { open.jobs.append(taken) }
        var settled = job.writeSet
        if settled.map(isStale) ?? true {
            if settled != nil { Instruments.commitReruns.add() }
            taken.hasRunHere = true
            settled = job.run(newest)
        }
        guard let settled else {
            if job.isConfirmed { open.needsConfirmation = true }
            return false
        }
        // One request's impossible key must not fail its neighbours.
        do throws(VaultError) { open.add(settled, try sealer.seal(settled.writes)) } catch {
            taken.refusal = error
            return false
        }
        return settled.writes[MountRegistry.recordKey] != nil
    }

    /// A view that includes all that is on its way.
    private var newest: any StorageView {
        var newest: any StorageView = view
        if let underWay { newest = OverlayView(base: newest, writes: underWay.writes) }
        return open.writes.isEmpty ? newest : OverlayView(base: newest, writes: open.writes)
    }

    private func isStale(_ set: WriteSet) -> Bool {
        if window.changed(keys: set.readKeys, prefixes: set.listedPrefixes, since: set.sequence) {
            return true
        }
        if let underWay, Self.isChanged(set, by: underWay.writes) { return true }
        return Self.isChanged(set, by: open.writes)
    }

    private static func isChanged(_ set: WriteSet, by writes: [String: [UInt8]?]) -> Bool {
        if writes.isEmpty { return false }
        if set.readKeys.contains(where: { writes[$0] != nil }) { return true }
        if set.listedPrefixes.isEmpty { return false }
        let filter = PrefixFilter(set.listedPrefixes)
        return writes.keys.contains(where: filter.matches)
    }

    private func beginViewing() throws(VaultError) {
        if isViewing { return }
        try view.refresh()
        isViewing = true
        if isWindowLost {
            window = ConflictWindow(startingAfter: view.sequence)
            isWindowLost = false
        }
    }

    private func endViewing() {
        if isViewing { view.release() }
        isViewing = false
        sealer.release()
    }

    // MARK: Committing

    private typealias Answer = (job: Job, failure: VaultError?)

    /// Deals with the batch under way when it has been committed, and begins the next.
    private func advance(waiting: Bool = false) {
        var answers: [Answer] = []
        if underWay != nil, let outcome = waiting ? committer.wait() : committer.poll() {
            answers = finish(outcome)
        }
        if underWay == nil, !open.jobs.isEmpty {
            begin(here: open.jobs.count == 1 && lastCount <= 1 && answers.isEmpty)
        }
        // The disk is busy again before anybody is told.
        for (job, failure) in answers { job.done(failure) }
        if underWay == nil, open.jobs.isEmpty { endViewing() }
    }

    /// Returns when nothing is under way or open.
    private func finishAll() {
        while underWay != nil || !open.jobs.isEmpty { advance(waiting: true) }
    }

    /// Commits what is open. Nothing is under way.
    /// - Parameter here: whether on this thread.
    private func begin(here: Bool) {
        var batch = open
        open = Batch()
        lastCount = batch.jobs.count
        if ending.refusal != nil || batch.writes.isEmpty {
            let failure = ending.refusal ?? (batch.needsConfirmation ? confirm?() : nil)
            for taken in batch.jobs { taken.job.done(taken.refusal ?? failure) }
            return
        }
        // A commit confirms all that was read for it, and beside it.
        batch.start = MetricTimer.now()
        let writes = batch.sealed
        batch.sealed = []
        underWay = batch
        guard here else { return committer.begin(writes) }
        let outcome = committer.commit { (encoder) throws(VaultError) in try encoder.encode(writes) }
        for (job, failure) in finish(outcome) { job.done(failure) }
    }

    /// What came of the batch under way.
    /// - Returns: whom to answer, and with what.
    private func finish(_ outcome: Result<UInt64, VaultError>) -> [Answer] {
        guard let batch = underWay else { return [] }
        underWay = nil
        Instruments.commitBatches.record(since: batch.start)
        Instruments.committedWriteSets.add(batch.jobs.count)
        guard let failure = note(outcome, Array(batch.writes.keys)) else {
            return batch.jobs.map { ($0.job, $0.refusal) }
        }
        // What was settled on top of it may have seen what never was.
        let onTop = open.jobs
        open = Batch()
        defer { for taken in onTop { settle(taken.again) } }
        guard case .failure(.unavailable) = outcome, batch.jobs.count > 1 else {
            return batch.jobs.map { ($0.job, $0.refusal ?? failure) }
        }
        // One that finds no room must not take its neighbours with it: a delete mostly fits.
        for taken in batch.jobs {
            settle(taken.again)
            if !open.jobs.isEmpty { begin(here: true) }
        }
        return []
    }

    /// Tells the caches of a commit.
    /// - Returns: why there was none.
    private func note(_ outcome: Result<UInt64, VaultError>, _ keys: [String]) -> VaultError? {
        do throws(VaultError) {
            let sequence = try outcome.get()
            Instruments.committedKeys.add(keys.count)
            window.note(keys, at: sequence)
            ending.sequence = sequence
            try view.refresh()
            isViewing = true
        } catch {
            endViewing()
            isWindowLost = true
            if error == .standby { return error }
            Instruments.commitFailures.add()
            log.error("a commit failed", ["cause": error.privateCause ?? "\(error)"])
            return error
        }
        invalidate(keys, view)
        return nil
    }

    // MARK: Alone

    /// Nothing is under way or open.
    private func runAlone(_ job: Job) {
        defer { endViewing() }
        guard let make = job.sealedBatch else {
            job.between?()
            return job.done(nil)
        }
        let writes = job.alongside
        let outcome = committer.commit { (encoder) throws(VaultError) in
            var batch = try make()
            if !writes.isEmpty { batch.append(try encoder.encode([writes])) }
            return batch
        }
        job.done(note(outcome, Array(writes.keys)))
    }
}
