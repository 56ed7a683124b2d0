package import Base
import Synchronization

/// A clock that stands still until a test moves it.
package final class ManualClock: Clock {
    private let time: Mutex<Timestamp>

    package init(_ start: Timestamp = Timestamp(seconds: 1_700_000_000)) { time = Mutex(start) }

    package func now() -> Timestamp { time.withLock { $0 } }
    package func monotonicNanoseconds() -> UInt64 { UInt64(now().nanoseconds) }
    package func advance(_ span: Duration) { time.withLock { $0 = $0 + span } }
}

/// Randomness that a seed reproduces (SplitMix64). For tests only.
package final class SeededRandom: RandomSource, RandomNumberGenerator {
    private let state: Mutex<UInt64>

    package init(seed: UInt64) { state = Mutex(seed) }

    package func next() -> UInt64 {
        state.withLock { state in
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
    }

    package func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        for index in buffer.indices { buffer[index] = UInt8(truncatingIfNeeded: next()) }
    }

    /// A number below `bound`.
    package func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}
