import Base
import PluginKit

/// `role/<name>/secret-id…`: secret ids are made, looked up and destroyed.
extension AppRoleMethod {
    private static let metadata = Field<RawJSON>(
        "metadata", "Strings by name, as JSON text, for tokens made with the secret id.")
    private static let cidrList = Field<[String]>(
        "cidr_list", "Addresses or networks from which it may be used; within those of the role.")
    private static let tokenCIDRs = Field<[String]>(
        "token_bound_cidrs", "Networks for its tokens, instead of the role's; within those.")
    private static let uses = Field<Int>("num_uses", "How often it may be used; the role's when left out.")
    private static let ttl = Field<Duration>("ttl", "How long it lives; the role's when left out.")
    /// Bytes of a secret id of one's own choosing.
    private static let mostBytes = 4_096
    /// Entries and bytes of metadata: they stand in every token made with it.
    private static let mostMetadata = (count: 64, bytes: 16 << 10)

    static var secretIDRoutes: [Route<Self>] {
        let base = "role/:role_name"
        return [
            Route(
                .list, "\(base)/secret-id", "List the accessors of a role's secret ids.", fields: roleName,
                run: Self.listAccessors),
            Route(
                .update, "\(base)/secret-id", "Make a secret id.", fields: roleName, metadata, cidrList,
                tokenCIDRs, uses, ttl, run: Self.generate),
            Route(
                .update, "\(base)/custom-secret-id", "Make a secret id of one's own choosing.",
                fields: roleName, secretID, metadata, cidrList, tokenCIDRs, uses, ttl, run: Self.register),
            Route(
                .update, "\(base)/secret-id/lookup", "Look up a secret id.", fields: roleName, secretID,
                run: Self.lookUp),
            Route(
                .update, "\(base)/secret-id/destroy", "Destroy a secret id.", fields: roleName, secretID,
                run: Self.destroy),
            Route(
                .delete, "\(base)/secret-id/destroy", "Destroy a secret id.", fields: roleName, secretID,
                run: Self.destroy),
            Route(
                .update, "\(base)/secret-id-accessor/lookup", "Look up a secret id by its accessor.",
                fields: roleName, accessor, run: Self.lookUpAccessor),
            Route(
                .update, "\(base)/secret-id-accessor/destroy", "Destroy a secret id by its accessor.",
                fields: roleName, accessor, run: Self.destroyAccessor),
            Route(
                .delete, "\(base)/secret-id-accessor/destroy", "Destroy a secret id by its accessor.",
                fields: roleName, accessor, run: Self.destroyAccessor),
        ]
    }

    // MARK: Making

    @Sendable private func generate(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        var text = newSecretID()
        defer { text.wipe() }
        let shown = [UInt8(ascii: "\"")] + text + [UInt8(ascii: "\"")]
        return try make(SecretBytes(copying: text), shown: RawJSON(trusted: shown), request, &tx)
    }

    @Sendable private func register(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let secret = try request.optional(Self.secretID), secret.count > 0,
            case .json(let sent)? = request.input(Self.secretID.name)
        else { throw .badRequest("missing secret_id") }
        if secret.count > Self.mostBytes {
            throw .badRequest("field 'secret_id': expected at most \(Self.mostBytes) bytes")
        }
        return try make(secret, shown: sent, request, &tx)
    }

    private func make(
        _ secret: SecretBytes, shown: RawJSON, _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let role = try named(request, &tx)
        guard role.bindSecretID else { throw .badRequest("bind_secret_id is not set on the role") }
        var record = SecretIDRecord(
            code: role.code(of: secret), accessor: random.uuid(), uses: try Self.uses(request, role),
            ttl: try Self.ttl(request, role), created: request.now)
        record.metadata = try Self.metadata(request)
        let list = try request.optional(Self.cidrList) ?? []
        try Self.check(list, within: role.secretIDBoundCIDRs, Self.cidrList.name)
        record.cidrList = list.filter { !$0.isEmpty }
        let tokenList = try request.optional(Self.tokenCIDRs) ?? []
        record.tokenBoundCIDRs = try Self.check(
            tokenList, within: role.token.boundCIDRs, Self.tokenCIDRs.name)
        record.tokenCIDRTexts = tokenList.filter { !$0.isEmpty }
        // One that has ended but was not removed yet gives its place up.
        if try secretID(record.code, of: role, now: request.now, &tx) != nil {
            throw .badRequest("secret_id is already registered")
        }
        if let ended = try secretID(record.code, of: role, now: Timestamp(nanoseconds: .min), &tx) {
            remove(ended, of: role, &tx)
        }
        add(record, to: role, &tx)
        return LogicalResponse(
            data: .object([
                ("secret_id", .raw(shown)), ("secret_id_accessor", .string(record.accessor)),
                ("secret_id_num_uses", .int(record.usesLeft)),
                ("secret_id_ttl", .int(Int(record.ttl.wholeSeconds))),
            ]))
    }

    /// A UUID as bytes, not as a `String`, which nobody can wipe.
    private func newSecretID() -> [UInt8] {
        var raw = random.bytes(16)
        defer { raw.wipe() }
        raw[6] = raw[6] & 0x0F | 0x40
        raw[8] = raw[8] & 0x3F | 0x80
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        text.reserveCapacity(36)
        for (index, byte) in raw.enumerated() {
            if [4, 6, 8, 10].contains(index) { text.append(UInt8(ascii: "-")) }
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return text
    }

    /// The role's number, or a smaller one.
    private static func uses(_ request: LogicalRequest, _ role: RoleRecord) throws(VaultError) -> Int {
        guard let asked = try request.optional(uses) else { return role.secretIDUses }
        if asked < 0 { throw .badRequest("num_uses cannot be negative") }
        if role.secretIDUses > 0, asked == 0 || asked > role.secretIDUses {
            throw .badRequest("num_uses cannot be higher than the role's secret_id_num_uses")
        }
        return asked
    }

    /// The role's span, or a shorter one.
    private static func ttl(_ request: LogicalRequest, _ role: RoleRecord) throws(VaultError) -> Duration {
        guard let asked = try request.optional(ttl) else { return role.secretIDTTL }
        if asked < .zero { throw .badRequest("ttl cannot be negative") }
        if role.secretIDTTL > .zero, asked == .zero || asked > role.secretIDTTL {
            throw .badRequest("ttl cannot be longer than the role's secret_id_ttl")
        }
        return asked
    }

    /// JSON text of an object of strings, or such an object itself.
    private static func metadata(_ request: LogicalRequest) throws(VaultError) -> [String: String] {
        guard var json = try request.optional(metadata) else { return [:] }
        let refusal = VaultError.badRequest("field 'metadata': expected a JSON object of strings")
        if let text = json.stringBytes {
            if text.isEmpty { return [:] }
            guard let inner = try? RawJSON(validating: text) else { throw refusal }
            json = inner
        }
        guard json.kind == .object else { throw refusal }
        var values: [String: String] = [:]
        for (name, value) in json.members {
            guard let text = value.string else { throw refusal }
            values[name] = text
        }
        let bytes = values.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
        guard values.count <= mostMetadata.count, bytes <= mostMetadata.bytes else {
            throw .badRequest(
                "field 'metadata': expected at most \(mostMetadata.count) entries and "
                    + "\(mostMetadata.bytes) bytes")
        }
        return values
    }

    /// - Throws: `.badRequest` for a network that is none, or that reaches beyond those of the role.
    @discardableResult
    private static func check(
        _ texts: [String], within allowed: [CIDRBlock], _ field: String
    ) throws(VaultError) -> [CIDRBlock] {
        if texts.count > 1_024 { throw .badRequest("field '\(field)': expected at most 1024 elements") }
        let blocks = try CIDRBlock.parse(texts, field: field)
        if allowed.isEmpty { return blocks }
        for block in blocks where !allowed.contains(where: { $0.contains(block) }) {
            throw .badRequest("field '\(field)': \(block) is no subset of the CIDR blocks of the role")
        }
        return blocks
    }

    // MARK: Looking up

    @Sendable private func listAccessors(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try .keys(tx.list(Self.accessors(of: named(request, &tx))))
    }

    @Sendable private func lookUp(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let (role, code) = try sent(request, &tx)
        guard let record = try secretID(code, of: role, now: request.now, &tx) else { return .empty }
        return LogicalResponse(data: record.members)
    }

    @Sendable private func lookUpAccessor(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        LogicalResponse(data: try accessed(request, &tx).record.members)
    }

    // MARK: Destroying

    @Sendable private func destroy(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let (role, code) = try sent(request, &tx)
        if let record = try secretID(code, of: role, now: request.now, &tx) { remove(record, of: role, &tx) }
        return .empty
    }

    @Sendable private func destroyAccessor(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let (role, record) = try accessed(request, &tx)
        remove(record, of: role, &tx)
        return .empty
    }

    @Sendable func tidySecretIDs(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let hasMore = try tidy(&tx, now: request.now)
        var response = LogicalResponse(warnings: [
            hasMore
                ? "Many secret ids have ended; the rest is removed in the background."
                : "All secret ids that have ended were removed."
        ])
        response.status = 202
        return response
    }

    // MARK: Whom it is about

    private func sent(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> (role: RoleRecord, code: String) {
        let role = try named(request, &tx)
        guard let secret = try request.optional(Self.secretID), secret.count > 0 else {
            throw .badRequest("missing secret_id")
        }
        return (role, role.code(of: secret))
    }

    private func accessed(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> (role: RoleRecord, record: SecretIDRecord) {
        let role = try named(request, &tx)
        guard let accessor = try request.optional(Self.accessor), !accessor.isEmpty else {
            throw .badRequest("missing secret_id_accessor")
        }
        guard let record = try secretID(accessor: accessor, of: role, now: request.now, &tx) else {
            throw .notFoundBecause("failed to find the secret_id of that accessor in this role")
        }
        return (role, record)
    }
}
