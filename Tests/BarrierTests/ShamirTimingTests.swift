import Base
import Glibc
import TestKit
import Testing

@testable import Barrier

/// Pairs of times that each check takes; none without the variable.
private let samples = getenv("HOLDFAST_TIMING_SAMPLES").flatMap { Int(String(cString: $0)) } ?? 0

/// Whether the time that a share takes tells its bytes, after Reparaz, Balasch and Verbauwhede ("Dude, is my
/// code constant time?", 2017): one class of inputs is fixed, one random, both in random order, and Welch's t
/// says whether their times differ. Only `make timing` measures: beside other tests every time differs.
@Suite(.serialized, .enabled(if: samples > 0, "make timing runs it")) struct ShamirTimingTests {
    /// Beyond this the times differ.
    private static let threshold = 4.5
    /// Other processes only ever make it worse.
    private static let rounds = 8

    @Test func theTimeOfAProductDoesNotTellItsFactors() {
        #expect(differs { Shamir.multiply($0, $1) } < Self.threshold)
    }

    @Test func theTimeOfAnInverseDoesNotTellItsNumber() {
        // An inverse is fourteen products.
        #expect(differs(width: 3) { a, b in Shamir.inverse(a) ^ b } < Self.threshold)
    }

    /// The harness itself: a product that skips the bits that are zero is found out in every round.
    @Test func aProductThatLooksAtItsFactorsIsFoundOut() {
        let leaky: (UInt8, UInt8) -> UInt8 = { a, b in
            var (product, a, b) = (0 as UInt8, a, b)
            while b != 0 {
                if b & 1 == 1 { product ^= a }
                a = (a &<< 1) ^ (a & 0x80 == 0 ? 0 : 0x1B)
                b >>= 1
            }
            return product
        }
        #expect(differs(leaky) > Self.threshold)
    }

    /// The smallest t of some rounds.
    /// - Parameter width: pairs of numbers in one sample.
    private func differs(width: Int = 32, _ body: (UInt8, UInt8) -> UInt8) -> Double {
        var least = Double.infinity
        for round in 0..<Self.rounds where least >= Self.threshold {
            let t = Self.measure(width, body, SeededRandom(seed: UInt64(round)))
            print("t = \(t) over \(samples) samples")
            least = min(least, t)
        }
        return least
    }

    private static func measure(
        _ width: Int, _ body: (UInt8, UInt8) -> UInt8, _ random: SeededRandom
    ) -> Double {
        var times: [[Double]] = [[], []]
        // Both classes are read from the same place, or the cache would tell them apart.
        var factors = [UInt8](repeating: 0, count: width)
        var sink: UInt8 = 0
        for _ in 0..<samples {
            let kind = random.below(2)
            let fresh = random.bytes(width)
            for index in 0..<width { factors[index] = kind == 0 ? 0 : fresh[index] }
            let start = now()
            for index in 0..<width { sink ^= body(factors[index], factors[width - 1 - index]) }
            times[kind].append(Double(now() - start))
        }
        withExtendedLifetime(sink) {}
        // What the kernel did in between is no property of the code.
        let all = (times[0] + times[1]).sorted()
        let most = all[all.count * 9 / 10]
        return abs(welch(times[0].filter { $0 <= most }, times[1].filter { $0 <= most }))
    }

    private static func welch(_ a: [Double], _ b: [Double]) -> Double {
        func moments(_ values: [Double]) -> (mean: Double, error: Double) {
            let count = Double(values.count)
            let mean = values.reduce(0, +) / count
            let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (count - 1)
            return (mean, variance / count)
        }
        let (x, y) = (moments(a), moments(b))
        let error = (x.error + y.error).squareRoot()
        return error == 0 ? 0 : (x.mean - y.mean) / error
    }

    private static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
