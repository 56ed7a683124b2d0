import Barrier
import Base
import PluginKit
import Synchronization

/// Rotates the barrier's key when `sys/rotate/config` says that it is time, and stores now and then how
/// often the key has encrypted. Part of the background work.
final class KeyRotation: Sendable {
    /// Time between two looks. What a key encrypts within it is all that a crash can make us forget: at
    /// most some hundred thousand, of four thousand million.
    static let pause = Duration.seconds(60)
    /// How long unsealed standbys get to follow to a new root key.
    static let successionPause = Duration.seconds(300)

    private struct State {
        /// When this node first saw that a record of a succession stands.
        var successionSeen: UInt64?
        /// On the monotonic clock; zero for at once.
        var nextLook: UInt64 = 0
        var stored: UnsealedBarrier.KeyStatus?
    }
    private let state = Mutex(State())

    /// Does what is due. For a thread that may block.
    func run(
        _ core: ActiveCore, _ backend: any StorageBackend, _ clock: any Clock, _ log: Log
    ) throws(VaultError) {
        let now = clock.monotonicNanoseconds()
        guard now >= state.withLock({ $0.nextLook }) else { return }
        state.withLock { $0.nextLook = now &+ UInt64(Self.pause.wholeNanoseconds) }
        try forgetSuccession(core, backend, now)
        let status = try core.barrier.keyStatus()
        let config = try core.transactions.runBlocking { tx throws(VaultError) in
            try RotationConfig.read(&tx)
        }
        if config.isDue(status, at: clock.now()) {
            try core.changeKeysBlocking { (barrier) throws(VaultError) in try barrier.rotate() }
            log.info("rotated the encryption key", ["term": String(status.term + 1)])
        } else if let stored = state.withLock({ $0.stored }), stored != status {
            core.storeKeyCounts()
        }
        let latest = try core.barrier.keyStatus()
        state.withLock { $0.stored = latest }
    }

    private func forgetSuccession(
        _ core: ActiveCore, _ backend: any StorageBackend, _ now: UInt64
    ) throws(VaultError) {
        guard let removal = try UnsealedBarrier.forgetSuccession(backend) else {
            return state.withLock { $0.successionSeen = nil }
        }
        let seen = state.withLock { state in
            let seen = state.successionSeen ?? now
            state.successionSeen = seen
            return seen
        }
        guard now - seen >= UInt64(Self.successionPause.wholeNanoseconds) else { return }
        try core.commitBlocking(removal)
    }
}
