internal import APIClient
internal import Base

/// `operator rotate` and `key-status`.
enum OperatorRotateCommand: CommandDefinition {
    static let name = "operator rotate"
    static let synopsis = "Rotate the underlying encryption key"
    static let details =
        "Adds a new key that encrypts from now on; older ones stay, to decrypt what they encrypted."

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        _ = try call.api("Error rotating key") { (client) throws(APIError) in
            try client.call("PUT", "sys/rotate")
        }
        let status = try OperatorKeyStatusCommand.fetch(call)
        if !call.output.isTable { return call.output.data(status) }
        call.output.say("Success! Rotated key\n")
        call.output.say(OperatorKeyStatusCommand.text(of: status))
        return 0
    }
}

enum OperatorKeyStatusCommand: CommandDefinition {
    static let name = "operator key-status"
    static let synopsis = "Provide information about the active encryption key"

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let status = try fetch(call)
        if !call.output.isTable { return call.output.data(status) }
        call.output.say(text(of: status))
        return 0
    }

    static func fetch(_ call: Invocation) throws(CommandFailure) -> JSONValue {
        let found = try call.api("Error reading key status") { (client) throws(APIError) in
            try client.read("sys/key-status")
        }
        let data = found?.data?.tree ?? .object([])
        return .object(
            ["term", "install_time", "encryptions"].compactMap { name in data[name].map { (name, $0) } })
    }

    static func text(of status: JSONValue) -> String {
        let time = status["install_time"].flatMap { Timestamp(rfc3339: $0.goText) }.map(rfc822)
        return Table.text(
            [
                ["Key Term", status["term"]?.goText ?? ""], ["Install Time", time ?? ""],
                ["Encryption Count", status["encryptions"]?.goText ?? "0"],
            ], underlined: false)
    }

    /// `23 Nov 26 17:22 UTC`.
    static func rfc822(_ time: Timestamp) -> String {
        let text = Array(time.rfc3339(fraction: 0))
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let month = months[(Int(String(text[5...6])) ?? 1) - 1]
        return "\(String(text[8...9])) \(month) \(String(text[2...3])) \(String(text[11...15])) UTC"
    }
}
