package import Base
package import Core
package import PluginKit

/// `sys/audit`, `sys/audit-hash` and `sys/config/auditing/request-headers`: who records requests, and how.
package struct SysAudit: Sendable {
    private let broker: AuditBroker
    private let random: any RandomSource

    package init(broker: AuditBroker, random: any RandomSource) {
        self.broker = broker
        self.random = random
    }

    private static let path = Field<String>(required: "path", "Name of the device, without leading slash.")
    private static let type = Field<String>("type", "Type of the device: file, socket, syslog.")
    private static let description = Field<String>("description", default: "", "A sentence for people.")
    private static let options = Field<[String: String]>("options", "Options of the type, such as file_path.")
    private static let local = Field<Bool>("local", default: false, "Not replicated to other clusters.")
    private static let input = Field<SecretBytes>("input", "The value whose hash in the log is wanted.")
    private static let header = Field<String>(required: "header", "Name of the header.")
    private static let hmac = Field<Bool>("hmac", default: false, "Record the hash of its values only.")

    private static let mostPathBytes = 256
    private static let mostTextBytes = 4_096

    package static var routes: [Route<Self>] {
        [
            Route(.read, "audit", "List the audit devices.", .sudo, run: Self.list),
            Route(
                .update, "audit/*path", "Enable an audit device.", .sudo,
                fields: path, type, description, options, local, runAsync: Self.enable),
            Route(.delete, "audit/*path", "Disable an audit device.", .sudo, fields: path, run: Self.disable),
            Route(
                .update, "audit-hash/*path", "Hash a value as an audit device does.", fields: path, input,
                run: Self.hash),
        ] + headerRoutes
    }

    private static var headerRoutes: [Route<Self>] {
        let root = "config/auditing/request-headers"
        return [
            Route(.read, root, "List the request headers that are recorded.", .sudo, run: Self.listHeaders),
            Route(
                .read, "\(root)/:header", "How a request header is recorded.", .sudo, fields: header,
                run: Self.readHeader),
            Route(
                .update, "\(root)/:header", "Record a request header.", .sudo, fields: header, hmac,
                run: Self.writeHeader),
            Route(
                .delete, "\(root)/:header", "Record a request header no longer.", .sudo, fields: header,
                run: Self.deleteHeader),
        ]
    }

    // MARK: Devices

    private func list(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let rows = try broker.readEntries(&tx).sorted { $0.path < $1.path }
        var response = LogicalResponse(data: .object(rows.map { ($0.path, $0.listing) }))
        response.mirrorsData = true
        return response
    }

    /// The device is tried before it counts: one that cannot record would stop the server.
    private func enable(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let entry = try entry(request)
        try broker.check(entry)
        try await transactions.run { [broker] tx throws(VaultError) in
            try broker.checkRoom(for: entry, among: try broker.readEntries(&tx))
        }
        try await BlockingPool.shared.run { [broker] () throws(VaultError) in try broker.test(entry) }
        try await transactions.run { [broker] tx throws(VaultError) in try broker.enable(entry, &tx) }
        return .empty
    }

    private func entry(_ request: LogicalRequest) throws(VaultError) -> AuditEntry {
        let path = try Self.clean(try request[Self.path])
        guard let type = try request.optional(Self.type), !type.isEmpty else {
            throw .badRequest("missing type: expected the type of an audit device, such as file")
        }
        let description = try request[Self.description]
        let options = try request.optional(Self.options) ?? [:]
        let size = options.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
        guard description.utf8.count <= Self.mostTextBytes, size <= 2 * Self.mostTextBytes else {
            throw .badRequest("description and options: expected at most \(Self.mostTextBytes) bytes")
        }
        return AuditEntry(
            path: path, type: type, description: description, options: options,
            isLocal: try request[Self.local], uuid: random.uuid())
    }

    private func disable(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try broker.disable(try Self.clean(try request[Self.path]), &tx)
        return .empty
    }

    private func hash(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let path = try Self.clean(try request[Self.path])
        guard let input = try request.optional(Self.input), input.count > 0 else {
            throw .badRequest("missing input: expected the value to hash")
        }
        guard let hash = broker.hash(input, asAt: path) else {
            throw .badRequest("path: there is no audit device at \(path)")
        }
        var response = LogicalResponse(data: ["hash": .string(hash)])
        response.mirrorsData = true
        return response
    }

    /// With exactly one slash, at the end.
    private static func clean(_ path: String) throws(VaultError) -> String {
        var path = path[...]
        while path.hasSuffix("/") { path.removeLast() }
        let isPrintable = !path.unicodeScalars.contains {
            $0.value < 32 || $0.value == 127 || $0.properties.isWhitespace
        }
        guard !path.isEmpty, path.utf8.count <= mostPathBytes, isPrintable else {
            throw .badRequest("path: expected the name of an audit device, at most \(mostPathBytes) bytes")
        }
        return path + "/"
    }

    // MARK: Headers

    private func listHeaders(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let headers = try AuditedHeaders.read(&tx).sorted { $0.key < $1.key }
        let members = headers.map { ($0.key, JSONValue.object([("hmac", .bool($0.value))])) }
        var response = LogicalResponse(data: ["headers": .object(members)])
        response.mirrorsData = true
        return response
    }

    private func readHeader(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let name = try request[Self.header].lowercased()
        guard let isHashed = try AuditedHeaders.read(&tx)[name] else {
            throw .badRequest("header: this one is not recorded")
        }
        var response = LogicalResponse(data: .object([(name, JSONValue.object([("hmac", .bool(isHashed))]))]))
        response.mirrorsData = true
        return response
    }

    private func writeHeader(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try AuditedHeaders.set(try request[Self.header], hashed: try request[Self.hmac], &tx)
        return .empty
    }

    private func deleteHeader(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try AuditedHeaders.remove(try request[Self.header], &tx)
        return .empty
    }
}
