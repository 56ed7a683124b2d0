internal import Glibc
internal import Synchronization

/// Counts from any thread without a lock: threads add to different cache lines, a reader sums them.
package final class MetricCounter: Sendable {
    /// One cell per shard, each alone on its cache line.
    private let cells = InlineArray<32, Atomic<UInt64>> { _ in Atomic(0) }

    /// A counter at zero.
    package init() {}

    /// Adds to the count.
    @inline(__always)
    package func add(_ count: Int = 1) {
        cells[MetricShard.current * MetricShard.words].add(UInt64(count), ordering: .relaxed)
    }

    /// What was counted so far.
    package var value: UInt64 {
        var sum: UInt64 = 0
        for shard in 0..<MetricShard.count {
            sum &+= cells[shard * MetricShard.words].load(ordering: .relaxed)
        }
        return sum
    }
}

/// How counters are spread.
enum MetricShard {
    static let count = 4
    /// Words of one cache line.
    static let words = 8

    /// The calling thread's. Thread descriptors lie megabytes apart, so their bits are mixed.
    @inline(__always)
    static var current: Int { Int((UInt64(UInt(pthread_self())) &* 0x9E37_79B9_7F4A_7C15) >> 62) }
}
