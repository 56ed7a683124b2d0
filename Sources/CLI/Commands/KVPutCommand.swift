internal import APIClient
internal import Base

enum KVPutCommand: CommandDefinition {
    static let name = "kv put"
    static let synopsis = "Set or update data in the KV store"
    static let operands = "KEY [DATA]"
    static let named = OperandKind.key
    static let details = """
        Writes a new version that replaces the one before it whole.

            $ holdfast kv put -mount=secret foo bar=baz
            $ holdfast kv put secret/foo @data.json
            $ echo "abcd1234" | holdfast kv put secret/foo bar=-
        """
    static let count: ClosedRange<Int>? = nil
    static let shared = SharedFlags.all
    static let cas = Flag<Int>(
        "cas", default: -1, "Write only if this is the newest version's number; 0 if there is none.")
    static let flags: [any AnyFlag] = [cas, KVPath.mountFlag]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        guard let first = call.arguments.first else {
            throw .usage("Not enough arguments (expected >1, got 0)")
        }
        guard call.arguments.count > 1 else { throw .usage("Must supply data") }
        let data = try DataArguments.object(Array(call.arguments.dropFirst()), call.console)
        let key = try KVPath(first, call)
        let path = key.api("data")
        var body = data
        if key.isVersioned {
            let options: [(String, JSONValue)] = call[cas] > -1 ? [("cas", .int(call[cas]))] : []
            body = ["data": data, "options": options.asObject]
        }
        let written = try call.api("Error writing data to \(path)") { (client) throws(APIError) in
            try client.write(path, body)
        }
        return call.output.written(written, at: path)
    }
}
