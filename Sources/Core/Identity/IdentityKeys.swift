import Base
import PluginKit

/// The places of `sys/identity/`; see `IdentityStore`.
enum IdentityKeys {
    static let root = "sys/identity/"
    static let entities = "sys/identity/entity/id/"
    static let entityNames = "sys/identity/entity/name/"
    static let merged = "sys/identity/entity/merged/"
    static let aliases = "sys/identity/alias/id/"
    static let groups = "sys/identity/group/id/"
    static let groupNames = "sys/identity/group/name/"
    static let groupAliases = "sys/identity/group/alias/id/"

    static func alias(_ name: String, at accessor: String) -> String {
        "sys/identity/alias/name/\(segment(accessor))/\(segment(name))"
    }
    static func groupAlias(_ name: String, at accessor: String) -> String {
        "sys/identity/group/alias/name/\(segment(accessor))/\(segment(name))"
    }
    /// Entities that are members of a group themselves.
    static func members(of group: String) -> String { "sys/identity/group/members/\(group)/" }
    static func entity(named name: String) -> String { entityNames + segment(name) }
    static func group(named name: String) -> String { groupNames + segment(name) }

    /// Whether two names are one and the same: they may differ in the case of ASCII letters, as in Vault, and
    /// in nothing else. Unicode's own rules would take a Kelvin sign for a `k`.
    static func isSame(_ a: String, _ b: String) -> Bool {
        a.utf8.count == b.utf8.count && zip(a.utf8, b.utf8).allSatisfy { folded($0) == folded($1) }
    }

    /// An id that this server may have made. Others never become part of a key.
    static func isID(_ text: String) -> Bool {
        text.utf8.count == 36
            && text.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) || $0 == 45 }
    }

    /// A name as one segment of a key, in ASCII: no name reaches beyond its place, and no two different names
    /// are taken for the same text.
    private static func segment(_ name: String) -> String {
        var text: [UInt8] = []
        for byte in name.utf8 {
            switch byte {
            case 48...57, 65...90, 97...122, UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
                UInt8(ascii: "@"), UInt8(ascii: "+"), UInt8(ascii: "="), UInt8(ascii: ","),
                UInt8(ascii: ":"):
                text.append(folded(byte))
            default:
                text.append(UInt8(ascii: "%"))
                text.append(contentsOf: Hex.encode([byte]).utf8)
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    private static func folded(_ byte: UInt8) -> UInt8 { (65...90).contains(byte) ? byte + 32 : byte }
}

/// What names, metadata and policies of entities and groups may be.
enum IdentityRules {
    /// Bytes of an entity's or group's name.
    static let nameBytes = 256
    /// Bytes of an alias's name, which other systems choose.
    static let aliasNameBytes = 512
    private static let metadataPairs = 64
    private static let metadataKeyBytes = 128
    private static let metadataValueBytes = 512

    /// - Throws: `.badRequest` that names the field.
    static func check(name: String, _ field: String = "name", most: Int = nameBytes) throws(VaultError) {
        if name.isEmpty { throw .badRequest("missing \(field)") }
        if name.utf8.count > most { throw .badRequest("\(field): expected at most \(most) bytes") }
        if hasControls(name) { throw .badRequest("\(field): expected no control characters") }
    }

    /// - Throws: `.badRequest` that names the field and the limit.
    static func check(metadata: [String: String], _ field: String = "metadata") throws(VaultError) {
        if metadata.count > metadataPairs {
            throw .badRequest("\(field): expected at most \(metadataPairs) pairs")
        }
        for (key, value) in metadata {
            if key.isEmpty || key.utf8.count > metadataKeyBytes || hasControls(key) {
                throw .badRequest(
                    "\(field): expected keys of 1 to \(metadataKeyBytes) bytes without control characters")
            }
            if value.utf8.count > metadataValueBytes || hasControls(value) {
                throw .badRequest(
                    "\(field): expected values of at most \(metadataValueBytes) bytes without control "
                        + "characters")
            }
        }
    }

    /// The names in their one spelling. What they may be is decided about that spelling and no other; a name
    /// with commas is several, as it would be in a text.
    /// - Throws: `.badRequest` for `root` and for what only the server itself gives.
    static func policies(_ names: [String]) throws(VaultError) -> [String] {
        let found = TokenPolicies.sanitized(
            names.flatMap { $0.split(separator: ",").map(String.init) }, addingDefault: false)
        if found == ["root"] { throw .badRequest("policies cannot contain root") }
        if let name = found.first(where: TokenPolicies.internalNames.contains) {
            throw .badRequest("cannot assign policy \"\(name)\"")
        }
        return found
    }

    private static func hasControls(_ text: String) -> Bool { text.utf8.contains { $0 < 32 || $0 == 127 } }
}
