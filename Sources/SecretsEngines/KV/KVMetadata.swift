import Base
import PluginKit

/// Version 2: a secret's metadata.
extension KVEngine {
    @Sendable func readMetadata(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let key = Key.secret(try request.secretPath)
        guard let bytes = try tx.get(key) else { throw .notFound }
        let record = try SecretRecord(bytes, at: key)
        var writer = JSONWriter(reserving: 384 + 128 * record.versions.count)
        writer.beginObject()
        writer.field("cas_required", record.casRequired)
        writer.field("created_time", record.created.rfc3339())
        writer.field("current_version", record.current)
        writer.field("custom_metadata", record.customMetadata.map { JSONValue.raw($0) } ?? .null)
        writer.field("delete_version_after", record.deleteVersionAfter.goText)
        writer.field("max_versions", record.maxVersions)
        writer.field("oldest_version", record.oldest)
        writer.field("updated_time", record.updated.rfc3339())
        writer.name("versions")
        writer.beginObject()
        for version in record.versions {
            writer.name(String(version.number))
            version.append(to: &writer, with: nil, number: nil)
        }
        writer.endObject()
        writer.endObject()
        return LogicalResponse(data: .raw(RawJSON(trusted: writer.bytes)))
    }

    @Sendable func writeMetadata(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let path = try request.writableSecretPath
        let changes = try MetadataChanges(request)
        if changes.isEmpty { return .empty }
        let key = Key.secret(path)
        var record: SecretRecord =
            if let bytes = try tx.get(key) { try SecretRecord(bytes, at: key) } else {
                SecretRecord(now: request.now)
            }
        changes.apply(to: &record)
        if case .json(let sent) = request.input(Self.customMetadata.name) {
            record.customMetadata = try CustomMetadata(sent).encoded()
        } else if request.has(Self.customMetadata) {
            throw .badRequest("field 'custom_metadata': expected an object")
        }
        return try save(record, changes, at: key, &tx)
    }

    @Sendable func patchMetadata(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try Self.requireMergePatch(request)
        let key = Key.secret(try request.secretPath)
        var changes = try MetadataChanges(request)
        changes.reset(whereNull: request)
        guard let bytes = try tx.get(key) else { throw .notFound }
        var record = try SecretRecord(bytes, at: key)
        changes.apply(to: &record)
        if case .json(let patch) = request.fields.last(where: { $0.name == Self.customMetadata.name })?.value
        {
            if patch.isNull {
                record.customMetadata = nil
            } else {
                guard patch.kind == .object else {
                    throw .badRequest("field 'custom_metadata': expected an object")
                }
                let old = record.customMetadata ?? RawJSON(trusted: Array("{}".utf8))
                record.customMetadata = try CustomMetadata(old.mergePatched(with: patch)).encoded()
            }
        }
        return try save(record, changes, at: key, &tx)
    }

    @Sendable func deleteSecret(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let path = try request.writableSecretPath
        let key = Key.secret(path)
        guard let bytes = try tx.get(key) else { return .empty }
        let record = try SecretRecord(bytes, at: key)
        for version in record.versions where version.isStoredApart {
            tx.delete(Key.value(path, version: version.number))
        }
        tx.delete(key)
        return .empty
    }

    private func save(
        _ record: SecretRecord, _ changes: MetadataChanges, at key: String, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        tx.put(key, record.encoded())
        guard changes.casRequired == false, try KVConfig(&tx).casRequired else { return .empty }
        return LogicalResponse(warnings: [
            "\"cas_required\" set to false, but is mandated by backend config. This value will be ignored."
        ])
    }
}

/// The settings that a request for metadata carries.
private struct MetadataChanges {
    private var maxVersions: Int?
    private(set) var casRequired: Bool?
    private var deleteVersionAfter: Duration?
    let isEmpty: Bool

    init(_ request: LogicalRequest) throws(VaultError) {
        maxVersions = try KVConfig.sentMaxVersions(request)
        casRequired = try request.optional(KVEngine.casRequired)
        deleteVersionAfter = try request.optional(KVEngine.deleteVersionAfter)
        if let deleteVersionAfter, deleteVersionAfter < .zero {
            throw .badRequest("field 'delete_version_after': expected a duration that is not negative")
        }
        isEmpty =
            maxVersions == nil && casRequired == nil && deleteVersionAfter == nil
            && !request.has(KVEngine.customMetadata)
    }

    /// In a merge patch a null takes a setting back to its default.
    mutating func reset(whereNull request: LogicalRequest) {
        for (name, value) in request.fields {
            guard case .json(let json) = value, json.isNull else { continue }
            switch name {
            case KVEngine.maxVersions.name: maxVersions = 0
            case KVEngine.casRequired.name: casRequired = false
            case KVEngine.deleteVersionAfter.name: deleteVersionAfter = .zero
            default: break
            }
        }
    }

    func apply(to record: inout SecretRecord) {
        if let maxVersions { record.maxVersions = maxVersions }
        if let casRequired { record.casRequired = casRequired }
        if let deleteVersionAfter { record.deleteVersionAfter = deleteVersionAfter }
    }
}

/// The user's own names and texts about a secret. Bounded, because every read of the secret carries them.
struct CustomMetadata {
    static let mostNames = 64
    static let nameBytes = 128
    static let valueBytes = 512

    private let pairs: [(name: String, value: String)]

    /// - Throws: `.badRequests` with every fault found.
    init(_ json: RawJSON) throws(VaultError) {
        let complaint = "custom_metadata validation failed: "
        guard json.kind == .object else { throw .badRequest(complaint + "expected an object of texts") }
        let members = json.members
        guard members.count <= Self.mostNames else {
            throw .badRequest(
                complaint + "payload must contain at most \(Self.mostNames) keys, provided \(members.count)")
        }
        var faults: [String] = []
        var pairs: [(name: String, value: String)] = []
        for (place, member) in members.enumerated() {
            let name = member.name
            // An overlong name is not repeated back.
            let label = name.utf8.count <= Self.nameBytes ? "key \"\(name)\"" : "key number \(place + 1)"
            if name.isEmpty || name.utf8.count > Self.nameBytes {
                faults.append(complaint + "length of \(label) must be from 1 to \(Self.nameBytes) bytes")
            } else if !name.unicodeScalars.allSatisfy(Self.isPrintable) {
                faults.append(complaint + "key number \(place + 1) contains unprintable characters")
            }
            guard let value = member.value.string else {
                faults.append(complaint + "value of \(label): expected a text")
                continue
            }
            if value.isEmpty || value.utf8.count > Self.valueBytes {
                faults.append(
                    complaint + "length of value for \(label) must be from 1 to \(Self.valueBytes) bytes")
            } else if !value.unicodeScalars.allSatisfy(Self.isPrintable) {
                faults.append(complaint + "value of \(label) contains unprintable characters")
            }
            pairs.append((name, value))
        }
        if !faults.isEmpty { throw .badRequests(faults) }
        self.pairs = pairs.sorted { $0.name < $1.name }
    }

    func encoded() -> RawJSON {
        var writer = JSONWriter()
        writer.beginObject()
        for (name, value) in pairs { writer.field(name, value) }
        writer.endObject()
        return RawJSON(trusted: writer.bytes)
    }

    /// Letters, marks, numbers, punctuation, symbols and the plain space.
    private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return (32..<127).contains(scalar.value) }
        return switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
            .spaceSeparator:
            false
        default: true
        }
    }
}
