/// Which policy names a token may carry, and how they are written.
package enum TokenPolicies {
    /// What the core gives to tokens that it makes for a purpose of its own; no client may ask for them.
    package static let internalNames: Set<String> = ["response-wrapping", "control-group"]

    /// In lower case, without blanks, empty names and repetition, sorted. `root` stands alone.
    package static func sanitized(_ names: [String], addingDefault: Bool) -> [String] {
        var found: Set<String> = []
        for name in names {
            let plain = name.lowercased().trimmingBlanks()
            if !plain.isEmpty { found.insert(plain) }
        }
        if found.contains("root") { return ["root"] }
        if addingDefault { found.insert("default") }
        return found.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Whether two tokens of these policies may do the same; `default` does not count, for whether it is
    /// added is no part of a user's or role's own list.
    package static func areEquivalent(_ a: [String], _ b: [String]) -> Bool {
        let ownOfA = Set(sanitized(a, addingDefault: false)).subtracting(["default"])
        return ownOfA == Set(sanitized(b, addingDefault: false)).subtracting(["default"])
    }
}
