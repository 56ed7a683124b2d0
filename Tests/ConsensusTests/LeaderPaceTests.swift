import Testing

@testable import Consensus

@Suite struct LeaderPaceTests {
    private let standard: UInt64 = 20_000_000

    private func hearing(every pause: UInt64, times: Int) -> LeaderPace {
        var pace = LeaderPace()
        for number in 0..<times { pace.heard(1, term: 1, at: UInt64(number + 1) * pause) }
        return pace
    }

    @Test func anEvenLeaderLeavesTheClockAlone() {
        let pace = hearing(every: 60_000_000, times: 100)
        #expect(pace.tickLength(standard, electionTicks: 15) == standard)
    }

    @Test func longPausesMakeAFollowerPatient() {
        let pace = hearing(every: 150_000_000, times: 10)
        #expect(pace.tickLength(standard, electionTicks: 15) == 40_000_000)
    }

    @Test func patienceHasALimit() {
        let pace = hearing(every: 5_000_000_000, times: 3)
        #expect(pace.tickLength(standard, electionTicks: 15) == 60_000_000)
    }

    @Test func aPauseIsForgottenInTime() {
        var pace = hearing(every: 150_000_000, times: 3)
        for _ in 0..<6_000 { pace.tick() }
        #expect(pace.tickLength(standard, electionTicks: 15) == standard)
    }

    @Test func theTimeBetweenTwoLeadersAndOwnPausesDoNotCount() {
        var pace = LeaderPace()
        pace.heard(1, term: 1, at: 1_000_000_000)
        pace.heard(2, term: 2, at: 5_000_000_000)
        pace.wasAway()
        pace.heard(2, term: 2, at: 9_000_000_000)
        #expect(pace.longestPause == 0)
    }
}
