package import Base

/// The write-ahead log of a store that is alone: what is in it holds without anybody's consent.
///
/// It is the log of consensus, with entries of one term and no votes. Unlike consensus it survives a full
/// disk: an entry that found no room is as if it had never been given. Used by one thread at a time.
package final class StoreLog {
    /// One entry.
    package struct Entry {
        /// Entries are counted from 1.
        package let index: UInt64
        /// What was appended.
        package let payload: [UInt8]
    }

    private static let segmentBytes = 4 << 20
    private static let stepBytes = 1 << 20
    private static let term: UInt64 = 1

    private let log: WriteAheadLog
    /// The last entry.
    package private(set) var lastIndex: UInt64
    /// The entry that the log begins behind.
    package private(set) var base: UInt64
    /// There was no log at all when it was opened.
    package let isNew: Bool

    private init(_ log: WriteAheadLog, _ contents: WriteAheadLog.Contents) {
        self.log = log
        lastIndex = contents.last.index
        base = contents.base.index
        isNew = contents.isNew
    }

    /// Opens or makes the log in a directory. A full disk does not keep it from being opened.
    /// - Parameter identity: a number of the store; a log with another one is refused.
    /// - Returns: the log, and its entries in order.
    /// - Throws: `.corrupted` that names the file, when something that was on the disk cannot be read.
    package static func open(
        _ disk: any RaftDisk, identity: UInt64
    ) throws(VaultError) -> (log: StoreLog, entries: [Entry]) {
        let (log, contents) = try WriteAheadLog.open(
            disk, identity: identity, segmentBytes: segmentBytes, stepBytes: stepBytes,
            whenFull: .waitsForRoom)
        return (
            StoreLog(log, contents), contents.entries.map { Entry(index: $0.index, payload: $0.data) }
        )
    }

    /// Removes a log, whatever state it is in: the effect of each entry is safe elsewhere, and that is noted
    /// there.
    package static func erase(_ disk: any RaftDisk) throws(VaultError) {
        for name in try disk.names() where name == LogAnchor.name || LogFormat.number(name) != nil {
            try disk.remove(name)
        }
        try disk.syncNames()
    }

    /// Appends an entry. When it returns, the entry is on the disk.
    /// - Throws: `.unavailable` when the disk has no room; then nothing has changed. Anything else leaves
    ///   it in doubt what the disk holds, and the log must be opened again.
    package func append(_ payload: [UInt8]) throws(VaultError) {
        let mark = log.mark
        log.append(LogEntry(index: lastIndex + 1, term: Self.term, kind: 0, data: payload))
        do throws(VaultError) { try log.flush(sync: true) } catch {
            log.forget(behind: mark)
            throw error
        }
        lastIndex += 1
    }

    /// Lets go of entries up to this one, whose effect is safe elsewhere.
    package func compact(to index: UInt64) throws(VaultError) {
        guard index > base else { return }
        try log.compact(to: LogPosition(index: index, term: Self.term))
        base = index
    }

    /// Makes a new log begin behind an entry that is known elsewhere.
    package func begin(behind index: UInt64) throws(VaultError) {
        lastIndex = index
        try clear()
    }

    /// Lets go of all entries: the effect of each is safe elsewhere. The log takes little room then.
    package func clear() throws(VaultError) {
        try log.restart(at: LogPosition(index: lastIndex, term: Self.term))
        base = lastIndex
    }
}
