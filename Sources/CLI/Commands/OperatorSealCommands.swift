internal import APIClient
internal import Base

/// `operator unseal`, `seal` and `step-down`.
enum OperatorUnsealCommand: CommandDefinition {
    static let name = "operator unseal"
    static let synopsis = "Unseal the server"
    static let operands = "[KEY]"
    static let details = """
        Hands one share of the unseal key to the server. Without an argument it asks for the share
        and hides it, which is the safer way: arguments stay in the shell's history. "-" reads the
        share from standard input.
        """
    static let count: ClosedRange<Int>? = 0...1
    static let reset = Flag<Bool>(switch: "reset", "Forget the shares given so far.")
    static let migrate = Flag<Bool>(switch: "migrate", "The share is for moving to another seal.")
    static let flags: [any AnyFlag] = [reset, migrate]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        var body: [(String, JSONValue)] = [("reset", true)]
        if !call[reset] {
            let key = try KeyShare.read("Unseal Key", call)
            body = [("key", .string(key)), ("reset", false), ("migrate", .bool(call[migrate]))]
        }
        let status = try call.api("Error unsealing") { (client) throws(APIError) in
            try client.call("PUT", "sys/unseal", body: body.asObject.encoded())
        }
        try SealStatus.print(status?.tree ?? .object([]), call)
        return 0
    }
}

enum OperatorSealCommand: CommandDefinition {
    static let name = "operator seal"
    static let synopsis = "Seal the server"
    static let details =
        "Forgets the root key and every secret in memory; only unsealing brings the service back."
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        _ = try call.api("Error sealing") { (client) throws(APIError) in try client.call("PUT", "sys/seal") }
        call.output.say("Success! Vault is sealed.")
        return 0
    }
}

enum OperatorStepDownCommand: CommandDefinition {
    static let name = "operator step-down"
    static let synopsis = "Force the active node to become a standby"
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let address = try call.api("Error stepping down") { (client) throws(APIError) in
            _ = try client.call("PUT", "sys/step-down")
            return client.address
        }
        call.output.say("Success! Stepped down: \(address)")
        return 0
    }
}
