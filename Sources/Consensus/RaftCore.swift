import Base
internal import CRaftCore

/// An entry of the log as the core sees it.
struct LogEntry: Equatable {
    var index: UInt64
    var term: UInt64
    /// 0 for a payload; otherwise it changes the membership.
    var kind: UInt32
    var data: [UInt8]
}

/// A place in the log.
package struct LogPosition: Sendable, Equatable {
    /// Entries are counted from 1; 0 is before the first.
    package var index: UInt64
    /// The term of the entry there.
    package var term: UInt64

    /// A place; before the first entry when nothing is given.
    package init(index: UInt64 = 0, term: UInt64 = 0) {
        self.index = index
        self.term = term
    }
}

/// What a node must remember of its votes.
struct HardState: Equatable {
    var term: UInt64 = 0
    var vote: UInt64 = 0
    var commit: UInt64 = 0
}

/// What a turn yields. The order in which it must be dealt with: persist, send, apply.
struct CoreOutput {
    struct Message {
        let to: UInt64
        let kind: UInt32
        let bytes: [UInt8]
    }
    struct Snapshot {
        let position: LogPosition
        let configuration: [UInt8]
    }
    var role = RaftRole.follower
    var leader: UInt64 = 0
    var current = HardState()
    var lastIndex: UInt64 = 0
    /// Whether there was anything: then another turn must follow.
    var hasReady = false
    var mustSync = false
    /// Whether `current` has changed and is to be persisted.
    var hasHardState = false
    var snapshot: Snapshot?
    var entries: [LogEntry] = []
    var committed: [LogEntry] = []
    var messages: [Message] = []
    var reads: [(index: UInt64, context: [UInt8])] = []
}

/// The input of a turn, in order.
struct CoreInput: ~Copyable {
    fileprivate var bytes = WireWriter(reserving: 1024)
    private(set) var count = 0

    mutating func tick() { add(HFR_TICK) }
    mutating func propose(_ payload: [UInt8]) { add(HFR_PROPOSE, payload) }
    mutating func message(_ bytes: [UInt8], from peer: UInt64) { add(HFR_MESSAGE, bytes, peer) }
    mutating func read(_ context: [UInt8]) { add(HFR_READ, context) }
    mutating func change(_ encoded: [UInt8]) { add(HFR_CHANGE, encoded) }
    mutating func transfer(to peer: UInt64) { add(HFR_TRANSFER, [], peer) }
    mutating func unreachable(_ peer: UInt64) { add(HFR_UNREACHABLE, [], peer) }
    mutating func snapshot(arrived: Bool, at peer: UInt64) {
        add(arrived ? HFR_SNAPSHOT_SENT : HFR_SNAPSHOT_LOST, [], peer)
    }
    mutating func campaign() { add(HFR_CAMPAIGN) }

    private mutating func add(_ kind: Int, _ data: [UInt8] = [], _ value: UInt64 = 0) {
        bytes.put(UInt32(kind))
        bytes.put(UInt32(data.count))
        bytes.put(value)
        bytes.raw(data)
        bytes.pad()
        count += 1
    }
}

/// How far a peer is, as the leader knows it.
struct CoreProgress {
    let id: UInt64
    let match: UInt64
}

/// One handle of etcd's raft core: a state machine without clock, disk or network. For one thread at a time.
final class RaftCore {
    /// What came of one input.
    enum Outcome: Int32 {
        case taken = 0
        case dropped = -1
        case invalid = -2
    }

    /// What a core begins with; see raftcore.h.
    struct Start {
        var id: UInt64
        var electionTicks: Int
        var heartbeatTicks: Int
        var hard: HardState
        var applied: UInt64
        var base: LogPosition
        var configuration: [UInt8]
        var entries: [LogEntry]
        var seed: UInt64 = 0
    }

    private let handle: UInt64

    /// - Throws: `.internal` when the values contradict each other.
    init(_ start: Start) throws(VaultError) {
        hfr_boot()
        var values = hfr_start_values()
        values.id = start.id
        values.election_ticks = UInt32(start.electionTicks)
        values.heartbeat_ticks = UInt32(start.heartbeatTicks)
        values.message_bytes = 1 << 20
        values.committed_bytes = 16 << 20
        values.uncommitted_bytes = 128 << 20
        values.inflight_messages = 128
        values.term = start.hard.term
        values.vote = start.hard.vote
        values.commit = start.hard.commit
        values.applied = start.applied
        values.first_index = start.base.index
        values.first_term = start.base.term
        values.seed = start.seed
        var encoded = WireWriter(reserving: start.entries.reduce(0) { $0 + $1.data.count + 32 })
        for entry in start.entries {
            encoded.put(entry.index)
            encoded.put(entry.term)
            encoded.put(entry.kind)
            encoded.counted(entry.data)
            encoded.pad()
        }
        var made: UInt64 = 0
        let code = start.configuration.withUnsafeBufferPointer { configuration in
            encoded.bytes.withUnsafeBufferPointer { entries in
                values.configuration = configuration.baseAddress
                values.configuration_bytes = UInt64(configuration.count)
                values.entries = entries.baseAddress
                values.entries_bytes = UInt64(entries.count)
                return hfr_start(&values, &made)
            }
        }
        guard code == 0 else { throw .internal("the consensus core does not start (\(code))") }
        handle = made
    }

    deinit { hfr_stop(handle) }

    /// Finishes the last turn's output, takes all input and gives what follows.
    /// - Returns: the output, and what came of each input.
    /// - Throws: `.internal` when the core has found its own rules broken; it is of no use then.
    func turn(_ input: borrowing CoreInput) throws(VaultError) -> (CoreOutput, [Outcome]) {
        var results = [Int32](repeating: 0, count: input.count)
        var output: UnsafePointer<UInt8>?
        var size: UInt64 = 0
        let code = input.bytes.bytes.withUnsafeBufferPointer { bytes in
            hfr_turn(
                handle, bytes.baseAddress, UInt64(bytes.count), &results, UInt32(results.count), &output,
                &size)
        }
        try check(code)
        let parsed = CoreOutput(UnsafeRawBufferPointer(start: output, count: Int(size)))
        return (parsed, results.map { Outcome(rawValue: $0) ?? .invalid })
    }

    /// What a committed change of the membership has done.
    struct AppliedChange {
        let id: UInt64
        let kind: UInt32
        let configuration: [UInt8]
        let context: [UInt8]

        static let addVoter = UInt32(HFR_ADD_VOTER)
        static let remove = UInt32(HFR_REMOVE)
        static let update = UInt32(HFR_UPDATE)
        static let addLearner = UInt32(HFR_ADD_LEARNER)
    }

    /// Must be called for each committed entry that changes the membership, before the next turn.
    func apply(_ entry: LogEntry) throws(VaultError) -> AppliedChange {
        var output: UnsafePointer<UInt8>?
        var size: UInt64 = 0
        let code = entry.data.withUnsafeBufferPointer {
            hfr_apply_change(handle, entry.kind, $0.baseAddress, UInt64($0.count), &output, &size)
        }
        try check(code)
        let bytes = UnsafeRawBufferPointer(start: output, count: Int(size))
        let head = bytes.load(as: hfr_change.self)
        let start = MemoryLayout<hfr_change>.size
        let context = start + padded(Int(head.configuration_bytes))
        return AppliedChange(
            id: head.id, kind: head.kind,
            configuration: Array(bytes[start..<start + Int(head.configuration_bytes)]),
            context: Array(bytes[context..<context + Int(head.context_bytes)]))
    }

    /// Makes the log begin behind this applied entry.
    func compact(to index: UInt64) throws(VaultError) { try check(hfr_compact(handle, index)) }

    /// The progress of all members; empty on others than the leader.
    func peers() throws(VaultError) -> [CoreProgress] {
        var output: UnsafePointer<UInt8>?
        var size: UInt64 = 0
        try check(hfr_peers(handle, &output, &size))
        let bytes = UnsafeRawBufferPointer(start: output, count: Int(size))
        return stride(from: 0, to: bytes.count, by: MemoryLayout<hfr_progress>.size).map { at in
            let one = bytes.load(fromByteOffset: at, as: hfr_progress.self)
            return CoreProgress(id: one.id, match: one.match)
        }
    }

    /// The message of a snapshot about the state that is really sent.
    func rewrite(
        snapshot message: [UInt8], position: LogPosition, configuration: [UInt8]
    ) throws(VaultError) -> [UInt8] {
        var output: UnsafePointer<UInt8>?
        var size: UInt64 = 0
        let code = message.withUnsafeBufferPointer { message in
            configuration.withUnsafeBufferPointer { configuration in
                hfr_rewrite_snapshot(
                    handle, message.baseAddress, UInt64(message.count), position.index, position.term,
                    configuration.baseAddress, UInt64(configuration.count), &output, &size)
            }
        }
        try check(code)
        return Array(UnsafeRawBufferPointer(start: output, count: Int(size)))
    }

    /// What the core has logged since: a level and a line each.
    func takeLog() -> [(level: Character, line: String)] {
        var lines: [(Character, String)] = []
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let used = Int(hfr_take_log(handle, &buffer, UInt32(buffer.count)))
            guard used > 0 else { return lines }
            for line in String(decoding: buffer[..<used], as: UTF8.self).split(separator: "\n") {
                lines.append((line.first ?? "I", String(line.dropFirst(2))))
            }
        }
    }

    private func check(_ code: Int32) throws(VaultError) {
        guard code != 0 else { return }
        let cause = takeLog().last.map { ": \($0.line)" } ?? ""
        throw .internal("the consensus core gave up (\(code))\(cause)")
    }
}

// MARK: - Without a handle

extension RaftCore {
    /// The state that a snapshot's message is about; nil when it is no such message.
    static func position(ofSnapshot message: [UInt8]) -> LogPosition? {
        hfr_boot()
        var position = LogPosition()
        let code = message.withUnsafeBufferPointer {
            hfr_read_snapshot($0.baseAddress, UInt64($0.count), &position.index, &position.term)
        }
        return code == 0 ? position : nil
    }

    /// The configuration of a cluster of these voters and learners.
    static func configuration(voters: [UInt64], learners: [UInt64] = []) -> [UInt8] {
        hfr_boot()
        var buffer = [UInt8](repeating: 0, count: 16 * voters.count + 16)
        let size = hfr_encode_configuration(voters, UInt32(voters.count), &buffer, UInt32(buffer.count))
        var bytes = Array(buffer.prefix(Int(max(size, 0))))
        // Protocol Buffers, field 2 of `ConfState`: one varint for each.
        for learner in learners {
            bytes.append(2 << 3)
            var rest = learner
            while rest >= 0x80 {
                bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
                rest >>= 7
            }
            bytes.append(UInt8(rest))
        }
        return bytes
    }

    /// One change of the membership, as the data of an entry.
    static func change(_ kind: UInt32, _ id: UInt64, context: [UInt8]) -> [UInt8] {
        hfr_boot()
        var buffer = [UInt8](repeating: 0, count: context.count + 64)
        let size = context.withUnsafeBufferPointer {
            hfr_encode_change(
                kind, id, $0.baseAddress, UInt64($0.count), &buffer, UInt32(buffer.count))
        }
        return Array(buffer.prefix(Int(max(size, 0))))
    }

    /// Lends the calling thread to the core while `body` runs: calls to it are much cheaper then.
    static func lendThread(_ body: @escaping () -> Void) {
        hfr_boot()
        let box = Unmanaged.passRetained(Body(body))
        hfr_run(runBody, box.toOpaque())
    }

    fileprivate final class Body {
        let run: () -> Void
        init(_ run: @escaping () -> Void) { self.run = run }
    }
}

/// What C calls on the lent thread.
private nonisolated func runBody(_ context: UnsafeMutableRawPointer?) {
    guard let context else { return }
    Unmanaged<RaftCore.Body>.fromOpaque(context).takeRetainedValue().run()
}

private func padded(_ size: Int) -> Int { (size + 7) & ~7 }

extension CoreOutput {
    /// Takes the core's memory apart. Its shape is our own C code's: it is trusted.
    fileprivate init(_ bytes: UnsafeRawBufferPointer) {
        let head = bytes.load(as: hfr_output.self)
        role = RaftRole(rawValue: head.role) ?? .follower
        leader = head.leader
        current = HardState(term: head.term, vote: head.vote, commit: head.commit)
        lastIndex = head.last_index
        hasReady = head.flags & UInt32(HFR_HAS_READY) != 0
        mustSync = head.flags & UInt32(HFR_MUST_SYNC) != 0
        hasHardState = head.flags & UInt32(HFR_HAS_HARD_STATE) != 0
        var at = MemoryLayout<hfr_output>.size
        func take(_ size: UInt32) -> [UInt8] {
            defer { at += padded(Int(size)) }
            return Array(bytes[at..<at + Int(size)])
        }
        func entry() -> LogEntry {
            let head = bytes.load(fromByteOffset: at, as: hfr_entry.self)
            at += MemoryLayout<hfr_entry>.size
            return LogEntry(index: head.index, term: head.term, kind: head.kind, data: take(head.bytes))
        }
        if head.flags & UInt32(HFR_HAS_SNAPSHOT) != 0 {
            snapshot = Snapshot(
                position: LogPosition(index: head.snapshot_index, term: head.snapshot_term),
                configuration: take(head.snapshot_configuration_bytes))
        }
        entries = (0..<head.entries).map { _ in entry() }
        committed = (0..<head.committed).map { _ in entry() }
        messages = (0..<head.messages).map { _ in
            let head = bytes.load(fromByteOffset: at, as: hfr_message.self)
            at += MemoryLayout<hfr_message>.size
            return Message(to: head.to, kind: head.kind, bytes: take(head.bytes))
        }
        reads = (0..<head.reads).map { _ in
            let head = bytes.load(fromByteOffset: at, as: hfr_read.self)
            at += MemoryLayout<hfr_read>.size
            return (head.index, take(head.bytes))
        }
    }
}

extension CoreOutput.Message {
    /// An entry or a heartbeat: what a leader may send before its own disk has the entry.
    var mayPrecedeSync: Bool { kind == UInt32(HFR_APPEND) || kind == UInt32(HFR_HEARTBEAT) }
    var isSnapshot: Bool { kind == UInt32(HFR_SNAPSHOT) }
}
