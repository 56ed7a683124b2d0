package import Base
import Glibc
internal import PluginKit

/// Sends records to a TCP, UDP or unix socket, a line each.
///
/// A stream that broke is opened again and the group is sent once more, so a record may arrive twice; the
/// receiver's acknowledgement is that of its kernel. Where that is not enough, a `file` device beside this
/// one keeps what the network lost.
package final class SocketDevice: AuditDevice {
    package static let type = "socket"
    package static let options = ["address", "socket_type", "write_timeout"]

    private let endpoint: Endpoint
    private let timeout: Duration
    private var connection: SocketConnection?

    package init(options: [String: String]) throws(VaultError) {
        guard let address = options["address"], !address.isEmpty else {
            throw .badRequest("options: address: expected host:port, or the path of a unix socket")
        }
        endpoint = try Endpoint(kind: options["socket_type"] ?? "tcp", address: address)
        let text = options["write_timeout"] ?? "2s"
        guard let span = Duration(vaultText: text), span > .zero, span <= .seconds(9) else {
            throw .badRequest("options: write_timeout: expected a duration up to 9s, such as 2s")
        }
        timeout = span
    }

    /// See `AuditDevice.append`.
    package func append(_ records: [[UInt8]]) throws(VaultError) {
        let records = endpoint.isStream ? records : records.flatMap(\.lines).map { $0 + [10] }
        if let connection, connection.isOpen {
            do throws(VaultError) { return try connection.send(records, within: timeout) } catch {
                self.connection = nil
            }
        }
        let fresh = try SocketConnection(endpoint, within: timeout)
        try fresh.send(records, within: timeout)
        connection = fresh
    }

    /// See `AuditDevice.reopen`.
    package func reopen() { connection = nil }

    /// See `AuditDevice.close`.
    package func close() { connection = nil }
}
