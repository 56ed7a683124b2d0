import Base
import Synchronization

/// The thread that unseals a server without a person, again and again while no seal answers, and that looks
/// after the seals of an unsealed one: do they answer, and was a KMS's key rotated?
package final class SealKeeper: Sendable {
    /// Time between two looks at seals that are all well.
    package static let usualInterval = Duration.seconds(600)
    /// The same while one of them is not.
    private static let troubledInterval = Duration.seconds(60)
    /// Waits after the first failed attempt to unseal, and at most.
    private static let firstWait = Duration.milliseconds(500)
    private static let longestWait = Duration.seconds(30)
    /// Time between two looks whether a storage was initialised by somebody else.
    private static let idleWait = Duration.seconds(2)

    private let wakeups = WakeFlag()
    /// The seals are to be asked before it is time.
    private let isDue = Atomic<Bool>(false)
    private let clock: any Clock
    private let random: any RandomSource
    private let log: Log
    private let interval: Duration

    init(clock: any Clock, random: any RandomSource, log: Log, interval: Duration) {
        self.clock = clock
        self.random = random
        self.log = log
        self.interval = interval
    }

    func start(_ seal: SealController) throws(VaultError) {
        wakeups.thread = try Thread(name: "seal-keeper") { [self, weak seal] in
            var failures = 0
            var nextCheck: UInt64 = 0
            while let controller = seal {
                let pause = step(controller, &failures, &nextCheck)
                if !wakeups.wait(pause) { return }
            }
        }
    }

    func wake() { wakeups.wake() }

    /// Wakes it to ask the seals at once: who was active before may not have come to wrapping anew.
    func lookAgain() {
        isDue.store(true, ordering: .releasing)
        wake()
    }

    func stop() { wakeups.stop() }

    /// Does what is due.
    /// - Returns: how long there is nothing to do.
    private func step(_ seal: SealController, _ failures: inout Int, _ nextCheck: inout UInt64) -> Duration {
        if seal.core.active != nil {
            if let failure = seal.goOverWhenActive() {
                failures += 1
                return wait(failures, failure)
            }
            failures = 0
            if isDue.exchange(false, ordering: .acquiringAndReleasing) { nextCheck = 0 }
            let now = clock.monotonicNanoseconds()
            if now < nextCheck { return .nanoseconds(Int64(nextCheck - now)) }
            let pause = seal.checkSeals() ? interval : min(interval, Self.troubledInterval)
            nextCheck = clock.monotonicNanoseconds() &+ UInt64(pause.wholeNanoseconds)
            return pause
        }
        nextCheck = 0
        if seal.isHeld { return interval }
        do throws(VaultError) {
            try seal.reload()
            guard let config = seal.config else { return Self.idleWait }
            switch SealPlan(config, seal.seals) {
            case .automatic: try seal.unsealAutomatically()
            case .migration:
                seal.reason = "the configuration names another seal: unseal with -migrate"
                return interval
            case .impossible(let reason):
                if seal.reason != reason { log.error("this server cannot be unsealed", ["reason": reason]) }
                seal.reason = reason
                return interval
            case .shares: return interval
            }
            return seal.core.active == nil ? Self.idleWait : .zero
        } catch {
            failures += 1
            let pause = wait(failures, error)
            seal.reason = error.messages.joined(separator: "; ")
            log.warn(
                "the server could not unseal itself; it is tried again",
                [
                    "reason": error.privateCause ?? error.messages.joined(separator: "; "),
                    "attempt": String(failures),
                    "wait_seconds": String(Double(pause.wholeNanoseconds / 1_000_000) / 1_000),
                ])
            return pause
        }
    }

    /// Doubles with each failure, a quarter up or down by chance, so that many nodes do not come back to a
    /// KMS all at once; longer when the KMS says so.
    private func wait(_ failures: Int, _ error: VaultError) -> Duration {
        var pause = Self.firstWait * (1 << min(failures - 1, 10))
        if case .unavailable(_, let seconds) = error { pause = max(pause, .seconds(seconds)) }
        pause = min(pause, Self.longestWait)
        let chance = Int64(random.bytes(1)[0]) - 128
        return pause + .nanoseconds(pause.wholeNanoseconds / 4 / 128 * chance)
    }
}
