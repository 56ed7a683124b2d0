internal import APIClient
internal import Base

enum WriteCommand: CommandDefinition {
    static let name = "write"
    static let synopsis = "Write data, configuration, and secrets"
    static let operands = "PATH [DATA K=V...]"
    static let named = OperandKind.path
    static let details = """
        A value may come from a file (key=@file) or from standard input (key=-); a whole JSON object
        from a file (@file.json) or from standard input (-). A value that starts with @ itself is
        written key=\\@value.

            $ holdfast write cubbyhole/git-credentials username="student01" password=@password.txt
        """
    static let count: ClosedRange<Int>? = nil
    static let shared = SharedFlags.all
    static let force = Flag<Bool>(switch: "force", aliases: ["f"], "Write although there are no data.")
    static let flags: [any AnyFlag] = [force]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        guard let first = call.arguments.first else {
            throw .usage("Not enough arguments (expected 1, got 0)")
        }
        if call.arguments.count == 1, !call[force] { throw .usage("Must supply data or use -force") }
        let path = KVPath.sanitized(first)
        let body = try DataArguments.object(Array(call.arguments.dropFirst()), call.console)
        let written = try call.api("Error writing data to \(path)") { (client) throws(APIError) in
            try client.write(path, body)
        }
        return call.output.written(written, at: path)
    }
}
