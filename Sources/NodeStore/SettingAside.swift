package import Base
internal import Glibc

extension Environment {
    /// Takes the files of a store that nobody uses out of the way, into a directory beside them: nothing is
    /// destroyed. What is cut short leaves a directory that no server starts with, and can be done again.
    /// - Parameters:
    ///   - others: names in the directory that go before the store's own, where they are there.
    ///   - name: of the directory that is made for them, in the same one.
    /// - Throws: `.badRequest` when a server uses the directory, `.unavailable` when the disk is full.
    package static func setAside(
        _ directory: String, with others: [String], into name: String
    ) throws(VaultError) {
        let lock = try DirectoryLock(directory: directory)
        let aside = "\(directory)/\(name)"
        guard mkdir(aside, 0o700) == 0 else { throw Failure.system(errno, "make directory", aside) }
        // The data file goes last: without what stands beside it no server takes it for a node.
        for name in others + ["making", lockName, Anchor.name, dataName] {
            let path = "\(directory)/\(name)"
            guard rename(path, "\(aside)/\(name)") == 0 || errno == ENOENT else {
                throw Failure.system(errno, "move", path)
            }
            try Directory.sync(aside)
            try Directory.sync(directory)
        }
        lock.release()
    }

    /// Whether a directory has the data file of a store, whatever its state.
    package static func hasDataFile(_ directory: String) -> Bool { Directory.contains(directory, dataName) }
}
