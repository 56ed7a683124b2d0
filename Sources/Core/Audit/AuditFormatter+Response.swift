import Base
import PluginKit

extension AuditFormatter {
    /// Writes the members that a response's record adds: `response` and `error`.
    func writeOutcome(
        _ outcome: Result<LogicalResponse, VaultError>, _ call: AuditedCall, to writer: inout JSONWriter
    ) {
        switch outcome {
        case .success(let response): write(response, call, to: &writer)
        case .failure(let error):
            let error = AuditedError(error)
            write(error, call, to: &writer)
            if let text = error.text { writer.field("error", text) }
        }
    }

    /// What may quote the client stands where Vault puts it, hashed.
    private func write(_ error: AuditedError, _ call: AuditedCall, to writer: inout JSONWriter) {
        if call.mount == nil, error.hashed.isEmpty { return }
        writer.name("response")
        writer.beginObject()
        writeMount(call.mount, to: &writer)
        if !error.hashed.isEmpty {
            writer.name("data")
            writer.beginObject()
            writer.name("error")
            mask.write(error.hashed.joined(separator: "\n"), to: &writer)
            writer.endObject()
        }
        writer.endObject()
    }

    private func write(_ response: LogicalResponse, _ call: AuditedCall, to writer: inout JSONWriter) {
        writer.name("response")
        writer.beginObject()
        if let auth = response.auth, let token = auth.issued { write(auth, token, to: &writer) }
        writeMount(call.mount, to: &writer)
        if !response.leaseID.isEmpty {
            writer.field("secret", ["lease_id": .string(response.leaseID)])
        }
        writeAnswer(response, call, to: &writer)
        if !response.warnings.isEmpty { writer.field("warnings", response.warnings) }
        if let info = response.wrapInfo { write(info, to: &writer) }
        writer.endObject()
    }

    private func writeAnswer(_ response: LogicalResponse, _ call: AuditedCall, to writer: inout JSONWriter) {
        if let raw = response.raw {
            writer.name("data")
            writer.beginObject()
            writer.name("http_content_type")
            mask.write(raw.contentType, to: &writer)
            writer.name("http_raw_body")
            raw.body.withUnsafeBytes { mask.write($0, to: &writer) }
            writer.field("http_status_code", raw.status)
            writer.endObject()
            return
        }
        guard let data = response.data else { return }
        var left = AuditMask.mostBytes
        writer.name("data")
        guard let members = Self.members(data) else { return mask.write(data, to: &writer, left: &left) }
        let exceptions = call.mount?.entry.config.auditNonHMACResponseKeys ?? []
        let elides = options.elidesLists && call.request.operation == .list
        writer.beginObject()
        for (name, value) in members {
            writer.name(name)
            if elides, name == "keys" || name == "key_info", let count = Self.count(value) {
                writer.int(count)
                continue
            }
            let mask = exceptions.contains(name) ? mask.plain() : mask
            mask.write(value, to: &writer, left: &left)
        }
        writer.endObject()
    }

    private static func members(_ data: JSONValue) -> [(String, JSONValue)]? {
        switch data {
        case .object(let members): members
        case .raw(let json) where json.kind == .object: json.members.map { ($0.name, .raw($0.value)) }
        default: nil
        }
    }

    /// The number of elements or members.
    private static func count(_ value: JSONValue) -> Int? {
        switch value {
        case .array(let values): values.count
        case .object(let members): members.count
        case .raw(let json):
            switch json.kind {
            case .array: json.elements.count
            case .object: json.members.count
            default: nil
            }
        default: nil
        }
    }

    private func write(_ auth: AuthGrant, _ token: IssuedToken, to writer: inout JSONWriter) {
        writer.name("auth")
        writer.beginObject()
        if let secret = token.token {
            writer.name("client_token")
            secret.withBytes { mask.write($0, to: &writer) }
        }
        writeAccessor(token.accessor, "accessor", to: &writer)
        writer.field("display_name", auth.displayName)
        writer.field("policies", token.policies)
        writer.field("token_policies", token.tokenPolicies)
        if !token.identityPolicies.isEmpty { writer.field("identity_policies", token.identityPolicies) }
        if let metadata = token.metadata, !metadata.isEmpty { writer.field("metadata", .map(metadata)) }
        if token.numberOfUses > 0 { writer.field("num_uses", token.numberOfUses) }
        if !token.entityID.isEmpty { writer.field("entity_id", token.entityID) }
        writer.field("token_type", token.type)
        let ttl = Int(token.leaseDuration.wholeSeconds)
        if ttl > 0 { writer.field("token_ttl", ttl) }
        writer.endObject()
    }

    private func write(_ info: WrapInfo, to writer: inout JSONWriter) {
        writer.name("wrap_info")
        writer.beginObject()
        writer.field("ttl", Int(info.ttl.wholeSeconds))
        writer.name("token")
        info.token.withBytes { mask.write($0, to: &writer) }
        writeAccessor(info.accessor, "accessor", to: &writer)
        writer.field("creation_time", info.created.rfc3339())
        writer.field("creation_path", info.creationPath)
        if let accessor = info.wrappedAccessor { writeAccessor(accessor, "wrapped_accessor", to: &writer) }
        writer.endObject()
    }
}
