package import Base

/// What only the active node has, from the beginning of one term of duty to its end. A node that is alone
/// is on duty as long as it is unsealed. Nothing of one term is used in the next: a transaction that began
/// in an earlier one is refused.
package final class ActiveDuty: Sendable {
    /// The cluster's term; zero for a node that is alone.
    package let term: UInt64
    /// When it began.
    package let since: Timestamp
    /// The thread that commits, for this term only.
    package let commits: CommitThread
    /// Gives secrets whose leases are over back to their engines.
    package let revoker: LeaseRevoker
    private let maintenance: Maintenance

    init(
        term: UInt64, since: Timestamp, commits: CommitThread, revoker: LeaseRevoker,
        maintenance: Maintenance
    ) {
        self.term = term
        self.since = since
        self.commits = commits
        self.revoker = revoker
        self.maintenance = maintenance
    }

    /// Begins the background work.
    func start() throws(VaultError) {
        revoker.onLowWater { [weak maintenance] in maintenance?.wake() }
        try maintenance.start()
    }

    /// Wakes the background work when a commit of these keys has left some.
    func note(_ keys: [String]) {
        if maintenance.isConcerned(by: keys) { maintenance.wake() }
    }

    /// Ends at once: what has not begun to be committed is refused with `refusal`. Returns when all threads
    /// have ended.
    func end(refusing refusal: VaultError) {
        revoker.stop()
        commits.stop(refusing: refusal)
        maintenance.stop()
    }

    /// Commits what waits, after `last`, and ends.
    func finish(last: () -> Void) {
        maintenance.stop()
        revoker.stop()
        last()
        commits.stop()
    }
}
