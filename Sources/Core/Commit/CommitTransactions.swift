package import Base
package import PluginKit
import Synchronization

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
