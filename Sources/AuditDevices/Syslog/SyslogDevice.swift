package import Base
import Glibc
internal import PluginKit

/// Sends records to the machine's syslog daemon (RFC 3164 over `/dev/log`).
///
/// Not through the C library's `syslog`, which cannot tell whether a message was taken.
package final class SyslogDevice: AuditDevice {
    package static let type = "syslog"
    package static let options = ["facility", "tag"]

    private static let socketPath = "/dev/log"
    private static let timeout = Duration.seconds(2)
    /// RFC 3164: 6 for what informs.
    private static let severity = 6
    private static let facilities: [String: Int] = [
        "KERN": 0, "USER": 1, "MAIL": 2, "DAEMON": 3, "AUTH": 4, "SYSLOG": 5, "LPR": 6, "NEWS": 7, "UUCP": 8,
        "CRON": 9, "AUTHPRIV": 10, "FTP": 11, "LOCAL0": 16, "LOCAL1": 17, "LOCAL2": 18, "LOCAL3": 19,
        "LOCAL4": 20, "LOCAL5": 21, "LOCAL6": 22, "LOCAL7": 23,
    ]

    private let header: [UInt8]
    private let endpoint: Endpoint
    private var connection: SocketConnection?

    package convenience init(options: [String: String]) throws(VaultError) {
        try self.init(options: options, socketPath: Self.socketPath)
    }

    init(options: [String: String], socketPath: String) throws(VaultError) {
        let name = (options["facility"] ?? "AUTH").uppercased()
        guard let facility = Self.facilities[name] else {
            throw .badRequest(
                "options: facility: expected one of \(Self.facilities.keys.sorted().joined(separator: ", "))")
        }
        let tag = options["tag"] ?? "vault"
        let isWord = tag.utf8.allSatisfy { byte in
            switch byte {
            case 48...57, 65...90, 97...122: true
            default: "-_.".utf8.contains(byte)
            }
        }
        guard isWord, (1...32).contains(tag.utf8.count) else {
            throw .badRequest("options: tag: expected 1 to 32 letters, digits or -_.")
        }
        // The daemon sets the time itself when a message has none.
        header = Array("<\(facility << 3 | Self.severity)>\(tag)[\(getpid())]: ".utf8)
        endpoint = try Endpoint(kind: "unixgram", address: socketPath)
    }

    /// See `AuditDevice.append`.
    package func append(_ records: [[UInt8]]) throws(VaultError) {
        let messages = records.flatMap(\.lines).map { header + $0 }
        if let connection {
            // The daemon may have been restarted since.
            do throws(VaultError) { return try connection.send(messages, within: Self.timeout) } catch {
                self.connection = nil
            }
        }
        let fresh = try SocketConnection(endpoint, within: Self.timeout)
        try fresh.send(messages, within: Self.timeout)
        connection = fresh
    }

    /// See `AuditDevice.reopen`.
    package func reopen() { connection = nil }

    /// See `AuditDevice.close`.
    package func close() { connection = nil }
}
