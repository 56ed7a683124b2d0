internal import Base
internal import Glibc

enum PolicyFmtCommand: CommandDefinition {
    static let name = "policy fmt"
    static let synopsis = "Format a policy on disk"
    static let operands = "PATH"
    static let details = "Replaces the file by its canonical layout. A file with a fault is left alone."
    static let count: ClosedRange<Int>? = 1...1
    static let shared = SharedFlags.none

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let given = call.arguments[0].trimmed
        let home = call.console.environment["HOME"] ?? ""
        let path = given.hasPrefix("~/") && !home.isEmpty ? home + given.dropFirst(1) : String(given)
        let bytes: [UInt8]
        switch FileText.read(path: path) {
        case .success(let content): bytes = content
        case .failure(let error): throw .usage("Error reading file: \(error.message)")
        }
        do throws(VaultError) { _ = try HCL.parse(bytes) } catch {
            throw .usage("Error parsing \(given): \(error.messages.joined(separator: "; "))")
        }
        let formatted: String
        if let body = try? RawJSON(validating: bytes), body.kind == .object {
            formatted = body.tree.prettyText + "\n"
        } else {
            formatted = HCLFormatter.format(String(decoding: bytes, as: UTF8.self))
        }
        var info = stat()
        let mode = stat(path, &info) == 0 ? info.st_mode & 0o7777 : 0o644
        if case .failure(let error) = FileText.replace(path: path, with: Array(formatted.utf8), mode: mode) {
            throw .usage("Error writing file: \(error.message)")
        }
        call.console.out("Success! Formatted policy: \(given)")
        return 0
    }
}
