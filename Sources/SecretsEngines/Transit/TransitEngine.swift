package import Base
package import PluginKit

/// Encryption as a service: keys that never leave, and what they do to the data that clients send.
///
/// Invariants:
/// - Ciphertexts, derivation and backups have Vault's formats, so that each reads what the other wrote.
/// - A nonce is random, or for convergent keys the HMAC of the plain text under a derived key; a caller's
///   nonce is refused, for one that comes twice gives the key stream away.
/// - The policy of a key (`p/<name>`) is read, and so checked for conflicts, in every request. The material
///   of a version (`v/<id>/<number>`) is written once and never changed, under a random id that no other key
///   gets; so what is kept of it in memory cannot be out of date and needs no invalidation.
/// - Key material is in `SecretBytes`, in the schedules of libcrypto (which wipes them), and in the barrier.
package struct TransitEngine: SecretsEngine {
    /// As `sys/mounts` takes it.
    package static let type = "transit"
    /// One line for `path-help`.
    package static let summary = "Encryption as a service: clients send data, keys stay here."

    let context: MountContext
    let rings: KeyRingCache

    /// A mount has no options.
    package init(_ context: MountContext) throws(VaultError) {
        self.context = context
        rings = KeyRingCache()
    }

    /// Every endpoint of a mount.
    package static var routes: [Route<Self>] {
        keyRoutes + dataRoutes + exportRoutes + codeRoutes + toolRoutes + cacheRoutes
    }

    /// Where things are, below the mount's prefix.
    enum Place {
        static let policies = "p/"
        static let cacheConfig = "cache-config"
        static func policy(_ name: String) -> String { policies + name }
        static func versions(_ id: KeyID) -> String { "v/\(id.text)/" }
        static func version(_ id: KeyID, _ number: Int) -> String { versions(id) + String(number) }
    }

    static let name = Field<String>(required: "name", "Name of the key.")
    static let keyContext = Field<RawJSON>(
        "context", "Context of a derived key, in base64: each has a key of its own.")
    static let keyVersion = Field<Int>(
        "key_version", default: 0, "Version of the key to use; 0 is the latest.")

    private static let mostNameBytes = 256

    /// The name of a key, as the path has it.
    /// - Throws: `.badRequest` for one that no key may have.
    static func keyName(_ request: LogicalRequest) throws(VaultError) -> String {
        try checkedName(try request[name])
    }

    /// - Throws: `.badRequest` for a name that no key may have.
    static func checkedName(_ name: String) throws(VaultError) -> String {
        func isWord(_ byte: UInt8) -> Bool {
            switch byte {
            case 48...57, 65...90, 97...122, UInt8(ascii: "_"): true
            default: false
            }
        }
        let bytes = name.utf8
        guard let first = bytes.first, let last = bytes.last, bytes.count <= mostNameBytes,
            isWord(first), isWord(last),
            bytes.allSatisfy({ isWord($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") })
        else {
            throw .badRequest(
                "field 'name': expected at most \(mostNameBytes) letters, digits, '_', and between them "
                    + "'-' and '.'")
        }
        return name
    }
}
