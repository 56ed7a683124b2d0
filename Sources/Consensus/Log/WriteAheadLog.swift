import Base

/// The write-ahead log of one node: the entries behind its base, and its votes.
///
/// It lies in segments, files that are only appended to. What belongs to one turn is one frame with one
/// checksum. Every frame tells up to which frame everything was known to be on the disk when it was written,
/// and a small file beside the segments, the anchor, tells the same after each sync. So at the next start
/// the end of the log is judged, not guessed: what cannot be read and was never synced is the torn tail of a
/// crash and is cut; what cannot be read and was synced is damage, and the log is refused, for a node that
/// forgets its votes or entries can make a cluster lose writes.
///
/// A segment begins with the base and the votes, so segments whose entries all lie before the base can go.
/// Nothing is written into a segment of an earlier run: what follows a torn tail is a new one.
///
/// After an error of a write or a sync nothing more is written: the page cache can no longer be believed. A
/// disk without room is another matter: what found none is not in the log, and may be tried again.
final class WriteAheadLog {
    /// What was found at the start.
    struct Contents: Equatable {
        var base = LogPosition()
        var hard = HardState()
        /// Without gaps, behind the base.
        var entries: [LogEntry] = []
        /// There was no log at all.
        var isNew = true

        var last: LogPosition {
            entries.last.map { LogPosition(index: $0.index, term: $0.term) } ?? base
        }
    }

    /// What opening does when there is no room for what it has to write.
    enum WhenFull {
        case fails
        /// It is written with the next frame.
        case waitsForRoom
    }

    private struct Segment {
        let name: String
        /// The highest index of the entries in it; 0 when there are none.
        var lastIndex: UInt64 = 0
    }

    /// Every start begins a segment; when there are more than this, they become one.
    private static let mostSegments = 16

    private let disk: any RaftDisk
    private let identity: UInt64
    private let segmentBytes: Int
    private var stepBytes: Int
    private var segments: [Segment] = []
    private var segmentNumber: UInt64
    private var file: (any RaftFile)?
    private var anchor: LogAnchor
    private var offset = 0
    /// The next frame is the first of its segment.
    private var beginsSegment = false
    private var preallocated = 0
    /// The frame that is written next, and the last one that is known to be on the disk.
    private var nextFrame: UInt64
    private var syncedFrame: UInt64
    private var base: LogPosition
    private var hard: HardState
    private var records = WireWriter()
    private var recordsLastIndex: UInt64 = 0
    private var hasFailed = false

    /// Opens the log of a directory.
    /// - Parameter identity: a number of the node; a log with another one is refused.
    /// - Parameter segmentBytes: after which a new segment begins.
    /// - Parameter stepBytes: in which room is taken on the disk.
    /// - Returns: the log, and what is in it.
    /// - Throws: `.corrupted` that names the file, when something that was on the disk cannot be read.
    static func open(
        _ disk: any RaftDisk, identity: UInt64, segmentBytes: Int, stepBytes: Int, whenFull: WhenFull = .fails
    ) throws(VaultError) -> (WriteAheadLog, Contents) {
        let anchor = try LogAnchor(disk, identity: identity)
        var scan = LogScan(disk, identity: identity, synced: anchor.found)
        try scan.run()
        let contents = try scan.contents()
        let log = WriteAheadLog(
            disk, identity: identity, segmentBytes, stepBytes, anchor: anchor, scan: scan, contents)
        do throws(VaultError) {
            if log.segments.count > Self.mostSegments {
                try log.gather(contents)
            } else {
                try log.rewrite(scan.unproven, contents)
            }
        } catch {
            guard case .unavailable = error, whenFull == .waitsForRoom else { throw error }
        }
        return (log, contents)
    }

    private init(
        _ disk: any RaftDisk, identity: UInt64, _ segmentBytes: Int, _ stepBytes: Int,
        anchor: LogAnchor, scan: LogScan, _ contents: Contents
    ) {
        self.segmentBytes = segmentBytes
        self.stepBytes = stepBytes
        self.disk = disk
        self.identity = identity
        self.anchor = anchor
        segments = scan.segments.map { Segment(name: $0.name, lastIndex: $0.lastIndex) }
        segmentNumber = scan.segments.last?.number ?? 0
        nextFrame = min(scan.nextFrame, scan.provenFrame + 1)
        syncedFrame = nextFrame - 1
        base = contents.base
        hard = contents.hard
    }

    /// Writes again what could be read, but may be in memory only: after a failed sync or a kill it is not
    /// certain that it ever reaches the disk, and this node is about to rest on it.
    private func rewrite(
        _ unproven: [(frame: UInt64, firstIndex: UInt64?, dropsEntries: Bool)], _ contents: Contents
    ) throws(VaultError) {
        guard !unproven.isEmpty else { return }
        var first = unproven.compactMap(\.firstIndex).min() ?? .max
        if unproven.contains(where: \.dropsEntries) {
            reset(to: contents.base)
            first = 0
        }
        for entry in contents.entries where entry.index >= first { append(entry) }
        if records.bytes.isEmpty { append(hard) }
        try flush(sync: true)
    }

    /// Writes everything into a new segment, and removes the others.
    private func gather(_ contents: Contents) throws(VaultError) {
        let old = segments.count
        reset(to: contents.base)
        for entry in contents.entries { append(entry) }
        append(hard)
        try flush(sync: true)
        try remove(segments: old)
    }

    /// What is noted at this moment: `forget` goes back to it.
    var mark: Int { records.bytes.count }

    /// Forgets what was noted since.
    func forget(behind mark: Int) { records.cut(to: mark) }

    /// Notes an entry for the next `flush`. It replaces those of its index and behind.
    func append(_ entry: LogEntry) {
        LogRecord.entry(entry).write(to: &records)
        recordsLastIndex = max(recordsLastIndex, entry.index)
    }

    /// Notes votes and commit index for the next `flush`.
    func append(_ state: HardState) {
        hard = state
        LogRecord.hard(state).write(to: &records)
    }

    /// Notes, for the next `flush`, that the state came as a snapshot: all entries go.
    func reset(to position: LogPosition) {
        base = position
        LogRecord.base(position, dropsEntries: true).write(to: &records)
    }

    /// Writes what was noted as one frame.
    /// - Parameter sync: waits until it is on the disk.
    /// - Throws: `.unavailable` when there was no room: what was noted is noted still. After what else the
    ///   disk says the log must not be used any more.
    func flush(sync: Bool) throws(VaultError) {
        guard !hasFailed else { throw .internal("the log in \(disk.place) has failed before") }
        hasFailed = true
        if !records.bytes.isEmpty {
            do throws(VaultError) {
                try beginSegmentIfNeeded()
                try writeFrame()
            } catch {
                if case .unavailable = error { hasFailed = false }
                throw error
            }
        }
        if sync { try synchronize() }
        hasFailed = false
    }

    /// Makes the log begin behind this entry, whose effect is safe elsewhere.
    func compact(to position: LogPosition) throws(VaultError) {
        guard position.index > base.index else { return }
        base = position
        LogRecord.base(position, dropsEntries: false).write(to: &records)
        let old = segments.dropLast().prefix { $0.lastIndex <= position.index }.count
        guard old > 0 else { return }
        // First the new base must be safe: without it, what is left has a gap.
        try flush(sync: true)
        try remove(segments: old)
    }

    /// Makes the log begin behind its last entry, whose effect is safe elsewhere, in a new segment of its
    /// own.
    func restart(at position: LogPosition) throws(VaultError) {
        // Mostly nothing follows, and the next start reads all of it.
        let (old, step) = (segments.count, stepBytes)
        stepBytes = 1
        defer { stepBytes = step }
        file = nil
        reset(to: position)
        try flush(sync: true)
        try remove(segments: old)
    }

    /// Removes the oldest segments.
    private func remove(segments count: Int) throws(VaultError) {
        for segment in segments.prefix(count) { try disk.remove(segment.name) }
        segments.removeFirst(count)
        try disk.syncNames()
    }

    private func beginSegmentIfNeeded() throws(VaultError) {
        if file != nil, offset < segmentBytes { return }
        // A later segment proves that all before it is on the disk.
        if file != nil { try synchronize() }
        let name = LogFormat.name(segmentNumber + 1)
        do throws(VaultError) { try makeSegment(name) } catch {
            if case .unavailable = error { try disk.remove(name) }
            throw error
        }
        segmentNumber += 1
        segments.append(Segment(name: name))
        beginsSegment = true
    }

    /// What the next frame holds.
    private var payload: [UInt8] {
        guard beginsSegment else { return records.bytes }
        var first = WireWriter(reserving: records.bytes.count + 64)
        LogRecord.base(base, dropsEntries: false).write(to: &first)
        LogRecord.hard(hard).write(to: &first)
        // What is noted may hold a later base: it must come last.
        first.raw(records.bytes)
        return first.bytes
    }

    private func makeSegment(_ name: String) throws(VaultError) {
        let made = try disk.open(name, create: true)
        let head = LogFormat.head(identity: identity, number: segmentNumber + 1, firstFrame: nextFrame)
        try made.write(head, at: 0)
        let room = try take(stepBytes, or: LogFormat.headBytes, of: made)
        try made.sync()
        try disk.syncNames()
        file = made
        offset = LogFormat.headBytes
        preallocated = room
    }

    /// Takes room on the disk, or only what is needed when that is all there is.
    /// - Returns: what was taken.
    private func take(_ bytes: Int, or least: Int, of file: any RaftFile) throws(VaultError) -> Int {
        do throws(VaultError) {
            try file.preallocate(bytes)
            return bytes
        } catch {
            guard case .unavailable = error else { throw error }
            try file.preallocate(least)
            return least
        }
    }

    private func writeFrame() throws(VaultError) {
        guard let file else { return }
        let frame = LogFormat.frame(
            payload, number: nextFrame, synced: syncedFrame, identity: identity)
        if offset + frame.count > preallocated {
            let (step, end) = (stepBytes, offset + frame.count)
            preallocated = try take((end + step - 1) / step * step, or: end, of: file)
        }
        try file.write(frame, at: offset)
        offset += frame.count
        nextFrame += 1
        beginsSegment = false
        segments[segments.count - 1].lastIndex = max(
            segments[segments.count - 1].lastIndex, recordsLastIndex)
        records = WireWriter(reserving: min(records.bytes.count, 64 << 10))
        recordsLastIndex = 0
    }

    private func synchronize() throws(VaultError) {
        guard let file, syncedFrame + 1 < nextFrame else { return }
        try file.sync()
        syncedFrame = nextFrame - 1
        do throws(VaultError) { try anchor.record(syncedFrame) } catch {
            // Without room it says less than it could, which it may.
            guard case .unavailable = error else { throw error }
        }
    }
}
