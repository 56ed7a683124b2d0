import Barrier
import Base
import PluginKit

/// What the commit thread does: settles what each job wants written, offers it for the next batch, and tells
/// caches and clients of what was committed.
///
/// One batch may be under way while the next grows on top of it: a job that read what is pending is run again
/// over a view that includes it. When a batch fails after all, whatever saw it is run once more. What is alone
/// in waiting is committed right here: another thread would only cost it time.
final class CommitWriter {
    private typealias Job = CommitThread.Job

    /// A job that waits for its commit.
    private struct Settled {
        let job: Job
        var writes: [String: [UInt8]?] = [:]
        /// The same, encrypted; empty once they are offered.
        var sealed: [SealedWrite] = []
        /// Why this job alone gets nothing.
        var refusal: VaultError?
        /// Whether it was run here, over what may never be committed.
        var hasRunHere = false
        /// Whether its answer is certain only when this node is still the active one.
        var needsConfirmation = false

        /// The job as it is to be settled once more.
        var again: Job {
            var job = job
            if hasRunHere { job.writeSet = nil }
            return job
        }
    }

    /// Bytes of a lone job that is committed on this thread: beyond that the next is settled meanwhile.
    private static let mostBytesHere = 64 << 10

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
    /// In the order in which they came.
    private var pending: [Settled] = []
    /// Of these, how many at the front are offered and have had no outcome.
    private var offered = 0
    /// What all of them together want written.
    private var pendingWrites: [String: [UInt8]?] = [:]
    /// Bytes of those that are not offered yet.
    private var openBytes = 0
    /// Jobs in the batch that ended last.
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
            committer = try BatchCommitter(
                backend: backend, encoder: encoder, refusal: { [ending] in ending.refusal },
                wake: { [queue] in queue.wake() })
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
        while committer.isFull { advance(waiting: true) }
        // Routing comes from a cache that follows commits: what comes behind must be run over it.
        if settle(job) { return finishAll() }
        if offered > 0 || openBytes >= CommitThread.mostBytes {
            offerAll()
            advance()
        }
    }

    /// Settles what the job wants written, on top of what is pending.
    /// - Returns: whether that changes the routing.
    @discardableResult private func settle(_ job: Job) -> Bool {
        do throws(VaultError) { try beginViewing() } catch {
            job.done(error)
            return false
        }
        var settled = Settled(job: job)
        defer { pending.append(settled) }
        var set = job.writeSet
        if set.map(isStale) ?? true {
            if set != nil { Instruments.commitReruns.add() }
            settled.hasRunHere = true
            set = job.run(newest)
        }
        guard let set else {
            settled.needsConfirmation = job.isConfirmed
            return false
        }
        // One request's impossible key must not fail its neighbours.
        do throws(VaultError) { settled.sealed = try sealer.seal(set.writes) } catch {
            settled.refusal = error
            return false
        }
        settled.writes = set.writes
        openBytes += settled.sealed.reduce(0) { $0 + $1.byteCount }
        layer(set.writes)
        return set.writes[MountRegistry.recordKey] != nil
    }

    private func layer(_ writes: [String: [UInt8]?]) {
        if pendingWrites.isEmpty {
            pendingWrites = writes
        } else {
            pendingWrites.merge(writes) { _, later in later }
        }
    }

    /// A view that includes all that is pending.
    private var newest: any StorageView {
        pendingWrites.isEmpty ? view : OverlayView(base: view, writes: pendingWrites)
    }

    private func isStale(_ set: WriteSet) -> Bool {
        if window.changed(keys: set.readKeys, prefixes: set.listedPrefixes, since: set.sequence) {
            return true
        }
        if pendingWrites.isEmpty { return false }
        if set.readKeys.contains(where: { pendingWrites[$0] != nil }) { return true }
        if set.listedPrefixes.isEmpty { return false }
        let filter = PrefixFilter(set.listedPrefixes)
        return pendingWrites.keys.contains(where: filter.matches)
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

    /// Who is to be told what.
    private typealias Answer = (job: Job, failure: VaultError?)

    /// Deals with the batches that have been committed, and sees to it that the next is.
    /// - Parameter waiting: whether to wait for one.
    private func advance(waiting: Bool = false) {
        var answers: [Answer] = []
        var mayWait = waiting
        while offered > 0, let outcome = mayWait ? committer.wait() : committer.poll() {
            answers += finish(outcome)
            mayWait = false
        }
        if offered < pending.count { begin(isFirst: answers.isEmpty) }
        // The disk is busy again before anybody is told.
        for (job, failure) in answers { job.done(failure) }
        if pending.isEmpty { endViewing() }
    }

    /// Returns when nothing is pending.
    private func finishAll() {
        while !pending.isEmpty { advance(waiting: true) }
    }

    /// Has committed what is not yet offered.
    /// - Parameter isFirst: whether no other batch has just ended.
    private func begin(isFirst: Bool) {
        if offered > 0 { return offerAll() }
        if ending.refusal != nil || pending.allSatisfy(\.sealed.isEmpty) { return answerUncommitted() }
        let isAlone = pending.count == 1 && lastCount <= 1 && isFirst
        if isAlone, openBytes <= Self.mostBytesHere { return commitHere() }
        offerAll()
    }

    private func offerAll() {
        for place in offered..<pending.count {
            committer.offer(pending[place].sealed)
            pending[place].sealed = []
        }
        offered = pending.count
        openBytes = 0
    }

    /// Commits all that is pending on this thread, and answers. Nothing is offered.
    private func commitHere() {
        let start = MetricTimer.now()
        openBytes = 0
        let writes = pending.flatMap(\.sealed)
        let result = committer.commit { (encoder) throws(VaultError) in try encoder.encode(writes) }
        let answers = finish(
            BatchCommitter.Outcome(jobs: pending.count, result: result.map { $0 }, start: start))
        for (job, failure) in answers { job.done(failure) }
    }

    /// Answers all that is pending: nothing of it is to be committed, or nothing may be.
    private func answerUncommitted() {
        let failure = ending.refusal ?? failedConfirmation(pending)
        let all = pending
        forgetPending()
        for settled in all { settled.job.done(settled.refusal ?? failure) }
    }

    private func failedConfirmation(_ batch: [Settled]) -> VaultError? {
        batch.contains(where: \.needsConfirmation) ? confirm?() : nil
    }

    private func forgetPending() {
        pending = []
        pendingWrites = [:]
        offered = 0
        openBytes = 0
    }

    /// What came of the oldest that are pending.
    /// - Returns: whom to answer, and with what.
    private func finish(_ outcome: BatchCommitter.Outcome) -> [Answer] {
        let batch = Array(pending.prefix(outcome.jobs))
        lastCount = batch.count
        Instruments.commitBatches.record(since: outcome.start)
        Instruments.committedWriteSets.add(batch.count)
        switch outcome.result {
        case .success(let sequence):
            let failure = sequence.map { note($0, batch.flatMap(\.writes.keys)) } ?? failedConfirmation(batch)
            letGo(batch.count)
            return batch.map { ($0.job, $0.refusal ?? failure) }
        case .failure(let failure):
            noteFailure(failure)
            // What was settled on top of it may have seen what never was.
            let onTop = pending.dropFirst(batch.count)
            committer.reset()
            forgetPending()
            defer { for settled in onTop { settle(settled.again) } }
            guard case .unavailable = failure, batch.count > 1, ending.refusal == nil else {
                return batch.map { ($0.job, $0.refusal ?? failure) }
            }
            // One that finds no room must not take its neighbours with it: a delete mostly fits.
            for settled in batch {
                settle(settled.again)
                if pending.isEmpty { continue }
                pending[0].sealed.isEmpty ? answerUncommitted() : commitHere()
            }
            return []
        }
    }

    /// Forgets the oldest that are pending: they are committed.
    private func letGo(_ count: Int) {
        pending.removeFirst(count)
        offered = max(0, offered - count)
        pendingWrites = [:]
        for settled in pending { layer(settled.writes) }
    }

    /// Tells the caches of a commit.
    /// - Returns: why they could not be told.
    private func note(_ sequence: UInt64, _ keys: [String]) -> VaultError? {
        Instruments.committedKeys.add(keys.count)
        window.note(keys, at: sequence)
        ending.sequence = sequence
        do throws(VaultError) { try view.refresh() } catch {
            noteFailure(error)
            return error
        }
        isViewing = true
        invalidate(keys, view)
        return nil
    }

    private func noteFailure(_ failure: VaultError) {
        endViewing()
        isWindowLost = true
        if failure == .standby || failure == ending.refusal { return }
        Instruments.commitFailures.add()
        log.error("a commit failed", ["cause": failure.privateCause ?? "\(failure)"])
    }

    // MARK: Alone

    /// Nothing is pending.
    private func runAlone(_ job: Job) {
        defer { endViewing() }
        guard let make = job.sealedBatch else {
            job.between?()
            return job.done(nil)
        }
        let writes = job.alongside
        let result = committer.commit { (encoder) throws(VaultError) in
            var batch = try make()
            if !writes.isEmpty { batch.append(try encoder.encode([writes])) }
            return batch
        }
        switch result {
        case .success(let sequence): job.done(note(sequence, Array(writes.keys)))
        case .failure(let failure):
            noteFailure(failure)
            job.done(failure)
        }
    }
}
