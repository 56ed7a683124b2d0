import Base
import PluginKit

/// Writes the records of one device, in Vault's shape: one JSON object in one line.
struct AuditFormatter: Sendable {
    let options: AuditOptions
    /// Hashes values; `options` may say that it does not.
    let mask: AuditMask
    /// Whether a recorded header is hashed, by its name in lower case.
    let headers: [String: Bool]

    init(options: AuditOptions, salt: SecretBytes, headers: [String: Bool]) {
        self.options = options
        mask = AuditMask(salt: salt, isRaw: options.isRaw)
        self.headers = headers
    }

    /// The records of a stage, each with its line feed, in order.
    func records(_ stage: AuditStage, of call: AuditedCall, at time: Timestamp) -> [UInt8] {
        // Both records say the same of the request: it is hashed once.
        let shared = shared(call)
        var lines: [UInt8] = []
        switch stage {
        case .request: append("request", shared, nil, call, time, to: &lines)
        case .response(let outcome): append("response", shared, outcome, call, time, to: &lines)
        case .both(let outcome):
            append("request", shared, nil, call, time, to: &lines)
            append("response", shared, outcome, call, time, to: &lines)
        }
        return Self.onOneLine(lines)
    }

    /// Some readers of logs also end lines at U+0085, U+2028 and U+2029. Outside of strings there are none,
    /// so each can be replaced by its escape.
    private static func onOneLine(_ lines: [UInt8]) -> [UInt8] {
        guard lines.contains(where: { $0 == 0xC2 || $0 == 0xE2 }) else { return lines }
        var safe: [UInt8] = []
        safe.reserveCapacity(lines.count + 64)
        var at = 0
        while at < lines.count {
            let rest = lines[at...].prefix(3)
            if rest.starts(with: [0xC2, 0x85]) {
                safe.append(contentsOf: "\\u0085".utf8)
                at += 2
            } else if rest.starts(with: [0xE2, 0x80]), let last = rest.last, last == 0xA8 || last == 0xA9 {
                safe.append(contentsOf: (last == 0xA8 ? "\\u2028" : "\\u2029").utf8)
                at += 3
            } else {
                safe.append(lines[at])
                at += 1
            }
        }
        return safe
    }

    /// The record that tries a device which is to be enabled.
    func testRecord(at time: Timestamp, id: String) -> [UInt8] {
        let request = LogicalRequest(id: id, operation: .update, path: "sys/audit/test", now: time)
        return records(
            .request, of: AuditedCall(request: request, token: nil, bearer: nil, mount: nil), at: time)
    }

    private func append(
        _ type: String, _ shared: [UInt8], _ outcome: Result<LogicalResponse, VaultError>?,
        _ call: AuditedCall, _ time: Timestamp, to lines: inout [UInt8]
    ) {
        var writer = JSONWriter(reserving: 512)
        writer.beginObject()
        writer.field("time", time.rfc3339())
        writer.field("type", type)
        lines.append(contentsOf: options.prefix)
        lines.append(contentsOf: writer.bytes)
        lines.append(UInt8(ascii: ","))
        lines.append(contentsOf: shared.dropFirst().dropLast())
        if let outcome {
            var tail = JSONWriter(reserving: 512)
            tail.beginObject()
            writeOutcome(outcome, call, to: &tail)
            tail.endObject()
            if tail.bytes.count > 2 {
                lines.append(UInt8(ascii: ","))
                lines.append(contentsOf: tail.bytes.dropFirst().dropLast())
            }
        }
        lines.append(UInt8(ascii: "}"))
        lines.append(10)
    }

    // MARK: Request

    /// An object of `auth` and `request`.
    private func shared(_ call: AuditedCall) -> [UInt8] {
        var writer = JSONWriter(reserving: 1_024)
        writer.beginObject()
        writer.name("auth")
        writeBearer(call, to: &writer)
        writer.name("request")
        writeRequest(call, to: &writer)
        writer.endObject()
        return writer.bytes
    }

    private func writeBearer(_ call: AuditedCall, to writer: inout JSONWriter) {
        writer.beginObject()
        defer { writer.endObject() }
        guard let bearer = call.bearer else { return writer.field("token_type", "default") }
        writeToken(call, "client_token", to: &writer)
        writeAccessor(bearer.accessor, "accessor", to: &writer)
        writer.field("display_name", bearer.displayName)
        let more = call.identityPolicies
        writer.field(
            "policies",
            more.isEmpty
                ? bearer.policies : TokenPolicies.sanitized(bearer.policies + more, addingDefault: false))
        writer.field("token_policies", bearer.policies)
        if !more.isEmpty { writer.field("identity_policies", more) }
        if let metadata = bearer.metadata, !metadata.isEmpty { writer.field("metadata", .map(metadata)) }
        if bearer.numberOfUses > 0 { writer.field("remaining_uses", bearer.numberOfUses) }
        if !bearer.entityID.isEmpty { writer.field("entity_id", bearer.entityID) }
        writer.field("token_type", bearer.type.name)
        let ttl = Int(bearer.lifetime.ttl.wholeSeconds)
        if ttl > 0 { writer.field("token_ttl", ttl) }
        writer.field("token_issue_time", bearer.lifetime.created.rfc3339())
    }

    private func writeRequest(_ call: AuditedCall, to writer: inout JSONWriter) {
        let request = call.request
        writer.beginObject()
        writer.field("id", request.id)
        if let entity = call.bearer?.entityID, !entity.isEmpty { writer.field("client_id", entity) }
        writer.field("operation", request.operation.rawValue)
        writeMount(call.mount, to: &writer)
        writeToken(call, "client_token", to: &writer)
        if let bearer = call.bearer { writeAccessor(bearer.accessor, "client_token_accessor", to: &writer) }
        writer.field("namespace", ["id": "root"])
        writer.field("path", request.path)
        writeData(call, to: &writer)
        writer.field("remote_address", request.connection.remoteAddress)
        if request.connection.remotePort > 0 {
            writer.field("remote_port", request.connection.remotePort)
        }
        if let ttl = request.wrapTTL { writer.field("wrap_ttl", Int(ttl.wholeSeconds)) }
        writeHeaders(request, to: &writer)
        writer.endObject()
    }

    func writeMount(_ mount: Mount?, to writer: inout JSONWriter) {
        guard let mount else { return }
        writer.field("mount_point", mount.apiPath)
        writer.field("mount_type", mount.entry.type)
        writer.field("mount_accessor", mount.entry.accessor)
    }

    private func writeToken(_ call: AuditedCall, _ name: String, to writer: inout JSONWriter) {
        guard let token = call.token else { return }
        writer.name(name)
        token.withUnsafeBytes { mask.write($0, to: &writer) }
    }

    func writeAccessor(_ accessor: String, _ name: String, to writer: inout JSONWriter) {
        if accessor.isEmpty { return }
        writer.name(name)
        if options.hashesAccessors { mask.write(accessor, to: &writer) } else { writer.string(accessor) }
    }

    private func writeData(_ call: AuditedCall, to writer: inout JSONWriter) {
        let request = call.request
        if request.fields.isEmpty && request.rawBody.isEmpty { return }
        let exceptions = call.mount?.entry.config.auditNonHMACRequestKeys ?? []
        var left = AuditMask.mostBytes
        writer.name("data")
        writer.beginObject()
        for (name, value) in request.fields {
            writer.name(name)
            let mask = exceptions.contains(name) ? mask.plain() : mask
            switch value {
            case .json(let json): mask.write(json, to: &writer, left: &left)
            case .text(let text): mask.write(.string(text), to: &writer, left: &left)
            }
        }
        if !request.rawBody.isEmpty {
            writer.name("http_raw_body")
            request.rawBody.withUnsafeBytes { mask.write($0, to: &writer) }
        }
        writer.endObject()
    }

    private func writeHeaders(_ request: LogicalRequest, to writer: inout JSONWriter) {
        if request.auditedHeaders.isEmpty { return }
        writer.name("headers")
        writer.beginObject()
        for (name, values) in request.auditedHeaders {
            writer.name(name)
            writer.beginArray()
            for value in values {
                if headers[name] ?? true { mask.write(value, to: &writer) } else { writer.string(value) }
            }
            writer.endArray()
        }
        writer.endObject()
    }
}
