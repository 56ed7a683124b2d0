import Base
import PluginKit
import Synchronization

/// Makes the passages between standby and active, on a thread of its own: neither consensus nor a request
/// ever waits for them.
///
/// A term of duty begins when this node leads and a read of its own term was confirmed: then everything that
/// earlier leaders acknowledged has been applied here. It ends as soon as the role says that this node does
/// not lead, or leads in another term. Both happen without sealing.
final class Leadership: Sendable {
    /// Between two looks at the role, should a call have been missed.
    private static let pause = Duration.seconds(1)
    private static let retryPause = Duration.milliseconds(20)

    private let core: ActiveCore
    private let role: any ClusterRole
    private let log: Log
    private let makeDuty: @Sendable (UInt64) throws(VaultError) -> ActiveDuty
    private let onDuty: @Sendable () -> Void
    private let afterDuty: @Sendable () -> Void
    private let wakeups = WakeFlag()

    /// - Parameters:
    ///   - makeDuty: makes what a term of duty needs, started.
    ///   - onDuty: called when a term of duty has begun; must not wait.
    ///   - afterDuty: called behind each term of duty, for whoever remembers something of it.
    init(
        core: ActiveCore, role: any ClusterRole, log: Log,
        makeDuty: @escaping @Sendable (UInt64) throws(VaultError) -> ActiveDuty,
        onDuty: @escaping @Sendable () -> Void, afterDuty: @escaping @Sendable () -> Void
    ) {
        self.core = core
        self.role = role
        self.log = log
        self.makeDuty = makeDuty
        self.onDuty = onDuty
        self.afterDuty = afterDuty
    }

    func start() throws(VaultError) {
        wakeups.thread = try Thread(name: "leadership") { [self] in
            var span = Duration.zero
            while wakeups.wait(span) { span = settle() ? Self.pause : Self.retryPause }
        }
    }

    /// The role may have changed.
    func wake() { wakeups.wake() }

    /// Ends the thread; a term of duty goes on.
    func stop() { wakeups.stop() }

    /// - Returns: false when it must be tried again soon.
    private func settle() -> Bool {
        let standing = role.standing
        if let duty = core.duty, !standing.isLeader || standing.term != duty.term {
            end(duty, refusing: .standby)
        }
        guard core.duty == nil, standing.isLeader else { return true }
        return begin(standing.term)
    }

    private func begin(_ term: UInt64) -> Bool {
        let answers = BlockingQueue<VaultError?>(limit: 1)
        role.confirmRead { _ = answers.push($0) }
        guard let answer = answers.take(most: 1).first, answer == nil else { return false }
        let standing = role.standing
        guard standing.isLeader, standing.term == term, !wakeups.isStopped else { return false }
        do throws(VaultError) {
            core.set(try makeDuty(term))
            Instruments.dutiesBegun.add()
            log.info("this node is active", ["term": String(term)])
            onDuty()
            return true
        } catch {
            log.error(
                "this node leads and cannot become active",
                ["term": String(term), "cause": error.privateCause ?? error.messages.joined(separator: "; ")])
            return false
        }
    }

    /// Lays the duty down; new requests see a standby at once.
    func end(_ duty: ActiveDuty, refusing refusal: VaultError) {
        core.set(nil)
        duty.end(refusing: refusal)
        afterDuty()
        log.info("this node is a standby", ["last_term": String(duty.term)])
    }

    // MARK: Stepping down

    /// Gives the duty to another node; no request fails by it. The queue of writes is held while leadership
    /// passes, and goes to the successor; when nobody takes over, it goes on here.
    /// - Parameter done: called once: nil when this node is no longer active, or never was.
    func stepDown(_ done: @escaping @Sendable (VaultError?) -> Void) {
        guard let duty = core.duty else { return done(nil) }
        let box = Outcome()
        duty.commits.submit(
            CommitThread.Job(
                between: { [role] in
                    let answers = BlockingQueue<VaultError?>(limit: 1)
                    role.handOver { _ = answers.push($0) }
                    let failure = answers.take(most: 1).first ?? .standby
                    box.failure.withLock { $0 = failure }
                    if failure == nil { duty.commits.refuse(.standby) }
                },
                done: { [self] refusal in
                    wake()
                    done(refusal ?? box.failure.withLock { $0 })
                }))
    }

    private final class Outcome: Sendable {
        let failure = Mutex<VaultError?>(nil)
    }
}
