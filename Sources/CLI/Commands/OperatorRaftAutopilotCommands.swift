internal import APIClient
internal import Base

/// `operator raft autopilot get-config`, `set-config` and `state`.
enum OperatorRaftAutopilotGetConfigCommand: CommandDefinition {
    static let name = "operator raft autopilot get-config"
    static let synopsis = "Shows what autopilot goes by"

    private static let rows: [(title: String, key: String)] = [
        ("Cleanup Dead Servers", "cleanup_dead_servers"),
        ("Last Contact Threshold", "last_contact_threshold"),
        ("Dead Server Last Contact Threshold", "dead_server_last_contact_threshold"),
        ("Server Stabilization Time", "server_stabilization_time"), ("Min Quorum", "min_quorum"),
        ("Max Trailing Logs", "max_trailing_logs"),
    ]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let found = try call.api("Error reading the autopilot configuration") { (client) throws(APIError) in
            try client.read("sys/storage/raft/autopilot/configuration")
        }
        guard let data = found?.data?.tree else { throw .failed("No autopilot configuration found") }
        if !call.output.isTable { return call.output.data(data) }
        let rows = rows.map { [$0.title, data[$0.key]?.goText ?? ""] }
        call.console.out(Table.text([["Key", "Value"]] + rows))
        return 0
    }
}

enum OperatorRaftAutopilotSetConfigCommand: CommandDefinition {
    static let name = "operator raft autopilot set-config"
    static let synopsis = "Changes what autopilot goes by"
    static let shared = SharedFlags.http
    static let cleanup = Flag<Bool?>(
        optionalSwitch: "cleanup-dead-servers", "Remove members that have been silent for too long.")
    static let lastContact = Flag<Duration?>(
        "last-contact-threshold", "Silence after which a member counts as unhealthy.")
    static let dead = Flag<Duration?>(
        "dead-server-last-contact-threshold", "Silence after which a member is removed; at least 1m.")
    static let trailing = Flag<Int>(
        "max-trailing-logs", "Entries of the log that a healthy member may lag behind.")
    static let quorum = Flag<Int>(
        "min-quorum", "Members that are never removed; at least 3 with -cleanup-dead-servers.")
    static let stabilization = Flag<Duration?>(
        "server-stabilization-time", "For how long a new member must be healthy before it votes.")
    static let flags: [any AnyFlag] = [cleanup, lastContact, dead, trailing, quorum, stabilization]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        var body: [(String, JSONValue)] = []
        if let flag = call[cleanup] { body.append(("cleanup_dead_servers", .bool(flag))) }
        for (name, flag) in [
            ("last_contact_threshold", lastContact), ("dead_server_last_contact_threshold", dead),
            ("server_stabilization_time", stabilization),
        ] {
            if let span = call[flag] { body.append((name, .string(span.goText))) }
        }
        for (name, flag) in [("max_trailing_logs", trailing), ("min_quorum", quorum)]
        where call.flags.has(flag) {
            body.append((name, .int(call[flag])))
        }
        if body.isEmpty { throw .usage("Nothing to change: give at least one flag") }
        _ = try call.api("Error writing the autopilot configuration") { (client) throws(APIError) in
            try client.write("sys/storage/raft/autopilot/configuration", body.asObject)
        }
        return 0
    }
}

enum OperatorRaftAutopilotStateCommand: CommandDefinition {
    static let name = "operator raft autopilot state"
    static let synopsis = "Shows how the members of the Raft cluster do"

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let found = try call.api("Error checking autopilot state") { (client) throws(APIError) in
            try client.read("sys/storage/raft/autopilot/state")
        }
        guard let data = found?.data?.tree else { throw .failed("No autopilot state found") }
        if !call.output.isTable { return call.output.data(data) }
        func text(_ value: JSONValue, _ key: String) -> String { value[key]?.goText ?? "" }
        var lines = [
            line("Healthy:", text(data, "healthy"), 33),
            line("Failure Tolerance:", text(data, "failure_tolerance"), 33),
            line("Leader:", text(data, "leader"), 33), "Voters:",
        ]
        if let voters = found?.data?["voters"] { lines += voters.strings.map { "   \($0)" } }
        lines.append("Servers:")
        for (name, server) in (data["servers"]?.members ?? []) {
            lines.append("   \(name)")
            for (title, key) in [
                ("Name:", "name"), ("Address:", "address"), ("Status:", "status"),
                ("Node Status:", "node_status"), ("Healthy:", "healthy"), ("Last Contact:", "last_contact"),
                ("Last Term:", "last_term"), ("Last Index:", "last_index"), ("Version:", "version"),
            ] {
                lines.append("      " + line(title, text(server, key), 19))
            }
        }
        call.console.out(lines.joined(separator: "\n"))
        return 0
    }

    private static func line(_ title: String, _ value: String, _ width: Int) -> String {
        title + String(repeating: " ", count: max(1, width - title.utf8.count)) + value
    }
}
