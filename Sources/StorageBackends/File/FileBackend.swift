package import Base
internal import Glibc
internal import NodeStore
package import PluginKit

/// `storage "file"`: the durable store of a node that is alone, one LMDB file in a directory.
///
/// Every commit is synced before it returns, so callers group what belongs to neighbours into one
/// batch. A directory has one user at a time. The name is Vault's; the files are not: a directory
/// that Vault wrote is refused, never touched.
package final class FileBackend: StorageBackend {
    package static let type = "file"
    /// The keys of the stanza that are known.
    package static let settings = ["path"]

    private let environment: Environment

    private init(_ environment: Environment) { self.environment = environment }

    /// Opens or makes the store.
    /// - Throws: `.badRequest` when `path` is missing, in use, or holds another product's files;
    ///   `.corrupted` when what it holds is damaged. The sentences (`messages` of the first,
    ///   `privateCause` of the second) are for the operator.
    package static func open(_ settings: [String: String], log: Log) throws(VaultError) -> FileBackend {
        guard var path = settings["path"], !path.isEmpty else {
            throw .badRequest(
                "storage \"file\": 'path' is missing: give the directory that shall hold the data")
        }
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        if let product = foreignProduct(path) {
            throw .badRequest(
                "storage \"file\": \(path) holds the data of \(product), which storage "
                    + "\"file\" does not read. Give an empty directory as 'path'.")
        }
        return FileBackend(try Environment.open(directory: path, log: log))
    }

    package func makeReader() throws(VaultError) -> any StorageReader {
        NodeStoreReader(try environment.makeReader())
    }

    package func commit(_ batch: CommitBatch) throws(VaultError) -> UInt64 { try environment.apply(batch) }

    /// See `StorageBackend.takesCommits`.
    package var takesCommits: Bool { environment.takesCommits }

    /// How long the oldest view has been held, for metrics and for bounding readers.
    package func oldestViewAge() -> Duration { environment.oldestViewAge() }

    package func close() { environment.close() }

    /// Whose data a directory holds by its names, when it is not ours.
    private static func foreignProduct(_ path: String) -> String? {
        func has(_ name: String) -> Bool { access("\(path)/\(name)", F_OK) == 0 }
        if has("core/_keyring") || has("core/_seal-config") || has("core/_shamir-kek") {
            return "another server's file storage (Vault or OpenBao)"
        }
        if has("vault.db") || has("raft/raft.db") {
            return "another server's raft storage (Vault or OpenBao)"
        }
        if has("raft/anchor") { return "storage \"raft\"" }
        return nil
    }
}
