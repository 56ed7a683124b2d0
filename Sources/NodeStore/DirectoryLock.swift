import Base
internal import Glibc

/// The right to use a directory, held by one process at a time and given back by the kernel when it dies.
struct DirectoryLock: ~Copyable {
    static let name = "holdfast.lock"
    private let file: OpenFile

    /// - Throws: `.badRequest` that names the directory and, where known, the process that holds it.
    init(directory: String) throws(VaultError) {
        let opened = try OpenFile("\(directory)/\(Self.name)", create: true)
        guard try opened.tryLock() else {
            throw .badRequest(
                "the storage directory \(directory) is in use\(Self.holder(opened)): "
                    + "stop that server, or give this one a directory of its own")
        }
        // Whom to name to the next one; nothing depends on it.
        let note = Array("\(getpid())\n".utf8)
        do throws(VaultError) {
            try opened.truncate(to: 0)
            try opened.write(note, at: 0)
        } catch {}
        file = opened
    }

    /// Gives it back.
    consuming func release() {}

    private static func holder(_ file: borrowing OpenFile) -> String {
        var buffer = [UInt8](repeating: 0, count: 32)
        let got = buffer.withUnsafeMutableBytes { bytes in
            do throws(VaultError) { return try file.read(bytes, at: 0) } catch { return 0 }
        }
        let text = String(decoding: buffer.prefix(got).prefix { $0 != 10 }, as: UTF8.self)
        return Int(text).map { " by process \($0)" } ?? ""
    }
}
