package import Base

/// Where ciphertext rests: an ordered store of three tables with atomic, durable batches.
///
/// A backend knows nothing of keys, mounts or plain text. `TestKit` holds the suite that each must pass.
package protocol StorageBackend: AnyObject, Sendable {
    /// `file`, `inmem`, `raft`: what `seal-status` shows as `storage_type`.
    static var type: String { get }

    /// A reader for one thread at a time. Costly to make: keep it.
    func makeReader() throws(VaultError) -> any StorageReader

    /// Applies a batch whole. When it returns, the batch is durable and readers that refresh see it.
    /// Called by one thread at a time.
    /// - Returns: the number of this commit, one more than that of the one before.
    func commit(_ batch: CommitBatch) throws(VaultError) -> UInt64

    /// False since the storage has failed: commits are refused until the server is started again, reading may
    /// go on. Must not wait.
    var takesCommits: Bool { get }

    /// Lets go of files. No reader may be in use.
    func close()
}

extension StorageBackend {
    /// What cannot fail takes them for ever.
    package var takesCommits: Bool { true }
}

/// The tables of a backend. The raw values are part of the format on disk.
package enum StorageTable: UInt8, Sendable, CaseIterable {
    /// Encrypted values.
    case entries = 0
    /// The authenticated chain of neighbours that proves which keys exist.
    case links = 1
    /// What must be readable before unsealing: seal configuration, wrapped keys. Not behind the barrier.
    case bootstrap = 2
}

/// Bytes that stay valid until the reader that gave them is refreshed or released.
package struct StoredPair {
    package let key: UnsafeRawBufferPointer
    package let value: UnsafeRawBufferPointer
    package init(key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        self.key = key
        self.value = value
    }
}

/// A consistent view of a backend, for one thread at a time.
package protocol StorageReader: AnyObject {
    /// Moves the view to the newest commit. Must be called before the first read and after `release`.
    func refresh() throws(VaultError)

    /// Lets go of the view, so that the backend can reuse space. Cheap; call it whenever idle.
    func release()

    /// The number of the last commit that the view sees.
    var sequence: UInt64 { get }

    /// The value at a key, or nil.
    func get(_ table: StorageTable, _ key: UnsafeRawBufferPointer) throws(VaultError)
        -> UnsafeRawBufferPointer?

    /// The first pair whose key is not below `key`, in the order of bytes. An empty key gives the very first.
    func first(_ table: StorageTable, from key: UnsafeRawBufferPointer) throws(VaultError) -> StoredPair?

    /// The pair behind the one that `first`, `next` or `last` gave before, in the same table.
    func next(_ table: StorageTable) throws(VaultError) -> StoredPair?

    /// The last pair whose key is below `key`.
    func last(_ table: StorageTable, before key: UnsafeRawBufferPointer) throws(VaultError) -> StoredPair?
}

/// Writes that take effect together.
package struct CommitBatch: Sendable {
    package struct Write: Sendable {
        package let table: StorageTable
        package let key: [UInt8]
        /// Nil deletes; deleting what is not there is no error.
        package let value: [UInt8]?
    }
    package private(set) var writes: [Write] = []
    /// The number of the commit that the batch was made over. A replicated backend applies it to that state
    /// only, and otherwise refuses it with `.unavailable`; nil applies it to whatever is there.
    package var over: UInt64?

    package init() {}

    package mutating func put(_ table: StorageTable, _ key: [UInt8], _ value: [UInt8]) {
        writes.append(Write(table: table, key: key, value: value))
    }
    package mutating func delete(_ table: StorageTable, _ key: [UInt8]) {
        writes.append(Write(table: table, key: key, value: nil))
    }
    /// Adds the writes of another batch behind these: of two writes of one key the later counts.
    package mutating func append(_ other: CommitBatch) { writes.append(contentsOf: other.writes) }
}

/// Longest key of any table in bytes: what LMDB takes as it is packaged.
package let storageKeyBytesLimit = 511
