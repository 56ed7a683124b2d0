import Base
import Crypto
import PluginKit
import Synchronization

/// The material of one version of a key, ready for use by any thread.
final class KeyVersion: Sendable {
    static let hmacKeyBytes = 32
    private static let format: UInt8 = 1

    let number: Int
    let key: SecretBytes
    /// For HMACs: a key of its own.
    let hmacKey: SecretBytes
    let cipher: SharedAEAD

    init(number: Int, type: KeyType, key: SecretBytes, hmacKey: SecretBytes) {
        self.number = number
        self.key = key
        self.hmacKey = hmacKey
        cipher = SharedAEAD(type.algorithm, key: key)
    }

    convenience init(number: Int, type: KeyType, random: any RandomSource) {
        self.init(
            number: number, type: type, key: .random(type.keyBytes, from: random),
            hmacKey: .random(Self.hmacKeyBytes, from: random))
    }

    /// - Throws: `.corrupted` when it is not stored, or not in this form.
    convenience init(_ number: Int, of policy: KeyPolicy, _ tx: Transaction) throws(VaultError) {
        let place = "version \(number) of transit key \(policy.name)"
        guard var bytes = try tx.get(TransitEngine.Place.version(policy.id, number)) else {
            throw .corrupted(place: place)
        }
        defer { bytes.wipe() }
        var reader = FrameReader(bytes, place: place)
        guard try reader.byte() == Self.format else { throw .corrupted(place: place) }
        let key = try reader.secret(try reader.int())
        let hmacKey = try reader.secret(try reader.int())
        try reader.expectEnd()
        guard key.count == policy.type.keyBytes else { throw .corrupted(place: place) }
        self.init(number: number, type: policy.type, key: key, hmacKey: hmacKey)
    }

    func save(for policy: KeyPolicy, _ tx: inout Transaction) {
        var writer = FrameWriter(reserving: 17 + key.count + hmacKey.count)
        writer.byte(Self.format)
        for part in [key, hmacKey] {
            writer.int(part.count)
            part.withBytes { writer.raw($0) }
        }
        tx.put(TransitEngine.Place.version(policy.id, number), writer.bytes)
    }
}

/// The versions of one key that have been used of late.
final class KeyRing: Sendable {
    /// Versions kept at most; one is about 3 KiB with the ciphers that it comes to have.
    private static let mostVersions = 64
    private let versions = Mutex<[Int: KeyVersion]>([:])

    /// The material of a version, from memory or from storage.
    func version(
        _ number: Int, of policy: KeyPolicy, _ tx: Transaction
    ) throws(VaultError) -> KeyVersion {
        if let known = versions.withLock({ $0[number] }) { return known }
        let version = try KeyVersion(number, of: policy, tx)
        versions.withLock { versions in
            if versions.count >= Self.mostVersions { versions.removeAll() }
            versions[number] = version
        }
        return version
    }
}

/// The rings of a mount's keys, those used last; the rest is let go of and wiped.
final class KeyRingCache: Sendable {
    /// Keys kept where nobody says how many.
    static let usualKeys = 1_000

    private struct State {
        var rings: [KeyID: (ring: KeyRing, used: UInt64)] = [:]
        var uses: UInt64 = 0
        /// Nil until the mount's configuration was read.
        var size: Int?
    }
    private let state = Mutex(State())

    /// How many keys it keeps since it was told; nil when it was not yet.
    var size: Int? { state.withLock { $0.size } }

    /// Tells how many keys to keep; 0 for the usual. What was told first counts.
    func setSize(_ size: Int) { state.withLock { if $0.size == nil { $0.size = size } } }

    func ring(_ id: KeyID) -> KeyRing {
        state.withLock { state in
            state.uses += 1
            let known = state.rings[id]?.ring
            let most = state.size.flatMap { $0 > 0 ? $0 : nil } ?? Self.usualKeys
            if known == nil, state.rings.count >= most,
                let oldest = state.rings.min(by: { $0.value.used < $1.value.used })?.key
            {
                state.rings[oldest] = nil
            }
            let ring = known ?? KeyRing()
            state.rings[id] = (ring, state.uses)
            return ring
        }
    }

    /// Lets go of a key's material.
    func forget(_ id: KeyID) { state.withLock { $0.rings[id] = nil } }
}
