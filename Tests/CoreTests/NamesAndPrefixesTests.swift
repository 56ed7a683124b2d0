import Base
import TestKit
import Testing

@testable import Core

/// Names in the order of time, and many prefixes at once.
@Suite struct TimePrefixTests {
    @Test func laterNamesComeBehind() {
        let moments: [Int64] = [0, 1, 61, 62, 3_843, 3_844, 1_790_000_000_000, 1_790_000_000_001]
        let names = moments.map { TimePrefix.of(Timestamp(nanoseconds: $0 * 1_000_000)) }
        #expect(names == names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) })
        #expect(Set(names).count == moments.count && names.allSatisfy { $0.utf8.count == 7 })
        #expect(names[0] == TimePrefix.none && names[3] == "0000010")
        for (name, moment) in zip(names, moments) {
            #expect(TimePrefix.moment(of: name + "tail")?.nanoseconds == moment * 1_000_000)
        }
    }

    @Test(arguments: [-5, Int64.max] as [Int64])
    func impossibleMomentsAreCutShort(nanoseconds: Int64) {
        let name = TimePrefix.of(Timestamp(nanoseconds: nanoseconds))
        #expect(name == (nanoseconds < 0 ? "0000000" : "zzzzzzz"))
    }

    @Test(arguments: ["", "123456", "12-4567", "é23456"])
    func otherNamesTellNoMoment(name: String) { #expect(TimePrefix.moment(of: name) == nil) }

    @Test func aPlaceLiesBetweenTheFirstNameAndNow() {
        let random = SeededRandom(seed: 3)
        let first = TimePrefix.of(Timestamp(seconds: 1_000))
        let now = Timestamp(seconds: 1_010)
        for _ in 0..<100 {
            let place = TimePrefix.place(from: first, to: now, random)
            #expect(place >= first && place <= TimePrefix.of(now))
        }
    }

    @Test func behindTheTimeStandsADigit() {
        let random = SeededRandom(seed: 5)
        for _ in 0..<1_000 {
            let name = random.timeOrdered(24, Timestamp(seconds: 1_000))
            #expect(name.utf8.count == 24)
            #expect(name.dropFirst(TimePrefix.characters).contains { $0.isNumber }, "\(name)")
        }
    }

    @Test func aTokensPlaceBeginsWithTheTimeThatItCarries() throws {
        let f = TokenFixture()
        _ = try f.root()
        let token = try f.create()
        #expect(token.utf8.count == TokenStore.serviceTokenBytes)
        let entry = try #require(try f.authenticate(token))
        let time = TimePrefix.of(f.now)
        #expect(token.hasPrefix("hvs." + time))
        #expect(entry.accessor.hasPrefix(time) && entry.hash.hasPrefix(time))
        // Whoever chooses a token chooses no place in the order of time by accident.
        #expect(try f.authenticate("root")?.hash.hasPrefix(TimePrefix.none) == true)
        // The time is part of what has to be right.
        let other = "hvs." + TimePrefix.of(f.now + .seconds(1)) + token.dropFirst(11)
        #expect(try f.authenticate(other) == nil)
    }
}

@Suite struct PrefixFilterTests {
    @Test(arguments: [1, 3, 4, 5, 40])
    func findsWhatComparingOneByOneFinds(count: Int) {
        let random = SeededRandom(seed: UInt64(count))
        func text(_ most: Int) -> String {
            String(decoding: (0..<random.below(most)).map { _ in UInt8(97 + random.below(2)) }, as: UTF8.self)
        }
        for _ in 0..<50 {
            let prefixes = (0..<count).map { _ in "a" + text(9) }
            let filter = PrefixFilter(prefixes)
            for _ in 0..<50 {
                let key = text(12)
                let isExpected = prefixes.contains { key.utf8.starts(with: $0.utf8) }
                #expect(filter.matches(key) == isExpected)
            }
        }
        #expect(PrefixFilter([""]).matches("") && PrefixFilter([""]).matches("a"))
        #expect(!PrefixFilter([]).matches("a"))
    }

    @Test func theWindowKnowsWhichCommitsAViewHasSeen() {
        var window = ConflictWindow(startingAfter: 1)
        window.note(["a/1", "b/1"], at: 2)
        window.note(["c/1"], at: 3)
        let many = (0..<9).map { "x\($0)/" }
        #expect(window.changed(keys: [], prefixes: many + ["a/"], since: 1))
        #expect(!window.changed(keys: [], prefixes: many + ["a/"], since: 2))
        #expect(window.changed(keys: ["c/1"], prefixes: [], since: 2))
        #expect(!window.changed(keys: ["c/1"], prefixes: many + ["c/"], since: 3))
        // What is older than all that is remembered counts as changed.
        #expect(window.changed(keys: [], prefixes: [], since: 0))
    }
}
