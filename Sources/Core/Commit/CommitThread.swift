package import Barrier
package import Base
package import PluginKit
import Synchronization

/// The one writer. It takes write sets from a bounded queue, and commits as many as wait together,
/// atomically and with one sync (group commit). While one batch is on its way to the disk, on a thread of its
/// own (`BatchCommitter`), the next is put together here (`CommitWriter`).
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
        /// Nil: `run` has not been called yet, or what it gave stands no more; it runs here.
        var writeSet: WriteSet?
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
    static let mostJobs = 1_024
    /// Bytes of plain text in one commit at most, for the same reason.
    static let mostBytes = 32 << 20

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
    final class Ending: Sendable {
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
                let writer = CommitWriter(
                    queue, backend: backend, barrier: barrier, log: log, confirm: confirm, ending: ending,
                    invalidate: invalidate)
            else { return Self.refuse(queue) }
            writer.run()
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
}
