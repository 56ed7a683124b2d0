internal import APIClient
internal import Base

enum KVEnableVersioningCommand: CommandDefinition {
    static let name = "kv enable-versioning"
    static let synopsis = "Turn on versioning for a KV store"
    static let operands = "PATH"
    static let named = OperandKind.secretsMount
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let mount = KVPath.sanitized(call.arguments[0]) + "/"
        _ = try call.api("Error tuning secrets engine \(mount)") { (client) throws(APIError) in
            try client.write("sys/mounts/\(mount)tune", ["options": ["version": "2"]])
        }
        call.output.say("Success! Tuned the secrets engine at: \(mount)")
        return 0
    }
}
