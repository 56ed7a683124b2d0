internal import Glibc

/// How tests wait for what other threads bring about.
package enum Patience {
    /// The longest wait. It only ends a test that hangs: beside all the others, on few processors, a thread
    /// may wait for minutes.
    package static let seconds = 600
    private static let pause = 5

    /// Looks again and again, and holds the thread meanwhile.
    /// - Returns: whether the condition came to hold.
    package static func sees(_ condition: () throws -> Bool) rethrows -> Bool {
        let end = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < end {
            if try condition() { return true }
            usleep(UInt32(pause * 1_000))
        }
        return false
    }

    /// The same for tests whose threads others want.
    package static func awaits(_ condition: () async throws -> Bool) async throws -> Bool {
        let end = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < end {
            if try await condition() { return true }
            try await Task.sleep(for: .milliseconds(pause))
        }
        return false
    }
}
