import Base
internal import Consensus

/// Where the log of a store is, and what number it must have.
struct LogPlace: Sendable {
    /// Bytes that are free on the disk of a directory; nil when the system does not tell.
    typealias FreeBytes = @Sendable (_ directory: String) -> UInt64?

    let directory: String
    let identity: UInt64
    let freeBytes: FreeBytes
    var path: String { "\(directory)/log" }

    func disk() throws(VaultError) -> DirectoryDisk { try DirectoryDisk(path) }

    /// Whether so many bytes are free on its disk; true when the system does not tell.
    func hasFree(_ bytes: UInt64) -> Bool { (freeBytes(directory) ?? .max) >= bytes }

    var missing: VaultError {
        .corrupted(
            place: "\(path) is missing or empty, and with it the latest writes. Put it back. To go on with "
                + "what \(directory)/data.mdb has, and lose them, remove \(directory)/anchor")
    }
}

/// How far the log was applied to the data file.
struct FileProgress: AppliedProgress {
    let index: UInt64
    /// The log may be gone, or in any state: the data file has all that was in it.
    let isLogVoid: Bool

    init(index: UInt64, isLogVoid: Bool = false) {
        self.index = index
        self.isLogVoid = isLogVoid
    }
    init(encoded bytes: [UInt8]) throws(VaultError) {
        guard bytes.count == 9 else {
            throw .corrupted(place: "the progress of the log has \(bytes.count) bytes instead of 9")
        }
        self.init(index: decodeNumber(bytes), isLogVoid: bytes[8] == 1)
    }
    var encoded: [UInt8] { encodeNumber(index) + [isLogVoid ? 1 : 0] }
}

extension OverlaidStore<FileProgress> {
    /// Says in the data file, which has all, whether the log counts.
    func note(isLogVoid: Bool) throws(VaultError) {
        let sequence = overlay.sequence
        try replace(FileProgress(index: durableIndex, isLogVoid: isLogVoid)) { _ in sequence }
    }

    /// Applies an entry that the data file does not have yet.
    func replay(_ entry: StoreLog.Entry) throws(VaultError) {
        guard case .batch(let batch) = try RaftPayload(entry.payload, index: entry.index) else {
            throw .corrupted(place: "entry \(entry.index) of the log is no batch of writes")
        }
        try makeRoom()
        apply([(batch, entry.index)], FileProgress(index: entry.index))
    }
}
