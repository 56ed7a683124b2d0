import Base
import PluginKit

/// Version 1: the last value written, with a lease duration that is advice to the reader and nothing more.
extension KVEngine {
    static let plainPath = Field<String>(required: "path", "Path of the secret.")

    static var plainRoutes: [Route<Self>] {
        [
            Route(.read, "*path", "Read a secret.", fields: plainPath, run: Self.readPlain),
            Route(
                .update, "*path", "Store a secret: the whole body is its value.", fields: plainPath,
                exists: Self.secretExists, run: Self.writePlain),
            Route(.delete, "*path", "Delete a secret.", fields: plainPath, run: Self.deletePlain),
            Route(.list, "*path", "List the names in a folder.", fields: plainPath, run: Self.listSecrets),
            Route(.read, "", "Nothing is at the root.", run: Self.readPlain),
            Route(.update, "", "Refused: a secret needs a path.", run: Self.writePlain),
            Route(.delete, "", "Refused: a secret needs a path.", run: Self.deletePlain),
        ]
    }

    @Sendable func readPlain(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let key = Key.secret(try request.secretPath)
        guard let bytes = try tx.get(key) else { throw .notFound }
        let record = try PlainRecord(bytes, at: key)
        var response = LogicalResponse(data: .raw(record.value))
        response.leaseDuration = context.defaultTTL
        if let ttl = record.ttl {
            response.leaseDuration = min(ttl, context.maxTTL)
            if ttl > context.maxTTL {
                response.warnings = [
                    "TTL of \"\(ttl.goText)\" exceeded the effective max_ttl of "
                        + "\"\(context.maxTTL.goText)\"; TTL value is capped accordingly"
                ]
            }
        }
        return response
    }

    @Sendable func writePlain(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let path = try request.writableSecretPath
        let value = try request.wholeBody
        let record = PlainRecord(created: request.now, ttl: Self.ttl(in: value), value: value)
        tx.put(Key.secret(path), record.encoded())
        return .empty
    }

    @Sendable func deletePlain(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        tx.delete(Key.secret(try request.writableSecretPath))
        return .empty
    }

    /// Names below a folder, in both versions.
    @Sendable func listSecrets(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try .keys(try tx.list(Key.secret(request.folder)))
    }

    @Sendable func secretExists(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError) -> Bool
    {
        guard let path = request.parameters.first?.value, !path.isEmpty else { return false }
        return try tx.get(Key.secret(path)) != nil
    }

    /// What the secret itself says of its lifetime: `ttl`, or `lease` where that is missing. Nil when it
    /// says nothing that is a positive duration.
    private static func ttl(in value: RawJSON) -> Duration? {
        var stated: RawJSON?
        var older: RawJSON?
        value.forEachMember { name, value in
            if name == "ttl" { stated = value } else if name == "lease" { older = value }
        }
        guard let text = stated ?? older, let ttl = Duration.parse(.json(text)), ttl > .zero else {
            return nil
        }
        return .seconds(ttl.wholeSeconds)
    }
}
