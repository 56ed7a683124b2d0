import Base
import Crypto

/// The kinds of key that this engine has.
enum KeyType: UInt8, CaseIterable {
    // The raw values are Vault's numbers, which its backups and our records use.
    case aes256GCM96 = 0
    case chaCha20Poly1305 = 5
    case aes128GCM96 = 8

    /// The word in the API.
    var name: String {
        switch self {
        case .aes128GCM96: "aes128-gcm96"
        case .aes256GCM96: "aes256-gcm96"
        case .chaCha20Poly1305: "chacha20-poly1305"
        }
    }

    var algorithm: AEADAlgorithm {
        switch self {
        case .aes128GCM96: .aes128GCM
        case .aes256GCM96: .aes256GCM
        case .chaCha20Poly1305: .chaCha20Poly1305
        }
    }

    var keyBytes: Int { algorithm.keyBytes }

    /// - Throws: `.badRequest` that lists what there is.
    init(named name: String) throws(VaultError) {
        guard let type = Self.allCases.first(where: { $0.name == name }) else {
            let known = Self.allCases.map(\.name).sorted().joined(separator: ", ")
            throw .badRequest("field 'type': unknown key type \"\(name)\": expected one of \(known)")
        }
        self = type
    }
}
