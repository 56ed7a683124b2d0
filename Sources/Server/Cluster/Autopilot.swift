import Barrier
import Base
import Consensus
import Core
import PluginKit
import Synchronization
import SystemAPI

/// Looks after the members while this node leads: lets those vote that have kept up for a while, removes
/// those that are gone for good where the operator wants that, and tells how all of them do.
///
/// `tick` runs on one thread and reads the configuration from the local store; changes are proposed, never
/// waited for.
final class Autopilot: Sendable {
    private struct State {
        var watch = AutopilotWatch()
        var shown: AutopilotState?
        var readAt: UInt64 = 0
        /// A change that has not come back yet.
        var isChanging = false
        var term: UInt64 = 0
    }
    private static let readPause = Duration.seconds(2)

    private let core: VaultCore
    private let identity: @Sendable () -> RaftPeer
    private let state = Mutex(State())

    init(core: VaultCore, identity: @escaping @Sendable () -> RaftPeer) {
        self.core = core
        self.identity = identity
    }

    /// How the members did when last looked at.
    /// - Throws: `.unavailable` where this node does not lead.
    func shown() throws(VaultError) -> AutopilotState {
        guard let shown = state.withLock({ $0.shown }) else {
            throw .unavailable(
                "autopilot runs on the leader only, and has not looked yet", retryAfterSeconds: 1)
        }
        return shown
    }

    func tick(_ node: any ConsensusNode) {
        let raft = node.state
        guard raft.isLeader, raft.hasQuorum, let active = core.active, active.duty != nil else {
            state.withLock { $0 = State() }
            return
        }
        readConfiguration(active, term: raft.term)
        let (now, clock) = (core.clock.now(), core.clock.monotonicNanoseconds())
        let change = state.withLock { state in
            let (shown, change) = state.watch.look(at: raft, as: identity(), now, monotonic: clock)
            state.shown = shown
            if state.isChanging { return nil as MembershipChange? }
            state.isChanging = change != nil
            return change
        }
        guard let change else { return }
        node.changeMembership(change) { [self, log = core.log] result in
            state.withLock { $0.isChanging = false }
            switch result {
            case .success: log.info("autopilot changed the membership", ["change": Self.text(change)])
            case .failure(.busy), .failure(.notLeader): break
            case .failure(let error):
                log.warn(
                    "autopilot could not change the membership",
                    ["change": Self.text(change), "reason": "\(error)"])
            }
        }
    }

    // MARK: -

    private func readConfiguration(_ active: ActiveCore, term: UInt64) {
        let now = core.clock.monotonicNanoseconds()
        let isDue = state.withLock { state in
            guard state.term != term || now - state.readAt > UInt64(Self.readPause.wholeNanoseconds) else {
                return false
            }
            state.readAt = now
            state.term = term
            return true
        }
        guard isDue else { return }
        do throws(VaultError) {
            let view = try active.barrier.makeView(reader: try core.backend.makeReader())
            try view.refresh()
            defer { view.release() }
            let record = try view.get(AutopilotConfiguration.key)
            let fresh = try record.map { bytes throws(VaultError) in
                try AutopilotConfiguration(record: bytes)
            }
            let names = try view.list(AutopilotConfiguration.nonVoters, after: nil, limit: 1_000)
            state.withLock { state in
                state.watch.configuration = fresh ?? AutopilotConfiguration()
                state.watch.nonVoters = Set(names)
            }
        } catch {
            if error == .sealed { return }
            core.log.warn(
                "autopilot's configuration cannot be read", ["cause": error.privateCause ?? "\(error)"])
        }
    }

    private static func text(_ change: MembershipChange) -> String {
        switch change {
        case .addLearner(let peer): "added \(peer.nodeID)"
        case .promote(let raftID): "promoted \(String(raftID, radix: 16))"
        case .demote(let raftID): "demoted \(String(raftID, radix: 16))"
        case .remove(let raftID): "removed \(String(raftID, radix: 16))"
        case .update(let peer): "addresses of \(peer.nodeID)"
        }
    }
}
