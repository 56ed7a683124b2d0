import Base
import PluginKit
import Testing

@testable import Core

@Suite struct LockoutTests {
    private let start = Timestamp(seconds: 1_000_000)
    private func name(_ text: String) -> LoginLockouts.Name { .init(accessor: "a", name: text) }

    @Test func theThresholdLocksForItsTime() {
        let lockouts = LoginLockouts()
        let rules = LockoutRules()
        for count in 1...5 {
            #expect(!lockouts.isLocked(name("ann"), now: start))
            lockouts.fail(name("ann"), rules, now: start + .seconds(count))
        }
        #expect(lockouts.isLocked(name("ann"), now: start + .seconds(904)))
        lockouts.fail(name("ann"), rules, now: start + .seconds(900))
        #expect(!lockouts.isLocked(name("ann"), now: start + .seconds(905)), "guesses make it no longer")
        #expect(!lockouts.isLocked(.init(accessor: "b", name: "ann"), now: start + .seconds(6)))
        lockouts.fail(name("ann"), rules, now: start + .seconds(906))
        #expect(!lockouts.isLocked(name("ann"), now: start + .seconds(907)), "counting starts anew")
    }

    @Test func theRightGuessAndTimeResetTheCount() {
        let lockouts = LoginLockouts()
        var rules = LockoutRules()
        rules.threshold = 2
        lockouts.fail(name("ann"), rules, now: start)
        lockouts.succeed(name("ann"))
        lockouts.fail(name("ann"), rules, now: start)
        #expect(!lockouts.isLocked(name("ann"), now: start))
        lockouts.fail(name("ann"), rules, now: start + rules.counterReset)
        #expect(!lockouts.isLocked(name("ann"), now: start + rules.counterReset))
        lockouts.fail(name("ann"), rules, now: start + rules.counterReset + .seconds(1))
        #expect(lockouts.isLocked(name("ann"), now: start + rules.counterReset + .seconds(1)))
    }

    @Test func aFloodOfNamesNeitherGrowsNorLiftsALock() {
        let lockouts = LoginLockouts()
        let rules = LockoutRules()
        for _ in 0..<5 { lockouts.fail(name("ann"), rules, now: start) }
        for number in 0..<70_000 {
            lockouts.fail(name("flood\(number)"), rules, now: start + .milliseconds(number * 10))
        }
        #expect(lockouts.isLocked(name("ann"), now: start + .seconds(899)))
        #expect(lockouts.locked(now: start + .seconds(899)) == [name("ann")])
        #expect(lockouts.isLocked(name(String(repeating: "x", count: 10_000)), now: start) == false)
    }

    @Test func settingsComeFromTheNearestSource() {
        var all = LockoutSettings(), mount = LockoutSettings()
        all.threshold = 9
        all.duration = .seconds(1)
        mount.threshold = 2
        let rules = mount.applied(to: all.applied(to: LockoutRules()))
        #expect(rules.threshold == 2 && rules.duration == .seconds(1) && rules.counterReset == .seconds(900))
        let record = RawJSON(trusted: JSONValue.object(mount.members).encoded())
        #expect(LockoutSettings(record: record) == mount)
    }
}
