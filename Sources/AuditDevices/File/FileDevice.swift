package import Base
import Glibc
internal import PluginKit

/// Appends records to a file, or to the process's standard output.
///
/// Two names are special, as in Vault: `stdout`, and `discard`, which keeps nothing. Anything else must
/// be the absolute path of a plain file. Who may enable audit devices must not be able to turn that into
/// more (CVE-2025-6000): files are never executable, no link is followed at the end of the path, a file
/// that holds something else than records is not touched.
///
/// The file is opened anew when its name leads to another file than the one that is open: rotation works
/// with and without SIGHUP, and a deleted log comes back.
package final class FileDevice: AuditDevice {
    package static let type = "file"
    package static let options = ["file_path", "path", "mode", "fdatasync"]

    private enum Target: Equatable {
        case discard
        case standardOutput
        case file(path: String, mode: mode_t, syncs: Bool)
    }
    private let target: Target
    private let prefix: [UInt8]
    private var open: OpenLog?
    /// The records of one call, put together; kept for its memory.
    private var buffer: [UInt8] = []

    package init(options: [String: String]) throws(VaultError) {
        prefix = Array((options["prefix"] ?? "").utf8)
        guard let path = options["file_path"] ?? options["path"], !path.isEmpty else {
            throw .badRequest(
                "options: file_path: expected the absolute path of a file, \"stdout\" or \"discard\"")
        }
        let mode = try Self.mode(options["mode"])
        guard let syncs = Bool(vaultText: options["fdatasync"] ?? "false") else {
            throw .badRequest("options: fdatasync: expected true or false")
        }
        switch path {
        case "discard", "/dev/null": target = .discard
        case "stdout", "/dev/stdout": target = .standardOutput
        default:
            try Self.check(path)
            target = .file(path: path, mode: mode, syncs: syncs)
        }
    }

    /// Zero leaves an existing file's permissions as they are.
    private static func mode(_ text: String?) throws(VaultError) -> mode_t {
        guard let text, !text.isEmpty else { return 0o600 }
        guard let mode = mode_t(text, radix: 8), mode <= 0o7777 else {
            throw .badRequest("options: mode: expected octal permissions such as 0600")
        }
        guard mode & ~0o664 == 0 else {
            throw .badRequest(
                "options: mode: a log is never executable, special, or writable for everyone; expected at most 0664"
            )
        }
        return mode
    }

    private static func check(_ path: String) throws(VaultError) {
        guard path.hasPrefix("/") else {
            throw .badRequest("options: file_path: expected an absolute path")
        }
        let segments = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        if path.utf8.count > 4_000 || segments.contains(where: { ["", ".", ".."].contains($0) })
            || path.utf8.contains(where: { $0 < 32 || $0 == 127 })
        {
            throw .badRequest("options: file_path: expected a clean path that ends in a file's name")
        }
        if let first = segments.first, ["proc", "sys", "dev"].contains(first) {
            throw .badRequest("options: file_path: /\(first) holds no logs")
        }
    }

    // MARK: Writing

    /// See `AuditDevice.append`.
    package func append(_ records: [[UInt8]]) throws(VaultError) {
        switch target {
        case .discard: return
        case .standardOutput: try appendToOutput(records)
        case .file(let path, let mode, let syncs):
            let log = try current(path, mode)
            let bytes = joined(records)
            do throws(VaultError) { try log.append(bytes, syncs: syncs) } catch {
                // Opened anew for the next one: it may be another file system by then.
                open = nil
                throw error
            }
        }
    }

    private func appendToOutput(_ records: [[UInt8]]) throws(VaultError) {
        for record in records {
            guard writeAll(1, record) == record.count else { throw systemError("standard output") }
        }
    }

    private func joined(_ records: [[UInt8]]) -> [UInt8] {
        if records.count == 1 { return records[0] }
        buffer.removeAll(keepingCapacity: buffer.capacity < 8 << 20)
        for record in records { buffer.append(contentsOf: record) }
        return buffer
    }

    /// The log that the path names now.
    private func current(_ path: String, _ mode: mode_t) throws(VaultError) -> OpenLog {
        if let open, open.isStill(at: path) { return open }
        open = nil
        let fresh = try OpenLog(path: path, mode: mode, prefix: prefix)
        open = fresh
        return fresh
    }

    /// See `AuditDevice.reopen`.
    package func reopen() { open = nil }

    /// See `AuditDevice.close`.
    package func close() { open = nil }
}
