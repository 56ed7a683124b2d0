import Base

/// What one check found, and the checks under it.
struct Diagnosis {
    enum Outcome: Int, Comparable {
        case ok, skipped, warning, failure

        static func < (a: Outcome, b: Outcome) -> Bool { a.rawValue < b.rawValue }

        var word: String {
            switch self {
            case .ok: "success"
            case .skipped: "skipped"
            case .warning: "warning"
            case .failure: "failure"
            }
        }
    }

    let name: String
    private let own: Outcome
    /// What was found, and what to do about it.
    let message: String
    var checks: [Diagnosis]

    init(_ name: String, _ outcome: Outcome = .ok, _ message: String = "", checks: [Diagnosis] = []) {
        self.name = name
        own = outcome
        self.message = message
        self.checks = checks
    }

    /// A failure in the words of an error.
    init(_ name: String, failed error: VaultError) {
        self.init(name, .failure, error.privateCause ?? error.messages.joined(separator: "; "))
    }

    /// The worst of this check and those under it.
    var outcome: Outcome { checks.map(\.outcome).reduce(own, max) }

    /// A line for each check, indented by its depth.
    func lines(depth: Int = 0) -> [String] {
        let margin = String(repeating: "  ", count: depth)
        let tail = message.isEmpty ? "" : ": \(message)"
        return ["\(margin)[ \(outcome.word) ] \(name)\(tail)"] + checks.flatMap { $0.lines(depth: depth + 1) }
    }

    var json: JSONValue {
        var members: [(String, JSONValue)] = [
            ("name", .string(name)), ("status", .string(outcome.word)), ("message", .string(message)),
        ]
        if !checks.isEmpty { members.append(("children", .array(checks.map(\.json)))) }
        return .object(members)
    }
}
