internal import APIClient
internal import Base

enum UnwrapCommand: CommandDefinition {
    static let name = "unwrap"
    static let synopsis = "Unwrap a wrapped secret"
    static let operands = "[TOKEN]"
    static let details = "Without an argument, the caller's own token is the wrapping token."
    static let count: ClosedRange<Int>? = 0...1
    static let shared = SharedFlags.all

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let given = call.arguments.first.map { String($0.trimmed) }
        let found = try call.api("Error unwrapping") { (client) throws(APIError) in
            guard let given else { return try client.write("sys/wrapping/unwrap", .object([])) }
            // A wrapping token is its own permission where the caller has none.
            if client.configuration.token.isEmpty {
                client.configuration.token = given
                return try client.write("sys/wrapping/unwrap", .object([]))
            }
            return try client.write("sys/wrapping/unwrap", ["token": .string(given)])
        }
        guard let found else { throw .failed("Could not find wrapped response") }
        return call.output.secret(found)
    }
}
