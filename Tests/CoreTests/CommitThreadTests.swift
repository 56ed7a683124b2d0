import Barrier
import Base
import Core
import PluginKit
import StorageBackends
import Synchronization
import TestKit
import Testing

/// What becomes of writes whose thread cannot begin. `CommitPipelineTests` has what it does else.
@Suite struct CommitThreadTests {
    /// A store that gives its readers away one by one, and then no more.
    private final class FewReaders: StorageBackend {
        static let type = "few-readers"
        let inner = MemoryBackend()
        private let left: Mutex<Int>

        init(_ count: Int) { left = Mutex(count) }

        func allow(_ count: Int) { left.withLock { $0 = count } }

        func makeReader() throws(VaultError) -> any StorageReader {
            let isAllowed = left.withLock { left in
                left -= 1
                return left >= 0
            }
            if !isAllowed { throw .unavailable("no more readers", retryAfterSeconds: 0) }
            return try inner.makeReader()
        }
        func commit(_ batch: CommitBatch) throws(VaultError) -> UInt64 { try inner.commit(batch) }
        func close() {}
    }

    /// One that waited already and one that comes later: both are refused, neither waits for ever.
    @Test func writesAreRefusedWhenTheThreadCannotRead() async throws {
        let random = SeededRandom(seed: 1)
        let backend = FewReaders(.max)
        let rootKey = SecretBytes.random(32, from: random)
        try BarrierBootstrap.initialize(
            backend, sealConfig: Array("{}".utf8), wrappedRootKey: [1], rootKey: rootKey,
            clock: ManualClock(),
            random: random)
        let barrier = try BarrierBootstrap.unseal(
            backend, rootKey: rootKey, clock: ManualClock(), random: random)
        // One for the check of `start`, none for the thread.
        backend.allow(1)
        let commits = CommitThread()
        async let early = Self.write(commits)
        try commits.start(backend: backend, barrier: barrier, log: Log(level: .error)) { _, _ in }
        #expect(await early == 503)
        #expect(await Self.write(commits) == 503)
        commits.stop()
    }

    private static func write(_ commits: CommitThread) async -> Int? {
        do throws(VaultError) {
            try await CommitTransactions(commits).run { tx throws(VaultError) in tx.put("a", [1]) }
            return nil
        } catch { return error.status }
    }
}
