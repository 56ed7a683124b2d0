internal import CPosix
internal import Glibc

/// Starts a thread of our own, named for `top` and `gdb`. It is joined by `join`, once.
package final class Thread: Sendable {
    private let handle: pthread_t

    /// - Throws: `.unavailable` when the kernel gives no more threads.
    package init(name: String, _ body: @escaping @Sendable () -> Void) throws(VaultError) {
        let start = Unmanaged.passRetained(Start(name: name, body: body))
        var handle = pthread_t()
        let status = pthread_create(
            &handle, nil,
            { argument in
                guard let argument else { return nil }
                let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                prctl_set_name(start.name)
                start.body()
                // The C library keeps the stacks of threads that have ended, for those to come.
                wipeDeadStack(256 << 10)
                return nil
            }, start.toOpaque())
        guard status == 0 else {
            start.release()
            throw .unavailable("the system gives no more threads", retryAfterSeconds: 1)
        }
        self.handle = handle
    }

    /// Waits until the thread's body has returned.
    package func join() { pthread_join(handle, nil) }

    private final class Start: Sendable {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
}

/// Overwrites what functions that have returned left below the stack of the caller: the compiler puts
/// short-lived arrays there, and nobody else wipes them. For threads that handled secrets and are about to
/// wait.
///
/// - Parameter bytes: how far down; calls of ours rarely go deeper than the default.
package func wipeDeadStack(_ bytes: Int = 64 << 10) { hf_wipe_dead_stack(bytes) }

/// A bounded queue that one or several threads wait on.
package final class BlockingQueue<Element: Sendable>: @unchecked Sendable {
    // SAFETY: every access to `elements`, `isClosed` and `isWoken` is made with `mutex` held; the two pthread
    // objects are allocated once and never move.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
    private let condition: UnsafeMutablePointer<pthread_cond_t> = .allocate(capacity: 1)
    private var elements: [Element] = []
    private var isClosed = false
    private var isWoken = false
    private let limit: Int

    /// - Parameter limit: elements that may wait.
    package init(limit: Int) {
        self.limit = limit
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// False when the queue is full or closed; the element was not taken then.
    package func push(_ element: Element) -> Bool {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        if isClosed || elements.count >= limit { return false }
        elements.append(element)
        if elements.count == 1 { pthread_cond_signal(condition) }
        return true
    }

    /// All that waits, at most `most`; waits for the first. Empty only when the queue is closed and drained,
    /// or after `wake`.
    package func take(most: Int) -> [Element] {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while elements.isEmpty && !isClosed && !isWoken { pthread_cond_wait(condition, mutex) }
        isWoken = false
        if elements.count <= most {
            let all = elements
            elements = []
            elements.reserveCapacity(min(all.count, 64))
            return all
        }
        let first = Array(elements.prefix(most))
        elements.removeFirst(most)
        pthread_cond_signal(condition)
        return first
    }

    /// The first that waits; nil at once when nothing does.
    package func poll() -> Element? {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return elements.isEmpty ? nil : elements.removeFirst()
    }

    /// Lets the one thread that takes return once, with nothing if need be: there is something else to do.
    package func wake() {
        pthread_mutex_lock(mutex)
        isWoken = true
        pthread_cond_signal(condition)
        pthread_mutex_unlock(mutex)
    }

    /// Whether nothing waits, and nothing will.
    package var isDrained: Bool {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return isClosed && elements.isEmpty
    }

    /// No more elements are taken; those that wait are still given out.
    package func close() {
        pthread_mutex_lock(mutex)
        isClosed = true
        pthread_cond_broadcast(condition)
        pthread_mutex_unlock(mutex)
    }
}
