package import Barrier
package import Base
import PluginKit
import Synchronization

/// The barrier's encryption keys: what they are, and their rotation.
package struct KeyService: Sendable {
    private let active: @Sendable () -> ActiveCore?

    package init(active: @escaping @Sendable () -> ActiveCore?) { self.active = active }

    /// The key in use: its number, when it was made, and about how much it has encrypted.
    package func status() throws(VaultError) -> UnsealedBarrier.KeyStatus {
        guard let active = active() else { throw .sealed }
        return try active.barrier.keyStatus()
    }

    /// Makes a new key. When this returns it is stored, and everything written from now on uses it.
    package func rotate() async throws(VaultError) {
        guard let active = active() else { throw .sealed }
        let failure: VaultError? = await withCheckedContinuation { continuation in
            active.changeKeys({ (barrier) throws(VaultError) in try barrier.rotate() }) {
                continuation.resume(returning: $0)
            }
        }
        if let failure { throw failure }
    }
}

extension ActiveCore {
    /// Makes a change of the barrier's keys, stores it, and uses it from then on. All of it happens on the
    /// commit thread, one change after the other: two that were made of the same keyring would lose a key.
    ///
    /// - Parameters:
    ///   - duty: the only term of duty in which the change may be made; nil for whichever it is now.
    ///   - alongside: entries of the same commit.
    ///   - done: called once, with the reason when there was no change.
    func changeKeys(
        in duty: ActiveDuty? = nil, alongside: [String: [UInt8]?] = [:],
        _ make: @escaping @Sendable (UnsealedBarrier) throws(VaultError) -> UnsealedBarrier.Rotation,
        done: @escaping @Sendable (VaultError?) -> Void
    ) {
        let made = KeyChange()
        (duty?.commits ?? commits).submit(
            CommitThread.Job(
                sealedBatch: { [barrier] () throws(VaultError) in
                    let rotation = try make(barrier)
                    made.rotation.withLock { $0 = rotation }
                    return rotation.batch
                }, alongside: alongside,
                done: { [barrier] failure in
                    if failure == nil, let rotation = made.rotation.withLock({ $0 }) {
                        barrier.activate(rotation)
                    }
                    done(failure)
                }))
    }

    /// `changeKeys` for threads that may block.
    func changeKeysBlocking(
        in duty: ActiveDuty? = nil, alongside: [String: [UInt8]?] = [:],
        _ make: @escaping @Sendable (UnsealedBarrier) throws(VaultError) -> UnsealedBarrier.Rotation
    ) throws(VaultError) {
        let answers = BlockingQueue<VaultError?>(limit: 1)
        changeKeys(in: duty, alongside: alongside, make) { _ = answers.push($0) }
        guard let failure = answers.take(most: 1).first else {
            throw .internal("the commit thread gave no answer")
        }
        if let failure { throw failure }
    }

    /// Commits a batch that the barrier has made. For threads that may block.
    func commitBlocking(_ batch: CommitBatch) throws(VaultError) {
        let answers = BlockingQueue<VaultError?>(limit: 1)
        commits.submit(
            CommitThread.Job(sealedBatch: { () throws(VaultError) in batch }, done: { _ = answers.push($0) }))
        if let failure = answers.take(most: 1).first ?? .standby { throw failure }
    }

    /// Stores how often the key in use has encrypted, so that a restart does not forget it.
    func storeKeyCounts(done: @escaping @Sendable (VaultError?) -> Void = { _ in }) {
        commits.submit(
            CommitThread.Job(
                sealedBatch: { [barrier] () throws(VaultError) in try barrier.countsToStore() }, done: done))
    }

    private final class KeyChange: Sendable {
        let rotation = Mutex<UnsealedBarrier.Rotation?>(nil)
    }
}
