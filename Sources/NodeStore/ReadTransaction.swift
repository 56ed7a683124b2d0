package import Base
internal import Synchronization

/// A key and its value, in the map of the data file: valid until the transaction is refreshed or released.
package struct Pair {
    package let key: UnsafeRawBufferPointer
    package let value: UnsafeRawBufferPointer
}

/// A reader of one environment, for one thread at a time: a view that can be renewed, with a cursor per
/// table.
///
/// Made once and kept: `refresh` and `release` cost some dozen nanoseconds and allocate nothing.
package final class ReadTransaction {
    private let environment: Environment
    private let slot: ReaderSlot
    /// Counts searches under one view, and starts again at 256.
    private var searches: UInt8 = 0

    init(environment: Environment, slot: ReaderSlot) {
        self.environment = environment
        self.slot = slot
    }

    deinit { environment.retire(slot) }

    /// Moves the view to the newest commit.
    package func refresh() throws(VaultError) {
        // LMDB takes a number, then copies the roots from the meta page of its parity. A thread that is
        // stopped
        // between the two while two commits pass gets roots newer than its number, or half of each.
        let now = environment.clock.monotonicNanoseconds()
        environment.trim(at: now)
        repeat {
            try slot.refresh(at: now, extent: environment.mapExtent)
        } while environment.lastCommit > slot.sequence
    }

    /// Lets go of the view; reading then throws until the next `refresh`.
    package func release() { slot.release() }

    /// The number of the last commit that the view sees; 0 when it is released.
    package var sequence: UInt64 { slot.sequence }

    /// The value at a key of a table, or nil.
    package func get(
        _ table: Int, _ key: UnsafeRawBufferPointer
    ) throws(VaultError) -> UnsafeRawBufferPointer? {
        noteSearch()
        guard let value = try slot.open().get(environment.tables[table], key) else { return nil }
        try check(value, table)
        return value
    }

    /// What `WriteTransaction.setFact` kept under a name (as bytes); nil when there is none.
    package func fact(_ name: UnsafeRawBufferPointer) throws(VaultError) -> UnsafeRawBufferPointer? {
        try get(StoreFacts.table, name)
    }

    /// Calls `body` with every fact whose name begins so, in order.
    package func eachFact(
        prefix: String,
        _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(VaultError) -> Void
    ) throws(VaultError) {
        let prefix = Array(prefix.utf8)
        var failure: VaultError?
        prefix.withUnsafeBytes { start in
            do throws(VaultError) {
                var pair = try first(StoreFacts.table, from: start)
                while let found = pair, found.key.starts(with: start) {
                    try body(found.key, found.value)
                    pair = try next(StoreFacts.table)
                }
            } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// The first pair whose key is not below `key`; an empty key gives the very first.
    package func first(_ table: Int, from key: UnsafeRawBufferPointer) throws(VaultError) -> Pair? {
        try slot.withCursor(table, environment.tables[table]) { (cursor) throws(VaultError) in
            try checked(key.isEmpty ? cursor.first() : cursor.seek(key), table)
        }
    }

    /// The pair behind the one that `first`, `next` or `last` gave before; nil when they gave none.
    package func next(_ table: Int) throws(VaultError) -> Pair? {
        guard slot.isPlaced(table) else { return nil }
        return try slot.withCursor(table, environment.tables[table]) { (cursor) throws(VaultError) in
            try checked(cursor.next(), table)
        }
    }

    /// The last pair whose key is below `key`; none is below an empty key.
    package func last(_ table: Int, before key: UnsafeRawBufferPointer) throws(VaultError) -> Pair? {
        noteSearch()
        return try slot.withCursor(table, environment.tables[table]) { (cursor) throws(VaultError) in
            if key.isEmpty { return nil }
            return try checked(cursor.seek(key) == nil ? cursor.last() : cursor.previous(), table)
        }
    }

    /// A view that is held for thousands of searches all over a large store maps more than its share.
    @inline(__always)
    private func noteSearch() {
        searches &+= 1
        if searches == 0 { environment.trim(at: environment.clock.monotonicNanoseconds()) }
    }

    private func checked(_ pair: Pair?, _ table: Int) throws(VaultError) -> Pair? {
        guard let pair else { return nil }
        try check(pair.key, table)
        try check(pair.value, table)
        return pair
    }

    /// A damaged page may claim any length: what lies outside the file must not be touched.
    @inline(__always)
    private func check(_ bytes: UnsafeRawBufferPointer, _ table: Int) throws(VaultError) {
        let extent = slot.extent
        guard let base = bytes.baseAddress, extent.count > 0 else { return }
        let offset = UInt(bitPattern: base) &- extent.start
        if offset <= extent.count, UInt(bytes.count) <= extent.count - offset { return }
        try environment.checkOutside(offset, bytes.count, table)
    }
}

/// Where the data file lies in memory; a count of zero means that it is not known.
struct MapExtent {
    var start: UInt = 0
    var count: UInt = 0
}

/// The LMDB side of a reader. The environment knows all of them, so that closing it ends them first.
// SAFETY: used by its reader's thread; `close` by the environment when no reader is in use; the
// time alone is read by other threads, atomically.
final class ReaderSlot: @unchecked Sendable {
    private var transaction: TransactionHandle?
    private var cursors: [Place?]
    private(set) var sequence: UInt64 = 0
    private(set) var extent = MapExtent()
    /// When the view was taken; 0 when there is none.
    let takenAt = Atomic<UInt64>(0)

    /// A cursor, the view that it belongs to, and whether it stands on a pair.
    private final class Place {
        let cursor: CursorHandle
        var view: UInt64
        var isPlaced = false

        init(cursor: CursorHandle, view: UInt64) {
            self.cursor = cursor
            self.view = view
        }
    }
    /// Counts refreshes: a cursor of an earlier view must be renewed before use.
    private var view: UInt64 = 0

    init(_ transaction: TransactionHandle, tables: Int) {
        self.transaction = transaction
        cursors = Array(repeating: nil, count: tables)
        transaction.reset()
    }

    func refresh(at time: UInt64, extent: MapExtent) throws(VaultError) {
        guard let transaction else { throw .internal("the store is closed") }
        release()
        try transaction.renew()
        view += 1
        sequence = transaction.number
        self.extent = extent
        takenAt.store(max(time, 1), ordering: .relaxed)
    }

    func release() {
        guard sequence != 0 || takenAt.load(ordering: .relaxed) != 0 else { return }
        transaction?.reset()
        sequence = 0
        takenAt.store(0, ordering: .relaxed)
    }

    /// The transaction, when it may be read.
    @inline(__always)
    func open() throws(VaultError) -> TransactionHandle {
        guard let transaction, takenAt.load(ordering: .relaxed) != 0 else {
            throw .internal("reading from a view that was released, or whose store is closed")
        }
        return transaction
    }

    func isPlaced(_ table: Int) -> Bool {
        guard let place = cursors[table] else { return false }
        return place.isPlaced && place.view == view
    }

    func withCursor(
        _ table: Int, _ number: UInt32, _ body: (CursorHandle) throws(VaultError) -> Pair?
    ) throws(VaultError) -> Pair? {
        let transaction = try open()
        let place: Place
        if let known = cursors[table] {
            place = known
            if place.view != view {
                try place.cursor.renew(transaction)
                place.view = view
            }
        } else {
            place = Place(cursor: try CursorHandle(transaction, number), view: view)
            cursors[table] = place
        }
        place.isPlaced = false
        let pair = try body(place.cursor)
        place.isPlaced = pair != nil
        return pair
    }

    func close() {
        for place in cursors { place?.cursor.close() }
        cursors = cursors.map { _ in nil }
        transaction?.abort()
        transaction = nil
        sequence = 0
        takenAt.store(0, ordering: .relaxed)
    }
}
