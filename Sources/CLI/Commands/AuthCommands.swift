internal import APIClient
internal import Base

/// `auth list`, `enable`, `disable`, `tune` and `move`.
enum AuthListCommand: CommandDefinition {
    static let name = "auth list"
    static let synopsis = "List enabled auth methods"
    static let detailed = Flag<Bool>(switch: "detailed", "Show lifetimes, replication and options too.")
    static let flags: [any AnyFlag] = [detailed]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let mounts = try MountTable.fetch("sys/auth", "enabled authentications", call)
        if !call.output.isTable { return call.output.data(mounts) }
        call.output.say(
            call[detailed] ? MountTable.detailed(mounts, isAuth: true) : MountTable.simple(mounts))
        return 0
    }
}

enum AuthEnableCommand: CommandDefinition {
    static let name = "auth enable"
    static let synopsis = "Enable a new auth method"
    static let operands = "TYPE"
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.http
    static let flags: [any AnyFlag] = MountFlags.enabling + MountFlags.auth

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let (type, path) = try MountFlags.place(call)
        _ = try call.api("Error enabling \(type) auth") { (client) throws(APIError) in
            try client.call(
                "POST", "sys/auth/" + path.dropLast(), body: MountFlags.enableBody(type, call).encoded())
        }
        call.output.say("Success! Enabled \(type) auth method at: \(path)")
        return 0
    }
}

enum AuthDisableCommand: CommandDefinition {
    static let name = "auth disable"
    static let synopsis = "Disable an auth method"
    static let operands = "PATH"
    static let named = OperandKind.authMount
    static let details = "Revokes every token that came from it."
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = KVPath.sanitized(call.arguments[0])
        _ = try call.api("Error disabling auth method at \(path)/") { (client) throws(APIError) in
            try client.delete("sys/auth/\(path)")
        }
        call.output.say("Success! Disabled the auth method (if it existed) at: \(path)/")
        return 0
    }
}

enum AuthTuneCommand: CommandDefinition {
    static let name = "auth tune"
    static let synopsis = "Tune an auth method configuration"
    static let operands = "PATH"
    static let named = OperandKind.authMount
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.http
    static let flags: [any AnyFlag] = MountFlags.shared + MountFlags.auth + [MountFlags.version]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = KVPath.sanitized(call.arguments[0])
        _ = try call.api("Error tuning auth method \(path)/") { (client) throws(APIError) in
            try client.call("POST", "sys/auth/\(path)/tune", body: MountFlags.tuneBody(call).encoded())
        }
        call.output.say("Success! Tuned the auth method at: \(path)/")
        return 0
    }
}

enum AuthMoveCommand: CommandDefinition {
    static let name = "auth move"
    static let synopsis = "Move an auth method to a new path"
    static let operands = "SOURCE DESTINATION"
    static let named = OperandKind.authMount
    static let count: ClosedRange<Int>? = 2...2
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let source = KVPath.sanitized(call.arguments[0]) + "/"
        let destination = KVPath.sanitized(call.arguments[1]) + "/"
        let what = "Error moving auth method \(source) to \(destination)"
        let body: JSONValue = ["from": .string("auth/" + source), "to": .string("auth/" + destination)]
        let answer = try call.api(what) { (client) throws(APIError) in
            client.envelope(try client.call("POST", "sys/remount", body: body.encoded()))
        }
        if let id = answer?.data?["migration_id"]?.string { try RemountWatch.wait(for: id, what, call) }
        call.output.say("Success! Moved auth method \(source) to: \(destination)")
        return 0
    }
}
