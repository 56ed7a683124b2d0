enum VersionCommand: CommandDefinition {
    static let name = "version"
    static let synopsis = "Print the version of this program"
    static let shared = SharedFlags.none

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        call.console.out(ProductVersion.line)
        return 0
    }
}

/// What this program is.
enum ProductVersion {
    static let number = "0.1.0"
    /// The level of the API that it speaks.
    static let level = "1.19.0"
    static let line = "Holdfast v\(number) (speaks the API of Vault \(level))"
}
