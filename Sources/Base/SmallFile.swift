internal import Glibc

/// Files of a few kilobytes that others write: keys, tokens, certificates, credentials.
package enum SmallFile {
    /// Bytes of one file.
    package static let mostBytes = 1 << 20

    /// The whole file. Who reads a secret wipes the bytes.
    /// - Throws: `.badRequest` that names the file and why it cannot be read.
    package static func read(_ path: String) throws(VaultError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw failure("open", path) }
        defer { close(descriptor) }
        var info = stat()
        guard fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
            throw .badRequest("\(path): expected a file")
        }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 14)
        defer { buffer.wipe() }
        while true {
            let got = Glibc.read(descriptor, &buffer, buffer.count)
            if got < 0 && errno == EINTR { continue }
            guard got >= 0 else { throw failure("read", path) }
            if got == 0 { return bytes }
            bytes += buffer[..<got]
            if bytes.count > mostBytes {
                throw .badRequest("\(path): expected a file of at most \(mostBytes) bytes")
            }
        }
    }

    private static func failure(_ verb: String, _ path: String) -> VaultError {
        .badRequest("cannot \(verb) \(path): \(String(cString: strerror(errno)))")
    }
}
