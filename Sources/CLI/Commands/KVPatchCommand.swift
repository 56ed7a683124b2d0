internal import APIClient
internal import Base

enum KVPatchCommand: CommandDefinition {
    static let name = "kv patch"
    static let synopsis = "Set or update data in the KV store without overwriting"
    static let operands = "KEY [DATA]"
    static let named = OperandKind.key
    static let details = """
        Changes the given members of the newest version and keeps the others. The server merges where
        it can; where it cannot, or with -method=rw, the client reads, merges and writes.

            $ holdfast kv patch -mount=secret foo bar=baz
        """
    static let count: ClosedRange<Int>? = nil
    static let shared = SharedFlags.all
    static let cas = Flag<Int>("cas", default: -1, "Write only if this is the newest version's number.")
    static let method = Flag<String>(
        "method", "patch: the server merges. rw: read, then write. Default: patch, else rw.")
    static let removed = Flag<[String]>(
        list: "remove-data", "Member to remove. Repeatable. Needs a server that merges.")
    static let flags: [any AnyFlag] = [cas, method, removed, KVPath.mountFlag]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        guard let first = call.arguments.first else {
            throw .usage("Not enough arguments (expected >1, got 0)")
        }
        guard call.arguments.count > 1 || !call[removed].isEmpty else { throw .usage("Must supply data") }
        guard ["", "patch", "rw"].contains(call[method]) else {
            throw .usage(
                "Unsupported method provided to -method flag: \(call[method]) (expected patch or rw)")
        }
        if call[method] == "rw", !call[removed].isEmpty {
            throw .usage("-remove-data cannot go with -method=rw")
        }
        let given = try DataArguments.object(Array(call.arguments.dropFirst()), call.console)
        let key = try KVPath(first, call)
        guard key.isVersioned else {
            throw .failed("K/V engine mount must be version 2 for patch support")
        }
        let path = key.api("data")
        let changes = JSONValue.object(given.members + call[removed].map { ($0, .null) })
        if call[method] != "rw", let answer = try merged(changes, path, call) {
            return call.output.written(answer.secret, at: path)
        }
        return try readAndWrite(given, path, call)
    }

    /// Nil when the server does not merge and the client may do it instead.
    private static func merged(
        _ changes: JSONValue, _ path: String, _ call: Invocation
    ) throws(CommandFailure) -> (secret: Secret?, ())? {
        let options: [(String, JSONValue)] = call[cas] > 0 ? [("cas", .int(call[cas]))] : []
        let body: JSONValue = ["data": changes, "options": options.asObject]
        let client = try call.client()
        do throws(APIError) {
            let answer = try client.call(
                "PATCH", path, body: body.encoded(), contentType: "application/merge-patch+json")
            return (client.envelope(answer), ())
        } catch {
            if error.status == 404 { throw .failed("No value found at \(path)") }
            let isRefusal = error.status == 405 || error.status == 403
            if isRefusal, call[method].isEmpty, call[removed].isEmpty { return nil }
            throw call.failure("Error writing data to \(path)", error)
        }
    }

    private static func readAndWrite(
        _ changes: JSONValue, _ path: String, _ call: Invocation
    ) throws(CommandFailure) -> Int32 {
        let current = try call.api("Error doing pre-read at \(path)") { (client) throws(APIError) in
            try client.read(path)
        }
        guard let data = current?.data?["data"], data.kind == .object else {
            throw .failed("No value found at \(path)")
        }
        let number = call[cas] > -1 ? call[cas] : current?.data?["metadata"]?["version"]?.int ?? 0
        if number == 0 { throw .failed("No value found at \(path)") }
        let kept = data.members.filter { changes[$0.name] == nil }.map { ($0.name, JSONValue.raw($0.value)) }
        let body: JSONValue = ["data": .object(kept + changes.members), "options": ["cas": .int(number)]]
        let written = try call.api("Error writing data to \(path)") { (client) throws(APIError) in
            try client.write(path, body)
        }
        return call.output.written(written, at: path)
    }
}
