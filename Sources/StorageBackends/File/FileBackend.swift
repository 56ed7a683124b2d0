package import Base
internal import Consensus
internal import Glibc
internal import NodeStore
package import PluginKit
internal import Synchronization

/// `storage "file"`: the durable store of a node that is alone.
///
/// A commit is one entry of a write-ahead log, synced before it returns, so callers group what belongs to
/// neighbours into one batch. From there it is carried to the data file (see `OverlaidStore`). While the disk
/// is nearly full there is no log: a commit then is one of the data file, so that on a disk full of secrets
/// some can be deleted.
///
/// A directory has one user at a time. The name is Vault's; the files are not: a directory that Vault wrote
/// is refused, never touched.
///
/// In the directory lie `data.mdb` with what stands beside it, and the log in `log/`.
package final class FileBackend: StorageBackend {
    package static let type = "file"
    /// The keys of the stanza that are known.
    package static let settings = ["path"]

    private static let identityFact = "file/log"
    /// What has gathered in memory goes to the data file so often.
    private static let pauseMicroseconds: UInt32 = 50_000

    private let store: OverlaidStore<FileProgress>
    private let place: LogPlace
    private let journal: Mutex<Journal>
    private let isRefusing = Atomic<Bool>(false)
    private let clock = SystemClock()
    private let log: Log

    private enum Journal {
        case open(StoreLog)
        /// The data file has all, and says that no log counts. From this moment on one may be begun.
        case none(until: UInt64)
        case closed
    }

    /// Bytes that must be free on the disk for a log: it must not take what the data file needs.
    private static let spareBytes: UInt64 = 64 << 20
    /// After this time a log that found no room is tried again.
    private static let restNanoseconds: UInt64 = 1_000_000_000

    private init(
        _ store: OverlaidStore<FileProgress>, _ journal: sending Journal, _ place: LogPlace, log: Log
    ) {
        self.store = store
        self.place = place
        self.log = log
        self.journal = Mutex(journal)
    }

    /// Opens or makes the store.
    /// - Throws: `.badRequest` when `path` is missing, in use, or holds another product's files;
    ///   `.corrupted` when what it holds is damaged. The sentences (`messages` of the first,
    ///   `privateCause` of the second) are for the operator.
    package static func open(_ settings: [String: String], log: Log) throws(VaultError) -> FileBackend {
        try open(settings, log: log, freeBytes: SnapshotPlace.freeBytes)
    }

    /// - Parameter freeBytes: what is free on the disk of a directory.
    static func open(
        _ settings: [String: String], log: Log, freeBytes: @escaping LogPlace.FreeBytes
    ) throws(VaultError) -> FileBackend {
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
        let knowsLast = access("\(path)/anchor", F_OK) == 0
        let environment = try Environment.open(directory: path, log: log)
        do throws(VaultError) {
            let place = LogPlace(
                directory: path, identity: try identity(environment), freeBytes: freeBytes)
            return try open(environment, place, knowsLast: knowsLast, log)
        } catch {
            environment.close()
            throw error
        }
    }

    /// - Parameter knowsLast: the anchor was there, so that a log is missed when it is not.
    private static func open(
        _ environment: Environment, _ place: LogPlace, knowsLast: Bool, _ log: Log
    ) throws(VaultError) -> FileBackend {
        let store = try OverlaidStore<FileProgress>(
            environment, facts: StateFacts("file"), pauseMicroseconds: pauseMicroseconds, log: log)
        do throws(VaultError) {
            let found = try find(place, store, knowsLast: knowsLast, log)
            return FileBackend(store, found, place, log: log)
        } catch {
            store.close()
            throw error
        }
    }

    /// The log, with what the data file does not have applied again.
    private static func find(
        _ place: LogPlace, _ store: OverlaidStore<FileProgress>, knowsLast: Bool, _ log: Log
    ) throws(VaultError) -> Journal {
        if store.progress?.isLogVoid == true { return .none(until: 0) }
        let (journal, entries) = try StoreLog.open(try place.disk(), identity: place.identity)
        let done = store.durableIndex
        if journal.isNew, done > 0 {
            guard !knowsLast else { throw place.missing }
            log.warn("The log was missing: writes that were only in it are lost.", ["place": place.path])
            try store.note(isLogVoid: true)
            return .none(until: 0)
        }
        guard journal.base <= done, done <= journal.lastIndex else {
            throw .corrupted(
                place: "\(place.path) holds entries \(journal.base + 1) to \(journal.lastIndex), but "
                    + "\(place.directory)/data.mdb ends at \(done): they are not from the same moment")
        }
        for entry in entries where entry.index > done { try store.replay(entry) }
        return .open(journal)
    }

    package func makeReader() throws(VaultError) -> any StorageReader { try OverlaidReader(store.source) }

    package func commit(_ batch: CommitBatch) throws(VaultError) -> UInt64 {
        guard takesCommits else {
            throw .unavailable(
                "storage has failed and takes no more writes; the server's log has the cause",
                retryAfterSeconds: 30)
        }
        try batch.checkKeys()
        return try journal.withLock { (journal) throws(VaultError) -> UInt64 in
            if case .none(let until) = journal { begin(&journal, until) }
            switch journal {
            case .open(let log):
                if store.isFull || !place.hasFree(Self.spareBytes) { break }
                try store.makeRoom()
                if try append(batch, to: log) { return log.lastIndex }
            case .none: break
            case .closed: throw .internal("the store is closed")
            }
            return try commitDirectly(batch, &journal)
        }
    }

    /// - Returns: false when there was no room, and nothing has changed.
    private func append(_ batch: CommitBatch, to log: StoreLog) throws(VaultError) -> Bool {
        do throws(VaultError) { try log.append(RaftPayload.batch(batch).bytes) } catch {
            if case .unavailable = error { return false }
            throw refuse(error)
        }
        store.apply([(batch, log.lastIndex)], FileProgress(index: log.lastIndex))
        do throws(VaultError) { try log.compact(to: store.durableIndex) } catch {
            // Without room the log only stays longer.
            if case .unavailable = error { return true }
            _ = refuse(error)
        }
        return true
    }

    /// Commits to the data file itself. It has all then, and the log is void.
    private func commitDirectly(_ batch: CommitBatch, _ journal: inout Journal) throws(VaultError) -> UInt64 {
        try store.drain()
        let index = store.durableIndex + 1
        try store.replace(FileProgress(index: index, isLogVoid: true), expecting: batch) {
            (transaction) throws(VaultError) in
            try transaction.apply(batch)
            return index
        }
        if case .open = journal {
            log.info("The disk is nearly full: until it is not, writes go to the data file without a log.")
            journal = .none(until: clock.monotonicNanoseconds() + Self.restNanoseconds)
            do throws(VaultError) { try StoreLog.erase(try place.disk()) } catch {
                log.debug("The log's files stay for now.", ["cause": error.privateCause ?? ""])
            }
        }
        return index
    }

    /// Begins a log where the data file ends, when there is room for one.
    private func begin(_ journal: inout Journal, _ until: UInt64) {
        let now = clock.monotonicNanoseconds()
        guard now >= until, place.hasFree(2 * Self.spareBytes) else { return }
        journal = .none(until: now + Self.restNanoseconds)
        do throws(VaultError) {
            let disk = try place.disk()
            try StoreLog.erase(disk)
            let log = try StoreLog.open(disk, identity: place.identity).log
            try log.begin(behind: store.durableIndex)
            try store.note(isLogVoid: false)
            journal = .open(log)
        } catch {
            log.warn("No log can be begun.", ["cause": error.messages.first ?? error.privateCause ?? ""])
        }
    }

    /// See `StorageBackend.takesCommits`.
    package var takesCommits: Bool {
        !isRefusing.load(ordering: .relaxed) && store.isSound && store.environment.takesCommits
    }

    /// How long the oldest view has been held, for metrics and for bounding readers.
    package func oldestViewAge() -> Duration { store.environment.oldestViewAge() }

    package func close() {
        journal.withLock { journal in
            if case .closed = journal { return }
            store.close()
            // A log without entries is read in no time at the next start.
            if case .open(let journal) = journal, takesCommits, store.durableIndex == journal.lastIndex {
                do throws(VaultError) { try journal.clear() } catch {
                    log.debug("The log stays as it is.", ["cause": error.privateCause ?? ""])
                }
            }
            journal = .closed
            store.environment.close()
        }
    }

    /// No further commit is accepted: what the disk has of the last one is in doubt.
    private func refuse(_ failure: VaultError) -> VaultError {
        isRefusing.store(true, ordering: .relaxed)
        store.stop(failure)
        log.error(
            "A commit failed and may have left the disk in doubt. No further commit is accepted.",
            ["file": place.path, "cause": failure.privateCause ?? ""])
        return failure
    }

    /// The number that the log of this directory must have.
    private static func identity(_ environment: Environment) throws(VaultError) -> UInt64 {
        let reader = try environment.makeReader()
        try reader.refresh()
        let found = try reader.copyFact(identityFact)
        reader.release()
        if let found { return decodeNumber(found) }
        let made = UInt64.random(in: 1 ... .max)
        _ = try environment.commit(expectedBytes: 64, writes: 1) { (transaction) throws(VaultError) in
            try transaction.setFact(identityFact, encodeNumber(made))
            try transaction.noteLog()
        }
        return made
    }

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
