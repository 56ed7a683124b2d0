package import Base
import CPosix
import Glibc
import Synchronization

/// Lets one thread sleep until it is woken, its time has come, or it shall end.
package final class WakeFlag: Sendable {
    private let descriptor = eventfd(0, Int32(EFD_CLOEXEC))
    private let stopped = Atomic<Bool>(false)
    private let held = Mutex<Thread?>(nil)

    package init() {}

    deinit { close(descriptor) }

    /// Whether `stop` was called.
    package var isStopped: Bool { stopped.load(ordering: .acquiring) }

    /// The thread that sleeps here; `stop` joins it.
    package var thread: Thread? {
        get { held.withLock { $0 } }
        set { held.withLock { $0 = newValue } }
    }

    /// Ends the sleep.
    package func wake() {
        var one: UInt64 = 1
        _ = write(descriptor, &one, 8)
    }

    /// Sleeps for at most `span`.
    /// - Returns: false when the thread shall end.
    package func wait(_ span: Duration) -> Bool {
        if isStopped { return false }
        var item = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        if poll(&item, 1, Int32(span.wholeNanoseconds / 1_000_000)) > 0 {
            var count: UInt64 = 0
            _ = read(descriptor, &count, 8)
        }
        return !isStopped
    }

    /// Ends the thread and waits for it.
    package func stop() {
        stopped.store(true, ordering: .releasing)
        wake()
        thread?.join()
        thread = nil
    }
}
