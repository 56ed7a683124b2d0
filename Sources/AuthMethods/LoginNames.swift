import Base
import PluginKit

/// How names of users and roles are spelled: in lower case and without blanks around them, so that one
/// name has one spelling, and of characters that mean nothing in a path.
enum LoginNames {
    private static let most = 256

    /// The one spelling; whether it can exist is for `isPossible`.
    static func canonical(_ name: String) -> String { name.trimmingBlanks().lowercased() }

    /// Whether a canonical name may be created.
    static func isPossible(_ name: String) -> Bool {
        (1...most).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                (97...122).contains(byte) || (48...57).contains(byte) || "_-.@+".utf8.contains(byte)
            }
    }

    /// The canonical name that a field gives.
    /// - Throws: `.badRequest` for one that cannot exist.
    static func parse(_ request: LogicalRequest, _ field: Field<String>) throws(VaultError) -> String {
        let name = canonical(try request[field])
        guard isPossible(name) else {
            throw .badRequest(
                "field '\(field.name)': expected at most \(most) letters, digits, and characters of _-.@+")
        }
        return name
    }
}
