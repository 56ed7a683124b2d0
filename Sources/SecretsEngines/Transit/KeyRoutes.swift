import Base
import PluginKit

/// Making keys, and what may be done with them.
extension TransitEngine {
    static let keyType = Field<String>("type", default: KeyType.aes256GCM96.name, "Type of the key.")
    static let derived = Field<Bool>(
        "derived", default: false, "Whether each context has a key of its own, derived from this one.")
    static let convergent = Field<Bool>(
        "convergent_encryption", default: false,
        "Whether the same text in the same context gives the same ciphertext; only for derived keys.")
    static let exportable = Field<Bool>(
        "exportable", "Whether the key may be exported; once allowed it stays so.")
    static let plaintextBackup = Field<Bool>(
        "allow_plaintext_backup", "Whether the key may be backed up in plain text; once allowed it stays so.")
    static let minDecryption = Field<Int>(
        "min_decryption_version", "Lowest version that still decrypts.")
    static let minEncryption = Field<Int>(
        "min_encryption_version", "Lowest version that still encrypts; 0 is no bound of its own.")
    static let deletionAllowed = Field<Bool>("deletion_allowed", "Whether the key may be deleted.")
    static let minAvailable = Field<Int>(
        "min_available_version", "Lowest version to keep: those below are deleted for good.")

    static var keyRoutes: [Route<Self>] {
        [
            Route(.list, "keys", "List the names of keys.", run: Self.listKeys),
            Route(.read, "keys/:name", "Read what a key is.", fields: name, run: Self.readKey),
            Route(
                .update, "keys/:name", "Make a key; one that is there already stays as it is.",
                fields: name, keyType, derived, convergent, exportable, plaintextBackup, run: Self.writeKey),
            Route(.delete, "keys/:name", "Delete a key for good.", fields: name, run: Self.deleteKey),
            Route(
                .update, "keys/:name/config", "Change what may be done with a key.",
                fields: name, minDecryption, minEncryption, deletionAllowed, exportable, plaintextBackup,
                run: Self.configureKey),
            Route(
                .update, "keys/:name/rotate", "Give a key a new version.", fields: name, run: Self.rotateKey),
            Route(
                .update, "keys/:name/trim", "Delete old versions of a key for good.",
                fields: name, minAvailable, run: Self.trimKey),
        ]
    }

    @Sendable func listKeys(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse { try .keys(try tx.list(Place.policies)) }

    @Sendable func readKey(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let key = try KeyPolicy(try Self.keyName(request), tx) else { throw .notFound }
        var data: [(String, JSONValue)] = [
            ("name", .string(key.name)), ("type", .string(key.type.name)),
            ("derived", .bool(key.isDerived)), ("exportable", .bool(key.isExportable)),
            ("allow_plaintext_backup", .bool(key.allowsPlaintextBackup)),
            ("deletion_allowed", .bool(key.isDeletionAllowed)),
            ("latest_version", .int(key.latest)), ("min_available_version", .int(key.minAvailable)),
            ("min_decryption_version", .int(key.minDecryption)),
            ("min_encryption_version", .int(key.minEncryption)),
            ("supports_encryption", true), ("supports_decryption", true),
            ("supports_derivation", true), ("supports_signing", false),
        ]
        if key.isDerived {
            data.append(("kdf", "hkdf_sha256"))
            data.append(("convergent_encryption", .bool(key.isConvergent)))
            // Each version knows its own way; there has been one only.
            if key.isConvergent { data.append(("convergent_encryption_version", -1)) }
        }
        let versions = max(key.minDecryption, key.oldest)...key.latest
        data.append(
            ("keys", .object(versions.map { (String($0), .int(Int(key.created($0).seconds))) })))
        return LogicalResponse(data: .object(data))
    }

    @Sendable func writeKey(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let name = try Self.keyName(request)
        let type = try KeyType(named: try request[Self.keyType])
        let isDerived = try request[Self.derived]
        let isConvergent = try request[Self.convergent]
        let isExportable = try request.optional(Self.exportable) ?? false
        let allowsBackup = try request.optional(Self.plaintextBackup) ?? false
        if isConvergent, !isDerived {
            throw .badRequest("convergent encryption requires derivation to be enabled")
        }
        if let known = try KeyPolicy(name, tx) {
            let isSame =
                known.type == type && known.isDerived == isDerived && known.isConvergent == isConvergent
            // Repeating a request is fine; one for another key must not pass for done.
            return isSame
                ? .empty
                : LogicalResponse(warnings: [
                    "key \(name) exists already, as another kind of key (\(known.type.name)): "
                        + "nothing was changed"
                ])
        }
        var policy = KeyPolicy(
            name: name, id: KeyID(random: context.random), type: type, isDerived: isDerived,
            isConvergent: isConvergent)
        policy.isExportable = isExportable
        policy.allowsPlaintextBackup = allowsBackup
        _ = try createKey(policy, now: request.now, &tx)
        return .empty
    }

    /// Stores a new key with its first version.
    func createKey(
        _ policy: KeyPolicy, now: Timestamp, _ tx: inout Transaction
    ) throws(VaultError) -> KeyPolicy {
        var policy = policy
        let number = try policy.addVersion(created: now)
        KeyVersion(number: number, type: policy.type, random: context.random).save(for: policy, &tx)
        policy.save(&tx)
        return policy
    }

    @Sendable func deleteKey(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let name = try Self.keyName(request)
        guard let policy = try KeyPolicy(name, tx) else {
            throw .badRequest("could not delete key; not found")
        }
        guard policy.isDeletionAllowed else { throw .badRequest("deletion is not allowed for this key") }
        tx.delete(Place.policy(name))
        tx.deleteLater(Place.versions(policy.id))
        rings.forget(policy.id)
        return .empty
    }

    @Sendable func rotateKey(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let policy = try KeyPolicy(try Self.keyName(request), tx) else {
            throw .badRequest("key not found")
        }
        _ = try createKey(policy, now: request.now, &tx)
        return .empty
    }

    @Sendable func configureKey(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let name = try Self.keyName(request)
        guard var policy = try KeyPolicy(name, tx) else {
            throw .badRequest("no existing key named \(name) could be found")
        }
        var warnings: [String] = []
        if let sent = try request.optional(Self.minDecryption) {
            try Self.check(sent, "decryption", latest: policy.latest)
            if sent == 0 { warnings.append("versions begin at 1: min_decryption_version was set to 1") }
            policy.minDecryption = max(1, sent)
        }
        if let sent = try request.optional(Self.minEncryption) {
            try Self.check(sent, "encryption", latest: policy.latest)
            policy.minEncryption = sent
        }
        if policy.minEncryption > 0, policy.minEncryption < policy.minDecryption {
            throw .badRequest(
                "cannot set min encryption/decryption values; min encryption version of "
                    + "\(policy.minEncryption) must be greater than or equal to min decryption version of "
                    + "\(policy.minDecryption)")
        }
        if policy.minDecryption < policy.minAvailable {
            throw .badRequest(
                "min decryption version should not be less than min available version, which is "
                    + "\(policy.minAvailable)")
        }
        if policy.minEncryption < policy.minAvailable {
            throw .badRequest(
                "min encryption version should not be less than min available version, which is "
                    + "\(policy.minAvailable)")
        }
        if let sent = try request.optional(Self.deletionAllowed) { policy.isDeletionAllowed = sent }
        if let sent = try request.optional(Self.exportable) {
            if !sent, policy.isExportable { warnings.append("exportable stays true: it cannot be unset") }
            policy.isExportable = policy.isExportable || sent
        }
        if let sent = try request.optional(Self.plaintextBackup) {
            if !sent, policy.allowsPlaintextBackup {
                warnings.append("allow_plaintext_backup stays true: it cannot be unset")
            }
            policy.allowsPlaintextBackup = policy.allowsPlaintextBackup || sent
        }
        policy.save(&tx)
        return LogicalResponse(warnings: warnings)
    }

    private static func check(_ version: Int, _ purpose: String, latest: Int) throws(VaultError) {
        if version < 0 { throw .badRequest("min \(purpose) version cannot be negative") }
        if version > latest {
            throw .badRequest(
                "cannot set min \(purpose) version of \(version), latest key version is \(latest)")
        }
    }

    @Sendable func trimKey(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let name = try Self.keyName(request)
        guard let minimum = try request.optional(Self.minAvailable) else {
            throw .badRequest("missing min_available_version")
        }
        guard var policy = try KeyPolicy(name, tx) else { throw .badRequest("invalid key name") }
        if minimum < policy.minAvailable {
            throw .badRequest(
                "minimum available version cannot be decremented: it is \(policy.minAvailable)")
        }
        if policy.minEncryption == 0 {
            throw .badRequest(
                "minimum available version cannot be set when minimum encryption version is not set")
        }
        if minimum > policy.minEncryption {
            throw .badRequest(
                "minimum available version cannot be higher than minimum encryption version, which is "
                    + "\(policy.minEncryption)")
        }
        if minimum > policy.minDecryption {
            throw .badRequest(
                "minimum available version cannot be higher than minimum decryption version, which is "
                    + "\(policy.minDecryption)")
        }
        for version in policy.oldest..<max(policy.oldest, minimum) {
            tx.delete(Place.version(policy.id, version))
        }
        policy.trim(below: minimum)
        policy.save(&tx)
        rings.forget(policy.id)
        return .empty
    }
}
