package import Base
internal import Consensus
internal import Glibc
internal import NodeStore
package import PluginKit
internal import Synchronization

/// `storage "file"`: the durable store of a node that is alone.
///
/// A commit is one entry of a write-ahead log, synced before it returns, so callers group what belongs to
/// neighbours into one batch. From there it is carried to the data file (see `OverlaidStore`). A directory
/// has one user at a time. The name is Vault's; the files are not: a directory that Vault wrote is refused,
/// never touched.
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
    /// Nil when the store is closed.
    private let journal: Mutex<StoreLog?>
    private let isRefusing = Atomic<Bool>(false)
    private let log: Log
    private let path: String

    private init(
        _ store: OverlaidStore<FileProgress>, _ journal: sending StoreLog, path: String, log: Log
    ) {
        self.store = store
        self.path = path
        self.log = log
        self.journal = Mutex(journal)
    }

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
        let knowsLast = access("\(path)/anchor", F_OK) == 0
        let environment = try Environment.open(directory: path, log: log)
        do throws(VaultError) {
            return try open(environment, path, knowsLast: knowsLast, log)
        } catch {
            environment.close()
            throw error
        }
    }

    /// - Parameter knowsLast: the anchor was there, so that a log is missed when it is not.
    private static func open(
        _ environment: Environment, _ path: String, knowsLast: Bool, _ log: Log
    ) throws(VaultError) -> FileBackend {
        let identity = try identity(environment)
        let store = try OverlaidStore<FileProgress>(
            environment, facts: StateFacts("file"), pauseMicroseconds: pauseMicroseconds, log: log)
        do throws(VaultError) {
            let place = "\(path)/log"
            let (journal, entries) = try StoreLog.open(try DirectoryDisk(place), identity: identity)
            let done = store.durableIndex
            if journal.isNew, done > 0 {
                guard !knowsLast else { throw missing(place, path) }
                log.warn("The log was missing: writes that were only in it are lost.", ["place": place])
                try journal.begin(behind: done)
            }
            guard journal.base <= done, done <= journal.lastIndex else {
                throw .corrupted(
                    place: "\(place) holds entries \(journal.base + 1) to \(journal.lastIndex), but "
                        + "\(path)/data.mdb ends at \(done): they are not from the same moment")
            }
            for entry in entries where entry.index > done { try store.replay(entry) }
            return FileBackend(store, journal, path: path, log: log)
        } catch {
            store.close()
            throw error
        }
    }

    package func makeReader() throws(VaultError) -> any StorageReader { try OverlaidReader(store) }

    package func commit(_ batch: CommitBatch) throws(VaultError) -> UInt64 {
        guard takesCommits else {
            throw .unavailable(
                "storage has failed and takes no more writes; the server's log has the cause",
                retryAfterSeconds: 30)
        }
        try batch.checkKeys()
        return try journal.withLock { (journal) throws(VaultError) -> UInt64 in
            guard let journal else { throw .internal("the store is closed") }
            try store.makeRoom()
            do throws(VaultError) { try journal.append(RaftPayload.batch(batch).bytes) } catch {
                if case .unavailable = error { throw error }
                throw refuse(error)
            }
            store.apply([(batch, journal.lastIndex)], FileProgress(index: journal.lastIndex))
            compact(journal)
            return journal.lastIndex
        }
    }

    /// See `StorageBackend.takesCommits`.
    package var takesCommits: Bool {
        !isRefusing.load(ordering: .relaxed) && store.isSound && store.environment.takesCommits
    }

    /// How long the oldest view has been held, for metrics and for bounding readers.
    package func oldestViewAge() -> Duration { store.environment.oldestViewAge() }

    package func close() {
        journal.withLock { open in
            guard let journal = open else { return }
            open = nil
            store.close()
            // A log without entries is read in no time at the next start.
            if takesCommits, store.durableIndex == journal.lastIndex {
                do throws(VaultError) { try journal.clear() } catch {
                    log.debug("The log stays as it is.", ["cause": error.privateCause ?? ""])
                }
            }
            store.environment.close()
        }
    }

    /// Lets go of what the data file has.
    private func compact(_ journal: StoreLog) {
        do throws(VaultError) { try journal.compact(to: store.durableIndex) } catch {
            // Without room the log only stays longer.
            if case .unavailable = error { return }
            _ = refuse(error)
        }
    }

    /// No further commit is accepted: what the disk has of the last one is in doubt.
    private func refuse(_ failure: VaultError) -> VaultError {
        isRefusing.store(true, ordering: .relaxed)
        store.stop(failure)
        log.error(
            "A commit failed and may have left the disk in doubt. No further commit is accepted.",
            ["file": "\(path)/log", "cause": failure.privateCause ?? ""])
        return failure
    }

    private static func missing(_ log: String, _ path: String) -> VaultError {
        .corrupted(
            place: "\(log) is missing or empty, and with it the latest writes. Put it back. To go on with "
                + "what \(path)/data.mdb has, and lose them, remove \(path)/anchor")
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

/// How far the log was applied to the data file.
private struct FileProgress: AppliedProgress {
    let index: UInt64

    init(index: UInt64) { self.index = index }
    init(encoded bytes: [UInt8]) throws(VaultError) {
        guard bytes.count == 8 else {
            throw .corrupted(place: "the progress of the log has \(bytes.count) bytes instead of 8")
        }
        index = decodeNumber(bytes)
    }
    var encoded: [UInt8] { encodeNumber(index) }
}

extension OverlaidStore<FileProgress> {
    /// Applies an entry that the data file does not have yet.
    fileprivate func replay(_ entry: StoreLog.Entry) throws(VaultError) {
        guard case .batch(let batch) = try RaftPayload(entry.payload, index: entry.index) else {
            throw .corrupted(place: "entry \(entry.index) of the log is no batch of writes")
        }
        try makeRoom()
        apply([(batch, entry.index)], FileProgress(index: entry.index))
    }
}
