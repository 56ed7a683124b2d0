/// What a node is told at its start.
package struct RaftConfiguration: Sendable {
    /// This node as the cluster shall know it.
    package var identity: RaftPeer
    /// A random number of the data directory, in every file of its log.
    package var logIdentity: UInt64
    /// How fast consensus reacts.
    package var timing = RaftTiming()
    /// Entries that stay in the log behind a compaction, for peers that lag (`trailing_logs`).
    package var trailingEntries: UInt64 = 10_000
    /// Bytes of entries that stay in the log at most, whatever their number: they are held in memory.
    package var trailingBytes = 16 << 20
    /// Entries applied since the last compaction after which the next is made (`snapshot_threshold`).
    package var compactionEntries: UInt64 = 8_192
    /// Bytes of one payload at most.
    package var payloadBytes = 48 << 20
    /// Calls of one kind that may wait.
    package var waitingCalls = 16_384
    /// Bytes after which the log begins a new segment.
    package var segmentBytes = 16 << 20
    /// The log takes room on the disk in steps of this many bytes, so that most syncs change no metadata.
    package var stepBytes = 1 << 20
    /// For the simulation: seeds the election timeouts. 0 leaves them random.
    package var seed: UInt64 = 0

    /// The defaults for a node.
    package init(identity: RaftPeer, logIdentity: UInt64) {
        self.identity = identity
        self.logIdentity = logIdentity
    }
}

/// How fast consensus notices that a node is gone.
package struct RaftTiming: Sendable, Equatable {
    /// The resolution of all the others.
    package var tick = Duration.milliseconds(20)
    /// Ticks between two heartbeats of the leader.
    package var heartbeatTicks = 3
    /// Ticks without a leader after which an election begins; up to twice as many, by chance.
    package var electionTicks = 15

    /// The defaults, for peers that are near.
    package init() {}

    /// The defaults, a number of times slower (`performance_multiplier`; 0 means the default).
    package init(multiplier: Int) { tick = .milliseconds(20 * max(1, min(multiplier, 10))) }

    /// How long a follower is patient at least.
    package var election: Duration { tick * electionTicks }
    /// How long a read may wait for a quorum's answer: its client shall have one within two seconds, and the
    /// server tries once more.
    package var readLimit: Duration { .milliseconds(950) }
    /// How long an entry may wait for its commit. A leader without a quorum gives up much earlier: only one
    /// that waits for its own disk takes so long.
    package var proposalLimit: Duration { .seconds(10) }
    /// How long a node may be at one thing before it takes no further entries: far more than a sync takes.
    package var stallLimit: Duration { .seconds(2) }
}
