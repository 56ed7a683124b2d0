import Barrier
import Base
import PluginKit
import Synchronization

/// Lets every cache of an unsealed server follow what is committed.
///
/// Where a node is alone, the commit thread calls `note` before it answers a commit's clients. In a cluster
/// the thread that applies batches calls `follow`, for those of other nodes too, before any read that must
/// see them is confirmed: so caches are never older than what a request may rely on.
final class CacheFollower: Sendable {
    private let core: ActiveCore
    private let backend: any StorageBackend
    private let rateLimiter: RateLimiter
    private let log: Log
    private let onKeys: @Sendable () -> Void
    private let onKeysLost: @Sendable () -> Void
    /// The applying thread's own view.
    private let context: Mutex<LoopContext>

    /// - Parameters:
    ///   - onKeys: called when the seal's records have changed.
    ///   - onKeysLost: called when they have changed so that this server cannot follow: it must be sealed.
    init(
        core: ActiveCore, backend: any StorageBackend, rateLimiter: RateLimiter, log: Log,
        onKeys: @escaping @Sendable () -> Void, onKeysLost: @escaping @Sendable () -> Void
    ) {
        self.core = core
        self.backend = backend
        self.rateLimiter = rateLimiter
        self.log = log
        self.onKeys = onKeys
        self.onKeysLost = onKeysLost
        context = Mutex(LoopContext(backend: backend))
    }

    /// Takes note of a commit: its keys, its number, and a view that sees it.
    func note(_ keys: [String], at sequence: UInt64, _ view: any StorageView) {
        do throws(VaultError) {
            if keys.contains(MountRegistry.recordKey) { try core.mounts.reload(view) }
            if keys.contains(where: { $0.hasPrefix("sys/policy/") }) {
                core.policies.invalidate(at: view.sequence)
            }
            if keys.contains(where: AuditBroker.concerns) { try core.audit.reload(view) }
            if keys.contains(where: RateLimiter.concerns) {
                try rateLimiter.reload(view, core.mounts.current)
            }
            if keys.contains(where: HTTPConfig.concerns) { try core.reloadHTTPConfig(view) }
            try core.tokens.pending.noteCommit(keys: keys, view: view)
            core.tokens.changes.note(keys, at: sequence)
            core.identities.note(keys, at: sequence)
            try core.mounts.lockouts.note(keys, view)
            core.duty?.note(keys)
        } catch {
            log.error("a cache could not follow a commit", ["cause": error.privateCause ?? "\(error)"])
        }
    }

    // MARK: In a cluster

    /// Takes note of a batch that was applied to the local store.
    func follow(_ batch: AppliedBatch) {
        reading { (view, reader) throws(VaultError) in
            if batch.touchesBootstrap { try followKeys(reader) }
            note(batch.keys.map { Self.text(of: $0) }, at: batch.sequence, view)
            if batch.keys.contains(where: Self.isHashed) {
                try core.mounts.lockouts.reload(view)
            }
        }
    }

    /// Takes everything anew: the state has been replaced.
    func followAll() {
        reading { (view, reader) throws(VaultError) in
            try followKeys(reader)
            try load(view)
            core.policies.invalidate(at: view.sequence)
            core.tokens.changes.forget(upTo: view.sequence)
            core.identities.forget(upTo: view.sequence)
        }
    }

    /// Fills what is filled when the server is unsealed.
    func load(_ view: any StorageView) throws(VaultError) {
        try core.tokens.pending.load(view)
        try core.mounts.reload(view)
        try core.audit.reload(view)
        try core.reloadHTTPConfig(view)
        try rateLimiter.reload(view, core.mounts.current)
        try core.mounts.lockouts.reload(view)
    }

    private func followKeys(_ reader: any StorageReader) throws(VaultError) {
        // The applying thread handles no secrets else.
        defer { wipeDeadStack() }
        do throws(VaultError) { try core.barrier.follow(reader) } catch {
            if case .badRequest = error {
                log.error("the keys were replaced by others: this server must be unsealed anew")
                onKeysLost()
            }
            throw error
        }
        onKeys()
    }

    private func reading(
        _ body: @Sendable (any StorageView, any StorageReader) throws(VaultError) -> Void
    ) {
        context.withLock { context in
            do throws(VaultError) {
                try context.read(core) { (view, reader) throws(VaultError) in try body(view, reader) }
            } catch {
                if error == .sealed { return }
                log.error(
                    "what the cluster committed could not be followed",
                    ["cause": error.privateCause ?? "\(error)"])
            }
        }
    }

    /// The path that a stored key begins with: all of it, unless it was too long to be stored as it is.
    private static func text(of key: [UInt8]) -> String {
        String(decoding: key.prefix { $0 != 0 }, as: UTF8.self)
    }

    private static func isHashed(_ key: [UInt8]) -> Bool { key.contains(0) }
}
