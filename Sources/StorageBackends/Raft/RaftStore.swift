import Base
internal import Consensus
internal import Glibc
internal import NodeStore
package import PluginKit
internal import Synchronization

/// What a node's consensus applies its log to: the node's LMDB store, and before it, in memory, what was
/// applied since its last sync.
///
/// An apply takes effect in memory and is done: the log has it on the disk already. A thread carries what has
/// gathered to the data file, in one synced transaction with the progress that it belongs to. After a crash
/// the data file has the state of some moment, and the log applies what came behind it again.
///
/// The number of a commit counts the batches that were applied since the cluster began. It is part of the
/// state, and the same on every node with the same state.
final class RaftStore: RaftStateMachine, Sendable {
    static let sequenceFact = "raft/sequence"
    static let progressFact = "raft/progress"
    private static let stagePrefix = "raft/stage/"
    /// Writes and bytes in memory above which an apply waits for the data file.
    private static let mostWrites = 8_192
    private static let mostBytes = 48 << 20
    /// What has gathered is carried over at most so often: each time costs syncs that the log must share the
    /// disk with.
    private static let pauseMicroseconds: UInt32 = 5_000

    let environment: Environment
    private let directory: String
    private let log: Log
    private let random: any RandomSource
    private let listeners = Mutex<[@Sendable (AppliedChange) -> Void]>([])
    private let known: Mutex<Known>
    /// Held by whoever changes the data file.
    private let writing = Mutex<Void>(())
    private let work = BlockingQueue<Void>(limit: 1)
    private let flusher = Mutex<Thread?>(nil)

    private struct Known {
        var progress: RaftProgress?
        var overlay = RaftOverlay(sequence: 0)
        /// The last entry whose effect is in the data file.
        var durableIndex: UInt64 = 0
        /// Whether there is something that is not in the data file.
        var isDirty = false
        /// Why the data file takes no more; nil while it does.
        var failure: VaultError?
        /// Who waits until an entry's effect is in the data file.
        var waiting: [(index: UInt64, answer: BlockingQueue<VaultError?>)] = []
        /// The numbers of the latest batches, by the index of their entry.
        var numbers: [UInt64: UInt64] = [:]

        mutating func note(_ more: [(UInt64, UInt64)]) {
            if numbers.count > 4_096 { numbers = [:] }
            for (index, number) in more { numbers[index] = number }
        }
    }

    /// - Parameter directory: where copies of the state are made; what an earlier run left there is removed.
    init(
        _ environment: Environment, directory: String, random: any RandomSource, log: Log
    ) throws(VaultError) {
        self.environment = environment
        self.directory = directory
        self.random = random
        self.log = log
        known = Mutex(Known())
        let reader = try environment.makeReader()
        try reader.refresh()
        let progress = try reader.copyFact(Self.progressFact)
        var found = Known()
        if let progress { found.progress = try RaftProgress(encoded: progress) }
        found.durableIndex = found.progress?.index ?? 0
        found.overlay = RaftOverlay(
            sequence: try reader.copyFact(Self.sequenceFact).map(decodeNumber) ?? 0)
        reader.release()
        known.withLock { $0 = found }
        try SnapshotPlace.prepare(directory)
        let thread = try Thread(name: "raft-store") { [weak self, work] in
            while !work.take(most: 1).isEmpty { self?.flush() }
        }
        flusher.withLock { $0 = thread }
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

    /// Calls back after each change of the state, on the thread that made it: it must not wait.
    func onChange(_ listener: @escaping @Sendable (AppliedChange) -> Void) {
        listeners.withLock { $0.append(listener) }
    }

    /// What was applied and is not in the data file yet.
    var overlay: RaftOverlay { known.withLock { $0.overlay } }

    /// The last entry that was applied.
    var appliedIndex: UInt64 { known.withLock { $0.progress?.index ?? 0 } }

    /// The number of the batch in an entry that was applied lately; nil also when the entry had no effect.
    func number(ofEntry index: UInt64) -> UInt64? { known.withLock { $0.numbers[index] } }

    // MARK: - RaftStateMachine

    func progress() throws(VaultError) -> RaftProgress? { known.withLock { $0.progress } }

    var durableIndex: UInt64 { known.withLock { $0.durableIndex } }

    func apply(_ entries: [CommittedEntry], _ progress: RaftProgress) throws(VaultError) {
        var rest = entries[...]
        if rest.isEmpty { try applyBatches(rest, progress) }
        while let first = rest.first {
            guard first.payload.isEmpty || first.payload.first == RaftPayload.batchKind else {
                // One step of a restore: it works on the data file itself.
                try applyAlone(first, rest.count == 1 ? progress : progress.at(first))
                rest = rest.dropFirst()
                continue
            }
            let run = rest.prefix { $0.payload.isEmpty || $0.payload.first == RaftPayload.batchKind }
            rest = rest.dropFirst(run.count)
            guard let last = run.last else { break }
            try applyBatches(run, rest.isEmpty ? progress : progress.at(last))
        }
    }

    private func applyBatches(
        _ entries: ArraySlice<CommittedEntry>, _ progress: RaftProgress
    ) throws(VaultError) {
        let overlay = try roomyOverlay()
        var sequence = overlay.sequence
        var numbers: [(UInt64, UInt64)] = []
        var batches: [(batch: CommitBatch, sequence: UInt64)] = []
        var changes: [AppliedChange] = []
        for entry in entries where !entry.payload.isEmpty {
            guard case .batch(let batch) = try RaftPayload(entry.payload, index: entry.index) else {
                continue
            }
            // Made by a leader over a state that an earlier leader's last entries have changed since.
            if let over = batch.over, over != sequence { continue }
            sequence += 1
            numbers.append((entry.index, sequence))
            batches.append((batch, sequence))
            changes.append(.batch(batch, sequence: sequence, isOwn: entry.isOwn))
        }
        known.withLock { known in
            // The flusher may have dropped some of it in between.
            if !batches.isEmpty { known.overlay = known.overlay.adding(batches) }
            known.progress = progress
            known.isDirty = true
            known.note(numbers)
        }
        _ = work.push(())
        tell(changes)
    }

    /// The overlay, when there is room in it; waits for it otherwise.
    private func roomyOverlay() throws(VaultError) -> RaftOverlay {
        var overlay = self.overlay
        if overlay.count > Self.mostWrites || overlay.bytes > Self.mostBytes {
            try drain()
            overlay = self.overlay
        }
        if let failure = known.withLock({ $0.failure }) { throw failure }
        return overlay
    }

    private func applyAlone(_ entry: CommittedEntry, _ progress: RaftProgress) throws(VaultError) {
        try drain()
        let before = overlay.sequence
        var changes: [AppliedChange] = []
        try replace(progress) { (transaction) throws(VaultError) in
            switch try RaftPayload(entry.payload, index: entry.index) {
            case .batch: break
            case .restoreChunk(let restore, let number, let bytes):
                try transaction.setFact(Self.stageName(restore, number), bytes)
            case .restoreEnd(let restore, let chunks):
                try Self.restore(restore, chunks, &transaction)
                changes.append(.everything(sequence: before + 1))
            case .restoreAbort(let restore): try Self.dropStage(restore, &transaction)
            }
            return changes.isEmpty ? before : before + 1
        }
        tell(changes)
    }

    /// The first batch of a cluster: this node is its only member.
    /// - Returns: its number.
    func begin(_ batch: CommitBatch, _ progress: RaftProgress) throws(VaultError) -> UInt64 {
        try replace(progress) { (transaction) throws(VaultError) in
            try transaction.apply(batch)
            return 1
        }
        return 1
    }

    func makeSnapshot(
        _ done: @escaping @Sendable (Result<(SnapshotFile, RaftProgress), VaultError>) -> Void
    ) {
        do throws(VaultError) {
            _ = try Thread(name: "snapshot") { [self] in
                do throws(VaultError) {
                    try drain()
                    let reader = try environment.makeReader()
                    try reader.refresh()
                    done(.success(try write(reader)))
                } catch { done(.failure(error)) }
            }
        } catch { done(.failure(error)) }
    }

    func checkSnapshot(path: String) throws(VaultError) -> RaftProgress {
        var source = try SnapshotSource(path)
        while try source.next() != nil {}
        return source.progress
    }

    func restore(path: String, _ progress: RaftProgress) throws(VaultError) {
        var source = try SnapshotSource(path)
        let sequence = source.sequence
        try replace(progress) { (transaction) throws(VaultError) in
            for table in StorageTable.allCases { try transaction.clear(Int(table.rawValue)) }
            while let record = try source.next() {
                if record.table == SnapshotFormat.factsTable {
                    try transaction.setFact(
                        String(decoding: record.key, as: UTF8.self), record.value)
                } else {
                    try transaction.put(Int(record.table), record.key, record.value)
                }
            }
            return sequence
        }
        tell([.everything(sequence: sequence)])
    }

    // MARK: - The data file

    /// Changes the data file itself; what is in memory is void then.
    /// - Parameter body: gives the state's number.
    private func replace(
        _ progress: RaftProgress, _ body: (inout WriteTransaction) throws(VaultError) -> UInt64
    ) throws(VaultError) {
        try exclusively { () throws(VaultError) in
            var sequence: UInt64 = 0
            _ = try environment.commit(expectedBytes: 1 << 20, writes: 64) {
                (transaction) throws(VaultError) in
                sequence = try body(&transaction)
                try transaction.setFact(Self.sequenceFact, encodeNumber(sequence))
                try transaction.setFact(Self.progressFact, progress.encoded)
            }
            known.withLock { known in
                known.progress = progress
                known.durableIndex = progress.index
                known.isDirty = false
                known.overlay = RaftOverlay(sequence: sequence)
                known.note([(progress.index, sequence)])
            }
        }
    }

    private func exclusively(_ body: () throws(VaultError) -> Void) throws(VaultError) {
        var failure: VaultError?
        writing.withLock { _ in
            do throws(VaultError) { try body() } catch { failure = error }
        }
        if let failure { throw failure }
    }

    func makeDurable() throws(VaultError) { try drain() }

    /// Waits until the data file has everything that was applied before the call.
    private func drain() throws(VaultError) {
        let answer = BlockingQueue<VaultError?>(limit: 1)
        let mustWait = known.withLock { known in
            guard let index = known.progress?.index, known.isDirty else { return false }
            known.waiting.append((index, answer))
            return true
        }
        guard mustWait else { return }
        _ = work.push(())
        if let failure = answer.take(most: 1).first ?? nil { throw failure }
    }

    /// Carries what has gathered to the data file.
    private func flush() {
        if known.withLock({ $0.waiting.isEmpty }) { usleep(Self.pauseMicroseconds) }
        do throws(VaultError) {
            try exclusively { () throws(VaultError) in
                let (overlay, found) = known.withLock { ($0.overlay, $0.isDirty ? $0.progress : nil) }
                guard let progress = found else { return }
                _ = try environment.commit(expectedBytes: overlay.bytes, writes: overlay.count + 2) {
                    (transaction) throws(VaultError) in
                    try overlay.each { (table, write) throws(VaultError) in
                        if let value = write.value {
                            try transaction.put(Int(table.rawValue), write.key, value)
                        } else {
                            try transaction.delete(Int(table.rawValue), Array(write.key))
                        }
                    }
                    try transaction.setFact(Self.sequenceFact, encodeNumber(overlay.sequence))
                    try transaction.setFact(Self.progressFact, progress.encoded)
                }
                known.withLock { known in
                    known.durableIndex = progress.index
                    known.isDirty = known.progress?.index != progress.index
                    known.overlay = known.overlay.dropping(through: overlay.sequence)
                }
            }
            answer(nil)
        } catch {
            if case .unavailable = error {
                // A full disk gets free again; what is in memory is safe in the log until then.
                log.warn("The data file takes no more; trying again.", ["cause": error.messages.first ?? ""])
                answer(error)
                usleep(500_000)
                _ = work.push(())
            } else {
                known.withLock { $0.failure = error }
                answer(error)
            }
        }
    }

    private func answer(_ failure: VaultError?) {
        let done = known.withLock { known in
            let done = known.waiting.filter { failure != nil || $0.index <= known.durableIndex }
            known.waiting.removeAll { failure != nil || $0.index <= known.durableIndex }
            return done
        }
        for (_, answer) in done { _ = answer.push(failure) }
    }

    private func write(_ reader: ReadTransaction) throws(VaultError) -> (SnapshotFile, RaftProgress) {
        defer { reader.release() }
        guard let encoded = try reader.copyFact(Self.progressFact) else {
            throw .badRequest("there is no state to copy yet")
        }
        let progress = try RaftProgress(encoded: encoded)
        let path = "\(directory)/\(SnapshotPlace.name(random))"
        var sink = try SnapshotSink(
            path, progress: progress,
            sequence: try reader.copyFact(Self.sequenceFact).map(decodeNumber) ?? 0)
        do throws(VaultError) {
            for table in StorageTable.allCases {
                var pair = try reader.first(Int(table.rawValue), from: emptyBytes)
                while let found = pair {
                    try sink.put(table.rawValue, found.key, found.value)
                    pair = try reader.next(Int(table.rawValue))
                }
            }
            try reader.eachFact(prefix: Self.stagePrefix) { (key, value) throws(VaultError) in
                try sink.put(SnapshotFormat.factsTable, key, value)
            }
            let size = try sink.finish()
            let file = SnapshotFile(
                path: path, sizeBytes: size, index: progress.index, term: progress.term,
                remove: SnapshotPlace.remove)
            return (file, progress)
        } catch {
            SnapshotPlace.remove(path)
            throw error
        }
    }

    private func tell(_ changes: [AppliedChange]) {
        guard !changes.isEmpty else { return }
        let listeners = listeners.withLock { $0 }
        for change in changes { for listener in listeners { listener(change) } }
    }

    // MARK: - A state that an operator restores

    private static func stageName(_ restore: UInt64, _ number: UInt32) -> String {
        func hex(_ value: UInt64) -> String {
            let digits = String(value, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }
        return "\(stagePrefix)\(hex(restore))/\(hex(UInt64(number)))"
    }

    /// Puts the staged state in place of the one that is there. What is not complete changes nothing.
    private static func restore(
        _ restore: UInt64, _ chunks: UInt32, _ transaction: inout WriteTransaction
    ) throws(VaultError) {
        for table in StorageTable.allCases { try transaction.clear(Int(table.rawValue)) }
        for number in 0..<chunks {
            let name = stageName(restore, number)
            guard let bytes = try transaction.fact(name) else {
                throw .corrupted(place: "chunk \(number) of a restore is missing in the log")
            }
            var batch = CommitBatch()
            var reader = WireReader(bytes)
            while reader.count > 0 { try reader.take(into: &batch) }
            try transaction.apply(batch)
            try transaction.removeFact(name)
        }
    }

    private static func dropStage(
        _ restore: UInt64, _ transaction: inout WriteTransaction
    ) throws(VaultError) {
        var number: UInt32 = 0
        while try transaction.fact(stageName(restore, number)) != nil {
            try transaction.removeFact(stageName(restore, number))
            number += 1
        }
    }
}

/// What happened to the state.
package enum AppliedChange: Sendable {
    /// A batch was applied. `isOwn` says that this node proposed it, so that it knows already.
    case batch(CommitBatch, sequence: UInt64, isOwn: Bool)
    /// All of it was replaced: nothing that was read before holds.
    case everything(sequence: UInt64)
}

var emptyBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }

func encodeNumber(_ number: UInt64) -> [UInt8] { withUnsafeBytes(of: number.littleEndian) { Array($0) } }

func decodeNumber(_ bytes: [UInt8]) -> UInt64 {
    bytes.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
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

extension RaftProgress {
    /// The same as of an earlier entry.
    fileprivate func at(_ entry: CommittedEntry) -> RaftProgress {
        var earlier = self
        earlier.index = entry.index
        earlier.term = entry.term
        return earlier
    }
}
