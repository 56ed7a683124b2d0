import Base
import Glibc
import StorageBackends

/// What the commands share that work on the files of a cluster's node whose server is stopped.
enum OfflineNode {
    /// The node's storage, as its server's configuration has it.
    /// - Throws: `.badRequest` for a configuration without a storage "raft" that is there.
    static func storage(_ flags: CommandFlags) throws(VaultError) -> BackendConfiguration {
        let paths = flags.all("config")
        guard !paths.isEmpty else {
            throw .badRequest("must specify at least one config path using -config")
        }
        let (configuration, _) = try ServerConfiguration.load(paths: paths, knownSeals: Catalog.seals)
        guard let storage = configuration.storage, storage.type == RaftBackend.type else {
            throw .badRequest("configuration: expected a storage \"raft\" block")
        }
        guard let path = storage.options["path"], access(path, F_OK) == 0 else {
            throw .badRequest("storage \"raft\": 'path': there is no such directory")
        }
        return storage
    }

    /// Asks for the node's name, unless `-yes` was given.
    /// - Throws: `.badRequest` when there is nobody to ask.
    static func isConfirmed(_ nodeID: String, _ flags: CommandFlags) throws(VaultError) -> Bool {
        if flags.isOn("yes") { return true }
        guard isatty(STDIN_FILENO) == 1 else {
            throw .badRequest("standard input is not a terminal: give -yes to go on without being asked")
        }
        StandardStream.error.print("Type the node's name to go on: ")
        return readLine() == nodeID
    }
}
