internal import Glibc
internal import Synchronization

/// Durations as a histogram with their sum, from any thread without a lock. Each may count towards one
/// of five outcomes, so that one instrument answers both "how long" and "how did it end".
package final class MetricTimer: Sendable {
    /// Upper bounds of the buckets in nanoseconds; a last one takes the rest.
    package static let bounds: [UInt64] = [
        50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000,
        50_000_000, 100_000_000, 250_000_000, 500_000_000, 1_000_000_000, 2_500_000_000, 10_000_000_000,
    ]
    /// How many outcomes one timer tells apart.
    package static let outcomes = 5

    private static let sum = 17
    private static let squares = 18
    private static let longest = 19
    private static let shortest = 20
    private static let firstOutcome = 21
    /// Words of a shard: whole cache lines.
    private static let stride = 32

    private let cells = InlineArray<128, Atomic<UInt64>> { _ in Atomic(0) }

    /// A timer that has measured nothing.
    package init() {}

    /// Nanoseconds of a clock that only goes forward, for `record`.
    @inline(__always)
    package static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }

    /// Notes one duration.
    /// - Parameter outcome: below `outcomes`.
    package func record(nanoseconds: UInt64, outcome: Int = 0) {
        let base = MetricShard.current * Self.stride
        var bucket = 0
        while bucket < Self.bounds.count, nanoseconds > Self.bounds[bucket] { bucket += 1 }
        cells[base + bucket].add(1, ordering: .relaxed)
        cells[base + Self.sum].wrappingAdd(nanoseconds, ordering: .relaxed)
        // In square microseconds: 64 bits hold a minute a thousand times over.
        let microseconds = nanoseconds / 1_000
        cells[base + Self.squares].wrappingAdd(microseconds &* microseconds, ordering: .relaxed)
        cells[base + Self.firstOutcome + outcome].add(1, ordering: .relaxed)
        if nanoseconds > cells[base + Self.longest].load(ordering: .relaxed) {
            cells[base + Self.longest].max(nanoseconds, ordering: .relaxed)
        }
        // Zero stands for none: one more is stored than was measured.
        let least = cells[base + Self.shortest].load(ordering: .relaxed)
        if least == 0 || nanoseconds + 1 < least {
            cells[base + Self.shortest].store(nanoseconds + 1, ordering: .relaxed)
        }
    }

    /// Notes the time since `start`, which `now` gave.
    package func record(since start: UInt64, outcome: Int = 0) {
        record(nanoseconds: Self.now() &- start, outcome: outcome)
    }

    /// What was measured so far.
    package var reading: Reading {
        var reading = Reading()
        for shard in 0..<MetricShard.count {
            let base = shard * Self.stride
            func word(_ at: Int) -> UInt64 { cells[base + at].load(ordering: .relaxed) }
            for bucket in reading.buckets.indices { reading.buckets[bucket] &+= word(bucket) }
            for outcome in reading.outcomes.indices {
                reading.outcomes[outcome] &+= word(Self.firstOutcome + outcome)
            }
            reading.sumNanoseconds &+= word(Self.sum)
            reading.squareMicroseconds &+= word(Self.squares)
            reading.longestNanoseconds = max(reading.longestNanoseconds, word(Self.longest))
            let least = word(Self.shortest)
            if least > 0 { reading.shortestNanoseconds = min(reading.shortestNanoseconds, least - 1) }
        }
        return reading
    }

    /// A timer's state at one moment; counts that are being added may be there in part.
    package struct Reading: Sendable {
        /// Durations up to each bound, and beyond the last; not cumulative.
        package var buckets = [UInt64](repeating: 0, count: MetricTimer.bounds.count + 1)
        package var outcomes = [UInt64](repeating: 0, count: MetricTimer.outcomes)
        package var sumNanoseconds: UInt64 = 0
        package var squareMicroseconds: UInt64 = 0
        package var longestNanoseconds: UInt64 = 0
        package var shortestNanoseconds = UInt64.max

        package init() {}

        /// How many durations.
        package var count: UInt64 { buckets.reduce(0, &+) }

        /// Two timers as one.
        package static func + (a: Reading, b: Reading) -> Reading {
            var sum = a
            for at in sum.buckets.indices { sum.buckets[at] &+= b.buckets[at] }
            for at in sum.outcomes.indices { sum.outcomes[at] &+= b.outcomes[at] }
            sum.sumNanoseconds &+= b.sumNanoseconds
            sum.squareMicroseconds &+= b.squareMicroseconds
            sum.longestNanoseconds = max(a.longestNanoseconds, b.longestNanoseconds)
            sum.shortestNanoseconds = min(a.shortestNanoseconds, b.shortestNanoseconds)
            return sum
        }
    }
}
