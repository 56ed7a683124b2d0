import Base
internal import Glibc
internal import Synchronization

/// Walks a store that is too large to be checked whole before it is opened: on a thread of its own, over the
/// view of the moment at which it was opened, whose pages nobody overwrites meanwhile.
///
/// What is read from a damaged leaf is an error; but a commit that changes one can make LMDB overwrite memory
/// and, from there, sound pages. So commits wait a little for this check, and none is accepted once it has
/// found damage.
final class BackgroundCheck: Sendable {
    /// How long commits wait at most, from the start of the check: unsealing is rarely faster than that, and
    /// some hundred megabytes have been walked by then.
    private static let patience = Duration.seconds(2)
    private static let pauseMicroseconds: UInt32 = 2_000

    private enum State: Int, AtomicRepresentable { case running, sound, damaged, cancelled }
    private let state = Atomic<State>(.running)
    private let isCancelled = Atomic<Bool>(false)
    private let clock: any Clock
    private let began: UInt64
    private let thread = Mutex<Thread?>(nil)

    // SAFETY: LMDB's transactions belong to whom holds them (NOTLS), and this one goes to one thread.
    private struct View: @unchecked Sendable {
        let transaction: TransactionHandle
    }

    /// - Parameters:
    ///   - meta: the newest head page of the file at `path`.
    ///   - view: a read transaction of the same commit; the check ends it.
    init(
        _ meta: MetaPage, path: String, view: TransactionHandle, clock: any Clock, log: Log
    ) throws(VaultError) {
        self.clock = clock
        began = clock.monotonicNanoseconds()
        let view = View(transaction: view)
        do throws(VaultError) {
            let started = try Thread(name: "check") { [self] in
                run(meta, path, log)
                view.transaction.abort()
            }
            thread.withLock { $0 = started }
        } catch {
            view.transaction.abort()
            throw error
        }
    }

    private func run(_ meta: MetaPage, _ path: String, _ log: Log) {
        do throws(VaultError) {
            let file = try OpenFile(path, create: false)
            var check = StructureCheck(meta, fileBytes: try file.size(), pageBudget: .max)
            try check.run(file) { self.isCancelled.load(ordering: .relaxed) }
            state.store(.sound, ordering: .releasing)
        } catch {
            if isCancelled.load(ordering: .relaxed) {
                return state.store(.cancelled, ordering: .releasing)
            }
            state.store(.damaged, ordering: .releasing)
            log.error(
                "The data file is damaged. No further commit is accepted; what can be read is read.",
                ["file": path, "cause": error.privateCause ?? error.messages.joined(separator: "; ")])
        }
    }

    /// Whether damage has been found so far.
    var hasFoundDamage: Bool { state.load(ordering: .acquiring) == .damaged }

    /// Waits until it is over, or has taken longer than commits wait.
    func waitAWhile() {
        while state.load(ordering: .acquiring) == .running,
            clock.monotonicNanoseconds() - began < UInt64(Self.patience.wholeNanoseconds)
        {
            usleep(Self.pauseMicroseconds)
        }
    }

    /// Ends it and waits for its thread.
    func cancel() {
        isCancelled.store(true, ordering: .relaxed)
        thread.withLock { thread in
            thread?.join()
            thread = nil
        }
    }
}
