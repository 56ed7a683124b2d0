internal import APIClient
internal import Base

enum PatchCommand: CommandDefinition {
    static let name = "patch"
    static let synopsis = "Patch data, configuration, and secrets"
    static let operands = "PATH [DATA K=V...]"
    static let named = OperandKind.path
    static let details = """
        Changes the given members and keeps the others, where the path can do so (HTTP PATCH with a JSON
        merge patch). Data are given as for "write".

            $ holdfast patch pki/issuer/default leaf_not_after_behavior=truncate
        """
    static let count: ClosedRange<Int>? = nil
    static let shared = SharedFlags.all
    static let force = Flag<Bool>(switch: "force", aliases: ["f"], "Patch although there are no data.")
    static let flags: [any AnyFlag] = [force]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        guard let first = call.arguments.first else {
            throw .usage("Not enough arguments (expected 1, got 0)")
        }
        if call.arguments.count == 1, !call[force] { throw .usage("Must supply data or use -force") }
        let path = KVPath.sanitized(first)
        let body = try DataArguments.object(Array(call.arguments.dropFirst()), call.console)
        let written = try call.api("Error writing data to \(path)") { (client) throws(APIError) in
            client.envelope(
                try client.call(
                    "PATCH", path, body: body.encoded(), contentType: "application/merge-patch+json"))
        }
        return call.output.written(written, at: path)
    }
}
