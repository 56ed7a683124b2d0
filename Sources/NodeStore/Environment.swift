package import Base
internal import Glibc
internal import Synchronization

/// The node's store: one LMDB environment with a few ordered tables, and the only importer of LMDB.
///
/// Invariants:
/// - One process, one `Environment` per directory: an exclusive lock on `holdfast.lock` holds for its life.
/// - One writer at a time; a commit that returned is synced (durable mode) and has the number before plus
/// one.
/// - Fail-stop: after a failed commit that may have left the disk in doubt, every further commit is
///   refused until the store is opened again; when LMDB gives no more views either, the process ends.
///   Nothing is acknowledged that was not synced, and no failed sync is tried again.
/// - LMDB trusts its file. So before LMDB sees it, `MetaPages`, `Anchor` and `StructureCheck` do not; the
///   file always extends beyond its last page, so that a bad offset reads zeros and not past the end;
///   and no value is handed out that does not lie inside the file.
/// - Bytes that a `ReadTransaction` gives are valid until it is refreshed or released.
// SAFETY: LMDB's environment is thread-safe; everything else that changes is behind a mutex or atomic.
package final class Environment: @unchecked Sendable {
    /// The users' tables, by the integers that reads and writes name them with.
    package static let tableNames = ["entries", "links", "bootstrap"]
    /// Longest key in bytes, as LMDB is packaged.
    package static let keyBytesLimit = 511
    static let dataName = "data.mdb"
    static let lockName = "lock.mdb"
    /// Bytes of zeros kept behind the last page: two 16-bit offsets and a page reach no further.
    private static let marginBytes = 256 << 10

    let clock: any Clock
    let tables: [UInt32]
    private let handle: EnvironmentHandle
    private let check: BackgroundCheck?
    private let asserts: AssertContext
    private let log: Log
    private let mapStart: UInt
    private let mapBytes: Int
    private let pageBytes: Int
    private let fileBytes: Atomic<Int>
    private let lastNumber: Atomic<UInt64>
    private let isRefusing = Atomic<Bool>(false)
    private let writer: Mutex<Writer>
    private let readers = Mutex<Readers>(Readers())
    /// Nil for a store in memory, whose pages have no other place.
    private let residency: Mutex<Residency?>
    private let trimmedAt = Atomic<UInt64>(0)

    private struct Writer: ~Copyable {
        var files: Files?
    }
    /// What stands beside LMDB; all nil for a store in memory but the data file.
    struct Files: ~Copyable {
        var lock: DirectoryLock?
        var anchor: Anchor?
        var data: OpenFile
    }
    private struct Readers {
        var slots: [ObjectIdentifier: ReaderSlot] = [:]
        var isOpen = true
    }

    init(
        _ handle: EnvironmentHandle, tables: [UInt32], files: consuming Files, check: BackgroundCheck?,
        mapBytes: Int, isDurable: Bool, clock: any Clock, log: Log
    ) throws(VaultError) {
        self.handle = handle
        self.check = check
        self.tables = tables
        self.clock = clock
        self.log = log
        asserts = AssertContext(log: log, place: files.data.path)
        mapStart = MapLocation.find(inode: files.data.inode(), bytes: mapBytes)
        self.mapBytes = mapBytes
        pageBytes = handle.pageBytes()
        fileBytes = Atomic(try files.data.size())
        lastNumber = Atomic(handle.info().lastTransaction)
        residency = Mutex(isDurable ? Residency() : nil)
        writer = Mutex(Writer(files: files))
        handle.reportAsserts(to: asserts)
    }

    deinit { close() }

    /// The number of the last commit.
    package var lastCommit: UInt64 { lastNumber.load(ordering: .acquiring) }

    /// False since a commit has failed in doubt, or damage was found: no further one is accepted.
    package var takesCommits: Bool {
        !isRefusing.load(ordering: .relaxed) && !(check?.hasFoundDamage ?? false)
    }

    /// A reader, at first without a view. Keep it: making one takes a lock and memory.
    package func makeReader() throws(VaultError) -> ReadTransaction {
        let slot = try readers.withLock { (readers) throws(VaultError) -> ReaderSlot in
            guard readers.isOpen else { throw .internal("the store is closed") }
            let slot = ReaderSlot(try handle.beginRead(), tables: tables.count)
            readers.slots[ObjectIdentifier(slot)] = slot
            return slot
        }
        return ReadTransaction(environment: self, slot: slot)
    }

    /// How long the oldest view has been held: while it is, no page freed since can be reused.
    package func oldestViewAge() -> Duration {
        let now = clock.monotonicNanoseconds()
        let oldest = readers.withLock { readers in
            readers.slots.values.map { $0.takenAt.load(ordering: .relaxed) }.filter { $0 != 0 }.min()
        }
        guard let oldest, oldest < now else { return .zero }
        return .nanoseconds(Int64(clamping: now - oldest))
    }

    /// Runs `body` with a write transaction and commits what it wrote, whole and (durable mode) synced.
    /// A body that changes nothing makes a commit too, with a number of its own.
    /// - Parameter expectedBytes: of the keys and values that will be written; only a hint.
    /// - Returns: the number of the commit, one more than that of the one before.
    /// - Throws: what `body` throws, `.unavailable` when storage is full, `.internal` when it failed.
    package func commit(
        expectedBytes: Int, writes: Int, _ body: (inout WriteTransaction) throws(VaultError) -> Void
    ) throws(VaultError) -> UInt64 {
        defer { trim(at: clock.monotonicNanoseconds()) }
        return try writer.withLock { (writer) throws(VaultError) -> UInt64 in
            guard writer.files != nil else { throw .internal("the store is closed") }
            check?.waitAWhile()
            guard takesCommits else {
                throw .unavailable(
                    "storage has failed and takes no more writes; the server's log has the cause",
                    retryAfterSeconds: 30)
            }
            var transaction = try WriteTransaction(handle, tables: tables)
            // A write changes the pages above its own; many share them, and there are no more than there are.
            let changed = min(8 * writes, handle.info().lastPage + 1)
            let room = 2 * expectedBytes + (64 + changed) * pageBytes
            extend(&writer, by: room)
            try body(&transaction)
            let (number, code) = transaction.commit()
            guard code == 0 else { throw refuse(&writer, code, room: room) }
            guard number == lastCommit + 1 else {
                isRefusing.store(true, ordering: .relaxed)
                throw .internal(
                    "commit \(number) followed commit \(lastCommit): another process writes to this store")
            }
            if handle.info().lastPage >= fileBytes.load(ordering: .relaxed) / pageBytes {
                extend(&writer, by: 0)
            }
            remember(&writer, number)
            lastNumber.store(number, ordering: .releasing)
            return number
        }
    }

    /// Ends all readers, closes LMDB and lets go of the directory. No reader may be in use.
    package func close() {
        writer.withLock { writer in
            guard writer.files != nil else { return }
            check?.cancel()
            readers.withLock { readers in
                readers.isOpen = false
                for slot in readers.slots.values { slot.close() }
                readers.slots = [:]
            }
            // What is unmapped must never be advised about: another map may soon stand there.
            residency.withLock { $0 = nil }
            handle.close()
            writer.files = nil
        }
    }

    func retire(_ slot: ReaderSlot) {
        readers.withLock { readers in
            if readers.slots.removeValue(forKey: ObjectIdentifier(slot)) != nil { slot.close() }
        }
    }

    /// Keeps the mapped pages of a durable store few. Called by whoever reads or writes, at each view; one
    /// call in many does anything.
    @inline(__always)
    func trim(at now: UInt64) {
        if now &- trimmedAt.load(ordering: .relaxed) >= Residency.pauseNanoseconds { trimNow(now) }
    }

    /// The same, for who looks at no clock.
    package func trim() { trim(at: clock.monotonicNanoseconds()) }

    private func trimNow(_ now: UInt64) {
        trimmedAt.store(now, ordering: .relaxed)
        var extent = mapExtent
        extent.count = min(extent.count, UInt(mapBytes))
        _ = residency.withLockIfAvailable { [extent] in $0?.trim(extent) }
    }

    var mapExtent: MapExtent {
        MapExtent(start: mapStart, count: mapStart == 0 ? 0 : UInt(fileBytes.load(ordering: .relaxed)))
    }

    /// Decides about bytes that lie outside of what a reader knew as the file.
    func checkOutside(_ offset: UInt, _ count: Int, _ table: Int) throws(VaultError) {
        let size = UInt((handle.info().lastPage + 1) * pageBytes)
        if offset <= size, UInt(count) <= size - offset { return }
        let name = (Self.tableNames + [StoreFacts.name])[table]
        throw .corrupted(
            place: "\(asserts.place), table \(name): an entry of \(count) bytes lies outside the file")
    }

    /// Keeps the margin behind the last page. A file that cannot be extended only lacks the margin.
    private func extend(_ writer: inout Writer, by bytes: Int) {
        let wanted = (handle.info().lastPage + 1) * pageBytes + bytes + Self.marginBytes
        guard wanted > fileBytes.load(ordering: .relaxed) else { return }
        let rounded = (wanted + (1 << 20) - 1) & ~((1 << 20) - 1)
        do throws(VaultError) {
            try writer.files?.data.extend(to: rounded)
            fileBytes.store(rounded, ordering: .relaxed)
        } catch {
            log.debug("The data file keeps no margin.", ["cause": error.privateCause ?? ""])
        }
    }

    private func remember(_ writer: inout Writer, _ number: UInt64) {
        do throws(VaultError) {
            try writer.files?.anchor?.record(number)
        } catch {
            log.warn(
                "The anchor was not written; the commit itself is safe.", ["cause": error.privateCause ?? ""])
        }
    }

    /// Decides how it goes on after a commit that failed with LMDB's `code` and needed `room` bytes at most.
    private func refuse(_ writer: inout Writer, _ code: Int32, room: Int) -> VaultError {
        let end = (handle.info().lastPage + 1) * pageBytes
        let hasRoom = code != EIO || (writer.files?.data.hasRoom(for: room, behind: end) ?? true)
        switch Failure.judge(code, isUsable: handle.isUsable(), hasRoom: hasRoom) {
        case .harmless: return Failure.lmdb(code, "committing")
        case .full: return Failure.full
        case .doubtful:
            isRefusing.store(true, ordering: .relaxed)
            log.error(
                "A commit failed and may have left the disk in doubt. No further commit is accepted.",
                ["file": asserts.place, "cause": Failure.text(code)])
            return Failure.lmdb(code, "committing")
        case .fatal:
            log.error(
                "The head page of the data file could not be written, so that nothing can be read or written "
                    + "any more. The process ends; start it again when the disk is sound.",
                ["file": asserts.place, "cause": Failure.text(code)])
            _exit(1)
        }
    }
}

/// Where a file is mapped in this process.
private enum MapLocation {
    /// The start of the map of that many bytes of the file with this number; 0 when the kernel does not tell.
    ///
    /// A line of proc(5)'s maps is `start-end permissions offset device inode path`.
    static func find(inode: UInt64, bytes: Int) -> UInt {
        guard let file = fopen("/proc/self/maps", "re") else { return 0 }
        defer { fclose(file) }
        let line = UnsafeMutablePointer<CChar>.allocate(capacity: 4096)
        defer { line.deallocate() }
        var candidates: [UInt] = []
        while fgets(line, 4096, file) != nil {
            // Most lines tell by their first numbers that they are others.
            var rest: UnsafeMutablePointer<CChar>?
            let start = strtoul(line, &rest, 16)
            guard let dash = rest, dash.pointee == CChar(UInt8(ascii: "-")),
                strtoul(dash + 1, &rest, 16) == start &+ UInt(bytes), let rest
            else { continue }
            let fields = String(cString: rest).split(whereSeparator: \.isWhitespace)
            guard fields.count >= 4, fields[0] == "r--s" else { continue }
            if UInt64(fields[3]) == inode { return start }
            candidates.append(start)
        }
        return candidates.count == 1 ? candidates[0] : 0
    }
}
