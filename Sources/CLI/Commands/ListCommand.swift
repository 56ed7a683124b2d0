internal import APIClient
internal import Base

enum ListCommand: CommandDefinition {
    static let name = "list"
    static let synopsis = "List data or secrets"
    static let operands = "PATH"
    static let named = OperandKind.path
    static let count: ClosedRange<Int>? = 1...1
    static let detailed = Flag<Bool>(
        switch: "detailed", "Show what the server tells of each key, where it does. VAULT_DETAILED.")
    static let flags: [any AnyFlag] = [detailed]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let path = KVPath.sanitized(call.arguments[0])
        return try show(path, call)
    }

    /// Lists and prints. Nothing there is 2, and `{}` for readers of JSON.
    static func show(_ path: String, _ call: Invocation) throws(CommandFailure) -> Int32 {
        let found = try call.api("Error listing \(path)") { (client) throws(APIError) in try client.list(path)
        }
        if !call.output.isTable, found?.wrapInfo == nil, found?.keys == nil {
            call.output.data(.object([]))
            return 2
        }
        guard let found else { throw .failed("No value found at \(path)") }
        if found.wrapInfo != nil { return call.output.secret(found) }
        call.output.warnings(of: found)
        guard let keys = found.keys else { throw .failed("No entries found at \(path)") }
        let isDetailed =
            call.flags.has(detailed)
            ? call[detailed] : Bool(cliText: call.console.variable("DETAILED") ?? "") ?? false
        if isDetailed, let info = found.data?["key_info"], info.kind == .object {
            return call.output.detailedList(keys, info)
        }
        return call.output.list(keys)
    }
}
