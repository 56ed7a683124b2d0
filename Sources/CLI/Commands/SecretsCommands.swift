internal import APIClient
internal import Base

/// `secrets list`, `enable`, `disable`, `tune` and `move`.
enum SecretsListCommand: CommandDefinition {
    static let name = "secrets list"
    static let synopsis = "List enabled secrets engines"
    static let detailed = Flag<Bool>(switch: "detailed", "Show lifetimes, replication and options too.")
    static let flags: [any AnyFlag] = [detailed]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let mounts = try MountTable.fetch("sys/mounts", "secrets engines", call)
        if !call.output.isTable { return call.output.data(mounts) }
        call.output.say(
            call[detailed] ? MountTable.detailed(mounts, isAuth: false) : MountTable.simple(mounts))
        return 0
    }
}

enum SecretsEnableCommand: CommandDefinition {
    static let name = "secrets enable"
    static let synopsis = "Enable a secrets engine"
    static let operands = "TYPE"
    static let details = "    $ holdfast secrets enable -path=team -version=2 kv"
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.http
    static let flags: [any AnyFlag] = MountFlags.enabling

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let (type, path) = try MountFlags.place(call)
        _ = try call.api("Error enabling") { (client) throws(APIError) in
            try client.call(
                "POST", "sys/mounts/" + path.dropLast(), body: MountFlags.enableBody(type, call).encoded())
        }
        call.output.say("Success! Enabled the \(type) secrets engine at: \(path)")
        return 0
    }
}

enum SecretsDisableCommand: CommandDefinition {
    static let name = "secrets disable"
    static let synopsis = "Disable a secrets engine"
    static let operands = "PATH"
    static let named = OperandKind.secretsMount
    static let details = "Revokes the engine's leases and removes all that it stores."
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = KVPath.sanitized(call.arguments[0])
        _ = try call.api("Error disabling secrets engine at \(path)/") { (client) throws(APIError) in
            try client.delete("sys/mounts/\(path)")
        }
        call.output.say("Success! Disabled the secrets engine (if it existed) at: \(path)/")
        return 0
    }
}

enum SecretsTuneCommand: CommandDefinition {
    static let name = "secrets tune"
    static let synopsis = "Tune a secrets engine configuration"
    static let operands = "PATH"
    static let named = OperandKind.secretsMount
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.http
    static let flags: [any AnyFlag] = MountFlags.shared + [MountFlags.version]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = KVPath.sanitized(call.arguments[0])
        _ = try call.api("Error tuning secrets engine \(path)/") { (client) throws(APIError) in
            try client.call("POST", "sys/mounts/\(path)/tune", body: MountFlags.tuneBody(call).encoded())
        }
        call.output.say("Success! Tuned the secrets engine at: \(path)/")
        return 0
    }
}

enum SecretsMoveCommand: CommandDefinition {
    static let name = "secrets move"
    static let synopsis = "Move a secrets engine to a new path"
    static let operands = "SOURCE DESTINATION"
    static let named = OperandKind.secretsMount
    static let details = "Leases of the engine are revoked; its configuration and data stay."
    static let count: ClosedRange<Int>? = 2...2
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let source = KVPath.sanitized(call.arguments[0]) + "/"
        let destination = KVPath.sanitized(call.arguments[1]) + "/"
        let what = "Error moving secrets engine \(source) to \(destination)"
        let answer = try call.api(what) { (client) throws(APIError) in
            client.envelope(
                try client.call(
                    "POST", "sys/remount",
                    body: (["from": .string(source), "to": .string(destination)] as JSONValue).encoded()))
        }
        // Servers that move in the background give the move a number to ask after.
        if let id = answer?.data?["migration_id"]?.string { try RemountWatch.wait(for: id, what, call) }
        call.output.say("Success! Moved secrets engine \(source) to: \(destination)")
        return 0
    }
}
