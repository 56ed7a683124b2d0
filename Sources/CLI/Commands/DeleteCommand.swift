internal import APIClient
internal import Base

enum DeleteCommand: CommandDefinition {
    static let name = "delete"
    static let synopsis = "Delete secrets and configuration"
    static let operands = "PATH [K=V...]"
    static let named = OperandKind.path
    static let count: ClosedRange<Int>? = nil
    static let shared = SharedFlags.all

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        guard let first = call.arguments.first else {
            throw .usage("Not enough arguments (expected 1, got 0)")
        }
        let path = KVPath.sanitized(first)
        let query = try DataArguments.strings(Array(call.arguments.dropFirst()), call.console)
        let answer = try call.api("Error deleting \(path)") { (client) throws(APIError) in
            try client.delete(path, query: query.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        }
        return deleted(answer, path, call)
    }

    static func deleted(_ answer: Secret?, _ path: String, _ call: Invocation) -> Int32 {
        if let answer, answer.data != nil || answer.wrapInfo != nil || answer.auth != nil {
            return call.output.secret(answer)
        }
        if let answer { call.output.warnings(of: answer) }
        if call.output.isTable { call.output.say("Success! Data deleted (if it existed) at: \(path)") }
        return 0
    }
}
