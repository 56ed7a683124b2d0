internal import APIClient
internal import Base

enum KVRollbackCommand: CommandDefinition {
    static let name = "kv rollback"
    static let synopsis = "Roll back to a previous version of data"
    static let operands = "KEY"
    static let named = OperandKind.key
    static let details =
        "Writes the data of an older version as a new one, unless someone else writes meanwhile."
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.all
    static let version = Flag<Int>("version", "Number of the version to go back to.")
    static let flags: [any AnyFlag] = [version, KVPath.mountFlag]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let number = call[version]
        guard number > 0 else { throw .usage("Version flag must be specified (a whole number from 1)") }
        let key = try KVPath(call.arguments[0], call)
        guard key.isVersioned else {
            throw .failed("K/V engine mount must be version 2 for rollback support")
        }
        let path = key.api("data")
        let current = try call.api("Error doing pre-read at \(path)") { (client) throws(APIError) in
            try client.read(path)
        }
        guard let newest = current?.data?["metadata"]?["version"]?.int else {
            throw .failed("No value found at \(path)")
        }
        let older = try call.api("Error doing pre-read at \(path)") { (client) throws(APIError) in
            try client.read(path, query: [("version", String(number))])
        }
        guard let older else { throw .failed("No value found at \(path)") }
        if let metadata = older.data?["metadata"] {
            if metadata["destroyed"]?.bool == true {
                throw .failed("Cannot roll back to a version that is destroyed")
            }
            if let time = metadata["deletion_time"]?.string, !time.isEmpty,
                older.data?["data"]?.kind != .object
            {
                throw .failed("Cannot roll back to a version that has been deleted")
            }
        }
        guard let data = older.data?["data"], data.kind == .object else {
            throw .failed("No value found at \(path)")
        }
        let written = try call.api("Error writing data to \(path)") { (client) throws(APIError) in
            try client.write(path, ["data": .raw(data), "options": ["cas": .int(newest)]])
        }
        return call.output.written(written, at: path)
    }
}
