import Base
import Glibc

/// Owns the descriptor of a log file.
final class OpenLog {
    private let descriptor: Int32
    private let path: String
    private var identity: (device: dev_t, inode: ino_t)
    /// A write has ended in the middle of a record that could not be taken back.
    private var isTorn = false

    /// Opens or makes the file.
    /// - Throws: `.unavailable` with the cause, or with what the file is and must not be.
    init(path: String, mode: mode_t, prefix: [UInt8]) throws(VaultError) {
        self.path = path
        // Not blocking: opening a named pipe would wait for its reader, before it can be refused.
        let flags = O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY
        descriptor = Glibc.open(path, flags, mode == 0 ? 0o600 : mode)
        guard descriptor >= 0 else {
            if errno == ELOOP { throw Self.refused("it is a symbolic link") }
            throw systemError("the log file")
        }
        identity = (0, 0)
        do throws(VaultError) { try check(mode, prefix) } catch {
            Glibc.close(descriptor)
            throw error
        }
    }

    deinit { Glibc.close(descriptor) }

    private func check(_ mode: mode_t, _ prefix: [UInt8]) throws(VaultError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw systemError("the log file") }
        guard status.st_mode & S_IFMT == S_IFREG else { throw Self.refused("it is not a plain file") }
        // The process's umask has cut the mode of a new file.
        if mode != 0, status.st_mode & 0o7777 != mode, fchmod(descriptor, mode) != 0 {
            throw systemError("the log file's permissions")
        }
        if mode == 0, status.st_mode & 0o7113 != 0 {
            throw Self.refused("it is executable, special, or writable for everyone")
        }
        identity = (status.st_dev, status.st_ino)
        try checkContents(prefix)
    }

    /// What is there already must begin as a log does: nobody may have records added to another kind of file.
    private func checkContents(_ prefix: [UInt8]) throws(VaultError) {
        var head = [UInt8](repeating: 0, count: prefix.count + 1)
        let count = pread(descriptor, &head, head.count, 0)
        guard count >= 0 else { throw systemError("the log file") }
        let isEmpty = count == 0
        let isPlain = head[0] == UInt8(ascii: "{")
        let isPrefixed = count == head.count && head == prefix + [UInt8(ascii: "{")]
        guard isEmpty || isPlain || isPrefixed else {
            throw Self.refused("it holds something else than records")
        }
    }

    /// Whether the path still leads to this file.
    func isStill(at path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_dev == identity.device && status.st_ino == identity.inode
    }

    /// Writes all of it, or takes back what was written of it.
    func append(_ bytes: [UInt8], syncs: Bool) throws(VaultError) {
        if isTorn {
            guard writeAll(descriptor, [10]) == 1 else { throw systemError("the log file") }
            isTorn = false
        }
        let written = writeAll(descriptor, bytes)
        if written < bytes.count {
            let failure = systemError("the log file")
            takeBack(written)
            throw failure
        }
        if syncs, fdatasync(descriptor) != 0 { throw systemError("syncing the log file") }
    }

    /// Cuts the last `count` bytes off, as long as they are still the last: half a record would spoil the
    /// line of the next one.
    private func takeBack(_ count: Int) {
        if count == 0 { return }
        let end = lseek(descriptor, 0, SEEK_END)
        if end < count || ftruncate(descriptor, end - count) != 0 { isTorn = true }
    }

    private static func refused(_ reason: String) -> VaultError {
        .unavailable("the log file is refused: \(reason)", retryAfterSeconds: 1)
    }
}
