import Base
internal import CLMDB
internal import Glibc

// LMDB's three kinds of handle have the same Swift type; each gets a type of its own here, and no
// other file sees a raw pointer. These are plain names for things that `Environment`,
// `ReadTransaction` and `WriteTransaction` own and free.

/// An open environment.
// SAFETY: LMDB's environments may be used from any thread.
struct EnvironmentHandle: @unchecked Sendable {
    private let raw: OpaquePointer

    /// Opens the environment in a directory. `isDurable` syncs every commit.
    init(directory: String, mapBytes: Int, maxReaders: Int, isDurable: Bool) throws(VaultError) {
        var made: OpaquePointer?
        var code = mdb_env_create(&made)
        guard code == MDB_SUCCESS, let made else { throw Failure.lmdb(code, "making an environment") }
        code = mdb_env_set_maxdbs(made, 8)
        if code == MDB_SUCCESS { code = mdb_env_set_maxreaders(made, UInt32(maxReaders)) }
        if code == MDB_SUCCESS { code = mdb_env_set_mapsize(made, mapBytes) }
        // NOTLS: a reader belongs to whom holds it, not to a thread. NORDAHEAD: reads are random.
        let flags = UInt32(MDB_NOTLS | MDB_NORDAHEAD | (isDurable ? 0 : MDB_NOSYNC | MDB_NOMETASYNC))
        if code == MDB_SUCCESS { code = mdb_env_open(made, directory, flags, 0o600) }
        guard code == MDB_SUCCESS else {
            mdb_env_close(made)
            throw Failure.lmdb(code, "opening the data file", directory)
        }
        raw = made
    }

    func close() { mdb_env_close(raw) }

    /// Bytes of a page: the system's when the file was made.
    func pageBytes() -> Int {
        var facts = MDB_stat()
        mdb_env_stat(raw, &facts)
        return Int(facts.ms_psize)
    }

    /// The number of the last commit and of the last page in the file.
    func info() -> (lastTransaction: UInt64, lastPage: Int) {
        var info = MDB_envinfo()
        mdb_env_info(raw, &info)
        return (UInt64(info.me_last_txnid), info.me_last_pgno)
    }

    /// Calls `AssertContext` when LMDB finds its own rules broken, which happens in damaged files only.
    func reportAsserts(to context: AssertContext) {
        mdb_env_set_userctx(raw, Unmanaged.passUnretained(context).toOpaque())
        mdb_env_set_assert(raw) { environment, message in
            guard let pointer = mdb_env_get_userctx(environment) else { return }
            let context = Unmanaged<AssertContext>.fromOpaque(pointer).takeUnretainedValue()
            context.log.error(
                "The data file is damaged and the process must stop. Restore it from a backup.",
                ["file": context.place, "check": message.map { String(cString: $0) } ?? ""])
        }
    }

    func beginRead() throws(VaultError) -> TransactionHandle { try begin(UInt32(MDB_RDONLY)) }
    func beginWrite() throws(VaultError) -> TransactionHandle { try begin(0) }

    /// False once LMDB has failed to write a head page: it then refuses every view and every write.
    func isUsable() -> Bool {
        var made: OpaquePointer?
        let code = mdb_txn_begin(raw, nil, UInt32(MDB_RDONLY), &made)
        if code == MDB_SUCCESS, let made { mdb_txn_abort(made) }
        return code != MDB_PANIC
    }

    private func begin(_ flags: UInt32) throws(VaultError) -> TransactionHandle {
        var made: OpaquePointer?
        let code = mdb_txn_begin(raw, nil, flags, &made)
        guard code == MDB_SUCCESS, let made else { throw Failure.lmdb(code, "beginning a transaction") }
        return TransactionHandle(raw: made)
    }
}

/// What an assert needs to say where it happened.
final class AssertContext: Sendable {
    let log: Log
    let place: String

    init(log: Log, place: String) {
        self.log = log
        self.place = place
    }
}

/// A read or write transaction.
struct TransactionHandle {
    fileprivate let raw: OpaquePointer

    fileprivate init(raw: OpaquePointer) { self.raw = raw }

    /// The commit that a reader sees, or that a writer will make.
    var number: UInt64 { UInt64(mdb_txn_id(raw)) }

    func abort() { mdb_txn_abort(raw) }
    func reset() { mdb_txn_reset(raw) }

    func renew() throws(VaultError) {
        let code = mdb_txn_renew(raw)
        guard code == MDB_SUCCESS else { throw Failure.lmdb(code, "refreshing a view") }
    }

    /// Commits; the handle is gone afterwards, whatever the code. The caller judges the code.
    func commit() -> Int32 { mdb_txn_commit(raw) }

    /// The number that LMDB gives to a named table; nil when it is not there and `create` is false.
    func table(named name: String, create: Bool) throws(VaultError) -> UInt32? {
        var table: UInt32 = 0
        let code = mdb_dbi_open(raw, name, create ? UInt32(MDB_CREATE) : 0, &table)
        if code == MDB_NOTFOUND { return nil }
        guard code == MDB_SUCCESS else { throw Failure.lmdb(code, "opening table", name) }
        return table
    }

    @inline(__always)
    func get(_ table: UInt32, _ key: UnsafeRawBufferPointer) throws(VaultError) -> UnsafeRawBufferPointer? {
        // LMDB calls an empty key an error; as a question its answer is no.
        if key.isEmpty { return nil }
        var wanted = MDB_val(key)
        var found = MDB_val()
        let code = mdb_get(raw, table, &wanted, &found)
        if code == MDB_SUCCESS { return found.bytes }
        if code == MDB_NOTFOUND { return nil }
        throw Failure.lmdb(code, "reading")
    }

    /// Writes a pair. The caller judges the code.
    func put(_ table: UInt32, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Int32 {
        var key = MDB_val(key)
        var value = MDB_val(value)
        return mdb_put(raw, table, &key, &value, 0)
    }

    /// Deletes all pairs of a table. The caller judges the code.
    func clear(_ table: UInt32) -> Int32 { mdb_drop(raw, table, 0) }

    /// Deletes a pair; `MDB_NOTFOUND` when there is none. The caller judges the code.
    func delete(_ table: UInt32, _ key: UnsafeRawBufferPointer) -> Int32 {
        var key = MDB_val(key)
        return mdb_del(raw, table, &key, nil)
    }
}

/// A place in a table, within a read transaction.
struct CursorHandle {
    private let raw: OpaquePointer

    init(_ transaction: TransactionHandle, _ table: UInt32) throws(VaultError) {
        var made: OpaquePointer?
        let code = mdb_cursor_open(transaction.raw, table, &made)
        guard code == MDB_SUCCESS, let made else { throw Failure.lmdb(code, "opening a cursor") }
        raw = made
    }

    func close() { mdb_cursor_close(raw) }

    /// Needed after the transaction was renewed.
    func renew(_ transaction: TransactionHandle) throws(VaultError) {
        let code = mdb_cursor_renew(transaction.raw, raw)
        guard code == MDB_SUCCESS else { throw Failure.lmdb(code, "renewing a cursor") }
    }

    func first() throws(VaultError) -> Pair? { try move(MDB_FIRST, MDB_val()) }
    func last() throws(VaultError) -> Pair? { try move(MDB_LAST, MDB_val()) }
    func next() throws(VaultError) -> Pair? { try move(MDB_NEXT, MDB_val()) }
    func previous() throws(VaultError) -> Pair? { try move(MDB_PREV, MDB_val()) }
    /// The first pair that is not below a key, which must not be empty.
    func seek(_ key: UnsafeRawBufferPointer) throws(VaultError) -> Pair? {
        try move(MDB_SET_RANGE, MDB_val(key))
    }

    private func move(_ how: MDB_cursor_op, _ from: MDB_val) throws(VaultError) -> Pair? {
        var key = from
        var value = MDB_val()
        let code = mdb_cursor_get(raw, &key, &value, how)
        if code == MDB_SUCCESS { return Pair(key: key.bytes, value: value.bytes) }
        if code == MDB_NOTFOUND { return nil }
        throw Failure.lmdb(code, "walking")
    }
}

extension MDB_val {
    fileprivate init(_ bytes: UnsafeRawBufferPointer) {
        self.init(mv_size: bytes.count, mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
    }
    fileprivate var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: mv_data, count: mv_size) }
}
