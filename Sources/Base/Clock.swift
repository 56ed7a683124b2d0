internal import Glibc

/// A moment of wall-clock time: nanoseconds since 1970 in UTC. Good until the year 2262.
package struct Timestamp: Sendable, Hashable, Comparable {
    package var nanoseconds: Int64

    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
    package init(seconds: Int64) { nanoseconds = seconds * 1_000_000_000 }

    /// Whole seconds since 1970, rounded down.
    package var seconds: Int64 {
        let (quotient, remainder) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        return remainder < 0 ? quotient - 1 : quotient
    }

    package static func < (a: Timestamp, b: Timestamp) -> Bool { a.nanoseconds < b.nanoseconds }

    /// Saturates instead of overflowing: a far future stays far.
    package static func + (time: Timestamp, span: Duration) -> Timestamp {
        let (sum, overflow) = time.nanoseconds.addingReportingOverflow(span.wholeNanoseconds)
        return Timestamp(nanoseconds: overflow ? (span < .zero ? .min : .max) : sum)
    }
    package static func - (time: Timestamp, span: Duration) -> Timestamp {
        let (difference, overflow) = time.nanoseconds.subtractingReportingOverflow(span.wholeNanoseconds)
        return Timestamp(nanoseconds: overflow ? (span < .zero ? .max : .min) : difference)
    }
    package static func - (a: Timestamp, b: Timestamp) -> Duration {
        .nanoseconds(a.nanoseconds.subtractingReportingOverflow(b.nanoseconds).partialValue)
    }
}

extension Duration {
    /// This span in nanoseconds, saturated to what 64 bits hold (292 years).
    package var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return seconds < 0 ? .min : .max }
        let (sum, overflow2) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
        return overflow2 ? (seconds < 0 ? .min : .max) : sum
    }
    /// This span in whole seconds, rounded towards zero.
    package var wholeSeconds: Int64 { components.seconds }
}

/// The only way to the time, so that tests and the simulation can hold it.
package protocol Clock: Sendable {
    /// Wall-clock time, for what is stored and shown.
    func now() -> Timestamp
    /// Nanoseconds of a clock that never goes back and counts suspended time (`CLOCK_BOOTTIME`).
    func monotonicNanoseconds() -> UInt64
}

/// The machine's clocks.
package struct SystemClock: Clock {
    package init() {}

    package func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    package func monotonicNanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
