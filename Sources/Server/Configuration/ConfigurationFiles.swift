package import Base
import Glibc

/// Configuration files as bytes, through libc: what `-config` names and what lies in its directories.
package enum ConfigurationFiles {
    /// Bytes of one file.
    private static let fileBytes = 1 << 20
    /// Files of one directory, so that a wrong path (`/etc`) fails early.
    private static let filesPerDirectory = 256

    /// The files that a path means: itself, or those of a directory that end in `.hcl` or `.json`, in
    /// the order of their names and without those of subdirectories.
    package static func files(at path: String) throws(VaultError) -> [String] {
        guard let directory = opendir(path) else {
            // Not a directory: reading it tells what is wrong, if anything is.
            if errno == ENOTDIR { return [path] }
            throw failure("open", path)
        }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
                tuple.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            // Dot files and editors' copies are not meant.
            guard !name.hasPrefix("."), !name.hasPrefix("#"),
                name.hasSuffix(".hcl") || name.hasSuffix(".json")
            else {
                continue
            }
            names.append(name)
            if names.count > filesPerDirectory {
                throw .badRequest(
                    "\(path): expected at most \(filesPerDirectory) configuration files in a directory")
            }
        }
        let base = path.hasSuffix("/") ? path : path + "/"
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { base + $0 }
    }

    /// A whole file.
    /// - Throws: `.badRequest` that names the file and why it cannot be read.
    package static func read(_ path: String) throws(VaultError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open", path) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let got = Glibc.read(descriptor, &buffer, buffer.count)
            if got < 0 && errno == EINTR { continue }
            guard got >= 0 else { throw failure("read", path) }
            if got == 0 { return bytes }
            bytes += buffer[..<got]
            if bytes.count > fileBytes {
                throw .badRequest("\(path): expected a configuration file of at most \(fileBytes) bytes")
            }
        }
    }

    /// A variable of this process's environment.
    package static func environmentValue(_ name: String) -> String? {
        guard let value = getenv(name) ?? getenv("HOLDFAST_" + name.trimmingPrefix("VAULT_")) else {
            return nil
        }
        return String(cString: value)
    }

    private static func failure(_ verb: String, _ path: String) -> VaultError {
        .badRequest("cannot \(verb) configuration \(path): \(String(cString: strerror(errno)))")
    }
}
