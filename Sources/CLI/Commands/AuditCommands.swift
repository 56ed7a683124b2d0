internal import APIClient
internal import Base

/// `audit list`, `enable` and `disable`.
enum AuditListCommand: CommandDefinition {
    static let name = "audit list"
    static let synopsis = "List enabled audit devices"
    static let detailed = Flag<Bool>(switch: "detailed", "Show replication and options too.")
    static let flags: [any AnyFlag] = [detailed]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let found = try call.api("Error listing audits") { (client) throws(APIError) in
            try client.read("sys/audit")
        }
        let devices = (found?.data?.tree.members ?? []).filter { !$0.1.members.isEmpty }
        if !call.output.isTable { return call.output.data(.object(devices)) }
        if devices.isEmpty {
            call.output.say("No audit devices are enabled.")
            return 2
        }
        func text(_ device: JSONValue, _ name: String) -> String {
            device[name].flatMap { $0.isNull ? nil : $0.goText } ?? ""
        }
        let isDetailed = call[detailed]
        let rows = devices.map { path, device in
            var row = [path, text(device, "type"), text(device, "description")]
            guard isDetailed else { return row }
            row.append(text(device, "local") == "true" ? "local" : "replicated")
            row.append(
                (device["options"]?.members ?? []).map { "\($0.0)=\($0.1.goText)" }.joined(separator: " "))
            return row
        }
        let header = ["Path", "Type", "Description"] + (isDetailed ? ["Replication", "Options"] : [])
        call.output.say(Table.text([header] + rows))
        return 0
    }
}

enum AuditEnableCommand: CommandDefinition {
    static let name = "audit enable"
    static let synopsis = "Enable an audit device"
    static let operands = "TYPE [CONFIG K=V...]"
    static let count: ClosedRange<Int>? = nil
    static let shared = SharedFlags.http
    static let flags: [any AnyFlag] = [MountFlags.description, MountFlags.path, MountFlags.local]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        guard let first = call.arguments.first else {
            throw .usage(
                "Error enabling audit device: audit type missing. "
                    + "Valid types include 'file', 'socket' and 'syslog'."
            )
        }
        let type = String(first.trimmed)
        let path = KVPath.sanitized(call.flags.has(MountFlags.path) ? call[MountFlags.path] : type)
        let options = try DataArguments.strings(Array(call.arguments.dropFirst()), call.console)
        let body: JSONValue = [
            "type": .string(type), "description": .string(call[MountFlags.description]),
            "options": .map(options),
            "local": .bool(call[MountFlags.local]),
        ]
        _ = try call.api("Error enabling audit device") { (client) throws(APIError) in
            try client.write("sys/audit/\(path)", body)
        }
        call.output.say("Success! Enabled the \(type) audit device at: \(path)/")
        return 0
    }
}

enum AuditDisableCommand: CommandDefinition {
    static let name = "audit disable"
    static let synopsis = "Disable an audit device"
    static let operands = "PATH"
    static let named = OperandKind.auditDevice
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = KVPath.sanitized(call.arguments[0])
        _ = try call.api("Error disabling audit device") { (client) throws(APIError) in
            try client.delete("sys/audit/\(path)")
        }
        call.output.say("Success! Disabled audit device (if it was enabled) at: \(path)/")
        return 0
    }
}
