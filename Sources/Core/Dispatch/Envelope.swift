import Base
package import PluginKit

/// Vault's JSON around an answer: the same for clients, and inside of a wrapping token.
package enum Envelope {
    /// Nil when there is nothing to say: 204.
    package static func encode(_ response: LogicalResponse, id: String, mountType: String) -> [UInt8]? {
        if isEmpty(response) { return nil }
        var writer = JSONWriter(reserving: 960)
        write(response, id: id, mountType: mountType, &writer)
        writer.newline()
        return writer.bytes
    }

    /// Whether there is nothing to say.
    static func isEmpty(_ response: LogicalResponse) -> Bool {
        if response.data != nil || !response.warnings.isEmpty { return false }
        return !response.isSpecial
            || response.auth == nil && response.lease == nil && response.wrapInfo == nil
    }

    private static func write(
        _ response: LogicalResponse, id: String, mountType: String, _ writer: inout JSONWriter
    ) {
        guard response.isSpecial || !response.warnings.isEmpty else {
            return writePlain(response, id: id, mountType: mountType, &writer)
        }
        writer.literal("{")
        if response.mirrorsData, case .object(let members)? = response.data {
            for (name, value) in members { writer.field(name, value) }
            if !members.isEmpty { writer.literal(",") }
        }
        // The id belongs to what is wrapped: whoever opens it finds it there.
        writer.literal("\"request_id\":")
        writer.string(response.wrapInfo == nil ? id : "")
        writer.literal(",\"lease_id\":")
        writer.string(response.leaseID)
        writer.literal(",\"renewable\":")
        writer.bool(response.lease?.isRenewable ?? false)
        writer.literal(",\"lease_duration\":")
        writer.int(Int((response.lease?.ttl ?? response.leaseDuration).wholeSeconds))
        writer.literal(",\"data\":")
        if let data = response.data { writer.value(data) } else { writer.null() }
        writer.literal(",\"wrap_info\":")
        if let wrapInfo = response.wrapInfo { write(wrapInfo, &writer) } else { writer.null() }
        writer.literal(",\"warnings\":")
        writer.value(response.warnings.isEmpty ? .null : .strings(response.warnings))
        writer.literal(",\"auth\":")
        if let auth = response.auth?.issued { write(auth, &writer) } else { writer.null() }
        writer.literal(",\"mount_type\":")
        writer.string(response.wrapInfo == nil ? mountType : "")
        writer.literal("}")
    }

    /// What the other gives for an answer of nothing but `data`, with fewer steps.
    private static func writePlain(
        _ response: LogicalResponse, id: String, mountType: String, _ writer: inout JSONWriter
    ) {
        writer.literal("{\"request_id\":")
        writer.string(id)
        writer.literal(",\"lease_id\":\"\",\"renewable\":false,\"lease_duration\":0,\"data\":")
        if let data = response.data { writer.value(data) } else { writer.null() }
        writer.literal(",\"wrap_info\":null,\"warnings\":null,\"auth\":null,\"mount_type\":")
        writer.string(mountType)
        writer.literal("}")
    }

    private static func write(_ auth: IssuedToken, _ writer: inout JSONWriter) {
        writer.beginObject()
        writer.name("client_token")
        if let token = auth.token { token.withBytes { writer.string(utf8: $0) } } else { writer.string("") }
        writer.field("accessor", auth.accessor)
        writer.field("policies", auth.policies)
        writer.field("token_policies", auth.tokenPolicies)
        if !auth.identityPolicies.isEmpty { writer.field("identity_policies", auth.identityPolicies) }
        writer.field("metadata", .map(auth.metadata))
        writer.field("lease_duration", Int(auth.leaseDuration.wholeSeconds))
        writer.field("renewable", auth.isRenewable)
        writer.field("entity_id", auth.entityID)
        writer.field("token_type", auth.type)
        writer.field("orphan", auth.isOrphan)
        writer.field("mfa_requirement", JSONValue.null)
        writer.field("num_uses", auth.numberOfUses)
        writer.endObject()
    }

    private static func write(_ info: WrapInfo, _ writer: inout JSONWriter) {
        writer.beginObject()
        writer.name("token")
        info.token.withBytes { writer.string(utf8: $0) }
        writer.field("accessor", info.accessor)
        writer.field("ttl", Int(info.ttl.wholeSeconds))
        writer.field("creation_time", info.created.rfc3339())
        writer.field("creation_path", info.creationPath)
        if let accessor = info.wrappedAccessor { writer.field("wrapped_accessor", accessor) }
        writer.endObject()
    }
}
