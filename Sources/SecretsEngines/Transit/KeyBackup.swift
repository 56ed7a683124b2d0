import Base
import PluginKit

/// A key with all of its versions, as Vault writes it: so that a key can be carried from one to the other.
///
/// The format: base64 of a JSON object. `policy` is the key with the versions that may decrypt in `keys`, by
/// their numbers; `archived_keys.keys` is a list of all versions from `min_available_version` on, in which
/// the place of version 0 is empty.
struct KeyBackup {
    let policy: KeyPolicy
    let versions: [KeyVersion]

    /// The number by which Vault knows HKDF with SHA-256.
    private static let hkdf = 1
    /// The way of convergent encryption that we have: earlier ones let texts be guessed.
    private static let convergentVersion = 3
    private static let mostKeyBytes = 64

    // MARK: Writing

    /// The caller wipes it.
    static func encode(_ policy: KeyPolicy, _ tx: Transaction, now: Timestamp) throws(VaultError) -> [UInt8] {
        var entries: [RawJSON] = []
        for number in policy.oldest...policy.latest {
            entries.append(encode(try KeyVersion(number, of: policy, tx), policy))
        }
        var writer = JSONWriter(reserving: 1_024 + 512 * entries.count)
        writer.beginObject()
        writer.name("policy")
        writer.beginObject()
        writer.field("name", policy.name)
        writer.name("keys")
        writer.beginObject()
        for number in max(policy.minDecryption, policy.oldest)...policy.latest {
            writer.field(String(number), entries[number - policy.oldest])
        }
        writer.endObject()
        encodeSettings(policy, now, &writer)
        writer.endObject()
        writer.name("archived_keys")
        writer.beginObject()
        writer.name("keys")
        writer.beginArray()
        if policy.minAvailable == 0 { writer.raw(emptyEntry) }
        for entry in entries { writer.raw(entry) }
        writer.endArray()
        writer.endObject()
        writer.endObject()
        return writer.bytes
    }

    private static let emptyEntry = RawJSON(
        trusted: Array(
            #"{"key":null,"hmac_key":null,"time":"0001-01-01T00:00:00Z","ec_x":null,"ec_y":null,"ec_d":null,"#
                .utf8)
            + Array(#""rsa_key":null,"public_key":"","convergent_version":0,"creation_time":0}"#.utf8))

    private static func encodeSettings(_ policy: KeyPolicy, _ now: Timestamp, _ writer: inout JSONWriter) {
        writer.field("derived", policy.isDerived)
        writer.field("kdf", policy.isDerived ? hkdf : 0)
        writer.field("convergent_encryption", policy.isConvergent)
        writer.field("exportable", policy.isExportable)
        writer.field("min_decryption_version", policy.minDecryption)
        writer.field("min_encryption_version", policy.minEncryption)
        writer.field("latest_version", policy.latest)
        writer.field("archive_version", policy.latest)
        writer.field("archive_min_version", policy.minAvailable)
        writer.field("min_available_version", policy.minAvailable)
        writer.field("deletion_allowed", policy.isDeletionAllowed)
        writer.field("convergent_version", -1)
        writer.field("type", Int(policy.type.rawValue))
        writer.field("backup_info", ["time": .string(now.rfc3339()), "version": .int(policy.latest)])
        writer.field("restore_info", JSONValue.null)
        writer.field("allow_plaintext_backup", policy.allowsPlaintextBackup)
        writer.field("version_template", "")
        writer.field("storage_prefix", "")
    }

    private static func encode(_ version: KeyVersion, _ policy: KeyPolicy) -> RawJSON {
        let created = policy.created(version.number)
        var writer = JSONWriter(reserving: 512)
        writer.beginObject()
        writer.field("key", .secret(Base64.standard.encode(version.key)))
        writer.field("hmac_key", .secret(Base64.standard.encode(version.hmacKey)))
        writer.field("time", created.rfc3339())
        for name in ["ec_x", "ec_y", "ec_d", "rsa_key"] { writer.field(name, JSONValue.null) }
        writer.field("public_key", "")
        writer.field("convergent_version", policy.isConvergent ? convergentVersion : 0)
        writer.field("creation_time", Int(created.seconds))
        writer.endObject()
        return RawJSON(trusted: writer.bytes)
    }

    // MARK: Reading

    /// - Throws: `.badRequest` for what is no backup of a key that this engine can have.
    init(_ json: [UInt8], name: String?, random: any RandomSource) throws(VaultError) {
        let root = try Self.object(try RawJSON(validating: json), "backup")
        let sent = try Self.object(root["policy"], "policy")
        guard let type = sent["type"]?.int.flatMap({ UInt8(exactly: $0) }).flatMap({ KeyType(rawValue: $0) })
        else { throw .badRequest("backup: the type of the key is none that this server has") }
        let nameInside = sent["name"]?.string ?? ""
        let isDerived = sent["derived"]?.bool ?? false
        let isConvergent = sent["convergent_encryption"]?.bool ?? false
        if isDerived, sent["kdf"]?.int != Self.hkdf {
            throw .badRequest("backup: the key derives in a way that is not supported (kdf)")
        }
        if isConvergent, !isDerived { throw .badRequest("backup: a convergent key must be derived") }
        let latest = try Self.number(sent, "latest_version", 1...Int(Int32.max))
        let minAvailable = try Self.number(sent, "min_available_version", 0...latest)
        var policy = KeyPolicy(
            name: try TransitEngine.checkedName(name.flatMap { $0.isEmpty ? nil : $0 } ?? nameInside),
            id: KeyID(random: random), type: type, isDerived: isDerived, isConvergent: isConvergent,
            minAvailable: minAvailable)
        policy.isExportable = sent["exportable"]?.bool ?? false
        policy.allowsPlaintextBackup = sent["allow_plaintext_backup"]?.bool ?? false
        policy.isDeletionAllowed = sent["deletion_allowed"]?.bool ?? false
        policy.minDecryption = try Self.number(sent, "min_decryption_version", policy.oldest...latest)
        policy.minEncryption = try Self.number(sent, "min_encryption_version", 0...latest)
        if policy.minEncryption > 0, policy.minEncryption < policy.minDecryption {
            throw .badRequest("backup: min_encryption_version is below min_decryption_version")
        }
        let current = Dictionary(
            try Self.object(sent["keys"], "keys").members.map { ($0.name, $0.value) },
            uniquingKeysWith: { $1 })
        let archive = root["archived_keys"]?["keys"]?.elements ?? []
        var versions: [KeyVersion] = []
        for number in policy.oldest...latest {
            let place = number - minAvailable
            guard let entry = current[String(number)] ?? (place < archive.count ? archive[place] : nil) else {
                throw .badRequest("backup: version \(number) is missing")
            }
            let (version, created) = try Self.version(number, entry, policy, random)
            _ = try policy.addVersion(created: created)
            versions.append(version)
        }
        self.policy = policy
        self.versions = versions
    }

    private static func version(
        _ number: Int, _ entry: RawJSON, _ policy: KeyPolicy, _ random: any RandomSource
    ) throws(VaultError) -> (KeyVersion, Timestamp) {
        guard let key = try secret(entry["key"]), key.count == policy.type.keyBytes else {
            throw .badRequest("backup: version \(number) has no key of \(policy.type.keyBytes) bytes")
        }
        if policy.isConvergent, entry["convergent_version"]?.int != convergentVersion {
            throw .badRequest(
                "backup: version \(number) is convergent in a way of old that lets texts be guessed; "
                    + "rotate and trim the key before the backup")
        }
        // The oldest keys had none.
        let hmacKey = try secret(entry["hmac_key"]) ?? .random(KeyVersion.hmacKeyBytes, from: random)
        let exact = entry["time"]?.string.flatMap { Timestamp(rfc3339: $0) }
        let seconds = entry["creation_time"]?.int ?? 0
        let whole = Timestamp(seconds: (0..<9_223_372_036).contains(seconds) ? Int64(seconds) : 0)
        let version = KeyVersion(number: number, type: policy.type, key: key, hmacKey: hmacKey)
        return (version, exact.flatMap { $0.nanoseconds > 0 ? $0 : nil } ?? whole)
    }

    private static func secret(_ sent: RawJSON?) throws(VaultError) -> SecretBytes? {
        guard let sent, !sent.isNull else { return nil }
        let bytes = try sent.withStringBytes { (text) throws(VaultError) in
            Base64.standard.decodeSecret(text)
        }
        guard let secret = bytes ?? nil, (1...mostKeyBytes).contains(secret.count) else {
            throw .badRequest("backup: a key is not in base64, or too long")
        }
        return secret
    }

    private static func object(_ json: RawJSON?, _ what: String) throws(VaultError) -> RawJSON {
        guard let json, json.kind == .object else {
            throw .badRequest("backup: expected an object in '\(what)'")
        }
        return json
    }

    private static func number(
        _ json: RawJSON, _ name: String, _ range: ClosedRange<Int>
    ) throws(VaultError) -> Int {
        guard let number = json[name]?.int, range.contains(number) else {
            throw .badRequest(
                "backup: '\(name)' is not a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }
}
