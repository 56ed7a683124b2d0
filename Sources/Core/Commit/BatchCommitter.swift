import Barrier
import Base
import PluginKit
import Synchronization

/// Commits one batch after the other on a thread of its own, while the next is put together; or on the
/// caller's where nothing else waits.
///
/// Whatever has been offered when a batch is durable becomes the next one at once, without a word from the
/// commit thread: the disk never waits for it. After a failure nothing more is begun before `reset`, for what
/// was offered meanwhile stands on top of what never was.
///
/// Belongs to the commit thread.
final class BatchCommitter {
    /// What came of the oldest jobs that were offered.
    struct Outcome: Sendable {
        let jobs: Int
        /// The number of their commit; nil when none of them wanted anything written.
        let result: Result<UInt64?, VaultError>
        /// When it was begun.
        let start: UInt64
    }

    private let worker: Worker
    private let thread: Thread

    /// - Parameters:
    ///   - refusal: why no more commits may be begun, once there is a reason.
    ///   - wake: called when an outcome is there, on the other thread.
    init(
        backend: any StorageBackend, encoder: BarrierWriter,
        refusal: @escaping @Sendable () -> VaultError?, wake: @escaping @Sendable () -> Void
    ) throws(VaultError) {
        let worker = Worker(backend: backend, encoder: encoder)
        thread = try Thread(name: "sync") { worker.run(refusal: refusal, wake: wake) }
        self.worker = worker
    }

    /// Lets a job go with the next batch.
    func offer(_ writes: [SealedWrite]) { worker.offer(writes) }

    /// Whether what is offered and not begun is as much as one commit may have.
    var isFull: Bool { worker.isFull }

    /// The next outcome; nil while it is under way.
    func poll() -> Outcome? { worker.outcomes.poll() }

    /// The same when it is there. Something must have been offered that has had none.
    func wait() -> Outcome? { worker.outcomes.take(most: 1).first }

    /// After a failure: forgets what was offered and not begun, and begins again with what is offered next.
    func reset() { worker.reset() }

    /// Commits here and now. All that was offered has had its outcome.
    func commit(
        _ make: (BarrierWriter) throws(VaultError) -> CommitBatch
    ) -> Result<UInt64, VaultError> { worker.commit(make) }

    /// Ends the thread, behind what it is at.
    func stop() {
        worker.bell.close()
        thread.join()
    }

    private final class Worker: Sendable {
        private struct Offered {
            var writes: [SealedWrite] = []
            var jobs = 0
            var bytes = 0
            /// A commit has failed, and the commit thread has not said yet that it knows.
            var isHalted = false
        }
        let outcomes = BlockingQueue<Outcome>(limit: .max)
        /// Rung when something is offered to a thread that may be waiting.
        let bell = BlockingQueue<Void>(limit: 1)
        private let backend: any StorageBackend
        /// This thread's while anything offered has no outcome, the owner's else.
        private let encoder: Guarded<BarrierWriter>
        private let offered = Mutex(Offered())

        init(backend: any StorageBackend, encoder: BarrierWriter) {
            self.backend = backend
            self.encoder = Guarded(encoder)
        }

        var isFull: Bool {
            offered.withLock { $0.jobs >= CommitThread.mostJobs || $0.bytes >= CommitThread.mostBytes }
        }

        func offer(_ writes: [SealedWrite]) {
            let isFirst = offered.withLock { offered in
                offered.writes += writes
                offered.jobs += 1
                for write in writes { offered.bytes += write.byteCount }
                return offered.jobs == 1
            }
            if isFirst { _ = bell.push(()) }
        }

        func reset() { offered.withLock { $0 = Offered() } }

        func run(refusal: () -> VaultError?, wake: () -> Void) {
            while !bell.take(most: 1).isEmpty {
                while let (jobs, writes) = next() {
                    let start = MetricTimer.now()
                    let result: Result<UInt64?, VaultError>
                    if let refusal = refusal() {
                        result = .failure(refusal)
                    } else if writes.isEmpty {
                        result = .success(nil)
                    } else {
                        result = commit { (encoder) throws(VaultError) in try encoder.encode(writes) }
                            .map { $0 }
                    }
                    if case .failure = result { offered.withLock { $0.isHalted = true } }
                    _ = outcomes.push(Outcome(jobs: jobs, result: result, start: start))
                    wake()
                }
            }
        }

        private func next() -> (jobs: Int, writes: [SealedWrite])? {
            offered.withLock { offered in
                if offered.jobs == 0 || offered.isHalted { return nil }
                let taken = (offered.jobs, offered.writes)
                offered = Offered()
                return taken
            }
        }

        func commit(
            _ make: (BarrierWriter) throws(VaultError) -> CommitBatch
        ) -> Result<UInt64, VaultError> {
            do throws(VaultError) {
                return .success(
                    try encoder.use { (encoder) throws(VaultError) in
                        defer { encoder.release() }
                        let batch = try make(encoder)
                        let start = MetricTimer.now()
                        let sequence = try backend.commit(batch)
                        Instruments.storageCommits.record(since: start)
                        return sequence
                    })
            } catch { return .failure(error) }
        }
    }
}
