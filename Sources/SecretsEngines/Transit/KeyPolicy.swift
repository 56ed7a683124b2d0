import Base
import PluginKit

/// What stands for a key in the paths of its versions: random, so that a name that is used again never meets
/// the material of the key that had it before.
struct KeyID: Hashable, Sendable {
    private let high: UInt64
    private let low: UInt64

    init(random: any RandomSource) {
        let bytes = random.bytes(16)
        (high, low) = bytes.withUnsafeBytes {
            ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        }
    }

    init(_ reader: inout FrameReader) throws(VaultError) {
        high = UInt64(bitPattern: try reader.int64())
        low = UInt64(bitPattern: try reader.int64())
    }

    func append(to writer: inout FrameWriter) {
        writer.int64(Int64(bitPattern: high))
        writer.int64(Int64(bitPattern: low))
    }

    /// As a segment of a path.
    var text: String {
        withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { Hex.encode($0) }
    }
}

/// What a key is and what may be done with it: everything but its material.
struct KeyPolicy {
    /// Versions that one key may have at a time; its record takes eight bytes for each.
    static let mostVersions = 100_000
    private static let format: UInt8 = 1

    let name: String
    let id: KeyID
    let type: KeyType
    let isDerived: Bool
    let isConvergent: Bool
    var isExportable = false
    var allowsPlaintextBackup = false
    var isDeletionAllowed = false
    /// Zero until the first version is added.
    private(set) var latest = 0
    var minDecryption = 1
    /// Zero for the latest only by default, and any that may decrypt on request.
    var minEncryption = 0
    /// Versions below it are gone for good. Zero when none is.
    private(set) var minAvailable = 0
    /// When each version was made, from the oldest on: eight bytes each, read when they are asked for.
    private var times: ArraySlice<UInt8> = []

    init(name: String, id: KeyID, type: KeyType, isDerived: Bool, isConvergent: Bool, minAvailable: Int = 0) {
        self.name = name
        self.id = id
        self.type = type
        self.isDerived = isDerived
        self.isConvergent = isConvergent
        self.minAvailable = minAvailable
        latest = max(0, minAvailable - 1)
    }

    /// The key of this name; nil when there is none.
    init?(_ name: String, _ tx: Transaction) throws(VaultError) {
        let place = TransitEngine.Place.policy(name)
        guard let bytes = try tx.get(place) else { return nil }
        var reader = FrameReader(bytes, place: "of transit key \(name)")
        guard try reader.byte() == Self.format, let type = KeyType(rawValue: try reader.byte()) else {
            throw .corrupted(place: "record of transit key \(name)")
        }
        self.name = name
        self.type = type
        id = try KeyID(&reader)
        let flags = try reader.byte()
        isDerived = flags & 1 != 0
        isConvergent = flags & 2 != 0
        isExportable = flags & 4 != 0
        allowsPlaintextBackup = flags & 8 != 0
        isDeletionAllowed = flags & 16 != 0
        latest = try reader.int()
        minDecryption = try reader.int()
        minEncryption = try reader.int()
        minAvailable = try reader.int()
        times = try reader.raw(bytes.count - reader.at)
        guard latest >= oldest, latest - oldest < Self.mostVersions, times.count == 8 * (latest - oldest + 1)
        else { throw .corrupted(place: "record of transit key \(name)") }
    }

    func save(_ tx: inout Transaction) {
        var writer = FrameWriter(reserving: 64 + times.count)
        writer.byte(Self.format)
        writer.byte(type.rawValue)
        id.append(to: &writer)
        let flags = [isDerived, isConvergent, isExportable, allowsPlaintextBackup, isDeletionAllowed]
        writer.byte(flags.enumerated().reduce(0) { $0 | ($1.element ? 1 << UInt8($1.offset) : 0) })
        writer.int(latest)
        writer.int(minDecryption)
        writer.int(minEncryption)
        writer.int(minAvailable)
        writer.raw(times)
        tx.put(TransitEngine.Place.policy(name), writer.bytes)
    }

    /// The lowest version that still exists.
    var oldest: Int { max(1, minAvailable) }

    /// When a version from `oldest` to `latest` was made.
    func created(_ version: Int) -> Timestamp {
        let at = times.startIndex + 8 * (version - oldest)
        let value = (0..<8).reduce(UInt64(0)) { $0 | UInt64(times[at + $1]) << UInt64(8 * $1) }
        return Timestamp(nanoseconds: Int64(bitPattern: value))
    }

    /// Adds the version behind the latest, which others must store.
    /// - Returns: its number.
    /// - Throws: `.badRequest` when there are too many.
    mutating func addVersion(created: Timestamp) throws(VaultError) -> Int {
        if latest - oldest + 1 >= Self.mostVersions {
            throw .badRequest("the key has \(Self.mostVersions) versions: trim it first")
        }
        latest += 1
        withUnsafeBytes(of: created.nanoseconds.littleEndian) { times.append(contentsOf: $0) }
        return latest
    }

    /// Takes leave of the versions below `minimum`, which others must delete.
    mutating func trim(below minimum: Int) {
        times = times.dropFirst(8 * (max(1, minimum) - oldest))
        minAvailable = minimum
    }

    /// The version to encrypt with: the one that is asked for, where 0 is the latest.
    /// - Throws: `.badRequest` when the policy does not allow it.
    func encryptionVersion(_ asked: Int, for purpose: String) throws(VaultError) -> Int {
        if asked == 0 { return latest }
        if asked < 0 { throw .badRequest("requested version for \(purpose) is negative") }
        if asked > latest {
            throw .badRequest("requested version for \(purpose) is higher than the latest key version")
        }
        if asked < max(minEncryption, minDecryption) {
            throw .badRequest(
                "requested version for \(purpose) is less than the minimum encryption key version")
        }
        return asked
    }

    /// - Throws: `.badRequest` unless what has this version may be decrypted or verified.
    func checkDecryptionVersion(_ version: Int, of what: String) throws(VaultError) {
        if version > latest { throw .badRequest("invalid \(what): version is too new") }
        if version < max(minDecryption, oldest) {
            throw .badRequest("\(what) or signature version is disallowed by policy (too old)")
        }
    }
}
