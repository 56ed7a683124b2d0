internal import APIClient
internal import Base

enum PathHelpCommand: CommandDefinition {
    static let name = "path-help"
    static let synopsis = "Retrieve API help for paths"
    static let operands = "PATH"
    static let named = OperandKind.path
    static let details = """
        Shows what the server knows of a path: of a mount, which paths it has; of a path, what it does
        and which parameters it takes.

            $ holdfast path-help secret
            $ holdfast path-help sys/mounts/x
        """
    static let count: ClosedRange<Int>? = 1...1

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        try show(KVPath.sanitized(call.arguments[0]), call)
    }

    /// The help of a path; for readers of JSON its OpenAPI document, where the server gives one.
    static func show(_ path: String, _ call: Invocation) throws(CommandFailure) -> Int32 {
        let answer = try call.api("Error retrieving help") { (client) throws(APIError) in
            try client.call("GET", path, query: [("help", "1")])
        }
        // Some servers wrap it in an envelope.
        let help = answer?["data"]?["help"] == nil ? answer : answer?["data"]
        guard let help, let text = help["help"]?.string else {
            throw .failed("Error retrieving help: the server has none for \(path)")
        }
        if !call.output.isTable {
            return call.output.data(help["openapi"].flatMap { $0.isNull ? nil : $0.tree } ?? help.tree)
        }
        call.output.say(text.hasSuffix("\n") ? String(text.dropLast()) : text)
        return 0
    }
}
