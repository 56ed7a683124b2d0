enum KVListCommand: CommandDefinition {
    static let name = "kv list"
    static let synopsis = "List data or secrets"
    static let operands = "PREFIX"
    static let named = OperandKind.key
    static let count: ClosedRange<Int>? = nil
    static let flags: [any AnyFlag] = [KVPath.mountFlag, ListCommand.detailed]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        try call.check(call.flags.has(KVPath.mountFlag) ? 0...1 : 1...1)
        let key = try KVPath(call.arguments.first ?? "", call)
        return try ListCommand.show(key.api("metadata"), call)
    }
}
