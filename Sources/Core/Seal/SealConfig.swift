import Base
import Crypto
import PluginKit

/// How the root key is wrapped. Stored beside the barrier, readable while sealed, authenticated by unsealing.
///
/// With Shamir's seal the key that wraps it, the seal key, is what the holders' shares make. With the others
/// it is random, and stored once for each configured seal, wrapped by it: any one of them opens the server.
/// The holders then have shares of a recovery key.
struct SealConfig: Sendable {
    static let shamir = "shamir"
    private static let place = "core/seal-config"

    var holders: KeyHolders
    /// Nil with Shamir's seal.
    var automatic: Automatic?
    /// The seals that a cluster has gone over from, so that a node which still has the old configuration
    /// knows itself; empty where no node can have another configuration.
    var left: [SealName] = []

    /// How a stanza is known.
    struct SealName: Sendable, Equatable {
        let name: String
        let type: String
    }

    struct Automatic: Sendable {
        var copies: [SealKeyCopy]
        /// Tells the recovery key, and nothing about it: see `check(of:)`.
        var recoveryCheck: [UInt8]
        /// The root key under the recovery key; nil unless the operator asked for it by name.
        var breakGlass: [UInt8]?
    }

    /// The seal key as one of the seals wrapped it.
    struct SealKeyCopy: Sendable, Equatable {
        let name: String
        let type: String
        let wrapped: WrappedKey
    }

    /// What `seal-status` shows as the type.
    var type: String { automatic?.copies.first?.type ?? Self.shamir }

    /// What a recovery key is recognised by. It is 256 random bits, so that this gives nobody anything to
    /// guess at.
    static func check(of recoveryKey: SecretBytes) -> [UInt8] {
        HKDF.derive(from: recoveryKey, info: Array("holdfast/recovery-check".utf8)).withBytes { Array($0) }
    }

    var record: [UInt8] {
        var members: [(String, JSONValue)] = [
            ("type", .string(automatic == nil ? Self.shamir : "auto")),
            ("secret_shares", .int(holders.shares)), ("secret_threshold", .int(holders.threshold)),
            ("pgp_fingerprints", .strings(holders.pgpFingerprints)),
        ]
        if let automatic {
            let copies: [JSONValue] = automatic.copies.map { copy in
                [
                    "name": .string(copy.name), "type": .string(copy.type),
                    "key_id": .string(copy.wrapped.keyID),
                    "ciphertext": .string(Base64.standard.encode(copy.wrapped.ciphertext)),
                ]
            }
            members.append(("copies", .array(copies)))
            members.append(("recovery_check", .string(Base64.standard.encode(automatic.recoveryCheck))))
            if let breakGlass = automatic.breakGlass {
                members.append(("break_glass", .string(Base64.standard.encode(breakGlass))))
            }
        }
        if !left.isEmpty {
            members.append(
                ("left", .array(left.map { ["name": .string($0.name), "type": .string($0.type)] })))
        }
        return JSONValue.object(members).encoded()
    }

    init(holders: KeyHolders, automatic: Automatic? = nil) {
        self.holders = holders
        self.automatic = automatic
    }

    /// - Throws: `.corrupted` when this is no such record: it is read before anything is authenticated.
    init(record: [UInt8]) throws(VaultError) {
        guard let json = try? RawJSON(validating: record), let type = json["type"]?.string,
            let shares = json["secret_shares"]?.int, let threshold = json["secret_threshold"]?.int,
            (1...255).contains(shares), (1...shares).contains(threshold)
        else { throw .corrupted(place: Self.place) }
        holders = KeyHolders(
            shares: shares, threshold: threshold,
            pgpFingerprints: json["pgp_fingerprints"]?.elements.compactMap(\.string) ?? [])
        for row in json["left"]?.elements ?? [] {
            guard let name = row["name"]?.string, let type = row["type"]?.string else {
                throw .corrupted(place: Self.place)
            }
            left.append(SealName(name: name, type: type))
        }
        if type == Self.shamir { return }
        func bytes(_ value: RawJSON?) -> [UInt8]? { value?.string.flatMap { Base64.standard.decode($0) } }
        guard type == "auto", let rows = json["copies"]?.elements, !rows.isEmpty,
            let check = bytes(json["recovery_check"])
        else { throw .corrupted(place: Self.place) }
        var copies: [SealKeyCopy] = []
        for row in rows {
            guard let name = row["name"]?.string, let type = row["type"]?.string,
                let keyID = row["key_id"]?.string, let ciphertext = bytes(row["ciphertext"])
            else { throw .corrupted(place: Self.place) }
            copies.append(
                SealKeyCopy(
                    name: name, type: type, wrapped: WrappedKey(keyID: keyID, ciphertext: ciphertext)))
        }
        automatic = Automatic(
            copies: copies, recoveryCheck: check, breakGlass: bytes(json["break_glass"]))
    }
}
