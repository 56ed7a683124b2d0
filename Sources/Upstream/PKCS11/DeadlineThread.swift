import Base
import CPosix
import Glibc
import Synchronization

/// A thread for calls that may hang for ever, as those into somebody's driver: who asks waits only so long.
///
/// Calls are made one after the other. One that hangs keeps those behind it waiting until they have waited
/// long enough; nobody is left to take its answer when it ends after all.
final class DeadlineThread: Sendable {
    private let name: String
    private let seconds: Int
    private let queue = BlockingQueue<@Sendable () -> Void>(limit: 16)
    private let isStarted = Mutex(false)

    init(name: String, seconds: Int) {
        self.name = name
        self.seconds = seconds
    }

    /// - Throws: what `body` throws, or `.unavailable` when it takes too long.
    func run<Result: Sendable>(
        _ what: String, _ body: @escaping @Sendable () throws(VaultError) -> Result
    ) throws(VaultError) -> Result {
        try start()
        let answer = Answer<Result>()
        let isTaken = queue.push {
            guard answer.isAwaited else { return }
            do throws(VaultError) { answer.give(.success(try body())) } catch { answer.give(.failure(error)) }
        }
        guard isTaken else { throw .unavailable("\(what): too many calls wait for it", retryAfterSeconds: 1) }
        guard let outcome = answer.wait(seconds: seconds) else {
            throw .unavailable("\(what): no answer within \(seconds) seconds", retryAfterSeconds: 0)
        }
        return try outcome.get()
    }

    private func start() throws(VaultError) {
        try isStarted.withLock { (isStarted) throws(VaultError) in
            if isStarted { return }
            _ = try Thread(name: name) { [queue] in
                while true {
                    let calls = queue.take(most: 1)
                    if calls.isEmpty { return }
                    for call in calls { call() }
                }
            }
            isStarted = true
        }
    }

    /// What one call came to, and who waits for it.
    private final class Answer<Value: Sendable>: Sendable {
        private struct State {
            var isAwaited = true
            var outcome: Result<Value, VaultError>?
        }
        private let state = Mutex(State())
        private let arrived = eventfd(0, Int32(EFD_CLOEXEC))

        deinit { close(arrived) }

        var isAwaited: Bool { state.withLock { $0.isAwaited } }

        func give(_ outcome: Result<Value, VaultError>) {
            state.withLock { $0.outcome = outcome }
            var one: UInt64 = 1
            _ = write(arrived, &one, 8)
        }

        func wait(seconds: Int) -> Result<Value, VaultError>? {
            var item = pollfd(fd: arrived, events: Int16(POLLIN), revents: 0)
            while poll(&item, 1, Int32(seconds * 1_000)) < 0, errno == EINTR {}
            return state.withLock { state in
                state.isAwaited = false
                return state.outcome
            }
        }
    }
}
