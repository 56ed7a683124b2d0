/// How evenly the leader is heard. On a slow network or beside a slow disk heartbeats come in heaps; a
/// follower that takes the pause between two heaps for the leader's death begins elections that nobody needs.
/// So it lets its own time run slower, until the longest pause of late fits several times into its patience.
///
/// A leader's own time is never slowed: the others count on its heartbeats.
struct LeaderPace {
    /// How many of the longest pauses must fit into an election timeout.
    private static let margin: UInt64 = 4
    /// How much slower time may run: with it a dead leader is still replaced within two seconds.
    private static let most: UInt64 = 3
    /// Ticks after which a long pause is mostly forgotten.
    private static let memory: UInt64 = 1_500

    private var leader: UInt64 = 0
    private var term: UInt64 = 0
    private var heardAt: UInt64 = 0
    /// The longest pause of late, in nanoseconds.
    private(set) var longestPause: UInt64 = 0

    /// The leader was heard.
    mutating func heard(_ leader: UInt64, term: UInt64, at now: UInt64) {
        if leader == self.leader, term == self.term, now > heardAt {
            longestPause = max(longestPause, now - heardAt)
        }
        self.leader = leader
        self.term = term
        heardAt = now
    }

    /// This node itself was stopped for a while: it cannot tell what the leader did.
    mutating func wasAway() { leader = 0 }

    mutating func tick() { longestPause -= longestPause / Self.memory }

    /// The length of a follower's tick, in nanoseconds.
    func tickLength(_ standard: UInt64, electionTicks: UInt64) -> UInt64 {
        let wanted = Self.margin * longestPause / electionTicks
        return min(max(standard, wanted), Self.most * standard)
    }
}
