package import Base
internal import CLMDB

/// Writes that take effect together when they are committed, and not at all otherwise.
package struct WriteTransaction: ~Copyable {
    private var handle: TransactionHandle?
    private let tables: [UInt32]
    private let number: UInt64
    /// Whether anything was written: LMDB gives no number to a commit that changed nothing.
    private var hasChanges = false
    /// The code of the first write that failed; nothing is committed then.
    private var failure: Int32 = MDB_SUCCESS

    init(_ environment: EnvironmentHandle, tables: [UInt32]) throws(VaultError) {
        let handle = try environment.beginWrite()
        self.handle = handle
        self.tables = tables
        number = handle.number
    }

    deinit { handle?.abort() }

    /// Stores a value. A key holds 1 to 511 bytes.
    package mutating func put(_ table: Int, _ key: [UInt8], _ value: [UInt8]) throws(VaultError) {
        var failure: VaultError?
        key.withUnsafeBytes { key in
            value.withUnsafeBytes { value in
                do throws(VaultError) { try put(table, key, value) } catch { failure = error }
            }
        }
        if let failure { throw failure }
    }

    /// The same with bytes that lie anywhere.
    package mutating func put(
        _ table: Int, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
    ) throws(VaultError) {
        try checkKey(key.count)
        guard let handle else { return }
        try judge(handle.put(tables[table], key, value), "writing")
        hasChanges = true
    }

    /// Removes a value; removing what is not there is no error.
    package mutating func delete(_ table: Int, _ key: [UInt8]) throws(VaultError) {
        try checkKey(key.count)
        guard let handle else { return }
        let code = key.withUnsafeBytes { handle.delete(tables[table], $0) }
        if code == MDB_NOTFOUND { return }
        try judge(code, "deleting")
        hasChanges = true
    }

    /// Keeps something of the store's owner beside the tables, under a name of its own.
    package mutating func setFact(_ name: String, _ value: [UInt8]) throws(VaultError) {
        try put(StoreFacts.table, Array(name.utf8), value)
    }

    /// From now on a program that knows of no log beside the data file refuses it: it would miss what is only
    /// there.
    package mutating func noteLog() throws(VaultError) {
        try put(StoreFacts.table, StoreFacts.formatKey, StoreFacts.formatWithLog)
    }

    /// Removes what `setFact` kept.
    package mutating func removeFact(_ name: String) throws(VaultError) {
        try delete(StoreFacts.table, Array(name.utf8))
    }

    /// What `setFact` kept, as this transaction sees it; nil when there is none.
    package func fact(_ name: String) throws(VaultError) -> [UInt8]? {
        guard let handle else { return nil }
        var failure: VaultError?
        let found = Array(name.utf8).withUnsafeBytes { key -> [UInt8]? in
            do throws(VaultError) {
                return try handle.get(tables[StoreFacts.table], key).map { Array($0) }
            } catch {
                failure = error
                return nil
            }
        }
        if let failure { throw failure }
        return found
    }

    /// Removes everything in a table.
    package mutating func clear(_ table: Int) throws(VaultError) {
        guard let handle else { return }
        try judge(handle.clear(tables[table]), "clearing a table")
        hasChanges = true
    }

    /// Commits, durably where the environment is. A transaction that changed nothing stores its own
    /// number among the store's facts, so that every commit has a number of its own.
    mutating func commit() -> (number: UInt64, code: Int32) {
        guard let handle, failure == MDB_SUCCESS else { return (number, failure) }
        if !hasChanges {
            let fact = withUnsafeBytes(of: number.littleEndian) { Array($0) }
            do throws(VaultError) {
                try put(StoreFacts.table, StoreFacts.sequenceKey, fact)
            } catch {
                return (number, failure)
            }
        }
        self.handle = nil
        return (number, handle.commit())
    }

    private func checkKey(_ count: Int) throws(VaultError) {
        guard count > 0, count <= Environment.keyBytesLimit else {
            throw .internal(
                "a storage key must hold 1 to \(Environment.keyBytesLimit) bytes, this one has \(count)")
        }
    }

    private mutating func judge(_ code: Int32, _ doing: StaticString) throws(VaultError) {
        guard code != MDB_SUCCESS else { return }
        failure = code
        throw Failure.lmdb(code, doing)
    }
}

/// What the store keeps of itself, in a table of its own behind those of its users.
enum StoreFacts {
    static let name = "about"
    /// Behind the users' tables in `Environment.tables`.
    static let table = Environment.tableNames.count
    static let formatKey = Array("format".utf8)
    static let format = Array("holdfast node store 1".utf8)
    /// The same, not to be read without the log beside it.
    static let formatWithLog = Array("holdfast node store 1 with log".utf8)
    /// Written by commits that change nothing else.
    static let sequenceKey = Array("sequence".utf8)
}
