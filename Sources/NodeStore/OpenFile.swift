import Base
internal import CLMDB
internal import CPosix
internal import Glibc

/// An open file, closed exactly once.
struct OpenFile: ~Copyable {
    let descriptor: Int32
    let path: String

    /// Opens a file for reading and writing, made with mode 0600 when it is not there and `create` is set.
    init(_ path: String, create: Bool) throws(VaultError) {
        let opened = Glibc.open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0o600)
        guard opened >= 0 else { throw Failure.system(errno, "open", path) }
        descriptor = opened
        self.path = path
    }

    /// A file that lies in memory and has no name.
    init(anonymous name: String) throws(VaultError) {
        let made = memfd_create(name, 1)  // MFD_CLOEXEC
        guard made >= 0 else { throw Failure.system(errno, "make an anonymous file", name) }
        descriptor = made
        path = "anonymous memory"
    }

    deinit { Glibc.close(descriptor) }

    /// Size in bytes.
    func size() throws(VaultError) -> Int {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Failure.system(errno, "look at", path) }
        return Int(status.st_size)
    }

    /// The file's number in its file system.
    func inode() -> UInt64 {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? UInt64(status.st_ino) : 0
    }

    /// Makes the file at least `bytes` long, without taking room on disk for it.
    func extend(to bytes: Int) throws(VaultError) {
        guard try size() < bytes else { return }
        guard ftruncate(descriptor, bytes) == 0 else { throw Failure.system(errno, "extend", path) }
    }

    /// Reads up to the buffer's size; returns how many bytes there were.
    func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(VaultError) -> Int {
        var done = 0
        while done < buffer.count, let base = buffer.baseAddress {
            let got = pread(descriptor, base + done, buffer.count - done, offset + done)
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw Failure.system(errno, "read", path) }
            if got == 0 { break }
            done += got
        }
        return done
    }

    /// Writes all the bytes, without a sync.
    func write(_ bytes: [UInt8], at offset: Int) throws(VaultError) {
        var done = 0
        while done < bytes.count {
            let put = bytes.withUnsafeBytes { buffer in
                buffer.baseAddress.map { pwrite(descriptor, $0 + done, buffer.count - done, offset + done) }
                    ?? 0
            }
            if put < 0, errno == EINTR { continue }
            guard put > 0 else { throw Failure.system(put < 0 ? errno : EIO, "write", path) }
            done += put
        }
    }

    /// Cuts or lengthens the file to exactly this size.
    func truncate(to bytes: Int) throws(VaultError) {
        guard ftruncate(descriptor, bytes) == 0 else { throw Failure.system(errno, "resize", path) }
    }

    /// Makes what was written durable.
    func sync() throws(VaultError) {
        guard fdatasync(descriptor) == 0 else { throw Failure.system(errno, "sync", path) }
    }

    /// Whether the disk, a quota and the process's limits leave the file this many bytes behind `offset`.
    /// Takes them where they are there.
    func hasRoom(for bytes: Int, behind offset: Int) -> Bool {
        // Taking room that leaves the file's size as it is does not ask for the limit of sizes.
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0,
            limit.rlim_cur < rlim_t(offset + bytes)
        {
            return false
        }
        if hf_fallocate_keeping_size(descriptor, off_t(offset), off_t(bytes)) == 0 { return true }
        switch errno {
        case ENOSPC, EDQUOT, EFBIG: return false
        default: break
        }
        // File systems that copy on write do not take room beforehand.
        var facts = statvfs()
        guard fstatvfs(descriptor, &facts) == 0 else { return true }
        return UInt64(facts.f_bavail) > UInt64(bytes) / UInt64(max(facts.f_frsize, 1))
    }

    /// Takes the exclusive lock of this file; false when someone else holds it.
    func tryLock() throws(VaultError) -> Bool {
        if hf_flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return true }
        guard errno == EWOULDBLOCK else { throw Failure.system(errno, "lock", path) }
        return false
    }
}

/// Directories.
enum Directory {
    /// Makes a directory and those above it, with mode 0700. Their names are not durable yet.
    static func make(_ path: String) throws(VaultError) {
        var status = stat()
        if stat(path, &status) == 0 {
            guard status.st_mode & S_IFMT == S_IFDIR else {
                throw .badRequest("storage path \(path) is not a directory")
            }
            return
        }
        if let above = parent(of: path) { try make(above) }
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else {
            throw Failure.system(errno, "make directory", path)
        }
    }

    /// Makes the names in a directory durable.
    static func sync(_ path: String) throws(VaultError) {
        let descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure.system(errno, "open", path) }
        defer { Glibc.close(descriptor) }
        // EINVAL: a file system that has no such thing.
        guard fsync(descriptor) == 0 || errno == EINVAL else {
            throw Failure.system(errno, "sync directory", path)
        }
    }

    /// Makes the names of a directory and of all above it durable. Whoever made them may have been killed
    /// before it did this, so they are not asked who made them.
    static func syncNames(of path: String) throws(VaultError) {
        var next = parent(of: path) ?? (path.hasPrefix("/") ? nil : ".")
        while let directory = next {
            // Those that others own may be closed to us; then we did not make names in them either.
            if access(directory, R_OK | W_OK) == 0 { try sync(directory) }
            next = parent(of: directory) ?? (directory.hasPrefix("/") || directory == "." ? nil : ".")
        }
    }

    /// The directory above, nil when the path does not name one.
    private static func parent(of path: String) -> String? {
        guard let slash = path.lastIndex(of: "/"), path.count > 1 else { return nil }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Removes a directory and the plain files in it, as far as they are there.
    static func remove(_ path: String, files: [String]) {
        for name in files { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    static func contains(_ path: String, _ name: String) -> Bool { access("\(path)/\(name)", F_OK) == 0 }
}
