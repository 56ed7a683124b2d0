import Base
import PluginKit

/// Keys that may leave: export, backup and restore.
extension TransitEngine {
    private static let exportType = Field<String>(
        required: "type", "What to export: encryption-key or hmac-key.")
    private static let exportVersion = Field<String>(
        "version", "Version to export: a number or latest; all that may decrypt when left out.")
    private static let backup = Field<RawJSON>("backup", "What backing up answered.")
    private static let restoredName = Field<String>(
        "name", "Name of the key; that in the backup if left out.")
    private static let force = Field<Bool>(
        "force", default: false, "Whether to replace a key of this name that is there.")

    static var exportRoutes: [Route<Self>] {
        [
            Route(
                .read, "export/:type/:name", "Export a key.", fields: exportType, name, run: Self.exportKey),
            Route(
                .read, "export/:type/:name/:version", "Export one version of a key.",
                fields: exportType, name, exportVersion, run: Self.exportKey),
            Route(.read, "backup/:name", "Back a key up, in plain text.", fields: name, run: Self.backUpKey),
            Route(
                .update, "restore", "Restore a key from a backup.", fields: backup, restoredName, force,
                run: Self.restoreKey),
            Route(
                .update, "restore/:name", "Restore a key from a backup under a name.",
                fields: restoredName, backup, force, run: Self.restoreKey),
        ]
    }

    @Sendable func exportKey(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let type = try request[Self.exportType]
        guard ["encryption-key", "signing-key", "hmac-key"].contains(type) else {
            throw .badRequest("invalid export type: expected encryption-key, signing-key or hmac-key")
        }
        guard let key = try findKey(try Self.keyName(request), tx) else { throw .notFound }
        let policy = key.policy
        guard policy.isExportable else { throw .badRequest("key is not exportable") }
        if type == "signing-key" { throw .badRequest("signing not supported for the key") }
        let versions = try Self.exported(policy, try request.optional(Self.exportVersion))
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("name", policy.name)
        writer.field("type", policy.type.name)
        writer.name("keys")
        writer.beginObject()
        for number in versions {
            // Read afresh: a whole ring would push out of memory what others use.
            let version = try KeyVersion(number, of: policy, tx)
            let secret = type == "hmac-key" ? version.hmacKey : version.key
            writer.field(String(number), .secret(Base64.standard.encode(secret)))
        }
        writer.endObject()
        writer.endObject()
        return LogicalResponse(data: .raw(RawJSON(trusted: writer.bytes)))
    }

    private static func exported(
        _ policy: KeyPolicy, _ asked: String?
    ) throws(VaultError) -> ClosedRange<Int> {
        let oldest = max(policy.minDecryption, policy.oldest)
        switch asked {
        case nil, "": return oldest...policy.latest
        case "latest": return policy.latest...policy.latest
        case .some(let text):
            guard let number = Int(text) else { throw .badRequest("invalid key version") }
            if number < oldest {
                throw .badRequest("version for export is below minimum decryption version")
            }
            guard number <= policy.latest else {
                throw .notFoundBecause("version does not exist or cannot be found")
            }
            return number...number
        }
    }

    @Sendable func backUpKey(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let policy = try KeyPolicy(try Self.keyName(request), tx) else { throw .notFound }
        guard policy.isExportable else { throw .badRequest("exporting is disallowed on the policy") }
        guard policy.allowsPlaintextBackup else {
            throw .badRequest("plaintext backup is disallowed on the policy")
        }
        var json = try KeyBackup.encode(policy, tx, now: request.now)
        defer { json.wipe() }
        guard Base64.standard.encodedCount(json.count) <= Limits.standard.jsonStringBytes else {
            throw .badRequest(
                "the backup would be longer than what can be restored, \(Limits.standard.jsonStringBytes) "
                    + "bytes: trim the key first")
        }
        var text = json.withUnsafeBytes { Base64.standard.encode($0) }
        defer { text.wipe() }
        var writer = JSONWriter(reserving: text.count + 16)
        writer.beginObject()
        writer.name("backup")
        text.withUnsafeBytes { writer.string(utf8: $0) }
        writer.endObject()
        return LogicalResponse(data: .raw(RawJSON(trusted: writer.bytes)))
    }

    @Sendable func restoreKey(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let isForced = try request[Self.force]
        let asked = try request.optional(Self.restoredName)
        guard let json = try Base64Input.bytes(try request.optional(Self.backup), "backup"), !json.isEmpty
        else { throw .badRequest("missing 'backup' from the request") }
        let restored = try KeyBackup(json, name: asked, random: context.random)
        if let known = try KeyPolicy(restored.policy.name, tx) {
            guard isForced else {
                throw .badRequest(
                    "key \"\(known.name)\" already exists: give another name, or force to replace it")
            }
            tx.deleteLater(Place.versions(known.id))
            rings.forget(known.id)
        }
        for version in restored.versions { version.save(for: restored.policy, &tx) }
        restored.policy.save(&tx)
        return .empty
    }
}
