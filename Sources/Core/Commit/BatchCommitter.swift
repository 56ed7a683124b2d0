import Barrier
import Base
import PluginKit

/// Commits one batch at a time: on a thread of its own, so that the next batch is put together
/// meanwhile, or on the caller's where nothing else waits.
///
/// Belongs to the commit thread, which begins nothing before it has taken the outcome of what it began.
final class BatchCommitter {
    private let worker: Worker
    private let input = BlockingQueue<[SealedWrite]>(limit: 1)
    private let outcomes = BlockingQueue<Result<UInt64, VaultError>>(limit: 1)
    private let thread: Thread

    /// - Parameter wake: called when the outcome of `begin` is there, on the other thread.
    init(
        backend: any StorageBackend, encoder: BarrierWriter, wake: @escaping @Sendable () -> Void
    ) throws(VaultError) {
        let worker = Worker(backend: backend, encoder: encoder)
        thread = try Thread(name: "sync") { [input, outcomes] in
            while let writes = input.take(most: 1).first {
                let outcome = worker.commit { (encoder) throws(VaultError) in try encoder.encode(writes) }
                _ = outcomes.push(outcome)
                wake()
            }
        }
        self.worker = worker
    }

    /// Begins to commit on the other thread.
    func begin(_ writes: [SealedWrite]) { _ = input.push(writes) }

    /// The number of the commit that was begun, or why there is none; nil while it is under way.
    func poll() -> Result<UInt64, VaultError>? { outcomes.poll() }

    /// The same when it is there.
    func wait() -> Result<UInt64, VaultError> {
        outcomes.take(most: 1).first ?? .failure(.internal("the sync thread gave no answer"))
    }

    /// Commits here and now.
    func commit(
        _ make: (BarrierWriter) throws(VaultError) -> CommitBatch
    ) -> Result<UInt64, VaultError> { worker.commit(make) }

    /// Ends the thread, behind what it is at.
    func stop() {
        input.close()
        thread.join()
    }

    private final class Worker: Sendable {
        private let backend: any StorageBackend
        /// The other thread's between `begin` and its outcome, the owner's else.
        private let encoder: Guarded<BarrierWriter>

        init(backend: any StorageBackend, encoder: BarrierWriter) {
            self.backend = backend
            self.encoder = Guarded(encoder)
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
