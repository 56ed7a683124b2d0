internal import Glibc

/// Whole files in and out, with errors in the words of Go's `os` package, which users search for.
enum FileText {
    struct Failure: Error {
        let message: String
        let code: Int32
    }

    /// Bytes that a file named on the command line may have.
    private static let mostBytes = 64 << 20

    static func read(path: String) -> Result<[UInt8], Failure> {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return .failure(failure("open \(path)")) }
        defer { close(descriptor) }
        return read(descriptor).mapError { Failure(message: "read \(path): \($0.message)", code: $0.code) }
    }

    static func read(_ descriptor: Int32) -> Result<[UInt8], Failure> {
        var all: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            if count < 0 { return .failure(Failure(message: text(errno), code: errno)) }
            if count == 0 { return .success(all) }
            all.append(contentsOf: chunk[..<count])
            if all.count > mostBytes {
                return .failure(Failure(message: "more than \(mostBytes) bytes", code: EFBIG))
            }
        }
    }

    /// Writes all, or stops at the first error: whoever reads has gone.
    @discardableResult
    static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        bytes.withUnsafeBytes { buffer in
            var at = 0
            while at < buffer.count {
                let count = Glibc.write(descriptor, buffer.baseAddress.map { $0 + at }, buffer.count - at)
                if count < 0 && errno == EINTR { continue }
                if count <= 0 { return false }
                at += count
            }
            return true
        }
    }

    /// Replaces a file: written new beside it, synced, renamed.
    static func replace(path: String, with bytes: [UInt8], mode: mode_t) -> Result<Void, Failure> {
        let fresh = "\(path).tmp.\(getpid())"
        let descriptor = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)
        guard descriptor >= 0 else { return .failure(failure("open \(fresh)")) }
        // The umask takes bits away and never adds any; an explicit mode holds either way.
        let isWritten =
            fchmod(descriptor, mode) == 0 && write(bytes, to: descriptor) && fsync(descriptor) == 0
        let error = isWritten ? nil : failure("write \(fresh)")
        close(descriptor)
        if let error {
            unlink(fresh)
            return .failure(error)
        }
        guard rename(fresh, path) == 0 else {
            let error = failure("rename \(fresh) \(path)")
            unlink(fresh)
            return .failure(error)
        }
        return .success(())
    }

    private static func failure(_ what: String) -> Failure {
        let code = errno
        return Failure(message: "\(what): \(text(code))", code: code)
    }

    private static func text(_ code: Int32) -> String { String(cString: strerror(code)).lowercased() }
}
