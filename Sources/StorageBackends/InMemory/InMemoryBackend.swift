package import Base
internal import NodeStore
package import PluginKit

/// `storage "inmem"`: the same engine as `file` over anonymous memory, for development and tests.
///
/// No byte reaches a disk by way of a file, nothing is synced, and all of it ends with the process.
package final class InMemoryBackend: StorageBackend {
    package static let type = "inmem"
    /// The keys of the stanza that are known: none.
    package static let settings: [String] = []

    private let environment: Environment

    private init(_ environment: Environment) { self.environment = environment }

    /// Makes an empty store.
    package static func open(_ settings: [String: String], log: Log) throws(VaultError) -> InMemoryBackend {
        InMemoryBackend(try Environment.anonymous(log: log))
    }

    package func makeReader() throws(VaultError) -> any StorageReader {
        NodeStoreReader(try environment.makeReader())
    }

    package func commit(_ batch: CommitBatch) throws(VaultError) -> UInt64 { try environment.apply(batch) }

    package func close() { environment.close() }
}
