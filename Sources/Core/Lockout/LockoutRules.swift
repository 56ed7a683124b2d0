package import Base

/// When wrong guesses lock a name out, and for how long. Vault API: `user_lockout_config`.
package struct LockoutRules: Sendable, Equatable {
    /// Wrong guesses in a row that lock the name.
    package var threshold = 5
    /// How long it stays locked.
    package var duration = Duration.seconds(900)
    /// A wrong guess is forgotten when none followed it for this long.
    package var counterReset = Duration.seconds(900)
    package var isDisabled = false

    package init() {}
}

/// What an operator set of the rules, on a mount or in the configuration; where nil, the next source counts.
package struct LockoutSettings: Sendable, Equatable {
    package var threshold: Int?
    package var duration: Duration?
    package var counterReset: Duration?
    package var isDisabled: Bool?

    package init() {}

    /// The rules, with these settings put over them.
    package func applied(to rules: LockoutRules) -> LockoutRules {
        var rules = rules
        if let threshold { rules.threshold = threshold }
        if let duration { rules.duration = duration }
        if let counterReset { rules.counterReset = counterReset }
        if let isDisabled { rules.isDisabled = isDisabled }
        return rules
    }

    /// The members of `user_lockout_config` in `sys/auth`, `tune`, and the mount's record.
    package var members: [(String, JSONValue)] {
        var members: [(String, JSONValue)] = []
        if let counterReset {
            members.append(("user_lockout_counter_reset_duration", .int(Int(counterReset.wholeSeconds))))
        }
        if let isDisabled { members.append(("user_lockout_disable", .bool(isDisabled))) }
        if let duration { members.append(("user_lockout_duration", .int(Int(duration.wholeSeconds)))) }
        if let threshold { members.append(("user_lockout_threshold", .int(threshold))) }
        return members
    }

    /// Reads `members` back.
    init(record json: RawJSON) {
        func span(_ name: String) -> Duration? { json[name]?.int.map { .seconds($0) } }
        threshold = json["user_lockout_threshold"]?.int
        duration = span("user_lockout_duration")
        counterReset = span("user_lockout_counter_reset_duration")
        isDisabled = json["user_lockout_disable"]?.bool
    }
}
