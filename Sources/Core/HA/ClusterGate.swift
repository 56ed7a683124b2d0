package import Base
package import PluginKit
import Synchronization

/// Where requests wait for the cluster: for a read index, or for a leader to be there.
///
/// A cluster that has just lost its leader has another within a second, so a request waits rather than fails;
/// but not for long. What waits is kept by one thread, which sleeps while there is nothing to wait for.
package final class ClusterGate: Sendable {
    /// Until the last attempt at a read index, which itself takes up to a second.
    package static let readPatience = Duration.milliseconds(1_000)
    /// Until there is an active node.
    package static let leaderPatience = Duration.milliseconds(1_500)
    /// Between two attempts, when the role has not changed.
    private static let pause = Duration.milliseconds(20)
    private static let idle = Duration.seconds(60)
    /// Requests, or groups of them, that may wait.
    private static let most = 65_536

    private struct Waiter: Sendable {
        let deadline: UInt64
        /// Tries. Gives false when it has to wait longer; at the deadline it must not.
        let attempt: @Sendable (_ isLast: Bool) -> Bool
    }

    private let role: any ClusterRole
    private let clock: any Clock
    private let waiting = Mutex<[Waiter]>([])
    /// Nil while the server is sealed.
    private let running = Mutex<WakeFlag?>(nil)

    /// - Parameter clock: of real time, whatever clock judges requests.
    init(role: any ClusterRole, clock: any Clock) {
        self.role = role
        self.clock = clock
    }

    func start() throws(VaultError) {
        let wakeups = WakeFlag()
        wakeups.thread = try Thread(name: "cluster-gate") { [self] in
            var span = Self.idle
            while wakeups.wait(span) { span = retry() ? Self.pause : Self.idle }
        }
        running.withLock { $0 = wakeups }
    }

    /// Ends the thread. What waits is tried a last time.
    func stop() {
        let wakeups = running.withLock { running in
            defer { running = nil }
            return running
        }
        wakeups?.stop()
        giveUp()
    }

    /// Looks at once whether waiting has an end: the role has changed.
    func wake() {
        if waiting.withLock({ !$0.isEmpty }) { running.withLock { $0 }?.wake() }
    }

    // MARK: Waiting

    /// Waits until local reads see everything that was acknowledged before the call.
    /// - Parameter done: called once, on any thread: nil, or why nothing may be read.
    package func confirm(_ done: @escaping @Sendable (VaultError?) -> Void) {
        Instruments.readIndexRounds.add()
        attempt(until: deadline(in: Self.readPatience), done)
    }

    private func attempt(until deadline: UInt64, _ done: @escaping @Sendable (VaultError?) -> Void) {
        role.confirmRead { [self] failure in
            guard let failure else { return done(nil) }
            let isLate = clock.monotonicNanoseconds() >= deadline
            if isLate || failure == .removedFromCluster || role.standing.failure != nil {
                return done(failure)
            }
            hold(deadline) { [self] isLast in
                if isLast { done(failure) } else { attempt(until: deadline, done) }
                return true
            }
        }
    }

    /// Who can be asked to do what only the active node does.
    package enum ActiveNode: Sendable {
        case this
        case other(ClusterMember)
        /// Nobody became active in time.
        case none
        /// This node was removed from its cluster.
        case removed
    }

    /// Waits until the cluster has an active node.
    /// - Parameters:
    ///   - deadline: on the monotonic clock.
    ///   - isRetry: waits a moment first: the node that is known was just tried.
    ///   - isOnDuty: whether this node is active.
    ///   - done: called once, here or on another thread.
    package func awaitActive(
        until deadline: UInt64, isRetry: Bool = false, isOnDuty: @escaping @Sendable () -> Bool,
        _ done: @escaping @Sendable (ActiveNode) -> Void
    ) {
        let attempt: @Sendable (Bool) -> Bool = { [role] isLast in
            let standing = role.standing
            if standing.isRemoved {
                done(.removed)
                return true
            }
            if let leader = standing.leader, standing.hasQuorum {
                if leader.nodeID != standing.nodeID {
                    done(.other(leader))
                    return true
                }
                if isOnDuty() {
                    done(.this)
                    return true
                }
            }
            if isLast { done(.none) }
            return isLast
        }
        let isLate = clock.monotonicNanoseconds() >= deadline
        if isLate || !isRetry, attempt(isLate) { return }
        hold(deadline, attempt)
    }

    /// The monotonic time at which a wait that begins now has to end.
    package func deadline(in span: Duration) -> UInt64 {
        clock.monotonicNanoseconds() &+ UInt64(span.wholeNanoseconds)
    }

    private func hold(_ deadline: UInt64, _ attempt: @escaping @Sendable (Bool) -> Bool) {
        let isTaken = waiting.withLock { waiting in
            if waiting.count >= Self.most { return false }
            waiting.append(Waiter(deadline: deadline, attempt: attempt))
            return true
        }
        guard isTaken else {
            _ = attempt(true)
            return
        }
        // `stop` drops the flag before it looks at what waits: one of the two finds this.
        if let wakeups = running.withLock({ $0 }) { wakeups.wake() } else { giveUp() }
    }

    private func giveUp() {
        for waiter in waiting.withLock({ take(&$0) }) { _ = waiter.attempt(true) }
    }

    /// - Returns: whether somebody still waits.
    private func retry() -> Bool {
        let now = clock.monotonicNanoseconds()
        var left: [Waiter] = []
        for waiter in waiting.withLock({ take(&$0) }) where !waiter.attempt(now >= waiter.deadline) {
            left.append(waiter)
        }
        return waiting.withLock { waiting in
            waiting += left
            return !waiting.isEmpty
        }
    }

    private func take(_ waiting: inout [Waiter]) -> [Waiter] {
        defer { waiting = [] }
        return waiting
    }
}
