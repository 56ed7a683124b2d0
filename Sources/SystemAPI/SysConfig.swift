package import Base
import Core
package import PluginKit

/// `sys/config/cors`, `sys/config/ui/headers`, `sys/config/state/sanitized` and `sys/config/reload`.
package struct SysConfig: Sendable {
    private let sanitized: @Sendable () -> JSONValue

    /// - Parameter sanitized: the server's configuration as it may be shown: without a secret.
    package init(sanitized: @escaping @Sendable () -> JSONValue) { self.sanitized = sanitized }

    private static let enable = Field<Bool>("enable", default: true, "Whether other origins are let in.")
    private static let origins = Field<[String]>(
        "allowed_origins", "Origins whose pages may read answers, or \"*\" for all.")
    private static let headers = Field<[String]>(
        "allowed_headers", "Headers that such pages may send, besides the standard ones.")
    private static let header = Field<String>(required: "header", "Name of a header.")
    private static let values = Field<[String]>("values", "Values of the header.")
    private static let multivalue = Field<Bool>(
        "multivalue", default: false, "Answer all values in 'values', and not the first in 'value'.")

    package static var routes: [Route<Self>] {
        [
            Route(.read, "config/cors", "Which other origins are let in.", .sudo, run: Self.readCORS),
            Route(
                .update, "config/cors", "Let other origins in.", .sudo, fields: enable, origins, headers,
                run: Self.writeCORS),
            Route(.delete, "config/cors", "Shut other origins out.", .sudo, run: Self.deleteCORS),
            Route(
                .list, "config/ui/headers", "List the headers of the web page's answers.", .sudo,
                run: Self.listHeaders),
            Route(
                .read, "config/ui/headers/:header", "Read a header of the web page's answers.", .sudo,
                fields: header, multivalue, run: Self.readHeader),
            Route(
                .update, "config/ui/headers/:header", "Set a header of the web page's answers.", .sudo,
                fields: header, values, multivalue, run: Self.writeHeader),
            Route(
                .delete, "config/ui/headers/:header", "Remove a header of the web page's answers.", .sudo,
                fields: header, run: Self.deleteHeader),
            Route(
                .read, "config/state/sanitized", "The server's configuration, without its secrets.",
                .thisNode, run: Self.state),
            Route(
                .update, "config/reload/license", "Nothing to do: there is no license.", .sudo,
                run: Self.reloadLicense),
        ]
    }

    // MARK: CORS

    private func readCORS(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let config = try CORSConfig(&tx)
        var members: [(String, JSONValue)] = [("enabled", .bool(config.isEnabled))]
        if config.isEnabled {
            members.append(("allowed_origins", .strings(config.allowedOrigins)))
            members.append(("allowed_headers", .strings(config.allowedHeaders)))
        }
        var response = LogicalResponse(data: .object(members))
        response.mirrorsData = true
        return response
    }

    private func writeCORS(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard try request[Self.enable] else {
            CORSConfig.delete(&tx)
            return .empty
        }
        try CORSConfig(
            origins: try request.optional(Self.origins) ?? [],
            headers: try request.optional(Self.headers) ?? []
        ).write(&tx)
        return .empty
    }

    private func deleteCORS(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        CORSConfig.delete(&tx)
        return .empty
    }

    // MARK: Headers of the web page

    private func listHeaders(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try .keys(UIHeader.readAll(&tx).map(\.name))
    }

    private func readHeader(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let name = try UIHeader.canonicalName(try request[Self.header])
        guard let header = try UIHeader.readAll(&tx).first(where: { $0.name == name }) else {
            throw .notFound
        }
        if try request[Self.multivalue] { return LogicalResponse(data: ["values": .strings(header.values)]) }
        return LogicalResponse(data: ["value": .string(header.values.first ?? "")])
    }

    private func writeHeader(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try UIHeader(name: try request[Self.header], values: try request.optional(Self.values) ?? [])
            .write(&tx)
        // Vault's clients know an envelope here, and not an empty answer.
        return LogicalResponse(data: .null)
    }

    private func deleteHeader(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try UIHeader.delete(name: try UIHeader.canonicalName(try request[Self.header]), &tx)
        return .empty
    }

    // MARK: The server's own

    private func state(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    { LogicalResponse(data: sanitized()) }

    private func reloadLicense(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    { .empty }
}
