package import Base
package import PluginKit

/// A secret id as storage knows it: everything but the secret id itself.
struct SecretIDRecord: Sendable {
    /// The HMAC of the secret id: its name in storage.
    let code: String
    let accessor: String
    /// Uses left; 0 for any number. A record without any use left does not exist.
    var usesLeft: Int
    /// The span that it was made with; zero for ever.
    var ttl: Duration
    var created: Timestamp
    var updated: Timestamp
    /// Nil for never.
    var expires: Timestamp?
    var metadata: [String: String] = [:]
    /// As they were sent: networks from which it may be used; empty for all.
    var cidrList: [String] = []
    /// Networks from which tokens made with it may be used, instead of the role's; empty for those.
    var tokenBoundCIDRs: [CIDRBlock] = []
    var tokenCIDRTexts: [String] = []

    init(code: String, accessor: String, uses: Int, ttl: Duration, created: Timestamp) {
        self.code = code
        self.accessor = accessor
        usesLeft = uses
        self.ttl = ttl
        self.created = created
        updated = created
        expires = ttl > .zero ? created + ttl : nil
    }

    func isOver(at now: Timestamp) -> Bool { expires.map { $0 <= now } ?? false }

    func allows(_ address: String) -> Bool {
        cidrList.isEmpty || cidrList.contains { CIDRBlock($0)?.contains(address) ?? false }
    }

    /// What lookups show.
    var members: JSONValue {
        .object([
            ("cidr_list", .strings(cidrList)), ("creation_time", .string(created.rfc3339())),
            ("expiration_time", .string(expires?.rfc3339() ?? "0001-01-01T00:00:00Z")),
            ("last_updated_time", .string(updated.rfc3339())), ("metadata", .map(metadata)),
            ("secret_id_accessor", .string(accessor)), ("secret_id_num_uses", .int(usesLeft)),
            ("secret_id_ttl", .int(Int(ttl.wholeSeconds))), ("token_bound_cidrs", .strings(tokenCIDRTexts)),
        ])
    }

    var encoded: [UInt8] {
        var members: [(String, JSONValue)] = [
            ("v", 1), ("accessor", .string(accessor)), ("uses", .int(usesLeft)),
            ("ttl", .int(Int(ttl.wholeNanoseconds))), ("created", .int(Int(created.nanoseconds))),
            ("updated", .int(Int(updated.nanoseconds))), ("metadata", .map(metadata)),
            ("cidrs", .strings(cidrList)), ("token_cidrs", .strings(tokenCIDRTexts)),
        ]
        if let expires { members.append(("expires", .int(Int(expires.nanoseconds)))) }
        return JSONValue.object(members).encoded()
    }

    init?(code: String, stored bytes: [UInt8]) {
        guard let json = try? RawJSON(validating: bytes), json["v"]?.int == 1 else { return nil }
        func time(_ name: String) -> Timestamp? {
            json[name]?.int.map { Timestamp(nanoseconds: Int64($0)) }
        }
        guard let accessor = json["accessor"]?.string, let uses = json["uses"]?.int,
            let ttl = json["ttl"]?.int, let created = time("created"), let updated = time("updated"),
            let metadata = json["metadata"].flatMap({ [String: String].parse(.json($0)) }),
            let cidrs = json["cidrs"]?.elements.compactMap(\.string),
            let tokenCIDRs = json["token_cidrs"]?.elements.compactMap(\.string),
            let blocks = try? CIDRBlock.parse(tokenCIDRs, field: "token_cidrs")
        else { return nil }
        self.code = code
        self.accessor = accessor
        usesLeft = uses
        self.ttl = .nanoseconds(ttl)
        self.created = created
        self.updated = updated
        expires = time("expires")
        self.metadata = metadata
        cidrList = cidrs
        tokenCIDRTexts = tokenCIDRs
        tokenBoundCIDRs = blocks
    }
}

// MARK: In storage

extension AppRoleMethod {
    private static let expiries = "expiry/"
    /// Secret ids that one transaction removes.
    private static let batch = 200

    private static func recordKey(_ role: RoleRecord, _ code: String) -> String {
        "secret_id/\(role.uid)/\(code)"
    }
    static func accessors(of role: RoleRecord) -> String { "accessor/\(role.uid)/" }

    private static func expiryKey(_ expires: Timestamp, _ uid: String, _ code: String) -> String {
        let digits = String(UInt64(max(0, expires.nanoseconds)), radix: 16)
        return "\(expiries)\(String(repeating: "0", count: 16 - digits.count))\(digits)/\(uid)/\(code)"
    }

    /// The secret id of that code, while it is good.
    func secretID(
        _ code: String, of role: RoleRecord, now: Timestamp, _ tx: inout Transaction
    ) throws(VaultError) -> SecretIDRecord? {
        let key = Self.recordKey(role, code)
        guard let bytes = try tx.get(key) else { return nil }
        guard let record = SecretIDRecord(code: code, stored: bytes) else {
            throw .corrupted(place: "approle: a secret id of \(role.name)")
        }
        return record.isOver(at: now) ? nil : record
    }

    /// The secret id of that accessor of this very role, while it is good.
    func secretID(
        accessor: String, of role: RoleRecord, now: Timestamp, _ tx: inout Transaction
    ) throws(VaultError) -> SecretIDRecord? {
        // It becomes part of a key: only what we would have made ourselves may.
        guard accessor.utf8.count == 36, accessor.utf8.allSatisfy({ $0 == 45 || $0.isHexDigit }),
            let code = try tx.get(Self.accessors(of: role) + accessor)
        else { return nil }
        return try secretID(String(decoding: code, as: UTF8.self), of: role, now: now, &tx)
    }

    func put(_ record: SecretIDRecord, of role: RoleRecord, _ tx: inout Transaction) {
        tx.put(Self.recordKey(role, record.code), record.encoded)
    }

    func add(_ record: SecretIDRecord, to role: RoleRecord, _ tx: inout Transaction) {
        put(record, of: role, &tx)
        tx.put(Self.accessors(of: role) + record.accessor, Array(record.code.utf8))
        if let expires = record.expires { tx.put(Self.expiryKey(expires, role.uid, record.code), []) }
    }

    func remove(_ record: SecretIDRecord, of role: RoleRecord, _ tx: inout Transaction) {
        tx.delete(Self.recordKey(role, record.code))
        tx.delete(Self.accessors(of: role) + record.accessor)
        if let expires = record.expires { tx.delete(Self.expiryKey(expires, role.uid, record.code)) }
    }

    /// Leaves the secret ids of a role that is being deleted to the background: without the role, nobody
    /// reaches them. Their places in the order of time go when these come.
    func abandonSecretIDs(of role: RoleRecord, _ tx: inout Transaction) {
        tx.deleteLater("secret_id/\(role.uid)/")
        tx.deleteLater(Self.accessors(of: role))
    }

    package func tidy(_ tx: inout Transaction, now: Timestamp) throws(VaultError) -> Bool {
        let keys = try tx.scan(Self.expiries, limit: Self.batch)
        for key in keys {
            let parts = key.split(separator: "/").map(String.init)
            guard parts.count == 4, let moment = Int64(parts[1], radix: 16) else {
                throw .corrupted(place: "approle: \(key)")
            }
            if moment > now.nanoseconds { return false }
            let place = "secret_id/\(parts[2])/\(parts[3])"
            if let bytes = try tx.get(place) {
                tx.delete(place)
                if let record = SecretIDRecord(code: parts[3], stored: bytes) {
                    tx.delete("accessor/\(parts[2])/\(record.accessor)")
                }
            }
            tx.delete(key)
        }
        return keys.count == Self.batch
    }
}

extension UInt8 {
    fileprivate var isHexDigit: Bool { (48...57).contains(self) || (97...102).contains(self) }
}
