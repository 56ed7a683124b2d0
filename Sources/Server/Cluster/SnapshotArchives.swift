import Archives
import Barrier
import Base
import Consensus
import Core
import Crypto
import Glibc
import PluginKit
import SystemAPI

/// Saves the cluster's state as an archive and puts one back. Both stream: no more than a few pieces are in
/// memory, however large the state is.
struct SnapshotArchives: Sendable {
    /// What the barrier's key is derived for.
    private static let purpose = "snapshot-archive"
    private static let pieceBytes = 128 << 10
    /// Bytes that may wait for a slow client.
    private static let mostUntakenBytes = 512 << 10

    let core: VaultCore
    let storage: any ClusterStorage

    // MARK: Saving

    /// A copy of the state on its way into an archive.
    private struct Copy: Sendable {
        let file: SnapshotFile
        let meta: SnapshotMeta
        let mac: HMACSHA256
    }

    private func describe(_ file: SnapshotFile, _ active: ActiveCore) throws(VaultError) -> Copy {
        var meta = SnapshotMeta()
        meta.index = file.index
        meta.term = file.term
        meta.sizeBytes = file.sizeBytes
        meta.clusterID = active.cluster.id
        meta.created = core.clock.now()
        meta.product = Version.product
        return Copy(file: file, meta: meta, mac: HMACSHA256(key: try active.barrier.derivedKey(Self.purpose)))
    }

    /// Gives the state out as a stream.
    /// - Throws: what the storage says when it cannot copy its state.
    func save() async throws(VaultError) -> StreamedAnswer {
        guard let active = core.active else { throw .sealed }
        let result = await withCheckedContinuation { continuation in
            storage.saveSnapshot { continuation.resume(returning: $0) }
        }
        let copy = try describe(try result.get(), active)
        return StreamedAnswer(contentType: "application/gzip") { [log = core.log] stream in
            do throws(VaultError) {
                _ = try Thread(name: "snapshot-save") {
                    do throws(VaultError) {
                        try Self.write(copy) { (bytes) throws(VaultError) in try Self.push(bytes, to: stream)
                        }
                        log.info("a snapshot was saved", ["index": String(copy.meta.index)])
                    } catch {
                        log.warn(
                            "a snapshot was not saved",
                            ["reason": error.privateCause ?? error.messages.joined(separator: "; ")])
                    }
                    stream.end()
                }
            } catch { stream.end() }
        }
    }

    /// Saves the state into a file, which is there only when it is whole. Waits: for a thread of its own.
    /// - Throws: `.unavailable` when the file cannot be written, and what the storage says.
    func save(to path: String) throws(VaultError) {
        guard let active = core.active else { throw .sealed }
        let answers = BlockingQueue<Result<SnapshotFile, VaultError>>(limit: 1)
        storage.saveSnapshot { _ = answers.push($0) }
        guard let result = answers.take(most: 1).first else { throw .internal("no copy of the state") }
        let copy = try describe(try result.get(), active)
        let fresh = path + ".tmp"
        unlink(fresh)
        let descriptor = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Self.failure(fresh) }
        defer {
            close(descriptor)
            unlink(fresh)
        }
        try Self.write(copy) { (bytes) throws(VaultError) in
            try bytes.withRaw { (bytes) throws(VaultError) in try Self.write(bytes, to: descriptor) }
        }
        guard fsync(descriptor) == 0, rename(fresh, path) == 0 else { throw Self.failure(path) }
    }

    private static func failure(_ path: String) -> VaultError {
        .unavailable(
            "the snapshot cannot be stored in \(path): \(String(cString: strerror(errno)))",
            retryAfterSeconds: 60)
    }

    private static func write(
        _ copy: Copy, _ emit: ([UInt8]) throws(VaultError) -> Void
    ) throws(VaultError) {
        let descriptor = open(copy.file.path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw .internal("\(copy.file.path): \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        let writer = try SnapshotArchiveWriter(copy.meta)
        try emit(writer.head())
        var left = copy.meta.sizeBytes
        var piece = [UInt8](repeating: 0, count: pieceBytes)
        while left > 0 {
            let got = read(descriptor, &piece, min(left, piece.count))
            guard got > 0 else { throw .internal("\(copy.file.path) is shorter than it was") }
            left -= got
            try emit(piece.withUnsafeBytes { writer.state(UnsafeRawBufferPointer(rebasing: $0[..<got])) })
        }
        try emit(try writer.end { copy.mac.code($0) })
    }

    /// Sends, and waits while the client is behind.
    private static func push(_ bytes: [UInt8], to stream: any ByteStream) throws(VaultError) {
        guard stream.send(bytes) else { throw .badRequest("the client has gone") }
        while true {
            let answers = BlockingQueue<Int?>(limit: 1)
            stream.untaken { _ = answers.push($0) }
            guard let untaken = answers.take(most: 1).first ?? nil else {
                throw .badRequest("the client has gone")
            }
            if untaken <= mostUntakenBytes { return }
            usleep(5_000)
        }
    }

    // MARK: Restoring

    /// Where an archive on its way can be kept.
    func spoolPath() -> String { storage.incomingPath() }

    /// Restores from an archive in memory.
    /// - Throws: `.badRequest` when it is damaged, or another cluster's and not forced.
    func restore(_ archive: [UInt8], isForced: Bool) async throws(VaultError) {
        try await restore(isForced: isForced) { (take) throws(VaultError) in
            var at = 0
            while at < archive.count {
                let end = min(at + Self.pieceBytes, archive.count)
                try take(Array(archive[at..<end]))
                at = end
            }
        }
    }

    /// Restores from an archive in a file.
    func restore(file path: String, isForced: Bool) async throws(VaultError) {
        try await restore(isForced: isForced) { (take) throws(VaultError) in
            let descriptor = open(path, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { throw Self.failure(path) }
            defer { close(descriptor) }
            var piece = [UInt8](repeating: 0, count: Self.pieceBytes)
            while true {
                let got = read(descriptor, &piece, piece.count)
                if got < 0, errno == EINTR { continue }
                guard got >= 0 else { throw Self.failure(path) }
                if got == 0 { return }
                try take(Array(piece[..<got]))
            }
        }
    }

    /// Hands an archive's bytes over, piece by piece.
    private typealias Source =
        @Sendable (_ take: ([UInt8]) throws(VaultError) -> Void) throws(VaultError) -> Void

    /// Checks the whole archive before anything is replaced.
    private func restore(isForced: Bool, _ source: @escaping Source) async throws(VaultError) {
        guard let active = core.active else { throw .sealed }
        let mac = HMACSHA256(key: try active.barrier.derivedKey(Self.purpose))
        let path = storage.incomingPath()
        let meta = try await BlockingPool.shared.run { () throws(VaultError) in
            do throws(VaultError) {
                return try Self.unpack(source, to: path, mac, isForced: isForced)
            } catch {
                unlink(path)
                throw error
            }
        }
        let failure = await withCheckedContinuation { continuation in
            storage.restoreSnapshot(path) { continuation.resume(returning: $0) }
        }
        unlink(path)
        if let failure { throw failure }
        core.log.warn(
            "the cluster's state was replaced by a snapshot",
            ["index": String(meta.index), "created": meta.created.rfc3339()])
    }

    private static func unpack(
        _ source: Source, to path: String, _ mac: HMACSHA256, isForced: Bool
    ) throws(VaultError) -> SnapshotMeta {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure(path) }
        defer { close(descriptor) }
        let reader = try SnapshotArchiveReader()
        try source { (piece) throws(VaultError) in
            try piece.withRaw { (bytes) throws(VaultError) in
                try reader.read(bytes) { (state) throws(VaultError) in try write(state, to: descriptor) }
            }
        }
        let (meta, sums, sealed) = try reader.finish()
        guard isForced || constantTimeEqual(sealed, mac.code(sums)) else {
            throw .badRequest(
                "the snapshot was not made by this cluster, or has other keys: only snapshot-force takes it, "
                    + "and then its unseal keys count")
        }
        guard fsync(descriptor) == 0 else { throw failure(path) }
        return meta
    }

    /// Appends bytes to a file.
    /// - Throws: `.unavailable` when there is no room.
    static func write(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) throws(VaultError) {
        var at = 0
        while at < bytes.count {
            let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + at }, bytes.count - at)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                throw .unavailable(
                    "the snapshot cannot be stored: \(String(cString: strerror(errno)))",
                    retryAfterSeconds: 30)
            }
            at += count
        }
    }
}
