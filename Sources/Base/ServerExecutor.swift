/// Where the server's tasks run: handlers that wait for the outside, and revocations.
///
/// Swift's own pool would do, but for one thing: its threads are out of reach, and what a handler left on
/// the stack of one of them (a key share, a password) would stay there. These wipe it after each piece of
/// work.
package final class ServerExecutor: TaskExecutor {
    package static let shared = ServerExecutor(threads: 2)

    private let queue = BlockingQueue<UnownedJob>(limit: .max)
    private let isRunning: Bool

    /// - Parameter threads: how many run at once. Work that blocks belongs to `BlockingPool`.
    init(threads: Int) {
        var started = 0
        for index in 0..<threads {
            let thread = try? Thread(name: "tasks-\(index)") { [queue] in
                while let job = queue.take(most: 1).first {
                    job.runSynchronously(on: Self.shared.asUnownedTaskExecutor())
                    wipeDeadStack()
                }
            }
            if thread != nil { started += 1 }
        }
        isRunning = started > 0
    }

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        // A system that gave no thread at all: the caller's own is better than no answer.
        if !isRunning || !queue.push(job) { job.runSynchronously(on: asUnownedTaskExecutor()) }
    }
}
