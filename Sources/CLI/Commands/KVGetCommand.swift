internal import APIClient
internal import Base

enum KVGetCommand: CommandDefinition {
    static let name = "kv get"
    static let synopsis = "Retrieve data from the KV store"
    static let operands = "KEY"
    static let named = OperandKind.key
    static let details = """
        Reads the newest version, or the one that -version names.

            $ holdfast kv get -mount=secret creds
            $ holdfast kv get -field=passcode secret/creds
        """
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.all
    static let version = Flag<Int>("version", "Number of the version to read; 0 is the newest.")
    static let flags: [any AnyFlag] = [version, KVPath.mountFlag]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let key = try KVPath(call.arguments[0], call)
        let path = key.api("data")
        let query = key.isVersioned && call[version] > 0 ? [("version", String(call[version]))] : []
        let found = try call.api("Error reading \(path)") { (client) throws(APIError) in
            try client.read(path, query: query)
        }
        guard let found else { throw .failed("No value found at \(path)") }
        let output = call.output
        if found.wrapInfo != nil { return output.secret(found) }
        if !output.field.isEmpty { return try field(of: found, key, path, output) }
        guard output.isTable else { return output.secret(found) }
        output.warnings(of: found)
        guard key.isVersioned else {
            show("Data", found.data?.tree ?? .object([]), output)
            return 0
        }
        if let metadata = found.data?["metadata"], metadata.kind == .object {
            show("Metadata", metadata.tree, output)
            output.say("")
        }
        if let data = found.data?["data"], data.kind == .object { show("Data", data.tree, output) }
        return 0
    }

    private static func field(
        of found: Secret, _ key: KVPath, _ path: String, _ output: Output
    ) throws(CommandFailure) -> Int32 {
        guard key.isVersioned else { return output.rawField(of: found) }
        guard let data = found.data?["data"], data.kind == .object else {
            throw .failed("No data found at \(path)")
        }
        if output.field == "data", data["data"] == nil { return output.rawField(data.tree) }
        return output.rawField(data[output.field]?.tree)
    }

    private static func show(_ title: String, _ value: JSONValue, _ output: Output) {
        output.say(Table.heading(title, over: value))
        output.data(value)
    }
}
