import Barrier
import Base
import Consensus
import Core
import Crypto
import Glibc
import Synchronization
import SystemAPI

/// Makes this empty node a member of a cluster.
///
/// In three steps: a member tells what has to be proven, with the wrapped root key (`awaitJoin`); the seal
/// opens it, by itself or by its holders' shares; the proof is answered with the keyring, which opens the
/// cluster port, over which the leader sends its state. With the state here the node is unsealed as after any
/// restart. What comes too early is tried again until it works; only a refusal ends it. Nothing is written
/// before the leader's state comes, so a node that is stopped on the way begins anew.
final class JoinController: Sendable {
    private static let pause = Duration.seconds(1)
    /// For how long `sys/storage/raft/join` tries before it answers that it goes on by itself.
    private static let patience = Duration.seconds(3)
    /// For how long the leader's state may be on its way before the node asks anew.
    private static let transferPatience = Duration.seconds(600)

    private struct State {
        /// The clusters to try; empty when there is nothing to do.
        var targets: [JoinTarget] = []
        var options = JoinOptions()
        /// Set once the root key is there.
        var rootKey: SecretBytes?
        var isRunning = false
    }
    private let seal: SealController
    private let core: VaultCore
    private let service: ClusterService
    private let identity: @Sendable () -> RaftPeer
    private let state = Mutex(State())
    private let wakeups = WakeFlag()

    /// - Parameter identity: this node as the cluster shall know it.
    init(
        seal: SealController, core: VaultCore, service: ClusterService,
        identity: @escaping @Sendable () -> RaftPeer
    ) {
        self.seal = seal
        self.core = core
        self.service = service
        self.identity = identity
    }

    /// Joins, or goes on trying.
    /// - Returns: whether a member has agreed; false when that is still being tried.
    /// - Throws: what a member refused it with.
    func join(_ targets: [JoinTarget], _ options: JoinOptions) async throws(VaultError) -> Bool {
        if seal.status.isInitialized { return true }
        if !options.retries {
            let isAgreed = try await BlockingPool.shared.run { [self] () throws(VaultError) in
                let end = core.clock.monotonicNanoseconds() + UInt64(Self.patience.wholeNanoseconds)
                repeat {
                    do throws(JoinClient.Failure) {
                        try begin(targets, options)
                        return true
                    } catch {
                        if case .refused(let refusal) = error { throw refusal }
                        core.log.info("joining a cluster has to wait", ["reason": error.text])
                    }
                    usleep(200_000)
                } while core.clock.monotonicNanoseconds() < end
                return false
            }
            if isAgreed { return true }
        }
        try keepTrying(targets, options)
        return false
    }

    /// Tries until it works, on a thread of its own (`retry_join`).
    /// - Throws: `.unavailable` when the system gives no thread.
    func keepTrying(_ targets: [JoinTarget], _ options: JoinOptions) throws(VaultError) {
        let mustStart = state.withLock { state in
            state.targets = targets
            state.options = options
            defer { state.isRunning = true }
            return !state.isRunning
        }
        if mustStart {
            wakeups.thread = try Thread(name: "raft-join") { [self] in run() }
        } else {
            wakeups.wake()
        }
    }

    /// Ends trying.
    func stop() { wakeups.stop() }

    // MARK: The thread

    private func run() {
        var told = ""
        while wakeups.wait(.zero) {
            if core.active != nil { break }
            let (targets, options, rootKey) = state.withLock { ($0.targets, $0.options, $0.rootKey) }
            var failure: JoinClient.Failure?
            if let rootKey {
                do throws(JoinClient.Failure) {
                    try enter(targets, options, rootKey)
                    break
                } catch { failure = error }
            } else if !seal.isJoining, !seal.status.isInitialized {
                do throws(JoinClient.Failure) { try begin(targets, options) } catch { failure = error }
            } else if !seal.isJoining {
                // It was initialised as a cluster of its own.
                break
            }
            if let failure {
                if failure.text != told {
                    core.log.warn("this node goes on trying to join its cluster", ["reason": failure.text])
                }
                told = failure.text
                if case .refused = failure, rootKey != nil {
                    state.withLock { $0.rootKey = nil }
                    seal.abandonJoin()
                }
            }
            if !wakeups.wait(Self.pause) { break }
        }
        state.withLock { state in
            state.isRunning = false
            state.rootKey = nil
        }
    }

    /// Finds a member that tells what to prove, and waits for the root key from then on.
    private func begin(_ targets: [JoinTarget], _ options: JoinOptions) throws(JoinClient.Failure) {
        var last = JoinClient.Failure.early("no member's address is known")
        for target in targets {
            for client in JoinClient.all(target) {
                do throws(JoinClient.Failure) {
                    let challenge = try client.challenge(serverID: identity().nodeID)
                    let pending = PendingJoin(
                        sealConfig: challenge.sealConfig, wrappedRootKey: challenge.wrappedRootKey
                    ) { [weak self] rootKey in self?.proceed(targets, options, rootKey) }
                    do throws(VaultError) { try seal.awaitJoin(pending) } catch { throw .refused(error) }
                    core.log.info("a cluster takes this node on", ["member": client.address])
                    return
                } catch { last = error }
            }
        }
        throw last
    }

    private func proceed(_ targets: [JoinTarget], _ options: JoinOptions, _ rootKey: SecretBytes) {
        state.withLock { $0.rootKey = rootKey }
        do throws(VaultError) { try keepTrying(targets, options) } catch {
            core.log.error("joining the cluster cannot go on", ["reason": "\(error)"])
        }
    }

    /// Proves the root key, takes part, and unseals when the cluster's state is here.
    private func enter(
        _ targets: [JoinTarget], _ options: JoinOptions, _ rootKey: SecretBytes
    ) throws(JoinClient.Failure) {
        let (record, barrier) = try answer(targets, options, rootKey)
        do throws(VaultError) {
            service.setSeeds(record.members)
            try service.start(barrier: barrier, clusterID: record.clusterID)
        } catch { throw .early(error.messages.joined(separator: "; ")) }
        core.log.info("waiting for the cluster's state", ["cluster": record.clusterID])
        let end = core.clock.monotonicNanoseconds() + UInt64(Self.transferPatience.wholeNanoseconds)
        while true {
            do throws(VaultError) {
                if try BarrierBootstrap.isInitialized(core.backend) {
                    // Nothing may be applied while the core fills its caches; it takes part again behind
                    // that.
                    service.stop()
                    try seal.finishJoin(rootKey)
                    return
                }
            } catch { throw .refused(error) }
            guard core.clock.monotonicNanoseconds() < end, wakeups.wait(.milliseconds(50)) else {
                throw .early("the cluster's state did not come")
            }
        }
    }

    private func answer(
        _ targets: [JoinTarget], _ options: JoinOptions, _ rootKey: SecretBytes
    ) throws(JoinClient.Failure) -> (JoinReplyRecord, UnsealedBarrier) {
        let me = identity()
        let proof = JoinProof(rootKey: rootKey)
        var last = JoinClient.Failure.early("no member's address is known")
        for target in targets {
            for client in JoinClient.all(target) {
                do throws(JoinClient.Failure) {
                    var answer = JoinAnswer()
                    answer.serverID = me.nodeID
                    answer.challenge = try client.challenge(serverID: me.nodeID).challenge
                    answer.raftID = me.raftID
                    answer.clusterAddress = me.clusterAddress
                    answer.apiAddress = me.apiAddress
                    answer.hostName = me.hostName
                    answer.version = me.version
                    answer.isNonVoter = options.isNonVoter
                    answer.proof = proof.proof(of: answer)
                    return try read(try client.answer(answer), answer, proof, rootKey)
                } catch { last = error }
            }
        }
        throw last
    }

    private func read(
        _ sealed: [UInt8], _ answer: JoinAnswer, _ proof: JoinProof, _ rootKey: SecretBytes
    ) throws(JoinClient.Failure) -> (JoinReplyRecord, UnsealedBarrier) {
        do throws(VaultError) {
            guard let plain = try proof.open(sealed, for: answer), let record = JoinReplyRecord(plain) else {
                throw .badRequest("the cluster's reply was not made by who holds its root key")
            }
            let barrier = try BarrierBootstrap.open(
                keyring: record.keyring, rootKey: rootKey, clock: core.clock, random: core.random)
            return (record, barrier)
        } catch { throw .refused(error) }
    }
}
