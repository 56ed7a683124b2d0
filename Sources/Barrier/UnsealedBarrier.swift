package import Base
import Crypto
package import PluginKit
import Synchronization

/// An open barrier: holds the keyring and makes the views and the writer over a backend.
///
/// The keyring is replaced whole by `activate`; views take the new one when they are refreshed, which
/// costs them one atomic load when nothing has changed. After `seal` nothing works any more, and the
/// keys are wiped as soon as the last view has been refreshed or released.
package final class UnsealedBarrier: Sendable {
    /// What `sys/key-status` shows.
    package struct KeyStatus: Sendable, Equatable {
        package let term: Int
        package let installed: Timestamp
        /// Roughly: see `countsToStore`.
        package let encryptions: Int
    }

    /// A new keyring and the commit that must be durable before it is activated.
    package struct Rotation: Sendable {
        package let batch: CommitBatch
        fileprivate let keyring: Keyring
    }

    /// Encryptions under one key after which it should be replaced: with random nonces of 96 bits the
    /// chance of a repetition is then still below 2^-32 (NIST SP 800-38D §8.3 allows 2^32).
    package static let mostEncryptions = 1 << 31

    private let keyring: Mutex<Keyring?>
    /// One more at each change of `keyring`.
    let generation = Atomic<UInt64>(0)
    let random: any RandomSource
    private let clock: any Clock

    init(_ keyring: Keyring, clock: any Clock, random: any RandomSource) {
        self.keyring = Mutex(keyring)
        self.clock = clock
        self.random = random
    }

    /// A view for one thread; call its `refresh` before the first read.
    /// - Throws: `.sealed`.
    package func makeView(reader: any StorageReader) throws(VaultError) -> BarrierView {
        _ = try current()
        return BarrierView(self, reader)
    }

    /// What encrypts values ahead of their commit, for one thread.
    package func makeSealer() -> EntrySealer { EntrySealer(self) }

    /// The encoder of commits, for the commit thread.
    /// - Throws: `.sealed`.
    package func makeWriter(reader: any StorageReader) throws(VaultError) -> BarrierWriter {
        _ = try current()
        return BarrierWriter(self, reader)
    }

    /// A key of 32 bytes for a purpose (`audit`, `token-salt`), the same for the life of the store.
    /// - Throws: `.sealed`.
    package func derivedKey(_ purpose: String) throws(VaultError) -> SecretBytes {
        try current().derivedKey("use/\(purpose)")
    }

    /// - Throws: `.sealed`.
    package func keyStatus() throws(VaultError) -> KeyStatus {
        let active = try current().active
        return KeyStatus(
            term: Int(active.number), installed: active.installed, encryptions: active.encryptions.value)
    }

    /// Prepares a new term. Commit its batch, then `activate` it.
    /// - Throws: `.sealed`.
    package func rotate() throws(VaultError) -> Rotation {
        try rotation(to: current().rotated(now: clock.now(), random: random))
    }

    /// The keyring's record with today's count of encryptions; no need to activate anything.
    /// - Throws: `.sealed`.
    package func countsToStore() throws(VaultError) -> CommitBatch { try rotation(to: current()).batch }

    /// Prepares another seal configuration, wrapped root key and (when it is given) root key, as
    /// `rekey` and seal migration need. Commit its batch, then `activate` it.
    /// - Parameter isFollowed: whether barriers on other nodes must be able to follow to the new root key;
    ///   then see `forgetSuccession`.
    /// - Throws: `.sealed`.
    package func replaceSeal(
        config: [UInt8], wrappedRootKey: [UInt8], rootKey: SecretBytes? = nil, isFollowed: Bool = false
    ) throws(VaultError) -> Rotation {
        let keyring = try current()
        let next = rootKey.map { keyring.withRootKey($0) } ?? keyring
        let rotation = try rotation(to: next)
        var batch = rotation.batch
        BarrierBootstrap.putSeal(config, wrappedRootKey, next, &batch)
        if isFollowed, let rootKey {
            try Succession.put(rootKey, under: keyring.rootKey, random: random, &batch)
        }
        return Rotation(batch: batch, keyring: next)
    }

    // MARK: Following another node

    /// Takes the keyring as it stands in the store, where another node may have put another.
    /// - Throws: `.badRequest` when its keys are others, that this barrier cannot come by or that do not
    ///   continue its own: it must be unsealed anew. `.sealed`, `.corrupted`.
    package func follow(_ reader: any StorageReader) throws(VaultError) {
        let known = try current()
        guard let record = try BarrierBootstrap.read(BarrierBootstrap.keyringKey, reader) else {
            throw .corrupted(place: BarrierBootstrap.keyringKey)
        }
        let rootKey = try Succession.rootKey(after: known.rootKey, reader)
        let stored: Keyring
        do throws(VaultError) { stored = try Keyring(record: record, rootKey: rootKey) } catch {
            // The record of a succession outlives it: the store may hold the older key still.
            guard case .badRequest = error else { throw error }
            stored = try Keyring(record: record, rootKey: known.rootKey)
        }
        guard stored.isSuccessor(of: known) else {
            throw .badRequest("the keyring is another store's: expected one that continues this barrier's")
        }
        // Counts of use are the active node's alone.
        if stored.hasSameKeys(as: known) { return }
        activate(Rotation(batch: CommitBatch(), keyring: stored))
    }

    /// What removes the record by which barriers on other nodes follow to a new root key. Until then, who has
    /// an older root key and this store comes by the new one.
    /// - Returns: nil when there is none.
    package static func forgetSuccession(
        _ backend: any StorageBackend
    ) throws(VaultError) -> CommitBatch? { try Succession.removal(backend) }

    /// Uses the new keyring from now on. Its batch has been committed.
    package func activate(_ rotation: Rotation) {
        keyring.withLock { keyring in
            // A barrier that was sealed meanwhile stays sealed.
            if keyring != nil { keyring = rotation.keyring }
        }
        generation.wrappingAdd(1, ordering: .sequentiallyConsistent)
    }

    /// Whether `key` is the root key; takes as long whatever it is.
    /// - Throws: `.sealed`.
    package func isRootKey(_ key: SecretBytes) throws(VaultError) -> Bool { try current().rootKey == key }

    /// Another copy of the root key, to be wrapped anew.
    /// - Throws: `.sealed`.
    package func rootKey() throws(VaultError) -> SecretBytes { try current().rootKey }

    /// Drops the keys. Idempotent.
    package func seal() {
        keyring.withLock { $0 = nil }
        generation.wrappingAdd(1, ordering: .sequentiallyConsistent)
    }

    package var isSealed: Bool { keyring.withLock { $0 == nil } }

    func current() throws(VaultError) -> Keyring {
        guard let keyring = keyring.withLock({ $0 }) else { throw .sealed }
        return keyring
    }

    private func rotation(to keyring: Keyring) throws(VaultError) -> Rotation {
        var batch = CommitBatch()
        batch.put(.bootstrap, Array(BarrierBootstrap.keyringKey.utf8), try keyring.record(random: random))
        return Rotation(batch: batch, keyring: keyring)
    }
}

/// One thread's keys, taken anew when the barrier's keyring has changed, dropped when it is sealed.
struct KeyHolder {
    private let barrier: UnsealedBarrier
    private var generation: UInt64?
    private var keys: (cipher: EntryCipher, chain: StorageChain)?

    init(_ barrier: UnsealedBarrier) { self.barrier = barrier }

    /// - Throws: `.sealed`.
    mutating func refresh() throws(VaultError) {
        let newest = barrier.generation.load(ordering: .sequentiallyConsistent)
        if newest == generation, keys != nil { return }
        keys = nil
        generation = newest
        let keyring = try barrier.current()
        keys = (EntryCipher(keyring, random: barrier.random), keyring.makeChain())
    }

    /// Drops the keys when they are no longer the barrier's.
    mutating func dropIfStale() {
        if barrier.generation.load(ordering: .sequentiallyConsistent) != generation { keys = nil }
    }

    func cipher() throws(VaultError) -> EntryCipher {
        guard let keys else { throw .sealed }
        return keys.cipher
    }

    func chain() throws(VaultError) -> StorageChain {
        guard let keys else { throw .sealed }
        return keys.chain
    }
}
