package import Base
package import PluginKit

/// What an unsealed node of a cluster has besides its core.
struct ClusterMembership: Sendable {
    let follower: CacheFollower
    let leadership: Leadership
}

/// Who wants to know of the core's passages.
struct CoreHooks: Sendable {
    var sealed: [@Sendable () -> Void] = []
    var dutyBegun: [@Sendable () -> Void] = []
    var dutyEnded: [@Sendable () -> Void] = []
    var keysFollowed: [@Sendable () -> Void] = []
    var join: @Sendable (ActiveCore) throws(VaultError) -> Void = { _ in }
    var leave: @Sendable () -> Void = {}
}

extension VaultCore: ClusterObserver {
    /// See `ClusterObserver`.
    package func standingChanged() {
        membership?.leadership.wake()
        gate?.wake()
    }

    /// See `ClusterObserver`.
    package func applied(_ batch: AppliedBatch) { membership?.follower.follow(batch) }

    /// See `ClusterObserver`.
    package func replaced() { membership?.follower.followAll() }
}

extension VaultCore {
    /// Whether this node is the active one, for whoever is told so: on duty, and a quorum has answered it
    /// within one election timeout. A paused leader that has just been resumed says no.
    package var isActive: Bool {
        guard let duty = active?.duty else { return false }
        guard let role else { return true }
        let standing = role.standing
        return standing.isLeader && standing.hasQuorum && standing.term == duty.term
    }

    /// Gives the active node's part to another node, when this one has it. Returns when it is done.
    /// - Throws: `.unavailable` when nobody took over; then this node goes on.
    package func stepDown() async throws(VaultError) {
        guard let leadership = membership?.leadership else { return }
        let failure = await withCheckedContinuation { continuation in
            leadership.stepDown { continuation.resume(returning: $0) }
        }
        if let failure { throw failure }
    }

    /// The same for threads that may block.
    /// - Returns: why nobody took over; nil when somebody did, or this node was not active.
    package func stepDownBlocking() -> VaultError? {
        guard let leadership = membership?.leadership else { return nil }
        let answers = BlockingQueue<VaultError?>(limit: 1)
        leadership.stepDown { _ = answers.push($0) }
        return answers.take(most: 1).first ?? nil
    }
}
