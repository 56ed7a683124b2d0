import Synchronization

/// A few threads for what blocks or computes long: password hashes, RSA keys, C libraries that wait.
/// Never an I/O thread and never Swift's cooperative pool.
package final class BlockingPool: Sendable {
    /// One pool serves the process; its threads start with the first work.
    package static let shared = BlockingPool(threads: 4, limit: 256)

    private let queue: BlockingQueue<@Sendable () -> Void>
    private let threads: Int
    private let started = Mutex(false)

    /// - Parameters:
    ///   - threads: how many run at once.
    ///   - limit: how many may wait; beyond it the caller gets 503.
    package init(threads: Int, limit: Int) {
        self.threads = threads
        queue = BlockingQueue(limit: limit)
    }

    /// Runs `body` on a thread of the pool.
    /// - Throws: what `body` throws, or `.unavailable` when too much waits.
    package func run<Result: Sendable>(
        _ body: @escaping @Sendable () throws(VaultError) -> Result
    ) async throws(VaultError) -> Result {
        try start()
        let outcome: Swift.Result<Result, VaultError> = await withCheckedContinuation { continuation in
            let isTaken = queue.push {
                do throws(VaultError) { continuation.resume(returning: .success(try body())) } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
            if !isTaken {
                continuation.resume(
                    returning: .failure(
                        .unavailable("too much work is waiting; try again", retryAfterSeconds: 1)))
            }
        }
        return try outcome.get()
    }

    private func start() throws(VaultError) {
        let isFirst = started.withLock { started in
            defer { started = true }
            return !started
        }
        guard isFirst else { return }
        for index in 0..<threads {
            _ = try Thread(name: "blocking-\(index)") { [queue] in
                while true {
                    let work = queue.take(most: 1)
                    if work.isEmpty { return }
                    for body in work { body() }
                    wipeDeadStack()
                }
            }
        }
    }
}
