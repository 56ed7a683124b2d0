package import Base
import Crypto
package import PluginKit

/// The barrier's beginnings: what is readable while the server is sealed, the first initialisation,
/// and unsealing. All of it lies in the table `bootstrap`:
///
/// - `core/seal-config`: JSON that the seal's owner writes (kind, shares, threshold, fingerprints), plain;
/// - `core/seal-config-mac`: its code under a key of the keyring, checked when unsealing;
/// - `core/root-key`: the root key, wrapped by the seal;
/// - `core/keyring`: the keyring under the root key.
///
/// Invariants: the four are written in one commit with the chain's first record and the first entries,
/// and either all are there or none and no entry: anything between is damage, and is never taken for a
/// fresh store. So a server that says it is initialised can serve.
/// Unsealing reads four records, whatever the store's size.
package enum BarrierBootstrap {
    static let sealConfigKey = "core/seal-config"
    static let sealConfigMACKey = "core/seal-config-mac"
    static let rootKeyKey = SealEnvelope.rootKeyName
    static let keyringKey = Keyring.recordName

    /// Whether the store has been initialised.
    /// - Throws: `.corrupted` when only some of the records are there, or entries without them.
    package static func isInitialized(_ backend: any StorageBackend) throws(VaultError) -> Bool {
        try reading(backend) { (reader) throws(VaultError) in try isInitialized(reader) }
    }

    /// Creates keyring, chain and first entries in an empty store, in one commit.
    ///
    /// - Parameter sealConfig: JSON that `readSealConfig` will give back; not secret.
    /// - Parameter wrappedRootKey: what `readWrappedRootKey` will give back.
    /// - Parameter rootKey: 32 random bytes.
    /// - Parameter contents: gives the first entries, from the new barrier (which it must not keep) and a
    ///   view of the empty store. What it throws is thrown, and nothing has been written.
    /// - Throws: `.badRequest` when the store has been initialised.
    package static func initialize(
        _ backend: any StorageBackend, sealConfig: [UInt8], wrappedRootKey: [UInt8], rootKey: SecretBytes,
        clock: any Clock, random: any RandomSource,
        contents: (UnsealedBarrier, any StorageView) throws(VaultError) -> [String: [UInt8]?] = { _, _ in [:]
        }
    ) throws(VaultError) {
        guard try !isInitialized(backend) else { throw .badRequest("Vault is already initialized") }
        let keyring = Keyring(rootKey: rootKey, now: clock.now(), random: random)
        var batch = CommitBatch()
        putSeal(sealConfig, wrappedRootKey, keyring, &batch)
        let chain = keyring.makeChain()
        let empty = UnsafeRawBufferPointer(start: nil, count: 0)
        let record = StorageChain.sentinel.withUnsafeBytes { chain.record($0, next: nil, full: empty) }
        batch.put(.links, StorageChain.sentinel, record)
        batch.append(try firstEntries(keyring, record, clock, random, contents))
        // Behind the entries: it holds the count of what the key has encrypted.
        batch.put(.bootstrap, Array(keyringKey.utf8), try keyring.record(random: random))
        _ = try backend.commit(batch)
    }

    private static func firstEntries(
        _ keyring: Keyring, _ firstRecord: [UInt8], _ clock: any Clock, _ random: any RandomSource,
        _ contents: (UnsealedBarrier, any StorageView) throws(VaultError) -> [String: [UInt8]?]
    ) throws(VaultError) -> CommitBatch {
        let barrier = UnsealedBarrier(keyring, clock: clock, random: random)
        defer { barrier.seal() }
        let view = try barrier.makeView(reader: FreshStore(firstRecord: firstRecord))
        try view.refresh()
        defer { view.release() }
        let entries = try contents(barrier, view)
        if entries.isEmpty { return CommitBatch() }
        return try barrier.makeWriter(reader: FreshStore(firstRecord: firstRecord)).encode([entries])
    }

    /// The seal's configuration as it was given to `initialize`; nil when the store is not
    /// initialised. Not authenticated before `unseal`.
    package static func readSealConfig(_ backend: any StorageBackend) throws(VaultError) -> [UInt8]? {
        try reading(backend) { (reader) throws(VaultError) in try read(sealConfigKey, reader) }
    }

    /// The wrapped root key; nil when the store is not initialised.
    package static func readWrappedRootKey(_ backend: any StorageBackend) throws(VaultError) -> [UInt8]? {
        try reading(backend) { (reader) throws(VaultError) in try read(rootKeyKey, reader) }
    }

    /// The keyring's record, encrypted under the root key; nil when the store is not initialised.
    package static func readKeyring(_ backend: any StorageBackend) throws(VaultError) -> [UInt8]? {
        try reading(backend) { (reader) throws(VaultError) in try read(keyringKey, reader) }
    }

    /// A barrier over a keyring that comes from elsewhere, for a node that has no store yet.
    /// - Throws: `.badRequest` for a wrong root key, `.corrupted` for a damaged record.
    package static func open(
        keyring record: [UInt8], rootKey: SecretBytes, clock: any Clock, random: any RandomSource
    ) throws(VaultError) -> UnsealedBarrier {
        UnsealedBarrier(try Keyring(record: record, rootKey: rootKey), clock: clock, random: random)
    }

    /// Opens the barrier.
    ///
    /// - Throws: `.notInitialized`; `.badRequest` for a wrong root key; `.corrupted` when a record is
    ///   damaged or missing, the seal's configuration included.
    package static func unseal(
        _ backend: any StorageBackend, rootKey: SecretBytes, clock: any Clock = SystemClock(),
        random: any RandomSource = BufferedRandom.shared
    ) throws(VaultError) -> UnsealedBarrier {
        let keyring = try reading(backend) { (reader) throws(VaultError) in
            guard try isInitialized(reader) else { throw .notInitialized }
            guard let record = try read(keyringKey, reader), let config = try read(sealConfigKey, reader),
                let mac = try read(sealConfigMACKey, reader)
            else { throw .corrupted(place: "bootstrap") }
            let keyring = try Keyring(record: record, rootKey: rootKey)
            guard constantTimeEqual(mac, sealConfigMAC(config, keyring)) else {
                throw .corrupted(place: sealConfigKey)
            }
            return keyring
        }
        return UnsealedBarrier(keyring, clock: clock, random: random)
    }

    static func putSeal(
        _ config: [UInt8], _ wrappedRootKey: [UInt8], _ keyring: Keyring, _ batch: inout CommitBatch
    ) {
        batch.put(.bootstrap, Array(sealConfigKey.utf8), config)
        batch.put(.bootstrap, Array(sealConfigMACKey.utf8), sealConfigMAC(config, keyring))
        batch.put(.bootstrap, Array(rootKeyKey.utf8), wrappedRootKey)
    }

    private static func sealConfigMAC(_ config: [UInt8], _ keyring: Keyring) -> [UInt8] {
        HMACSHA256(key: keyring.derivedKey("seal-config")).code(config)
    }

    private static func isInitialized(_ reader: any StorageReader) throws(VaultError) -> Bool {
        var present = 0
        let keys = [sealConfigKey, sealConfigMACKey, rootKeyKey, keyringKey]
        for key in keys where try read(key, reader) != nil { present += 1 }
        if present == keys.count { return true }
        let empty = UnsafeRawBufferPointer(start: nil, count: 0)
        guard present == 0, try reader.first(.links, from: empty) == nil,
            try reader.first(.entries, from: empty) == nil
        else { throw .corrupted(place: "bootstrap: some of \(keys.joined(separator: ", ")) is missing") }
        return false
    }

    static func read(_ key: String, _ reader: any StorageReader) throws(VaultError) -> [UInt8]? {
        try Array(key.utf8).withRaw { (key) throws(VaultError) in
            try reader.get(.bootstrap, key).map { Array($0) }
        }
    }

    static func reading<R>(
        _ backend: any StorageBackend, _ body: (any StorageReader) throws(VaultError) -> R
    ) throws(VaultError) -> R {
        let reader = try backend.makeReader()
        try reader.refresh()
        defer { reader.release() }
        return try body(reader)
    }
}

extension Keyring {
    func makeChain() -> StorageChain { StorageChain(key: derivedKey("chain", count: SipHash128.keyBytes)) }
}
