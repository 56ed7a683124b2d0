import Base

/// States on their way: to peers that lag behind the log, and from the leader.
///
/// The core decides that a peer needs one; which state is sent is decided when it is made, and the core's
/// message is written anew for it. So it is never older than the membership in which the peer was added.
extension RaftEngine {
    /// The core wants a peer to get a state.
    func wantSnapshot(_ message: CoreOutput.Message) {
        guard transport != nil, snapshots.sending[message.to] == nil else {
            return post(.snapshotSent(to: message.to, arrived: false))
        }
        snapshots.wanted[message.to] = message.bytes
        guard snapshots.makingFrom == nil else { return }
        snapshots.makingFrom = progress.index
        machine.makeSnapshot { [post] in post(.snapshotMade($0)) }
    }

    /// A copy of the state is there: it goes to all that wait for one.
    func send(
        _ result: Result<(SnapshotFile, RaftProgress), VaultError>, _ input: inout CoreInput
    ) throws(VaultError) {
        snapshots.makingFrom = nil
        let wanted = snapshots.wanted.sorted { $0.key < $1.key }
        snapshots.wanted = [:]
        guard state.isLeader else { return }
        switch result {
        case .failure(let error):
            journal.error("no copy of the state could be made for a peer", ["cause": "\(error)"])
            for (peer, _) in wanted { input.snapshot(arrived: false, at: peer) }
        case .success(let (file, held)):
            for (peer, message) in wanted {
                let written = try core.rewrite(
                    snapshot: message, position: LogPosition(index: held.index, term: held.term),
                    configuration: held.configuration)
                snapshots.sending[peer] = held.index
                guard let transport else {
                    post(.snapshotSent(to: peer, arrived: false))
                    continue
                }
                journal.info(
                    "sending the state to a peer that lags behind the log",
                    ["index": String(held.index), "bytes": String(file.sizeBytes)])
                transport.sendSnapshot(to: peer, message: written, file: file) { [post] arrived in
                    post(.snapshotSent(to: peer, arrived: arrived))
                }
            }
        }
    }

    /// A state has come, whole, and its file was looked through.
    func arrived(
        _ message: [UInt8], _ path: String, _ found: RaftProgress, from peer: UInt64,
        _ done: @escaping @Sendable (Bool) -> Void, _ input: inout CoreInput
    ) {
        guard let position = RaftCore.position(ofSnapshot: message), snapshots.incoming == nil,
            position == LogPosition(index: found.index, term: found.term)
        else { return done(false) }
        snapshots.incoming = SnapshotTraffic.Incoming(path: path, progress: found, done: done)
        input.message(message, from: peer)
    }

    /// The core has taken the state that arrived in this turn.
    func install(_ snapshot: CoreOutput.Snapshot) throws(VaultError) {
        guard let incoming = snapshots.incoming,
            LogPosition(index: incoming.progress.index, term: incoming.progress.term)
                == snapshot.position
        else { throw .internal("a state was taken over whose file is not there") }
        var taken = incoming.progress
        taken.configuration = snapshot.configuration
        journal.info("taking over the leader's state", ["index": String(taken.index)])
        // The state first: a log that begins behind the state it needs could not be used.
        try machine.restore(path: incoming.path, taken)
        log.reset(to: snapshot.position)
        tail.reset(to: snapshot.position)
        progress = taken
        state.applied = taken.index
        snapshots.incoming = nil
        incoming.done(true)
        try membersChanged()
    }

    /// The state that arrived in this turn was not needed, when it is still there.
    func dropUnusedSnapshot() {
        snapshots.incoming?.done(true)
        snapshots.incoming = nil
    }
}

/// Which states are on their way.
struct SnapshotTraffic {
    struct Incoming {
        let path: String
        let progress: RaftProgress
        let done: @Sendable (Bool) -> Void
    }
    /// The core's message for each peer that waits for a state to be made.
    var wanted: [UInt64: [UInt8]] = [:]
    /// What was applied when the making began; nil while none is made.
    var makingFrom: UInt64?
    /// Peers that a state is being sent to, with its index.
    var sending: [UInt64: UInt64] = [:]
    var incoming: Incoming?

    /// The log must hold everything behind this: it is needed by those that get a state now.
    var oldestNeeded: UInt64 { min(makingFrom ?? .max, sending.values.min() ?? .max) }

    /// A new term: the core has forgotten which peers wait.
    mutating func forget() {
        wanted = [:]
        sending = [:]
    }

    mutating func failAll() {
        incoming?.done(false)
        incoming = nil
        forget()
    }
}
