import Base
package import PluginKit

/// `sys/raw`: the entries behind the barrier as they are stored, for repairs by hand. It exists only where
/// the configuration says `raw_storage_endpoint`.
///
/// The keys of the barrier itself are no entries, and cannot be reached here at all.
package struct SysRaw: Sendable {
    /// What would take the cluster's identity or keys from under it: refused, as Vault does.
    private static let protected = ["core/keyring", "core/master", "core/cluster"]
    /// Names in one list.
    private static let mostNames = 100_000

    package init() {}

    private static let path = Field<String>("path", default: "", "Key of the entry.")
    private static let value = Field<RawJSON>("value", "The entry's bytes as text.")
    private static let encoding = Field<String>(
        "encoding", default: "", "How the value is written: empty for text, or base64.")
    private static let compressed = Field<Bool>(
        "compressed", default: true, "Kept for compatibility: entries are not compressed here.")
    private static let compression = Field<String>(
        "compression_type", default: "", "Kept for compatibility: only empty or none.")

    package static var routes: [Route<Self>] {
        [
            Route(
                .read, "raw/*path", "Read an entry.", .sudo, fields: path, encoding, compressed,
                run: Self.read),
            Route(
                .update, "raw/*path", "Write an entry.", .sudo,
                fields: path, value, encoding, compressed, compression, run: Self.write),
            Route(.delete, "raw/*path", "Delete an entry.", .sudo, fields: path, run: Self.delete),
            Route(.list, "raw/*path", "List the keys below a prefix.", .sudo, fields: path, run: Self.list),
        ]
    }

    private func read(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let isBase64 = try isBase64(request)
        guard let bytes = try tx.get(try key(request, "read")) else { throw .notFound }
        if isBase64 {
            let text = bytes.withUnsafeBytes { Base64.standard.encode($0) }
            return LogicalResponse(data: ["value": .secret(SecretBytes(copying: text))])
        }
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw .badRequest("the entry is not text: ask with encoding=base64")
        }
        return LogicalResponse(data: ["value": .secret(SecretBytes(copying: bytes))])
    }

    private func write(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let key = try key(request, "write")
        if !["", "none"].contains(try request[Self.compression]) {
            throw .badRequest("compression_type: entries are not compressed here; leave it out")
        }
        guard let sent = try request.optional(Self.value), var text = sent.stringBytes else {
            throw .badRequest("value: expected a string")
        }
        guard try isBase64(request) else {
            tx.put(key, text)
            return .empty
        }
        defer { text.wipe() }
        guard let bytes = text.withUnsafeBytes({ Base64.standard.decode($0) }) else {
            throw .badRequest("value: expected base64")
        }
        tx.put(key, bytes)
        return .empty
    }

    private func delete(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        tx.delete(try key(request, "delete"))
        return .empty
    }

    private func list(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        var path = try request[Self.path]
        if !path.isEmpty, !path.hasSuffix("/") { path += "/" }
        try refuseProtected(path, "list")
        let names = try tx.list(path, limit: Self.mostNames)
        var response = try LogicalResponse.keys(names)
        if names.count == Self.mostNames {
            response.warnings = ["only the first \(Self.mostNames) names are shown"]
        }
        return response
    }

    private func key(_ request: LogicalRequest, _ verb: String) throws(VaultError) -> String {
        let path = try request[Self.path]
        if path.isEmpty || path.hasSuffix("/") { throw .badRequest("path: expected the key of an entry") }
        try refuseProtected(path, verb)
        return path
    }

    private func refuseProtected(_ path: String, _ verb: String) throws(VaultError) {
        if Self.protected.contains(where: { path.utf8.starts(with: $0.utf8) }) {
            throw .badRequest("cannot \(verb) '\(path)'")
        }
    }

    private func isBase64(_ request: LogicalRequest) throws(VaultError) -> Bool {
        _ = try request[Self.compressed]
        switch try request[Self.encoding] {
        case "": return false
        case "base64": return true
        case let other: throw .badRequest("invalid encoding '\(other)': expected base64 or nothing")
        }
    }
}
