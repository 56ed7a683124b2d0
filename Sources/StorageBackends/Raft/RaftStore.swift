import Base
internal import Consensus
internal import Glibc
internal import NodeStore
package import PluginKit
internal import Synchronization

/// What a node's consensus applies its log to: the node's data file with what was applied since its last
/// sync.
///
/// The number of a commit counts the batches that were applied since the cluster began. It is part of the
/// state, and the same on every node with the same state.
final class RaftStore: RaftStateMachine, Sendable {
    private static let stagePrefix = "raft/stage/"
    private static let pauseMicroseconds: UInt32 = 5_000

    let state: OverlaidStore<RaftProgress>
    private let directory: String
    private let random: any RandomSource
    private let listeners = Mutex<[@Sendable (AppliedChange) -> Void]>([])
    /// The numbers of the latest batches, by the index of their entry.
    private let numbers = Mutex<[UInt64: UInt64]>([:])

    /// - Parameter directory: where copies of the state are made; what an earlier run left there is removed.
    init(
        _ environment: Environment, directory: String, random: any RandomSource, log: Log
    ) throws(VaultError) {
        self.directory = directory
        self.random = random
        try SnapshotPlace.prepare(directory)
        state = try OverlaidStore(
            environment, facts: StateFacts("raft"), pauseMicroseconds: Self.pauseMicroseconds, log: log)
    }

    var environment: Environment { state.environment }

    /// Calls back after each change of the state, on the thread that made it: it must not wait.
    func onChange(_ listener: @escaping @Sendable (AppliedChange) -> Void) {
        listeners.withLock { $0.append(listener) }
    }

    /// The last entry that was applied.
    var appliedIndex: UInt64 { state.progress?.index ?? 0 }

    /// The number of the batch in an entry that was applied lately; nil also when the entry had no effect.
    func number(ofEntry index: UInt64) -> UInt64? { numbers.withLock { $0[index] } }

    private func note(_ more: [(UInt64, UInt64)]) {
        numbers.withLock { numbers in
            if numbers.count > 4_096 { numbers = [:] }
            for (index, number) in more { numbers[index] = number }
        }
    }

    // MARK: - RaftStateMachine

    func progress() throws(VaultError) -> RaftProgress? { state.progress }

    var durableIndex: UInt64 { state.durableIndex }

    func makeDurable() throws(VaultError) { try state.drain() }

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
        try state.makeRoom()
        var sequence = state.overlay.sequence
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
        note(numbers)
        state.apply(batches, progress)
        tell(changes)
    }

    private func applyAlone(_ entry: CommittedEntry, _ progress: RaftProgress) throws(VaultError) {
        try state.drain()
        let before = state.overlay.sequence
        var changes: [AppliedChange] = []
        try state.replace(progress) { (transaction) throws(VaultError) in
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
        note([(entry.index, state.overlay.sequence)])
        tell(changes)
    }

    /// The first batch of a cluster: this node is its only member.
    /// - Returns: its number.
    func begin(_ batch: CommitBatch, _ progress: RaftProgress) throws(VaultError) -> UInt64 {
        try state.replace(progress) { (transaction) throws(VaultError) in
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
                    try state.drain()
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
        try state.replace(progress) { (transaction) throws(VaultError) in
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

    private func write(_ reader: ReadTransaction) throws(VaultError) -> (SnapshotFile, RaftProgress) {
        defer { reader.release() }
        guard let progress = try state.progress(in: reader) else {
            throw .badRequest("there is no state to copy yet")
        }
        let path = "\(directory)/\(SnapshotPlace.name(random))"
        var sink = try SnapshotSink(
            path, progress: progress, sequence: try state.source.sequence(in: reader))
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

extension RaftProgress: AppliedProgress {}

extension RaftProgress {
    /// The same as of an earlier entry.
    fileprivate func at(_ entry: CommittedEntry) -> RaftProgress {
        var earlier = self
        earlier.index = entry.index
        earlier.term = entry.term
        return earlier
    }
}
