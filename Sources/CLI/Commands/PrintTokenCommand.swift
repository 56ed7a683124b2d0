internal import APIClient
internal import Base

enum PrintTokenCommand: CommandDefinition {
    static let name = "print token"
    static let synopsis = "Print the token currently in use"
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let token = try call.client().configuration.token
        if !call.output.isTable { return call.output.data(["token": .string(token)]) }
        call.console.out(token)
        return 0
    }
}
