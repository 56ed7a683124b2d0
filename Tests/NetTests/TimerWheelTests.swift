import TestKit
import Testing

@testable import Net

@Suite struct TimerWheelTests {
    @Test func deadlinesPassInTheirTickAndOnlyOnce() {
        var wheel = TimerWheel(now: 10)
        wheel.grow(to: 4)
        wheel.set(0, deadline: 12)
        wheel.set(1, deadline: 5_000)
        wheel.set(2, deadline: 12)
        wheel.set(3, deadline: .max)
        wheel.set(2, deadline: 20)
        var expired: [Int] = []
        wheel.advance(to: 11, expired: &expired)
        #expect(expired.isEmpty)
        wheel.advance(to: 13, expired: &expired)
        #expect(expired == [0])
        wheel.advance(to: 4_999, expired: &expired)
        #expect(expired == [0, 2])
        wheel.advance(to: 50_000, expired: &expired)
        #expect(expired == [0, 2, 1])
    }

    @Test func behavesAsATableOfDeadlines() {
        let random = SeededRandom(seed: 7)
        var wheel = TimerWheel(now: 1)
        var table: [Int: UInt64] = [:]
        var now: UInt64 = 1
        wheel.grow(to: 50)
        for _ in 0..<20_000 {
            let id = random.below(50)
            switch random.below(4) {
            case 0:
                wheel.clear(id)
                table[id] = nil
            case 1:
                now += UInt64(random.below(10) == 0 ? random.below(5_000) : random.below(4))
                var expired: [Int] = []
                wheel.advance(to: now, expired: &expired)
                let due = table.filter { $0.value <= now }.map(\.key)
                #expect(Set(expired) == Set(due))
                #expect(expired.count == due.count)
                for id in due { table[id] = nil }
            default:
                let deadline = now + 1 + UInt64(random.below(3_000))
                wheel.set(id, deadline: deadline)
                table[id] = deadline
            }
        }
    }
}
