internal import APIClient
internal import Base

enum ReadCommand: CommandDefinition {
    static let name = "read"
    static let synopsis = "Read data and retrieves secrets"
    static let operands = "PATH [K=V...]"
    static let named = OperandKind.path
    static let details = """
        Reads the path with GET; further K=V pairs become the request's query. -format=raw prints the
        answer's body as it is.

            $ holdfast read sys/mounts/secret/tune
        """
    static let count: ClosedRange<Int>? = nil
    static let shared: SharedFlags = [.all, .raw]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        guard let first = call.arguments.first else {
            throw .usage("Not enough arguments (expected 1, got 0)")
        }
        let path = KVPath.sanitized(first)
        let query = try DataArguments.strings(Array(call.arguments.dropFirst()), call.console)
        if call.output.format == .raw { return try raw(path, query, call) }
        let found = try call.api("Error reading \(path)") { (client) throws(APIError) in
            try client.read(path, query: query.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        }
        guard let found else { throw .failed("No value found at \(path)") }
        return call.output.secret(found)
    }

    /// The body as it came, which need not be JSON: a certificate, say.
    private static func raw(
        _ path: String, _ query: [String: String], _ call: Invocation
    ) throws(CommandFailure) -> Int32 {
        let body = try call.api("Error reading \(path)") { (client) throws(APIError) in
            try client.bytes(path, query: query.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        }
        _ = call.console.write(body)
        return 0
    }
}
