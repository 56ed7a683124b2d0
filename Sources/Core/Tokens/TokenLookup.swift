import Base
import PluginKit

/// The reading half of `auth/token/`.
extension TokenMethod {
    @Sendable func lookUp(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        // Without a token in the body it is about the caller's own.
        guard let token = try Self.tokenSent(request) else { return try lookUpSelf(request, &tx) }
        guard let entry = try sent(request, &tx) else { throw .forbidden("bad token") }
        return try describe(entry, token: token, request.now, tx)
    }

    @Sendable func lookUpSelf(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let entry = try caller(request, &tx)
        return try describe(entry, token: request.clientToken, request.now, tx)
    }

    @Sendable func lookUpAccessor(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let entry = try named(request, &tx)
        return try describe(entry, token: nil, request.now, tx)
    }

    @Sendable func listAccessors(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try .keys(store.accessors(&tx))
    }

    /// Accessors that one call of `tidy` checks.
    private static let tidyLimit = 1_000

    /// A token's parts come and go in one commit, so that nothing should ever be left over. This checks a
    /// bounded number of accessors from a random one on, behind the last those from the first on, and removes
    /// those whose token is gone.
    @Sendable func tidy(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let first = try store.accessors(&tx, limit: 1).first ?? ""
        let start = TimePrefix.place(from: first, to: request.now, store.random)
        var found = try store.accessors(&tx, after: start, limit: Self.tidyLimit)
        if found.count < Self.tidyLimit {
            found += try store.accessors(&tx, limit: Self.tidyLimit - found.count)
        }
        for accessor in found {
            let key = TokenKeys.accessor + accessor
            guard let bytes = try tx.get(key) else { continue }
            let entry = try store.entry(hash: String(decoding: bytes, as: UTF8.self), &tx)
            if entry?.accessor != accessor { tx.delete(key) }
        }
        var response = LogicalResponse(warnings: [
            "Tidy operation finished: up to \(Self.tidyLimit) accessors were checked against their tokens."
        ])
        response.status = 202
        return response
    }

    /// The members that Vault's clients read. `token` is shown to who has it already.
    private func describe(
        _ entry: TokenEntry, token: SecretBytes?, _ now: Timestamp, _ tx: Transaction
    ) throws(VaultError) -> LogicalResponse {
        let identity = try store.identities.identity(of: entry.entityID, tx)
        return LogicalResponse(
            data: Self.describe(
                entry, token: token, now: now, identityPolicies: entry.isRoot ? [] : identity?.policies ?? [])
        )
    }

    private static func describe(
        _ entry: TokenEntry, token: SecretBytes?, now: Timestamp, identityPolicies: [String]
    ) -> JSONValue {
        let life = entry.lifetime
        var members: [(String, JSONValue)] = [
            ("accessor", .string(entry.accessor)),
            ("creation_time", .int(Int(life.created.seconds))),
            ("creation_ttl", .int(Int(life.ttl.wholeSeconds))),
            ("display_name", .string(entry.displayName)),
            ("entity_id", .string(entry.entityID)),
            ("expire_time", .optional(life.expires?.rfc3339())),
            ("explicit_max_ttl", .int(Int(life.explicitMaxTTL.wholeSeconds))),
        ]
        // There is one namespace, so that no policies come from another.
        if !identityPolicies.isEmpty { members.append(("external_namespace_policies", .object([]))) }
        members.append(("id", token.map(quoted) ?? .string("")))
        if !identityPolicies.isEmpty { members.append(("identity_policies", .strings(identityPolicies))) }
        members.append(("issue_time", .string(life.created.rfc3339())))
        if let renewed = life.renewed {
            members.append(("last_renewal", .string(renewed.rfc3339())))
            members.append(("last_renewal_time", .int(Int(renewed.seconds))))
        }
        members += [
            ("meta", .map(entry.metadata)),
            ("num_uses", .int(entry.numberOfUses)),
            ("orphan", .bool(entry.isOrphan)),
            ("path", .string(entry.path)),
        ]
        if life.period > .zero { members.append(("period", .int(Int(life.period.wholeSeconds)))) }
        members.append(("policies", .strings(entry.policies)))
        members.append(("renewable", .bool(life.isRenewable)))
        if !entry.role.isEmpty { members.append(("role", .string(entry.role))) }
        if !entry.boundCIDRs.isEmpty {
            members.append(("bound_cidrs", .strings(entry.boundCIDRs.map(\.description))))
        }
        members.append(("ttl", .int(Int(life.left(at: now).wholeSeconds))))
        members.append(("type", .string(entry.type.name)))
        return .object(members)
    }

    /// The token as a JSON string made byte by byte: never a `String`, which nobody can wipe.
    private static func quoted(_ token: SecretBytes) -> JSONValue {
        token.withBytes { bytes in
            var text = [UInt8(ascii: "\"")]
            for byte in bytes {
                if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
                    text.append(UInt8(ascii: "\\"))
                }
                text.append(byte)
            }
            text.append(UInt8(ascii: "\""))
            return .raw(RawJSON(trusted: text))
        }
    }
}
