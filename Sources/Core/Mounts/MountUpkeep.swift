import Base
import PluginKit
import Synchronization

/// Gives every auth mount its turn, once a minute, to remove what has ended in it.
final class MountUpkeep: Sendable {
    /// Nanoseconds between two rounds.
    private static let interval: UInt64 = 60_000_000_000
    /// Transactions that one mount gets in a round, so that none keeps the others waiting.
    private static let turns = 200

    private let lastRound = Mutex<UInt64?>(nil)

    /// Called often; does something when a round is due. Each step is a transaction of its own.
    func run(_ core: ActiveCore, clock: any Clock, isStopped: () -> Bool) throws(VaultError) {
        let time = clock.monotonicNanoseconds()
        let isDue = lastRound.withLock { last in
            if let last, time < last + Self.interval { return false }
            last = time
            return true
        }
        guard isDue else { return }
        for mount in core.mounts.current.mounts {
            guard let tidy = mount.login?.tidy else { continue }
            var left = Self.turns
            while left > 0, !isStopped() {
                let now = clock.now()
                let hasMore = try core.transactions.runBlocking { tx throws(VaultError) in
                    tx.log.noteRead(MountRegistry.recordKey)
                    guard core.mounts.current.exactly(mount.apiPath)?.entry.uuid == mount.entry.uuid else {
                        return false
                    }
                    var scoped = tx.scoped(to: mount.storagePrefix)
                    return try tidy(&scoped, now)
                }
                if !hasMore { break }
                left -= 1
            }
        }
    }
}
