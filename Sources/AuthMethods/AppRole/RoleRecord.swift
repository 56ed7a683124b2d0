import Base
import Crypto
import PluginKit

/// A role as storage knows it.
struct RoleRecord: Sendable {
    /// In lower case.
    let name: String
    /// Names the role's secret ids; see `AppRoleMethod`.
    let uid: String
    /// What secret ids are hashed under.
    private let key: [UInt8]
    var id: String
    var bindSecretID = true
    var hasLocalSecretIDs = false
    /// Networks from which secret ids may be used; empty for all.
    var secretIDBoundCIDRs: [CIDRBlock] = []
    /// Whether these came under the old name `bound_cidr_list`.
    var hasOldCIDRList = false
    /// How often a new secret id may be used; 0 for any number.
    var secretIDUses = 0
    /// How long a new secret id lives; zero for ever.
    var secretIDTTL: Duration = .zero
    var token = TokenParameters()

    init(name: String, id: String, random: any RandomSource) {
        self.name = name
        self.id = id
        uid = random.base62(24)
        key = random.bytes(32)
    }

    /// The name of a secret id in storage.
    func code(of secret: SecretBytes) -> String {
        let mac = key.withUnsafeBytes { HMACSHA256(key: $0) }
        return secret.withBytes { Hex.encode(mac.code($0)) }
    }

    /// - Throws: `.badRequest` when anyone could log in.
    func check() throws(VaultError) {
        if !bindSecretID, secretIDBoundCIDRs.isEmpty, token.boundCIDRs.isEmpty {
            throw .badRequest(
                "at least one constraint should be enabled on the role: bind_secret_id, "
                    + "secret_id_bound_cidrs or token_bound_cidrs")
        }
        if secretIDUses < 0 { throw .badRequest("secret_id_num_uses cannot be negative") }
        if secretIDTTL < .zero { throw .badRequest("secret_id_ttl cannot be negative") }
    }

    // MARK: In storage

    var encoded: [UInt8] {
        JSONValue.object([
            ("v", 1), ("uid", .string(uid)), ("key", .string(Hex.encode(key))), ("id", .string(id)),
            ("bind", .bool(bindSecretID)), ("local", .bool(hasLocalSecretIDs)),
            ("cidrs", .strings(secretIDBoundCIDRs.map(\.description))), ("old_cidrs", .bool(hasOldCIDRList)),
            ("uses", .int(secretIDUses)), ("ttl", .int(Int(secretIDTTL.wholeNanoseconds))),
            ("token", token.record),
        ]).encoded()
    }

    init?(name: String, stored bytes: [UInt8]) {
        guard let json = try? RawJSON(validating: bytes), json["v"]?.int == 1,
            let uid = json["uid"]?.string, let key = json["key"]?.string.flatMap({ Hex.decode($0) }),
            let id = json["id"]?.string, let bind = json["bind"]?.bool, let local = json["local"]?.bool,
            let networks = json["cidrs"]?.elements.compactMap(\.string),
            let blocks = try? CIDRBlock.parse(networks, field: "cidrs"),
            let old = json["old_cidrs"]?.bool, let uses = json["uses"]?.int, let ttl = json["ttl"]?.int,
            let token = json["token"].flatMap({ TokenParameters(record: $0) })
        else { return nil }
        self.name = name
        self.uid = uid
        self.key = key
        self.id = id
        bindSecretID = bind
        hasLocalSecretIDs = local
        secretIDBoundCIDRs = blocks
        hasOldCIDRList = old
        secretIDUses = uses
        secretIDTTL = .nanoseconds(ttl)
        self.token = token
    }
}
