/// Holdfast has one namespace, the root. Scripts that manage others learn so at once, and not by a 404.
enum NamespaceCommand: CommandDefinition {
    static let name = "namespace"
    static let synopsis = "Namespaces: not supported"
    static let operands = "SUBCOMMAND"
    static let details = """
        This server has one namespace, the root. Separate teams by mounts and policies, or run a server
        for each. Every subcommand ends with exit code 2.
        """
    static let count: ClosedRange<Int>? = nil

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        throw .failed(
            "Namespaces are not supported: there is only the root namespace. "
                + "Separate teams by mounts and policies."
        )
    }
}
