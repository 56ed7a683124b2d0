import Base
import Core

/// `user_lockout "all" { … }` and its like: when wrong guesses lock a login name out, for all auth
/// methods or those of one type. What is tuned on a mount counts more.
extension ConfigurationReader {
    private static let lockoutLabels = ["all", "userpass", "approle", "ldap"]

    mutating func lockouts(
        _ member: HCLMember, into lockouts: inout [String: LockoutSettings]
    ) throws(VaultError) {
        for block in try member.labelledBlocks() {
            guard Self.lockoutLabels.contains(block.label) else {
                let known = Self.lockoutLabels.joined(separator: ", ")
                throw block.position.fault(
                    "user_lockout \"\(block.label)\": expected one of \(known)")
            }
            var settings = lockouts[block.label] ?? LockoutSettings()
            for inner in block.body.members {
                switch inner.key {
                case "lockout_threshold": settings.threshold = try positive(inner)
                case "lockout_duration": settings.duration = try lasting(inner)
                case "lockout_counter_reset": settings.counterReset = try lasting(inner)
                case "disable_lockout": settings.isDisabled = try bool(inner)
                default: warnUnknown(inner, in: "user_lockout")
                }
            }
            lockouts[block.label] = settings
        }
    }

    private func positive(_ member: HCLMember) throws(VaultError) -> Int {
        let count = try int(member)
        guard (1...1_000_000).contains(count) else {
            throw member.value.position.fault("'\(member.key)': expected a number from 1 to 1000000")
        }
        return count
    }

    /// A lock without a length would never hold; it is switched off by `disable_lockout`.
    private func lasting(_ member: HCLMember) throws(VaultError) -> Duration {
        let span = try duration(member)
        guard span > .zero else {
            throw member.value.position.fault("'\(member.key)': expected more than 0 seconds")
        }
        return span
    }
}
