package import Base
internal import CPosix
internal import Glibc

/// A directory of real files.
package final class DirectoryDisk: RaftDisk, Sendable {
    /// The path of the directory.
    package let place: String

    /// Makes the directory when it is not there. The one above it was synced when the store was opened: what
    /// an earlier process has made there is durable.
    package init(_ path: String) throws(VaultError) {
        place = path
        if mkdir(path, 0o700) == 0 {
            let parent = path.lastIndex(of: "/").map { path[..<$0] } ?? "."
            try Self.sync(directory: parent.isEmpty ? "/" : String(parent))
        } else if errno != EEXIST {
            throw Self.failure("make directory", path, takesRoom: true)
        }
    }

    /// Names of everything in the directory.
    package func names() throws(VaultError) -> [String] {
        guard let directory = opendir(place) else { throw Self.failure("read directory", place) }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// Makes files with mode 0600.
    package func open(_ name: String, create: Bool) throws(VaultError) -> any RaftFile {
        let path = "\(place)/\(name)"
        let descriptor = Glibc.open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0o600)
        guard descriptor >= 0 else { throw Self.failure("open", path, takesRoom: create) }
        return PlainFile(descriptor, path)
    }

    /// Removing what is not there is no error.
    package func remove(_ name: String) throws(VaultError) {
        guard unlink("\(place)/\(name)") == 0 || errno == ENOENT else {
            throw Self.failure("remove", "\(place)/\(name)")
        }
    }

    /// Syncs the directory.
    package func syncNames() throws(VaultError) { try Self.sync(directory: place) }

    private static func sync(directory path: String) throws(VaultError) {
        let descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open", path) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("sync directory", path) }
    }

    /// - Parameter takesRoom: the system may refuse for want of room. After a sync that is no reason: what
    ///   was written before it is lost.
    fileprivate static func failure(
        _ doing: String, _ path: String, takesRoom: Bool = false
    ) -> VaultError {
        let code = errno
        if takesRoom, [ENOSPC, EDQUOT, EFBIG].contains(code) {
            return .unavailable("storage is full: nothing was written", retryAfterSeconds: 30)
        }
        return .internal("cannot \(doing) \(path): \(String(cString: strerror(code)))")
    }
}

/// One open file, closed exactly once.
private final class PlainFile: RaftFile {
    private let descriptor: Int32
    private let path: String

    init(_ descriptor: Int32, _ path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { close(descriptor) }

    func size() throws(VaultError) -> Int {
        let end = lseek(descriptor, 0, SEEK_END)
        guard end >= 0 else { throw DirectoryDisk.failure("look at", path) }
        return Int(end)
    }

    func read(at offset: Int, count: Int) throws(VaultError) -> [UInt8] {
        try readBytes(descriptor, at: offset, count: count, or: DirectoryDisk.failure("read", path))
    }

    func write(_ bytes: [UInt8], at offset: Int) throws(VaultError) {
        var done = 0
        while done < bytes.count {
            let put = bytes.withUnsafeBytes { buffer in
                buffer.baseAddress.map {
                    pwrite(descriptor, $0 + done, buffer.count - done, off_t(offset + done))
                } ?? 0
            }
            if put < 0, errno == EINTR { continue }
            guard put > 0 else { throw DirectoryDisk.failure("write", path, takesRoom: true) }
            done += put
        }
    }

    func preallocate(_ bytes: Int) throws(VaultError) {
        // Real zeros: a hole, or room that was only reserved, would change metadata at every sync.
        var at = try size()
        let zeros = [UInt8](repeating: 0, count: 256 << 10)
        while at < bytes {
            let count = min(zeros.count, bytes - at)
            try write(count == zeros.count ? zeros : Array(zeros[..<count]), at: at)
            at += count
        }
    }

    func sync() throws(VaultError) {
        guard fdatasync(descriptor) == 0 else { throw DirectoryDisk.failure("sync", path) }
    }
}

/// Reads from one place of a file, fewer bytes than `count` only where the file ends.
/// - Parameter failure: made while `errno` still says why the system refuses.
/// - Throws: `failure`.
package func readBytes(
    _ descriptor: Int32, at offset: Int, count: Int, or failure: @autoclosure () -> VaultError
) throws(VaultError) -> [UInt8] {
    var refusal: VaultError?
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, done in
        while done < count, let start = buffer.baseAddress {
            let got = pread(descriptor, start + done, count - done, off_t(offset + done))
            if got < 0, errno == EINTR { continue }
            if got < 0 { refusal = failure() }
            if got <= 0 { break }
            done += got
        }
    }
    if let refusal { throw refusal }
    return bytes
}
