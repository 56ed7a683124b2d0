import Base
import Consensus
import Synchronization
import TestKit

/// What the model of the node's store holds: registers of one number each.
struct ModelState: Equatable {
    var registers: [UInt8: UInt64] = [:]
    /// Payloads that were applied since the cluster began.
    var count = 0
}

/// Copies of states that nodes have made, by path: the simulated file system for them.
final class Shelf: Sendable {
    private let copies = Mutex<[String: (ModelState, RaftProgress)]>([:])

    func put(_ path: String, _ state: ModelState, _ progress: RaftProgress) {
        copies.withLock { $0[path] = (state, progress) }
    }
    func get(_ path: String) -> (ModelState, RaftProgress)? { copies.withLock { $0[path] } }
    func remove(_ path: String) { copies.withLock { $0[path] = nil } }
}

/// A model of the node's store: applied at once, durable later, and a crash takes what was not durable.
final class ModelStore: RaftStateMachine {
    private let shelf: Shelf
    private let name: String
    private let random: SeededRandom
    /// Sees every entry that is applied.
    var seen: (CommittedEntry) -> Void = { _ in }
    private(set) var state = ModelState()
    private var current: RaftProgress?
    private var safe: (state: ModelState, progress: RaftProgress?) = (ModelState(), nil)
    private var copies = 0
    /// Whether every apply is durable at once, as a synced transaction is.
    var isSynchronous = true
    /// Calls after which the next fails in its middle, as in a crash.
    var callsLeft: Int?

    init(_ name: String, shelf: Shelf, random: SeededRandom) {
        self.name = name
        self.shelf = shelf
        self.random = random
    }

    /// The first state of a founding member.
    func begin(_ progress: RaftProgress) {
        current = progress
        sync()
    }

    func sync() { safe = (state, current) }

    func crash() {
        state = safe.state
        current = safe.progress
        callsLeft = nil
    }

    func progress() throws(VaultError) -> RaftProgress? { current }
    var durableIndex: UInt64 { safe.progress?.index ?? 0 }
    var appliedIndex: UInt64 { current?.index ?? 0 }

    func apply(_ entries: [CommittedEntry], _ progress: RaftProgress) throws(VaultError) {
        let isTorn = try takesCrash()
        for entry in entries {
            seen(entry)
            guard entry.payload.count == 9 else { continue }
            state.count += 1
            state.registers[entry.payload[0]] = entry.payload[1...].reduce(0) { $0 << 8 | UInt64($1) }
        }
        current = progress
        if isSynchronous || isTorn { sync() }
        if isTorn { throw .internal("the simulated machine has crashed") }
    }

    func makeDurable() throws(VaultError) { sync() }

    func makeSnapshot(
        _ done: @escaping @Sendable (Result<(SnapshotFile, RaftProgress), VaultError>) -> Void
    ) {
        guard let current else { return done(.failure(.internal("no state"))) }
        copies += 1
        let path = "\(name)/\(copies)"
        shelf.put(path, state, current)
        let file = SnapshotFile(
            path: path, sizeBytes: 100, index: current.index, term: current.term
        ) { [shelf] in shelf.remove($0) }
        done(.success((file, current)))
    }

    func checkSnapshot(path: String) throws(VaultError) -> RaftProgress {
        guard let (_, progress) = shelf.get(path) else { throw .corrupted(place: path) }
        return progress
    }

    func restore(path: String, _ progress: RaftProgress) throws(VaultError) {
        let isTorn = try takesCrash()
        guard let (copy, held) = shelf.get(path), held.index == progress.index else {
            throw .corrupted(place: path)
        }
        state = copy
        current = progress
        sync()
        if isTorn { throw .internal("the simulated machine has crashed") }
    }

    /// - Returns: whether the crash comes behind the work.
    /// - Throws: when it comes before.
    private func takesCrash() throws(VaultError) -> Bool {
        guard let left = callsLeft else { return false }
        callsLeft = left - 1
        guard left == 0 else { return false }
        if random.below(2) == 0 { throw .internal("the simulated machine has crashed") }
        return true
    }
}
