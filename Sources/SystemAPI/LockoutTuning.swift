import Base
import Core
import PluginKit

/// `user_lockout_config`, as enabling and tuning an auth method take it.
enum LockoutTuning {
    /// Types of auth method whose names can be locked out.
    private static let types: Set<String> = ["userpass", "approle", "ldap"]
    private static let most = 1_000_000

    /// Applies the members that are present to what was tuned before.
    static func read(
        _ json: RawJSON, over before: LockoutSettings?, _ entry: MountEntry
    ) throws(VaultError) -> LockoutSettings {
        guard entry.kind == .auth, types.contains(entry.type) else {
            throw .badRequest("tuning of user lockout configuration for type \"\(entry.type)\" not allowed")
        }
        guard json.kind == .object else {
            throw .badRequest("field 'user_lockout_config': expected an object")
        }
        var settings = before ?? LockoutSettings()
        if let value = sent(json, "lockout_threshold") {
            guard let count = Int.parse(.json(value)), (1...most).contains(count) else {
                throw .badRequest("lockout_threshold: expected a number from 1 to \(most)")
            }
            settings.threshold = count
        }
        settings.duration = try span(json, "lockout_duration") ?? settings.duration
        for name in ["lockout_counter_reset_duration", "lockout_counter_reset"] {
            settings.counterReset = try span(json, name) ?? settings.counterReset
        }
        if let value = sent(json, "lockout_disable") {
            guard let flag = Bool.parse(.json(value)) else {
                throw .badRequest("lockout_disable: expected a boolean")
            }
            settings.isDisabled = flag
        }
        return settings
    }

    private static func sent(_ json: RawJSON, _ name: String) -> RawJSON? {
        json[name].flatMap { $0.isNull ? nil : $0 }
    }

    private static func span(_ json: RawJSON, _ name: String) throws(VaultError) -> Duration? {
        guard let value = sent(json, name) else { return nil }
        guard let span = Duration.parse(.json(value)), span > .zero, span.wholeSeconds < 1 << 33 else {
            throw .badRequest("\(name): expected a duration such as \"15m\"")
        }
        return span
    }
}
