package import Base
package import PluginKit

/// A private place for each token: nobody else can name it, and it ends with the token.
///
/// Everything lies below `<storage id>/`, where the storage id stands for the token without giving it away,
/// so that one token's paths cannot reach another's whatever they contain.
package struct Cubbyhole: SecretsEngine {
    package static let type = "cubbyhole"
    package static let summary = "A private store for each token, gone when the token is."

    private static let path = Field<String>(required: "path", "Path of the secret.")

    package init(_ context: MountContext) throws(VaultError) {}

    package static var routes: [Route<Self>] {
        [
            Route(.read, "*path", "Read a secret.", fields: path, run: Self.read),
            Route(
                .update, "*path", "Store a secret: the whole body is its value.", fields: path,
                exists: Self.exists, run: Self.write),
            Route(.delete, "*path", "Delete a secret.", fields: path, run: Self.delete),
            Route(.list, "*path", "List the names in a folder.", fields: path, run: Self.list),
            Route(.read, "", "Nothing is at the root.", run: Self.read),
            Route(.update, "", "Refused: a secret needs a path.", run: Self.write),
            Route(.delete, "", "Refused: a secret needs a path.", run: Self.delete),
        ]
    }

    /// What every key of one token begins with, below the mount's prefix: to be deleted with the token.
    package static func storagePrefix(for storageID: String) -> String { storageID + "/" }

    @Sendable func read(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let path = try request.secretPath
        guard let bytes = try tx.get(try Self.prefix(request) + path) else { throw .notFound }
        return LogicalResponse(data: .raw(RawJSON(trusted: bytes)))
    }

    @Sendable func write(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let path = try request.writableSecretPath
        tx.put(try Self.prefix(request) + path, Array(try request.wholeBody.bytes))
        return .empty
    }

    @Sendable func delete(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        tx.delete(try Self.prefix(request) + request.writableSecretPath)
        return .empty
    }

    @Sendable func list(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try .keys(try tx.list(try Self.prefix(request) + request.folder))
    }

    @Sendable func exists(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError) -> Bool {
        guard let path = request.parameters.first?.value, !path.isEmpty else { return false }
        return try tx.get(try Self.prefix(request) + path) != nil
    }

    /// - Throws: `.badRequest` for a caller that has no storage of its own (a batch token, no token at all).
    private static func prefix(_ request: LogicalRequest) throws(VaultError) -> String {
        let storageID = request.client.storageID
        guard !storageID.isEmpty, !storageID.utf8.contains(UInt8(ascii: "/")) else {
            throw .badRequest("cubbyhole operations are only supported by \"service\" type tokens")
        }
        return storagePrefix(for: storageID)
    }
}
