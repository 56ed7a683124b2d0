package import Barrier
package import Base
package import PluginKit
import Synchronization

/// The one writer. It takes write sets from a bounded queue, and commits as many as wait together,
/// atomically and with one sync (group commit).
///
/// Each write set was made by a handler that ran over a view of some moment. When a key that it read, or
/// a name in a prefix that it listed, has been written since (by an earlier commit, or earlier in this
/// very batch), the handler is run again here, over a view that includes the batch so far. So a request
/// is run twice at most, and every order of commits is one that could have happened one by one.
///
/// Clients are answered after the commit is durable and after caches were told which keys changed.
package final class CommitThread: Sendable {
    /// What is to be committed, and who waits for it.
    package struct Job: Sendable {
        /// Nil: `run` has not been called yet; it runs here.
        let writeSet: WriteSet?
        /// Runs the handler over the given view. Nil when it wants nothing written.
        let run: @Sendable (any StorageView) -> WriteSet?
        /// Called once: after the commit is durable, or with the reason why there was none.
        let done: @Sendable (VaultError?) -> Void
        /// Makes, on the commit thread, what the barrier encrypts itself (a new keyring); it is committed
        /// alone, so that no other change of the keys comes between its making and `done`.
        let sealedBatch: (@Sendable () throws(VaultError) -> CommitBatch)?
        /// Entries in the same commit as `sealedBatch`.
        let alongside: [String: [UInt8]?]
        /// Runs on the commit thread while nothing is being committed; all others wait.
        let between: (@Sendable () -> Void)?
        /// Whether an end without a commit is an answer, which a deposed leader must not give.
        let isConfirmed: Bool

        /// A job that is no ordinary write set: it is done alone.
        var isAlone: Bool { sealedBatch != nil || between != nil }

        /// - Parameter isConfirmed: whether `done` is called only after it has been made sure that this node
        ///   is still the active one, also when nothing is to be written.
        package init(
            writeSet: WriteSet?, isConfirmed: Bool = false,
            run: @escaping @Sendable (any StorageView) -> WriteSet?,
            done: @escaping @Sendable (VaultError?) -> Void
        ) {
            self.writeSet = writeSet
            self.isConfirmed = isConfirmed
            self.run = run
            self.done = done
            sealedBatch = nil
            alongside = [:]
            between = nil
        }

        init(between: @escaping @Sendable () -> Void, done: @escaping @Sendable (VaultError?) -> Void) {
            writeSet = nil
            isConfirmed = false
            run = { _ in nil }
            self.done = done
            sealedBatch = nil
            alongside = [:]
            self.between = between
        }

        package init(
            sealedBatch: @escaping @Sendable () throws(VaultError) -> CommitBatch,
            alongside: [String: [UInt8]?] = [:], done: @escaping @Sendable (VaultError?) -> Void
        ) {
            writeSet = nil
            isConfirmed = false
            run = { _ in nil }
            self.done = done
            self.sealedBatch = sealedBatch
            self.alongside = alongside
            between = nil
        }
    }

    /// Jobs in one commit at most, so that the first of them does not wait for the last too long.
    private static let mostJobs = 1_024
    /// Bytes of plain text in one commit at most, for the same reason.
    private static let mostBytes = 32 << 20

    /// Takes nothing, as a standby does.
    static let standby = {
        let commits = CommitThread(limit: 1)
        commits.refuse(.standby)
        return commits
    }()

    private let queue: BlockingQueue<Job>
    private let thread = Mutex<Thread?>(nil)
    private let ending = Ending()

    /// What jobs get instead of a commit, once there is something.
    private final class Ending: Sendable {
        private let held = Mutex<VaultError?>(nil)
        private let newest = Atomic<UInt64>(0)

        var refusal: VaultError? {
            get { held.withLock { $0 } }
            set { held.withLock { if $0 == nil { $0 = newValue } } }
        }
        /// The newest commit of this thread.
        var sequence: UInt64 {
            get { newest.load(ordering: .acquiring) }
            set { newest.store(newValue, ordering: .releasing) }
        }
    }

    package init(limit: Int = Limits.standard.commitQueue) { queue = BlockingQueue(limit: limit) }

    /// The number of the newest commit that this thread has made; 0 before the first.
    package var sequence: UInt64 { ending.sequence }

    /// Starts to commit to `backend` through `barrier`.
    /// - Parameters:
    ///   - confirm: makes sure that this node is still the active one, or says why not; nil where that goes
    ///     without saying. It may block.
    ///   - invalidate: gets the keys of each commit and a view behind it.
    package func start(
        backend: any StorageBackend, barrier: UnsealedBarrier, log: Log,
        confirm: (@Sendable () -> VaultError?)? = nil,
        invalidate: @escaping @Sendable ([String], any StorageView) -> Void
    ) throws(VaultError) {
        let reader = try backend.makeReader()
        try reader.refresh()
        reader.release()
        let started = try Thread(name: "commit") { [queue, ending] in
            guard
                let writer = Writer(
                    backend: backend, barrier: barrier, log: log, confirm: confirm, ending: ending,
                    invalidate: invalidate)
            else { return Self.refuse(queue) }
            writer.run(queue)
        }
        thread.withLock { $0 = started }
    }

    /// Answers all that waits, and takes no more: nobody may wait for a thread that is not there.
    private static func refuse(_ queue: BlockingQueue<Job>) {
        queue.close()
        while true {
            let jobs = queue.take(most: mostJobs)
            if jobs.isEmpty { return }
            for job in jobs {
                job.done(.unavailable("the storage cannot be read; writes are refused", retryAfterSeconds: 0))
            }
        }
    }

    /// Hands a job over. When there is no room it is answered with `.unavailable` at once.
    package func submit(_ job: Job) {
        if queue.push(job) { return }
        job.done(
            ending.refusal ?? .unavailable("too many writes are waiting; try again", retryAfterSeconds: 1))
    }

    /// Takes no more, and begins no further commit: what waits is answered with `refusal`.
    func refuse(_ refusal: VaultError) {
        ending.refusal = refusal
        queue.close()
    }

    /// The same, and ends the thread.
    func stop(refusing refusal: VaultError) {
        refuse(refusal)
        thread.withLock { thread in
            thread?.join()
            thread = nil
        }
    }

    /// Commits what waits, then ends the thread.
    package func stop() {
        queue.close()
        thread.withLock { thread in
            thread?.join()
            thread = nil
        }
    }

    // MARK: The thread's own state

    private final class Writer {
        private let backend: any StorageBackend
        private let reader: any StorageReader
        private let view: BarrierView
        private let encoder: BarrierWriter
        private let log: Log
        private let confirm: (@Sendable () -> VaultError?)?
        private let ending: Ending
        private let invalidate: @Sendable ([String], any StorageView) -> Void
        private var window: ConflictWindow
        /// Set when a commit failed, which in a cluster may yet take effect: what changed is not known.
        private var isWindowLost = false

        init?(
            backend: any StorageBackend, barrier: UnsealedBarrier, log: Log,
            confirm: (@Sendable () -> VaultError?)?, ending: Ending,
            invalidate: @escaping @Sendable ([String], any StorageView) -> Void
        ) {
            self.backend = backend
            self.log = log
            self.confirm = confirm
            self.ending = ending
            self.invalidate = invalidate
            do throws(VaultError) {
                reader = try backend.makeReader()
                try reader.refresh()
                view = try barrier.makeView(reader: reader)
                encoder = try barrier.makeWriter(reader: try backend.makeReader())
                window = ConflictWindow(startingAfter: reader.sequence)
                reader.release()
            } catch {
                log.error("the commit thread cannot read the storage", ["cause": "\(error)"])
                return nil
            }
        }

        func run(_ queue: BlockingQueue<Job>) {
            while true {
                let jobs = queue.take(most: mostJobs)
                if jobs.isEmpty { return }
                var rest = jobs[...]
                while !rest.isEmpty {
                    if let refusal = ending.refusal {
                        for job in rest { job.done(refusal) }
                        break
                    }
                    rest = commitSome(rest)
                }
            }
        }

        /// Commits jobs from the front until the batch is full.
        /// - Returns: those that are left.
        private func commitSome(_ jobs: ArraySlice<Job>) -> ArraySlice<Job> {
            do throws(VaultError) { try view.refresh() } catch {
                for job in jobs { job.done(error) }
                return []
            }
            defer { view.release() }
            if isWindowLost {
                window = ConflictWindow(startingAfter: view.sequence)
                isWindowLost = false
            }
            var writes: [String: [UInt8]?] = [:]
            var bytes = 0
            var taken: [(job: Job, refusal: VaultError?)] = []
            var needsConfirmation = false
            for job in jobs {
                if bytes >= mostBytes || job.isAlone { break }
                taken.append((job, nil))
                guard let set = settled(job, writes) else {
                    if job.isConfirmed { needsConfirmation = true }
                    continue
                }
                // One request's impossible key must not fail its neighbours.
                do throws(VaultError) { try BarrierWriter.validate(set.writes) } catch {
                    taken[taken.count - 1].refusal = error
                    continue
                }
                if writes.isEmpty {
                    writes = set.writes
                } else {
                    writes.merge(set.writes) { _, later in later }
                }
                bytes += set.writes.reduce(0) { $0 + ($1.value?.count ?? 0) }
                // Routing comes from a cache that follows commits: what comes behind must be run over it.
                if set.writes[MountRegistry.recordKey] != nil { break }
            }
            let start = MetricTimer.now()
            // A commit confirms all that was read for it, and beside it.
            let failure =
                writes.isEmpty ? (needsConfirmation ? confirm?() : nil) : commit(writes)
            if !writes.isEmpty {
                Instruments.commitBatches.record(since: start)
                Instruments.committedWriteSets.add(taken.count)
            }
            if case .unavailable? = failure, taken.count > 1 {
                // One that finds no room must not take its neighbours with it: a delete mostly fits.
                for (job, _) in taken { _ = commitSome([job]) }
            } else {
                for (job, refusal) in taken { job.done(refusal ?? failure) }
            }
            let rest = jobs.dropFirst(taken.count)
            guard let next = rest.first, next.isAlone else { return rest }
            if let make = next.sealedBatch {
                next.done(commitSealed(make, next.alongside))
            } else {
                next.between?()
                next.done(nil)
            }
            return rest.dropFirst()
        }

        private func commitSealed(
            _ make: () throws(VaultError) -> CommitBatch, _ writes: [String: [UInt8]?]
        ) -> VaultError? {
            defer { encoder.release() }
            do throws(VaultError) {
                var batch = try make()
                if !writes.isEmpty { batch.append(try encoder.encode([writes])) }
                let sequence = try backend.commit(batch)
                window.note(Array(writes.keys), at: sequence)
                ending.sequence = sequence
                try view.refresh()
            } catch {
                isWindowLost = true
                log.error("a commit failed", ["cause": error.privateCause ?? "\(error)"])
                return error
            }
            invalidate(Array(writes.keys), view)
            return nil
        }

        /// The job's write set as of now, run again where something has changed.
        private func settled(_ job: Job, _ batch: [String: [UInt8]?]) -> WriteSet? {
            if let set = job.writeSet, !isStale(set, batch) { return set }
            if job.writeSet != nil { Instruments.commitReruns.add() }
            return job.run(batch.isEmpty ? view : OverlayView(base: view, writes: batch))
        }

        private func isStale(_ set: WriteSet, _ batch: [String: [UInt8]?]) -> Bool {
            if window.changed(keys: set.readKeys, prefixes: set.listedPrefixes, since: set.sequence) {
                return true
            }
            if batch.isEmpty { return false }
            if set.readKeys.contains(where: { batch[$0] != nil }) { return true }
            if set.listedPrefixes.isEmpty { return false }
            let filter = PrefixFilter(set.listedPrefixes)
            return batch.keys.contains(where: filter.matches)
        }

        private func commit(_ writes: [String: [UInt8]?]) -> VaultError? {
            let keys = Array(writes.keys)
            do throws(VaultError) {
                let batch = try encoder.encode([writes])
                let start = MetricTimer.now()
                let sequence = try backend.commit(batch)
                Instruments.storageCommits.record(since: start)
                Instruments.committedKeys.add(keys.count)
                encoder.release()
                window.note(keys, at: sequence)
                ending.sequence = sequence
                try view.refresh()
            } catch {
                encoder.release()
                isWindowLost = true
                if error == .standby { return error }
                Instruments.commitFailures.add()
                log.error("a commit failed", ["cause": error.privateCause ?? "\(error)"])
                return error
            }
            invalidate(keys, view)
            return nil
        }
    }
}

/// Transactions that run on the commit thread, for handlers that wait and for the server's own work.
package struct CommitTransactions: Transactions {
    private let commits: CommitThread
    private let prefix: String
    private var isConfirmed = false

    package init(_ commits: CommitThread, prefix: String = "") {
        self.commits = commits
        self.prefix = prefix
    }

    /// The same over one prefix of storage only.
    package func scoped(to prefix: String) -> CommitTransactions {
        CommitTransactions(commits, prefix: prefix)
    }

    /// The same for what has effects outside: also what is only read is certain to be the newest there is.
    var confirmed: CommitTransactions {
        var transactions = self
        transactions.isConfirmed = true
        return transactions
    }

    package func run<Result: Sendable>(
        _ body: @escaping @Sendable (inout Transaction) throws(VaultError) -> Result
    ) async throws(VaultError) -> Result {
        let outcome = await withCheckedContinuation { continuation in
            submit(body) { continuation.resume(returning: $0) }
        }
        return try outcome.get()
    }

    /// The same for threads that may block.
    package func runBlocking<Result: Sendable>(
        _ body: @escaping @Sendable (inout Transaction) throws(VaultError) -> Result
    ) throws(VaultError) -> Result {
        let answers = BlockingQueue<Swift.Result<Result, VaultError>>(limit: 1)
        submit(body) { _ = answers.push($0) }
        return try CommitUnderWay(answers: answers).finish()
    }

    /// Begins to commit what `body` has already wanted over a view of the caller's own; `body` is run again
    /// only when what it read has changed since. For threads that may block.
    package func begin<Result: Sendable>(
        _ result: Result, _ writeSet: WriteSet,
        again body: @escaping @Sendable (inout Transaction) throws(VaultError) -> Result
    ) -> CommitUnderWay<Result> {
        let answers = BlockingQueue<Swift.Result<Result, VaultError>>(limit: 1)
        submit(body, first: (result, writeSet)) { _ = answers.push($0) }
        return CommitUnderWay(answers: answers)
    }

    /// Queues a transaction that nobody waits for, ahead of all that is queued later.
    package func enqueue(_ body: @escaping @Sendable (inout Transaction) throws(VaultError) -> Void) {
        submit(body) { _ in }
    }

    private func submit<Result: Sendable>(
        _ body: @escaping @Sendable (inout Transaction) throws(VaultError) -> Result,
        first: (result: Result, writeSet: WriteSet)? = nil,
        _ done: @escaping @Sendable (Swift.Result<Result, VaultError>) -> Void
    ) {
        let box = OutcomeBox<Result>()
        if let first { box.outcome.withLock { $0 = .success(first.result) } }
        commits.submit(
            CommitThread.Job(
                writeSet: first?.writeSet, isConfirmed: isConfirmed,
                run: { [prefix] view in
                    var tx = Transaction(view: view, prefix: prefix)
                    do throws(VaultError) {
                        let result = try body(&tx)
                        box.outcome.withLock { $0 = .success(result) }
                        return tx.log.hasWrites ? tx.log.writeSet : nil
                    } catch {
                        box.outcome.withLock { $0 = .failure(error) }
                        return nil
                    }
                },
                done: { failure in
                    if let failure { return done(.failure(failure)) }
                    done(box.outcome.withLock { $0 } ?? .failure(.internal("a transaction did not run")))
                }))
    }
}

/// A commit that a thread waits for later.
package struct CommitUnderWay<Result: Sendable>: Sendable {
    fileprivate let answers: BlockingQueue<Swift.Result<Result, VaultError>>

    /// Waits until it is durable. Call it once.
    package func finish() throws(VaultError) -> Result {
        guard let outcome = answers.take(most: 1).first else {
            throw .internal("the commit thread gave no answer")
        }
        return try outcome.get()
    }
}

private final class OutcomeBox<Result: Sendable>: Sendable {
    let outcome = Mutex<Swift.Result<Result, VaultError>?>(nil)
}
