import Base
internal import Glibc
internal import NodeStore
import PluginKit
internal import Synchronization

/// How far a log was applied to a state. It lies in the data file beside the state, written in the same
/// transaction.
protocol AppliedProgress: Sendable {
    /// The last entry that was applied.
    var index: UInt64 { get }
    var encoded: [UInt8] { get }
    /// - Throws: `.corrupted` when these are not the bytes of `encoded`.
    init(encoded: [UInt8]) throws(VaultError)
}

/// The state that a log is applied to: the node's LMDB store, and before it, in memory, what was applied
/// since its last sync.
///
/// An apply takes effect in memory and is done: the log has it on the disk already. A thread carries what has
/// gathered to the data file, in one synced transaction with the progress that it belongs to. After a crash
/// the data file has the state of some moment, and the log applies what came behind it again.
final class OverlaidStore<Progress: AppliedProgress>: Sendable {
    /// For readers.
    let source: OverlaySource
    private let facts: StateFacts
    private let pauseMicroseconds: UInt32
    private let log: Log
    private let known: Mutex<Known>
    /// Held by whoever changes the data file.
    private let writing = Mutex<Void>(())
    private let work = BlockingQueue<Void>(limit: 1)
    private let flusher = Mutex<Thread?>(nil)

    private struct Known {
        var progress: Progress?
        var overlay: Overlay
        /// The last entry whose effect is in the data file.
        var durableIndex: UInt64
        /// Whether there is something that is not in the data file.
        var isDirty = false
        /// Whether the data file found no room for it.
        var isFull = false
        /// Why the data file takes no more; nil while it does.
        var failure: VaultError?
        /// Who waits until an entry's effect is in the data file.
        var waiting: [(index: UInt64, answer: BlockingQueue<VaultError?>)] = []
    }

    /// - Parameters:
    ///   - facts: where the data file has the progress.
    ///   - pauseMicroseconds: what has gathered is carried over at most so often: each time costs syncs that
    ///     the log must share the disk with.
    init(
        _ environment: Environment, facts: StateFacts, pauseMicroseconds: UInt32, log: Log
    ) throws(VaultError) {
        self.facts = facts
        self.pauseMicroseconds = pauseMicroseconds
        self.log = log
        let reader = try environment.makeReader()
        try reader.refresh()
        let progress = try Self.progress(facts, reader)
        let overlay = Overlay(sequence: try facts.sequence(in: reader), over: reader.sequence)
        source = OverlaySource(environment, facts, overlay)
        known = Mutex(Known(progress: progress, overlay: overlay, durableIndex: progress?.index ?? 0))
        reader.release()
    }

    /// Carries what is in memory to the data file, and ends the thread that does so. Called when nothing is
    /// applied any more.
    func close() {
        do throws(VaultError) { try drain() } catch {
            log.warn("The store was closed before the log was in it; the next start applies it again.")
        }
        work.close()
        flusher.withLock { thread in
            thread?.join()
            thread = nil
        }
    }

    var environment: Environment { source.environment }

    /// What was applied and is not in the data file yet.
    var overlay: Overlay { known.withLock { $0.overlay } }

    /// Nil while there is no state.
    var progress: Progress? { known.withLock { $0.progress } }

    /// The last entry whose effect is in the data file.
    var durableIndex: UInt64 { known.withLock { $0.durableIndex } }

    /// Whether the data file had no room when something was last carried to it.
    var isFull: Bool { known.withLock { $0.isFull } }

    /// Whether the data file took everything so far.
    var isSound: Bool { known.withLock { $0.failure == nil } }

    /// How far the log was applied to the data file, as a view of it has it; nil while there is no state.
    func progress(in view: ReadTransaction) throws(VaultError) -> Progress? {
        try Self.progress(facts, view)
    }

    private static func progress(
        _ facts: StateFacts, _ view: ReadTransaction
    ) throws(VaultError) -> Progress? {
        guard let bytes = try view.copyFact(facts.progress) else { return nil }
        return try Progress(encoded: bytes)
    }

    /// Waits until there is room in memory for more. Called before each `apply`.
    /// - Throws: why the data file takes no more.
    func makeRoom() throws(VaultError) {
        try beginCarrying()
        let overlay = self.overlay
        if overlay.count > OverlayLimits.writes || overlay.bytes > OverlayLimits.bytes { try drain() }
        if let failure = known.withLock({ $0.failure }) { throw failure }
    }

    /// A node that only reads needs no thread for it.
    private func beginCarrying() throws(VaultError) {
        try flusher.withLock { (thread) throws(VaultError) in
            guard thread == nil else { return }
            thread = try Thread(name: "data-file") { [weak self, work] in
                while !work.take(most: 1).isEmpty { self?.flush() }
            }
        }
    }

    /// Applies what the log has, numbered. Readers see it at once. Called by one thread at a time.
    func apply(_ batches: [(batch: CommitBatch, sequence: UInt64)], _ progress: Progress) {
        replaceOverlay(by: { batches.isEmpty ? $0 : $0.adding(batches) }) { known in
            known.progress = progress
            known.isDirty = true
        }
        _ = work.push(())
    }

    /// Changes the data file itself; what is in memory is void then.
    /// - Parameters:
    ///   - batch: what will be written, when that is known.
    ///   - body: gives the state's number.
    func replace(
        _ progress: Progress, expecting batch: CommitBatch? = nil,
        _ body: (inout WriteTransaction) throws(VaultError) -> UInt64
    ) throws(VaultError) {
        try exclusively { () throws(VaultError) in
            var sequence: UInt64 = 0
            let bytes = batch?.byteCount ?? 1 << 20
            let commit = try environment.commit(expectedBytes: bytes, writes: (batch?.writes.count ?? 64) + 2)
            {
                (transaction) throws(VaultError) in
                sequence = try body(&transaction)
                try note(progress, sequence, in: &transaction)
            }
            known.withLock { known in
                known.progress = progress
                known.durableIndex = progress.index
                known.isDirty = false
                known.isFull = false
                known.overlay = Overlay(sequence: sequence, over: commit)
                source.show(known.overlay)
            }
        }
    }

    /// Waits until the data file has everything that was applied before the call.
    func drain() throws(VaultError) {
        let answer = BlockingQueue<VaultError?>(limit: 1)
        let mustWait = try known.withLock { (known) throws(VaultError) in
            guard let index = known.progress?.index, known.isDirty else { return false }
            if let failure = known.failure { throw failure }
            known.waiting.append((index, answer))
            return true
        }
        guard mustWait else { return }
        _ = work.push(())
        if let failure = answer.take(most: 1).first ?? nil { throw failure }
    }

    /// Nothing more is carried to the data file: whoever needs it to be there gets this reason.
    func stop(_ failure: VaultError) { known.withLock { $0.failure = failure } }

    /// Carries what has gathered to the data file.
    private func flush() {
        pause(pauseMicroseconds)
        do throws(VaultError) {
            try exclusively { () throws(VaultError) in
                let (overlay, found) = try known.withLock { (known) throws(VaultError) in
                    if let failure = known.failure { throw failure }
                    return (known.overlay, known.isDirty ? known.progress : nil)
                }
                guard let progress = found else { return }
                let commit = try environment.commit(expectedBytes: overlay.bytes, writes: overlay.count + 2) {
                    (transaction) throws(VaultError) in
                    try overlay.each { (table, write) throws(VaultError) in
                        if let value = write.value {
                            try transaction.put(Int(table.rawValue), write.key, value)
                        } else {
                            try transaction.delete(Int(table.rawValue), Array(write.key))
                        }
                    }
                    try note(progress, overlay.sequence, in: &transaction)
                }
                replaceOverlay(by: { $0.dropping(through: overlay.sequence, over: commit) }) { known in
                    known.durableIndex = progress.index
                    known.isDirty = known.progress?.index != progress.index
                    known.isFull = false
                }
            }
            answer(nil)
        } catch {
            if case .unavailable = error, environment.takesCommits {
                // A full disk gets free again; what is in memory is safe in the log until then.
                let wasFull = known.withLock { known in
                    defer { known.isFull = true }
                    return known.isFull
                }
                if !wasFull {
                    log.warn("The data file takes no more; trying on.", ["cause": error.messages.first ?? ""])
                }
                answer(error)
                pause(500_000)
                _ = work.push(())
            } else {
                known.withLock { $0.failure = error }
                answer(error)
            }
        }
    }

    /// Waits so long, or until somebody waits for the data file.
    private func pause(_ microseconds: UInt32) {
        var left = microseconds
        while left > 0, known.withLock({ $0.waiting.isEmpty }) {
            let step = min(left, 5_000)
            usleep(step)
            left -= step
        }
    }

    /// Puts another overlay in place, and what else changes with it. It is made outside of the lock, so
    /// that no reader waits for it: once more, when somebody was faster.
    private func replaceOverlay(by next: (Overlay) -> Overlay, _ change: (inout sending Known) -> Void) {
        while true {
            let before = overlay
            let after = next(before)
            let isPlaced = known.withLock { known in
                guard known.overlay === before else { return false }
                known.overlay = after
                source.show(after)
                change(&known)
                return true
            }
            if isPlaced { return }
        }
    }

    private func note(
        _ progress: Progress, _ sequence: UInt64, in transaction: inout WriteTransaction
    ) throws(VaultError) {
        try transaction.setFact(facts.sequence, encodeNumber(sequence))
        try transaction.setFact(facts.progress, progress.encoded)
    }

    private func exclusively(_ body: () throws(VaultError) -> Void) throws(VaultError) {
        var failure: VaultError?
        writing.withLock { _ in
            do throws(VaultError) { try body() } catch { failure = error }
        }
        if let failure { throw failure }
    }

    private func answer(_ failure: VaultError?) {
        let done = known.withLock { known in
            let done = known.waiting.filter { failure != nil || $0.index <= known.durableIndex }
            known.waiting.removeAll { failure != nil || $0.index <= known.durableIndex }
            return done
        }
        for (_, answer) in done { _ = answer.push(failure) }
    }
}

/// What the readers of a store share with it.
final class OverlaySource: Sendable {
    let environment: Environment
    private let facts: StateFacts
    private let shown: Mutex<Overlay>

    init(_ environment: Environment, _ facts: StateFacts, _ overlay: Overlay) {
        self.environment = environment
        self.facts = facts
        shown = Mutex(overlay)
    }

    /// What was applied and is not in the data file yet (nil when that is nothing), the number of the last
    /// batch, and the data file's commit that has all that came before.
    var look: (overlay: Overlay?, sequence: UInt64, over: UInt64) {
        shown.withLock { ($0.isEmpty ? nil : $0, $0.sequence, $0.over) }
    }

    func show(_ overlay: Overlay) { shown.withLock { $0 = overlay } }

    /// The number of the last batch that is in the data file, as a view of it has it.
    func sequence(in view: ReadTransaction) throws(VaultError) -> UInt64 { try facts.sequence(in: view) }
}

/// The names of a state's facts in the data file.
struct StateFacts {
    /// The number of the last batch.
    let sequence: String
    let progress: String

    init(_ backend: String) {
        sequence = "\(backend)/sequence"
        progress = "\(backend)/progress"
    }

    /// The number of the last batch that is in the data file, as a view of it has it.
    func sequence(in view: ReadTransaction) throws(VaultError) -> UInt64 {
        try view.copyFact(sequence).map(decodeNumber) ?? 0
    }
}

/// Above these an apply waits for the data file.
private enum OverlayLimits {
    static let writes = 32_768
    static let bytes = 48 << 20
}

var emptyBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }

func encodeNumber(_ number: UInt64) -> [UInt8] { withUnsafeBytes(of: number.littleEndian) { Array($0) } }

func decodeNumber(_ bytes: [UInt8]) -> UInt64 {
    bytes.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
}

extension CommitBatch {
    /// Bytes of keys and values.
    var byteCount: Int { writes.reduce(0) { $0 + $1.key.count + ($1.value?.count ?? 0) } }

    /// What the data file would refuse must not reach the log.
    func checkKeys() throws(VaultError) {
        for write in writes where write.key.isEmpty || write.key.count > storageKeyBytesLimit {
            throw .internal(
                "a storage key must hold 1 to \(storageKeyBytesLimit) bytes, this one has \(write.key.count)")
        }
    }
}

extension ReadTransaction {
    /// A copy of a fact.
    func copyFact(_ name: String) throws(VaultError) -> [UInt8]? {
        var found: [UInt8]?
        var failure: VaultError?
        Array(name.utf8).withUnsafeBytes { name in
            do throws(VaultError) { found = try fact(name).map { Array($0) } } catch { failure = error }
        }
        if let failure { throw failure }
        return found
    }
}
