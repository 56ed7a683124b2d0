package import Base
import Crypto

/// What a snapshot's archive says of itself: `meta.json`.
package struct SnapshotMeta: Sendable, Equatable {
    /// Of the archive; this code knows 1.
    package var version = 1
    /// The last entry of the log that the state holds, and its term.
    package var index: UInt64 = 0
    /// The term of that entry.
    package var term: UInt64 = 0
    /// Bytes of the state.
    package var sizeBytes = 0
    /// The cluster whose state it is.
    package var clusterID = ""
    /// When the copy was made.
    package var created = Timestamp(seconds: 0)
    /// The product's version that wrote it.
    package var product = ""
    /// Nothing yet.
    package init() {}

    /// The bytes of `meta.json`.
    package var encoded: [UInt8] {
        let json: JSONValue = [
            "version": .int(version), "id": .string("\(term)-\(index)"), "index": .int(Int(clamping: index)),
            "term": .int(Int(clamping: term)), "size": .int(sizeBytes), "cluster_id": .string(clusterID),
            "created": .string(created.rfc3339()), "product": .string(product),
        ]
        return json.encoded()
    }

    /// Nil when the bytes are no such file.
    package init?(_ bytes: [UInt8]) {
        guard let json = try? RawJSON(validating: bytes), let version = json["version"]?.int,
            let index = json["index"]?.int, let term = json["term"]?.int, let size = json["size"]?.int,
            index >= 0, term >= 0, size >= 0
        else { return nil }
        self.version = version
        self.index = UInt64(index)
        self.term = UInt64(term)
        sizeBytes = size
        clusterID = json["cluster_id"]?.string ?? ""
        created = json["created"]?.string.flatMap { Timestamp(rfc3339: $0) } ?? created
        product = json["product"]?.string ?? ""
    }
}

/// The archive of `operator raft snapshot save`: a gzipped tar of `meta.json`, `state.bin`, `SHA256SUMS` and
/// `SHA256SUMS.sealed`, as clients of Vault know it. The state is what the barrier has encrypted. The last
/// file is a code over the sums that only the cluster itself can make: it comes last, so an archive that has
/// it was not cut off.
package enum SnapshotArchive {
    /// The file that says what the others are.
    package static let meta = "meta.json"
    /// The file with the state.
    package static let state = "state.bin"
    /// The file with the hashes of the two before it.
    package static let sums = "SHA256SUMS"
    /// The file with the code over those hashes.
    package static let sealedSums = "SHA256SUMS.sealed"
    /// Bytes of any file but the state.
    static let mostFileBytes = 64 << 10

    /// The lines of `SHA256SUMS`.
    static func sumLines(meta: [UInt8], state: [UInt8]) -> [UInt8] {
        Array("\(Hex.encode(meta))  \(Self.meta)\n\(Hex.encode(state))  \(Self.state)\n".utf8)
    }
}

/// Writes such an archive, piece by piece.
package final class SnapshotArchiveWriter {
    private let gzip: GzipWriter
    private let meta: SnapshotMeta
    private let metaBytes: [UInt8]
    private var hash = SHA256()

    /// - Throws: `.internal` without memory.
    package init(_ meta: SnapshotMeta) throws(VaultError) {
        self.meta = meta
        metaBytes = meta.encoded
        gzip = try GzipWriter()
    }

    /// What comes before the state.
    package func head() -> [UInt8] {
        gzip.write(
            file(SnapshotArchive.meta, metaBytes)
                + TarFormat.head(SnapshotArchive.state, sizeBytes: meta.sizeBytes, time: meta.created))
    }

    /// More of the state.
    package func state(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        hash.update(bytes)
        return gzip.write(bytes)
    }

    /// What comes behind it.
    /// - Parameter seal: makes the code over the sums.
    package func end(seal: ([UInt8]) throws(VaultError) -> [UInt8]) throws(VaultError) -> [UInt8] {
        let sums = SnapshotArchive.sumLines(meta: SHA256.hash(metaBytes), state: hash.finish())
        return gzip.write(
            TarFormat.padding(behind: meta.sizeBytes) + file(SnapshotArchive.sums, sums)
                + file(SnapshotArchive.sealedSums, try seal(sums)) + TarFormat.end, isLast: true)
    }

    private func file(_ name: String, _ bytes: [UInt8]) -> [UInt8] {
        TarFormat.head(name, sizeBytes: bytes.count, time: meta.created) + bytes
            + TarFormat.padding(behind: bytes.count)
    }
}

/// Reads such an archive, piece by piece, and finds out whether it is whole.
package final class SnapshotArchiveReader {
    private let gzip: GzipReader
    private var tar = TarReader()
    private var current = ""
    private var files: [String: [UInt8]] = [:]
    private var hash = SHA256()
    private var stateBytes = 0
    private var hasState = false

    /// - Throws: `.internal` without memory.
    package init() throws(VaultError) { gzip = try GzipReader() }

    /// Takes what comes next.
    /// - Parameter state: gets the state's bytes.
    /// - Throws: `.badRequest` when this is no such archive, and what `state` throws.
    package func read(
        _ bytes: UnsafeRawBufferPointer, state: (UnsafeRawBufferPointer) throws(VaultError) -> Void
    ) throws(VaultError) {
        try gzip.read(bytes) { (piece) throws(VaultError) in
            try tar.read(piece) { (event) throws(VaultError) in
                switch event {
                case .file(let name, let size):
                    current = name
                    if name == SnapshotArchive.state {
                        hasState = true
                        return
                    }
                    guard size <= SnapshotArchive.mostFileBytes, files[name] == nil, files.count < 8 else {
                        throw .badRequest("the archive holds a file that has no place in a snapshot")
                    }
                    files[name] = []
                case .bytes(let range):
                    let bytes = UnsafeRawBufferPointer(rebasing: piece[range])
                    guard current == SnapshotArchive.state else {
                        files[current, default: []].append(contentsOf: bytes)
                        return
                    }
                    hash.update(bytes)
                    stateBytes += bytes.count
                    try state(bytes)
                case .fileEnd: break
                }
            }
        }
    }

    /// Judges what was read.
    /// - Returns: what the archive says, its sums, and the code over them.
    /// - Throws: `.badRequest` when it is not whole.
    package func finish() throws(VaultError) -> (meta: SnapshotMeta, sums: [UInt8], sealed: [UInt8]) {
        guard gzip.isAtEnd, tar.isWhole, hasState, let metaBytes = files[SnapshotArchive.meta],
            let sums = files[SnapshotArchive.sums], let sealed = files[SnapshotArchive.sealedSums],
            !sealed.isEmpty
        else { throw .badRequest("the archive is not a whole snapshot: it may have been cut off") }
        guard let meta = SnapshotMeta(metaBytes), meta.version == 1, meta.sizeBytes == stateBytes else {
            throw .badRequest("the archive is a snapshot of another product or version")
        }
        guard sums == SnapshotArchive.sumLines(meta: SHA256.hash(metaBytes), state: hash.finish()) else {
            throw .badRequest("the archive is damaged: its sums do not fit")
        }
        return (meta, sums, sealed)
    }
}
