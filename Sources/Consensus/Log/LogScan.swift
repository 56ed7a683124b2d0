import Base

/// Reads the segments at the start of a node, and judges where the log ends.
struct LogScan {
    struct Segment {
        let name: String
        let number: UInt64
        var lastIndex: UInt64 = 0
    }

    private let disk: any RaftDisk
    private let identity: UInt64
    /// Up to which frame the anchor says that everything is on the disk.
    private let synced: UInt64
    private(set) var segments: [Segment] = []
    /// The number behind the last frame that is whole.
    private(set) var nextFrame: UInt64 = 1
    /// Up to which frame something proves that all is on the disk. A frame behind it can be read now, perhaps
    /// only from memory: before anything rests on it, it must be written again.
    private(set) var provenFrame: UInt64
    /// Whether the last segment has frames, and all are known to be on the disk.
    private var endsWithProof = false
    /// What stands in frames without proof.
    private(set) var unproven: [(frame: UInt64, firstIndex: UInt64?, dropsEntries: Bool)] = []

    private var base = LogPosition()
    private var hard = HardState()
    /// A run without gaps. It may begin before the base.
    private var entries: [LogEntry] = []

    init(_ disk: any RaftDisk, identity: UInt64, synced: UInt64) {
        self.disk = disk
        self.identity = identity
        self.synced = synced
        provenFrame = synced
    }

    /// - Throws: `.corrupted` with the file's name.
    mutating func run() throws(VaultError) {
        let all = try disk.names().compactMap { name in LogFormat.number(name).map { (name, $0) } }
            .sorted { $0.1 < $1.1 }
        // What lies before a gap was removed by a compaction, though not yet for good: what lies behind it
        // holds all that matters. If it does not, there are entries missing, and that is found out below.
        let gap = all.indices.dropFirst().last { all[$0].1 != all[$0 - 1].1 + 1 } ?? 0
        let numbered = all[gap...]
        for (name, number) in numbered {
            try readSegment(
                name, number, isFirst: number == numbered.first?.1, isLast: number == numbered.last?.1)
        }
        if synced >= nextFrame {
            let name = numbered.last?.0 ?? LogFormat.name(1)
            throw damaged(
                name, "ends at frame \(nextFrame - 1), but frame \(synced) was on the disk")
        }
        for (name, _) in all[..<gap] { try disk.remove(name) }
        // A name that a crash left without proof must not get lost when later ones are kept. A frame that is
        // known to be on the disk proves the names up to its own.
        if gap > 0 || !endsWithProof { try disk.syncNames() }
    }

    /// What is in the log.
    func contents() throws(VaultError) -> WriteAheadLog.Contents {
        var kept = entries
        if let first = kept.first {
            guard first.index <= base.index + 1 else {
                throw damaged(
                    segments.first?.name ?? "",
                    "has no entries between \(base.index) and \(first.index)")
            }
            kept.removeAll { $0.index <= base.index }
        }
        return WriteAheadLog.Contents(base: base, hard: hard, entries: kept, isNew: nextFrame == 1)
    }

    private mutating func readSegment(
        _ name: String, _ number: UInt64, isFirst: Bool, isLast: Bool
    ) throws(VaultError) {
        let file = try disk.open(name, create: false)
        let bytes = try file.read(at: 0, count: try file.size())
        guard let head = LogFormat.readHead(bytes) else {
            // A crash, or a failed sync, while the segment was made. Nothing that matters is in it when the
            // next one goes on where the one before ends; otherwise that is where it shows.
            if isLast {
                try judgeTail(bytes, from: LogFormat.headBytes, name)
                try disk.remove(name)
            } else {
                segments.append(Segment(name: name, number: number))
            }
            return
        }
        guard head.identity == identity else {
            throw damaged(name, "belongs to another node")
        }
        // It begins earlier than what is there before it ends when that was without proof, and written again.
        guard head.number == number, isFirst || head.firstFrame <= nextFrame else {
            throw damaged(
                name,
                "begins with frame \(head.firstFrame), but what was found before it ends with "
                    + "frame \(nextFrame - 1)")
        }
        nextFrame = head.firstFrame
        prove(head.firstFrame - 1)
        var segment = Segment(name: name, number: number)
        var offset = LogFormat.headBytes
        while let (frame, payload) = self.frame(bytes, offset) {
            guard frame.number == nextFrame else { break }
            prove(frame.synced)
            let summary = try replay(payload, &segment)
            if frame.number > provenFrame {
                unproven.append((frame.number, summary.firstIndex, summary.dropsEntries))
            }
            nextFrame += 1
            offset = frame.end
        }
        segments.append(segment)
        if isLast {
            endsWithProof = offset > LogFormat.headBytes && unproven.isEmpty
            try judgeTail(bytes, from: offset, name)
        }
    }

    private func frame(_ bytes: [UInt8], _ offset: Int) -> (LogFormat.Frame, [UInt8])? {
        bytes.withUnsafeBytes { bytes in
            guard let frame = LogFormat.readFrame(bytes, at: offset, identity: identity) else { return nil }
            return (frame, Array(bytes[frame.payload]))
        }
    }

    /// What follows the last whole frame must never have been synced: no later frame may say so.
    private func judgeTail(_ bytes: [UInt8], from start: Int, _ name: String) throws(VaultError) {
        let witness = bytes.withUnsafeBytes { bytes -> LogFormat.Frame? in
            var at = start
            while at + LogFormat.frameHeadBytes <= bytes.count {
                if let frame = LogFormat.readFrame(bytes, at: at, identity: identity),
                    frame.synced >= nextFrame
                {
                    return frame
                }
                at += 8
            }
            return nil
        }
        if let witness {
            throw damaged(
                name,
                "cannot be read at byte \(start): frame \(nextFrame) was on the disk when frame "
                    + "\(witness.number) was written")
        }
    }

    private mutating func prove(_ frame: UInt64) {
        provenFrame = max(provenFrame, frame)
        unproven.removeAll { $0.frame <= provenFrame }
    }

    private mutating func replay(
        _ payload: [UInt8], _ segment: inout Segment
    ) throws(VaultError) -> (firstIndex: UInt64?, dropsEntries: Bool) {
        var reader = WireReader(payload)
        var firstIndex: UInt64?
        var hasDropped = false
        while reader.count > 0 {
            switch try LogRecord(from: &reader) {
            case .hard(let state): hard = state
            case .base(let position, let dropsEntries):
                base = position
                if dropsEntries {
                    entries = []
                    hasDropped = true
                }
            case .entry(let entry):
                firstIndex = min(firstIndex ?? .max, entry.index)
                segment.lastIndex = max(segment.lastIndex, entry.index)
                place(entry)
            }
        }
        return (firstIndex, hasDropped)
    }

    /// An entry replaces those of its index and behind. A gap means that the entries before it were
    /// compacted: the base that says so may come later.
    private mutating func place(_ entry: LogEntry) {
        if let first = entries.first?.index, entry.index >= first,
            entry.index <= first + UInt64(entries.count)
        {
            entries.removeSubrange(Int(entry.index - first)...)
        } else {
            entries = []
        }
        entries.append(entry)
    }

    private func damaged(_ name: String, _ what: String) -> VaultError {
        .corrupted(
            place: "the log of consensus is damaged: \(disk.place)/\(name) \(what). This node must not vote "
                + "with it")
    }
}

/// A small file beside the segments that remembers up to which frame everything was synced. It is written
/// after the sync and not synced itself: after a loss of power it may be older than the log, which only
/// makes it say less.
struct LogAnchor {
    static let name = "anchor"
    private static let slotBytes = 512
    private static let magic: UInt64 = 0x3152_4843_4E41_4C48  // "HLANCHR1"

    private let file: any RaftFile
    private let identity: UInt64
    /// The frame that it told at the start; 0 when it told nothing.
    let found: UInt64

    init(_ disk: any RaftDisk, identity: UInt64) throws(VaultError) {
        self.identity = identity
        file = try disk.open(Self.name, create: true)
        let bytes = try file.read(at: 0, count: 2 * Self.slotBytes)
        found = [0, Self.slotBytes].map { Self.read(bytes, at: $0, identity) }.max() ?? 0
    }

    func record(_ frame: UInt64) throws(VaultError) {
        var writer = WireWriter(reserving: 32)
        writer.put(Self.magic)
        writer.put(identity)
        writer.put(frame)
        writer.put(CRC32C.of(writer.bytes))
        try file.write(writer.bytes, at: Int(frame & 1) * Self.slotBytes)
    }

    private static func read(_ bytes: [UInt8], at offset: Int, _ identity: UInt64) -> UInt64 {
        var reader = WireReader(bytes, from: offset)
        do throws(VaultError) {
            let magic = try reader.number(UInt64.self)
            let owner = try reader.number(UInt64.self)
            let frame = try reader.number(UInt64.self)
            let code = try reader.number(UInt32.self)
            guard magic == Self.magic, owner == identity,
                CRC32C.of(Array(bytes[offset..<offset + 24])) == code
            else { return 0 }
            return frame
        } catch { return 0 }
    }
}
