package import Base

/// The envelope that most answers come in.
package struct Secret: Sendable {
    package var requestID = ""
    package var leaseID = ""
    package var leaseDuration = 0
    package var renewable = false
    /// An object, or nil.
    package var data: RawJSON?
    /// Nil when the answer says `null`.
    package var warnings: [String]?
    package var auth: Auth?
    package var wrapInfo: WrapInfo?

    package init() {}

    /// A login's outcome, or a token's creation or renewal.
    package struct Auth: Sendable {
        package var clientToken = ""
        package var accessor = ""
        package var policies: [String] = []
        package var tokenPolicies: [String] = []
        /// Nil when the answer says `null`, as it does for tokens without an entity.
        package var identityPolicies: [String]?
        /// Sorted by name; nil when the answer says `null`.
        package var metadata: [(String, RawJSON)]?
        package var orphan = false
        package var entityID = ""
        package var leaseDuration = 0
        package var renewable = false

        package init() {}
    }

    /// What stands in for a wrapped answer.
    package struct WrapInfo: Sendable {
        package var token = ""
        package var accessor = ""
        package var ttl = 0
        package var creationTime = ""
        package var creationPath = ""
        package var wrappedAccessor = ""
    }

    /// Reads an envelope; members that it does not have keep their defaults.
    package init(_ body: RawJSON) {
        body.forEachMember { name, value in
            switch name {
            case "request_id": requestID = value.string ?? ""
            case "lease_id": leaseID = value.string ?? ""
            case "lease_duration": leaseDuration = value.int ?? 0
            case "renewable": renewable = value.bool ?? false
            case "data": data = value.kind == .object ? value : nil
            case "warnings": warnings = value.kind == .array ? value.strings : nil
            case "auth": auth = value.kind == .object ? Auth(value) : nil
            case "wrap_info": wrapInfo = value.kind == .object ? WrapInfo(value) : nil
            default: break
            }
        }
    }

    /// True when there is something to show although the status was 404: a deleted version's metadata, say.
    var hasContent: Bool { !(warnings ?? []).isEmpty || !(data?.members ?? []).isEmpty }

    /// Elements of `data.keys`; nil when there is no such list.
    package var keys: [RawJSON]? {
        guard let keys = data?["keys"], keys.kind == .array else { return nil }
        return keys.elements
    }
}

extension Secret.Auth {
    init(_ body: RawJSON) {
        body.forEachMember { name, value in
            switch name {
            case "client_token": clientToken = value.string ?? ""
            case "accessor": accessor = value.string ?? ""
            case "policies": policies = value.strings
            case "token_policies": tokenPolicies = value.strings
            case "identity_policies": identityPolicies = value.kind == .array ? value.strings : nil
            case "metadata":
                guard value.kind == .object else { break }
                metadata = value.members.map { ($0.name, $0.value) }.sorted { $0.0 < $1.0 }
            case "orphan": orphan = value.bool ?? false
            case "entity_id": entityID = value.string ?? ""
            case "lease_duration": leaseDuration = value.int ?? 0
            case "renewable": renewable = value.bool ?? false
            default: break
            }
        }
    }
}

extension Secret.WrapInfo {
    init(_ body: RawJSON) {
        token = body["token"]?.string ?? ""
        accessor = body["accessor"]?.string ?? ""
        ttl = body["ttl"]?.int ?? 0
        creationTime = body["creation_time"]?.string ?? ""
        creationPath = body["creation_path"]?.string ?? ""
        wrappedAccessor = body["wrapped_accessor"]?.string ?? ""
    }
}

extension RawJSON {
    /// The strings of an array, others left out; empty for any other kind.
    package var strings: [String] { elements.compactMap { $0.string } }
}
