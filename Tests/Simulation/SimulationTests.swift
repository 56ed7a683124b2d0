import Base
import Foundation
import TestKit
import Testing

@testable import Consensus

/// Seeded runs of whole clusters over the real consensus core, log and engine.
///
/// `make simulate SEEDS=1-100000` runs more of them, `SEEDS=4711` one again.
@Suite struct SimulationTests {
    /// Milliseconds of bad weather in a run.
    private static let milliseconds = 8_000

    /// The seeds that the environment asks for, or enough to find what a change has broken.
    private static var seeds: ClosedRange<UInt64> {
        let text = ProcessInfo.processInfo.environment["HOLDFAST_SIMULATION_SEEDS"] ?? ""
        let parts = text.split(separator: "-").compactMap { UInt64($0) }
        if parts.count == 2, parts[0] <= parts[1] { return parts[0]...parts[1] }
        if parts.count == 1 { return parts[0]...parts[0] }
        #if DEBUG
            return 1...40
        #else
            return 1...1_000
        #endif
    }

    @Test func clustersKeepWhatTheyPromise() async throws {
        let report = try await onRaftThread {
            var violations: [String] = []
            var sum = World.Statistics()
            for seed in Self.seeds where violations.count < 3 {
                do throws(Violation) {
                    let world = World(seed: seed)
                    try world.run(milliseconds: Self.milliseconds)
                    sum.add(world.statistics)
                } catch { violations.append(error.description) }
            }
            return (violations, sum)
        }
        print("simulation: seeds \(Self.seeds), \(report.1)")
        #expect(report.0.isEmpty, "\(report.0.joined(separator: "\n"))")
        #expect(report.1.writes > 0 && report.1.reads > 0 && report.1.crashes > 0)
    }

    @Test func aSeedReproducesEveryByte() async throws {
        let differing = try await onRaftThread {
            (UInt64(1)...8).filter { seed in
                let traces = (0..<2).map { _ in
                    let world = World(seed: seed)
                    do throws(Violation) { try world.run(milliseconds: 3_000) } catch {}
                    return world.trace
                }
                return traces[0] != traces[1]
            }
        }
        #expect(differing.isEmpty, "these seeds had two different runs: \(differing)")
    }

    /// Runs long work beside the other tests, behind them: on a thread of its own, so that none of the few that
    /// run test tasks waits for it, and with less of the processors than they get.
    private func onRaftThread<Result: Sendable>(
        _ body: @escaping @Sendable () -> Result
    ) async throws -> Result {
        try await withCheckedThrowingContinuation { continuation in
            do {
                _ = try Thread(name: "simulation") {
                    _ = nice(10)
                    RaftCore.lendThread { continuation.resume(returning: body()) }
                }
            } catch { continuation.resume(throwing: error) }
        }
    }
}

/// The checker itself must find what is wrong.
@Suite struct HistoryTests {
    @Test func anOrdinaryHistoryPasses() {
        var history = History()
        history.read(0, from: 1, to: 2)
        history.began(1, at: 3)
        history.read(0, from: 4, to: 5)
        history.read(1, from: 5, to: 6)
        history.wrote(1, at: 7)
        history.began(2, at: 8)
        history.wrote(2, at: 10)
        history.read(2, from: 9, to: 12)
        #expect(history.fault == nil)
    }

    @Test func aStaleReadIsFound() {
        var history = History()
        history.began(1, at: 1)
        history.wrote(1, at: 2)
        history.began(2, at: 3)
        history.wrote(2, at: 4)
        history.read(1, from: 5, to: 6)
        #expect(history.fault != nil)
    }

    @Test func aLostWriteIsFound() {
        var history = History()
        history.began(1, at: 1)
        history.wrote(1, at: 2)
        history.read(0, from: 3, to: 4)
        #expect(history.fault != nil)
    }

    @Test func valuesThatComeAndGoAreFound() {
        var history = History()
        history.began(1, at: 1)
        history.began(2, at: 1)
        history.read(1, from: 10, to: 11)
        history.read(2, from: 12, to: 13)
        history.read(1, from: 14, to: 15)
        #expect(history.fault != nil)
    }

    @Test func aValueThatWasRefusedButReadIsFound() {
        var history = History()
        history.began(1, at: 1)
        history.read(1, from: 2, to: 3)
        history.refused(1)
        #expect(history.fault != nil)
    }

    @Test func anUnknownWriteMayComeLateOrNever() {
        var history = History()
        history.began(1, at: 1)
        history.began(2, at: 2)
        history.wrote(2, at: 3)
        history.read(2, from: 4, to: 5)
        #expect(history.fault == nil)
        history.read(1, from: 6, to: 7)
        #expect(history.fault == nil)
        history.read(2, from: 8, to: 9)
        #expect(history.fault != nil)
    }
}

extension World.Statistics {
    fileprivate mutating func add(_ other: Self) {
        terms += other.terms
        entries += other.entries
        writes += other.writes
        reads += other.reads
        crashes += other.crashes
        states += other.states
        changes += other.changes
    }
}
