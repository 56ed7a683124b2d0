/// Deadlines of many connections in ticks, each settable in constant time.
///
/// Moving a deadline further away, which every request does, is one store: the entry stays in its bucket
/// and is put where it belongs when that bucket comes round. Only a nearer deadline moves the entry.
struct TimerWheel {
    private struct Entry {
        var next: Int32 = -1
        var previous: Int32 = -1
        /// The tick in whose bucket the entry is linked; 0 when it is in none.
        var bucketTick: UInt64 = 0
        var deadline: UInt64 = .max
    }

    private static let bucketCount: UInt64 = 2_048
    private var heads = [Int32](repeating: -1, count: Int(bucketCount))
    private var entries: [Entry] = []
    private(set) var current: UInt64

    init(now: UInt64) { current = max(now, 1) }

    /// Makes room for ids below `count`.
    mutating func grow(to count: Int) {
        while entries.count < count { entries.append(Entry()) }
    }

    /// Sets the tick after which `id` has expired; `.max` is never.
    mutating func set(_ id: Int, deadline: UInt64) {
        entries[id].deadline = deadline
        let bucketTick = entries[id].bucketTick
        if bucketTick != 0 {
            if bucketTick <= deadline { return }
            unlink(id)
        } else if deadline == .max {
            return
        }
        link(id)
    }

    /// Forgets `id`.
    mutating func clear(_ id: Int) {
        entries[id].deadline = .max
        if entries[id].bucketTick != 0 { unlink(id) }
    }

    /// Goes on to `tick` and appends the ids whose deadline has come; those are forgotten.
    mutating func advance(to tick: UInt64, expired: inout [Int]) {
        if tick > current, tick - current > Self.bucketCount { current = tick - Self.bucketCount }
        while current < tick {
            current += 1
            var id = Int(heads[Int(current % Self.bucketCount)])
            heads[Int(current % Self.bucketCount)] = -1
            while id >= 0 {
                let next = Int(entries[id].next)
                entries[id].bucketTick = 0
                if entries[id].deadline <= current {
                    entries[id].deadline = .max
                    expired.append(id)
                } else if entries[id].deadline != .max {
                    link(id)
                }
                id = next
            }
        }
    }

    private mutating func link(_ id: Int) {
        let tick = min(max(entries[id].deadline, current + 1), current + Self.bucketCount - 1)
        let bucket = Int(tick % Self.bucketCount)
        let head = heads[bucket]
        entries[id].bucketTick = tick
        entries[id].previous = -1
        entries[id].next = head
        if head >= 0 { entries[Int(head)].previous = Int32(id) }
        heads[bucket] = Int32(id)
    }

    private mutating func unlink(_ id: Int) {
        let entry = entries[id]
        if entry.previous >= 0 {
            entries[Int(entry.previous)].next = entry.next
        } else {
            heads[Int(entry.bucketTick % Self.bucketCount)] = entry.next
        }
        if entry.next >= 0 { entries[Int(entry.next)].previous = entry.previous }
        entries[id].bucketTick = 0
    }
}
