import Base
import Glibc
import Synchronization

/// Archives that come in pieces, because one request may not be as large: one at a time, in a file of the
/// storage directory, which goes with the upload.
final class SnapshotUploads: Sendable {
    private struct Upload: Sendable {
        var name: String
        var path: String
        var count = 0
        /// A piece is being written, or the whole is being restored.
        var isBusy = false
    }
    private let archives: SnapshotArchives
    private let current = Mutex<Upload?>(nil)

    init(archives: SnapshotArchives) { self.archives = archives }

    /// - Throws: `.badRequest` when the piece does not follow on those before; `.unavailable` without room.
    func take(_ bytes: [UInt8], at offset: Int, of name: String) async throws(VaultError) {
        let path = try begin(name, at: offset)
        do throws(VaultError) {
            try await BlockingPool.shared.run { () throws(VaultError) in
                let mode = offset == 0 ? O_CREAT | O_EXCL : O_APPEND
                let descriptor = open(path, O_WRONLY | O_CLOEXEC | mode, 0o600)
                guard descriptor >= 0 else {
                    throw .internal("\(path): \(String(cString: strerror(errno)))")
                }
                defer { close(descriptor) }
                try bytes.withRaw { (bytes) throws(VaultError) in
                    try SnapshotArchives.write(bytes, to: descriptor)
                }
            }
        } catch {
            // What is there of the piece is not known: begin anew.
            drop(name)
            throw error
        }
        current.withLock { current in
            current?.count += bytes.count
            current?.isBusy = false
        }
    }

    func restore(_ name: String, isForced: Bool) async throws(VaultError) {
        let path = try begin(name, at: nil)
        defer { drop(name) }
        try await archives.restore(file: path, isForced: isForced)
    }

    /// Removes an upload, unless it is being restored.
    func forget(_ name: String) {
        let isIdle = current.withLock { $0?.name == name && $0?.isBusy == false }
        if isIdle { drop(name) }
    }

    /// Takes the upload for one piece, or for the end (nil).
    /// - Returns: its file.
    private func begin(_ name: String, at offset: Int?) throws(VaultError) -> String {
        let (path, old): (String, String?) = try current.withLock { (current) throws(VaultError) in
            if current?.isBusy == true {
                throw .conflict("upload: a piece of a snapshot is being taken, or one is being restored")
            }
            if offset == 0 {
                let old = current?.path
                let fresh = Upload(name: name, path: archives.spoolPath(), isBusy: true)
                current = fresh
                return (fresh.path, old)
            }
            guard let known = current, known.name == name else {
                throw .badRequest("upload: this node knows of none with that name; begin at offset 0")
            }
            if let offset, offset != known.count {
                throw .badRequest("offset: expected \(known.count), behind what has come")
            }
            current?.isBusy = true
            return (known.path, nil)
        }
        if let old { unlink(old) }
        return path
    }

    private func drop(_ name: String) {
        let path: String? = current.withLock { current in
            guard current?.name == name else { return nil }
            defer { current = nil }
            return current?.path
        }
        if let path { unlink(path) }
    }
}
