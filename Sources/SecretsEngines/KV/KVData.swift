import Base
import PluginKit

/// Version 2: reading and writing values.
extension KVEngine {
    @Sendable func readData(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let found = try findVersion(request, &tx)
        return Self.answer("data", found.value, found.metadata)
    }

    @Sendable func readSubkeys(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let depth = try request[Self.depth]
        guard depth >= 0 else {
            throw .badRequest("field 'depth': expected a number of levels, or 0 for all")
        }
        let found = try findVersion(request, &tx)
        return Self.answer("subkeys", found.value?.namesOnly(depth: depth), found.metadata)
    }

    @Sendable func writeData(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let path = try request.writableSecretPath
        let value = try Self.sentData(request, orNull: true)
        let cas = try Self.sentCAS(request)
        let key = Key.secret(path)
        let config = try KVConfig(&tx)
        let record: SecretRecord =
            if let bytes = try tx.get(key) { try SecretRecord(bytes, at: key) } else {
                SecretRecord(now: request.now)
            }
        try Self.check(cas, record, config)
        return addVersion(value, to: record, at: path, request.now, config, &tx)
    }

    @Sendable func patchData(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try Self.requireMergePatch(request)
        let path = try request.secretPath
        let patch = try Self.sentData(request, orNull: false)
        let cas = try Self.sentCAS(request)
        let key = Key.secret(path)
        guard let bytes = try tx.get(key) else { throw .notFound }
        let record = try SecretRecord(bytes, at: key)
        let config = try KVConfig(&tx)
        try Self.check(cas, record, config)
        guard let state = record.state(of: record.current) else { throw .notFound }
        guard state.isReadable(at: request.now) else {
            return Self.answer("data", nil, record.metadataJSON(of: state))
        }
        let old = try value(of: state, at: path, &tx)
        let merged = old.mergePatched(with: patch)
        if merged.bytes.count > Limits.standard.bodyBytes {
            throw .tooLarge("a secret may have \(Limits.standard.bodyBytes) bytes at most")
        }
        return addVersion(merged, to: record, at: path, request.now, config, &tx)
    }

    /// The value of a version that is neither deleted nor destroyed, from the record or from its own place.
    private func value(
        of state: VersionState, at path: String, _ tx: inout Transaction
    ) throws(VaultError) -> RawJSON {
        if let value = state.value { return value }
        return try storedValue(of: state.number, at: path, &tx)
    }

    private func storedValue(
        of number: Int, at path: String, _ tx: inout Transaction
    ) throws(VaultError) -> RawJSON {
        let key = Key.value(path, version: number)
        guard let bytes = try tx.get(key) else { throw .corrupted(place: "kv value \(key)") }
        return RawJSON(trusted: bytes)
    }

    /// The version that a read asks for; its value is nil when it is deleted or destroyed.
    private func findVersion(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> (value: RawJSON?, metadata: RawJSON) {
        let path = try request.secretPath
        let wanted = try request[Self.version]
        guard wanted >= 0 else { throw .badRequest("field 'version': expected the number of a version") }
        let key = Key.secret(path)
        guard let bytes = try tx.get(key) else { throw .notFound }
        if RecordFormat.isVersioned(bytes) {
            let head = try RecordHead(bytes, at: key)
            if wanted == 0 || wanted == head.current {
                guard let metadata = head.metadata else { throw .notFound }
                if head.isDestroyed || head.deletion.map({ $0 <= request.now }) ?? false {
                    return (nil, metadata)
                }
                if let value = head.value { return (value, metadata) }
                return (try storedValue(of: head.current, at: path, &tx), metadata)
            }
        }
        let record = try SecretRecord(bytes, at: key)
        guard let state = record.state(of: wanted == 0 ? record.current : wanted) else { throw .notFound }
        let metadata = record.metadataJSON(of: state)
        guard state.isReadable(at: request.now) else { return (nil, metadata) }
        return (try value(of: state, at: path, &tx), metadata)
    }

    /// 200 with a value, or 404 that still tells what became of the version.
    private static func answer(_ name: String, _ value: RawJSON?, _ metadata: RawJSON) -> LogicalResponse {
        var response = LogicalResponse(
            data: .object([(name, value.map { .raw($0) } ?? .null), ("metadata", .raw(metadata))]))
        if value == nil { response.status = 404 }
        return response
    }

    /// Makes `value` the current version and lets go of those beyond the limit.
    /// - Returns: the answer, with the new version's metadata.
    private func addVersion(
        _ value: RawJSON, to old: SecretRecord, at path: String, _ now: Timestamp, _ config: KVConfig,
        _ tx: inout Transaction
    ) -> LogicalResponse {
        var record = old
        record.current += 1
        record.updated = now
        var state = VersionState(
            number: record.current, created: now, deletion: config.deletion(of: record, writtenAt: now))
        if value.bytes.count <= SecretRecord.inlineBytes {
            state.value = value
        } else {
            tx.put(Key.value(path, version: record.current), Array(value.bytes))
        }
        record.versions.append(state)

        let limit = config.limit(for: record)
        var dropped: ArraySlice<VersionState> = []
        if record.current - record.oldest >= limit {
            record.oldest = record.current - limit + 1
            dropped = record.versions.prefix { $0.number < record.oldest }
            record.versions.removeFirst(dropped.count)
        }
        for version in dropped
        where version.isStoredApart { tx.delete(Key.value(path, version: version.number)) }
        for (version, value) in record.trimHistory() {
            tx.put(Key.value(path, version: version), Array(value.bytes))
        }
        let metadata = record.metadataJSON(of: state)
        tx.put(Key.secret(path), record.encoded(rendered: metadata))
        return LogicalResponse(data: .raw(metadata))
    }
}

/// What writes send.
extension KVEngine {
    /// `data`: an object, or where `orNull` allows it a null, which is stored as such.
    private static func sentData(_ request: LogicalRequest, orNull: Bool) throws(VaultError) -> RawJSON {
        guard let sent = request.fields.last(where: { $0.name == data.name })?.value else {
            throw .badRequest("no data provided")
        }
        if case .json(let json) = sent, json.kind == .object || (orNull && json.isNull) { return json }
        throw .badRequest("field 'data': expected an object")
    }

    /// `options.cas`; nil when it was not sent.
    private static func sentCAS(_ request: LogicalRequest) throws(VaultError) -> Int? {
        guard let sent = request.input(options.name) else { return nil }
        guard case .json(let json) = sent, json.kind == .object else {
            throw .badRequest("field 'options': expected an object")
        }
        guard let cas = json["cas"] else { return nil }
        if cas.isNull { return 0 }
        guard cas.kind != .bool, let number = Int.parse(.json(cas)), number >= 0 else {
            throw .badRequest(
                "error parsing check-and-set parameter: options.cas: expected the number of a version")
        }
        return number
    }

    private static func check(_ cas: Int?, _ record: SecretRecord, _ config: KVConfig) throws(VaultError) {
        if let cas {
            if cas != record.current {
                throw .badRequest("check-and-set parameter did not match the current version")
            }
        } else if config.casRequired || record.casRequired {
            throw .badRequest("check-and-set parameter required for this call")
        }
    }

    static func requireMergePatch(_ request: LogicalRequest) throws(VaultError) {
        let type = request.contentType?.prefix { $0 != ";" }.trimmingBlanks().lowercased()
        guard type == "application/merge-patch+json" else {
            throw .unsupportedMediaType("a PATCH needs the content type application/merge-patch+json")
        }
    }
}
