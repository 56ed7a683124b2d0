import Base
import Testing

@testable import Core

@Suite struct TokensTTLTests {
    private let start = Timestamp(seconds: 1_000_000)
    private let caps = TTLCaps(defaultTTL: .seconds(100), maxTTL: .seconds(1000))

    private func resolve(
        at offset: Int64 = 0, _ change: (inout TTLRequest) -> Void
    ) throws(VaultError) -> (ttl: Int64, isWarned: Bool) {
        var request = TTLRequest(issued: start)
        change(&request)
        let (ttl, warnings) = try request.resolve(caps: caps, now: start + .seconds(offset))
        return (ttl.wholeSeconds, !warnings.isEmpty)
    }

    @Test func nothingAskedGivesTheDefault() throws { #expect(try resolve { _ in } == (100, false)) }

    @Test func askedBeatsSuggestedBeatsDefault() throws {
        #expect(try resolve { $0.suggested = .seconds(50) } == (50, false))
        #expect(
            try resolve {
                $0.suggested = .seconds(50); $0.increment = .seconds(70)
            } == (70, false))
    }

    @Test func capsCountFromTheBeginning() throws {
        #expect(try resolve { $0.increment = .seconds(5000) } == (1000, true))
        #expect(try resolve(at: 400) { $0.increment = .seconds(700) } == (600, true))
        #expect(try resolve(at: 400) { $0.increment = .seconds(600) } == (600, false))
        #expect(try resolve { $0.maxTTL = .seconds(30) } == (30, true))
        #expect(
            try resolve(at: 10) {
                $0.explicitMaxTTL = .seconds(40); $0.increment = .seconds(100)
            } == (30, true))
    }

    @Test func periodsOverrideAndNeverRunOut() throws {
        #expect(
            try resolve(at: 50_000) {
                $0.period = .seconds(60); $0.increment = .seconds(5)
            } == (60, false))
        #expect(try resolve { $0.period = .seconds(6000) } == (1000, true))
        #expect(
            try resolve(at: 90) {
                $0.period = .seconds(60); $0.explicitMaxTTL = .seconds(100)
            } == (10, true))
    }

    @Test func whatIsPastItsCapCannotBeRenewed() {
        #expect(throws: VaultError.self) { try resolve(at: 1001) { $0.increment = .seconds(1) } }
    }
}
