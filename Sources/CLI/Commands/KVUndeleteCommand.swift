enum KVUndeleteCommand: CommandDefinition {
    static let name = "kv undelete"
    static let synopsis = "Undelete versions in the KV store"
    static let operands = "KEY"
    static let named = OperandKind.key
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.all
    static let versions = Flag<[String]>(
        list: "versions", commas: true, "Numbers of the versions, with commas between.")
    static let flags: [any AnyFlag] = [versions, KVPath.mountFlag]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        try KVVersions.change("undelete", call[versions], call)
    }
}
