import Base

/// How the log's files look. All numbers are little-endian; codes are CRC-32C.
///
///     segment:  head of 64 bytes, frames, zeros
///     head:     magic u64, identity u64, segment number u64, number of its first frame u64, zeros, code u32
///     frame:    magic u32, code u32, payload bytes u32, 0 u32, number u64, synced u64, payload, padding to 8
///     payload:  records (see LogRecord)
///
/// A frame's code covers everything of it behind the code, and the log's identity.
enum LogFormat {
    static let headBytes = 64
    static let frameHeadBytes = 32
    private static let headMagic: UInt64 = 0x314C_5452_4148_4648  // "HFHARTL1"
    private static let frameMagic: UInt32 = 0x4C46_4648  // "HFFL"
    private static let suffix = ".log"

    /// Sixteen hexadecimal digits, so that names sort as numbers.
    static func name(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits + suffix
    }

    /// The number in a segment's name; nil for a name of another kind.
    static func number(_ name: String) -> UInt64? {
        guard name.hasSuffix(suffix), name.utf8.count == 16 + suffix.utf8.count else { return nil }
        return UInt64(name.dropLast(suffix.count), radix: 16)
    }

    static func head(identity: UInt64, number: UInt64, firstFrame: UInt64) -> [UInt8] {
        var writer = WireWriter(reserving: headBytes)
        writer.put(headMagic)
        writer.put(identity)
        writer.put(number)
        writer.put(firstFrame)
        writer.raw([UInt8](repeating: 0, count: headBytes - writer.bytes.count - 4))
        writer.put(CRC32C.of(writer.bytes))
        return writer.bytes
    }

    /// - Returns: the head's numbers; nil when it is not whole.
    static func readHead(_ bytes: [UInt8]) -> (identity: UInt64, number: UInt64, firstFrame: UInt64)? {
        guard bytes.count >= headBytes else { return nil }
        return bytes.withUnsafeBytes { bytes in
            func word(_ at: Int) -> UInt64 {
                UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
            }
            let code = bytes.loadUnaligned(fromByteOffset: headBytes - 4, as: UInt32.self)
            guard word(0) == headMagic,
                UInt32(littleEndian: code)
                    == CRC32C.of(UnsafeRawBufferPointer(rebasing: bytes[..<(headBytes - 4)]))
            else { return nil }
            return (word(8), word(16), word(24))
        }
    }

    static func frame(_ payload: [UInt8], number: UInt64, synced: UInt64, identity: UInt64) -> [UInt8] {
        var writer = WireWriter(reserving: payload.count + frameHeadBytes + 8)
        writer.put(UInt32(payload.count))
        writer.put(UInt32(0))
        writer.put(number)
        writer.put(synced)
        writer.raw(payload)
        let code = writer.bytes.withUnsafeBytes { CRC32C.of($0, after: salt(identity)) }
        var whole = WireWriter(reserving: writer.bytes.count + 16)
        whole.put(frameMagic)
        whole.put(code)
        whole.raw(writer.bytes)
        whole.pad()
        return whole.bytes
    }

    /// A frame that is whole.
    struct Frame {
        let number: UInt64
        let synced: UInt64
        let payload: Range<Int>
        let end: Int
    }

    /// The frame at an offset of a segment; nil when there is none that is whole.
    static func readFrame(_ bytes: UnsafeRawBufferPointer, at offset: Int, identity: UInt64) -> Frame? {
        guard offset + frameHeadBytes <= bytes.count else { return nil }
        func half(_ at: Int) -> UInt32 {
            UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + at, as: UInt32.self))
        }
        guard half(0) == frameMagic else { return nil }
        let size = Int(half(8))
        let end = offset + frameHeadBytes + (size + 7) & ~7
        guard size <= bytes.count - offset - frameHeadBytes else { return nil }
        let covered = UnsafeRawBufferPointer(
            rebasing: bytes[(offset + 8)..<(offset + frameHeadBytes + size)])
        guard CRC32C.of(covered, after: salt(identity)) == half(4) else { return nil }
        func word(_ at: Int) -> UInt64 {
            UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + at, as: UInt64.self))
        }
        let start = offset + frameHeadBytes
        return Frame(number: word(16), synced: word(24), payload: start..<start + size, end: end)
    }

    private static func salt(_ identity: UInt64) -> UInt32 {
        UInt32(truncatingIfNeeded: identity) ^ UInt32(truncatingIfNeeded: identity >> 32)
    }
}

/// One record of a frame.
enum LogRecord {
    case entry(LogEntry)
    case hard(HardState)
    /// The log begins behind this place; with `dropsEntries` also the entries behind it are gone.
    case base(LogPosition, dropsEntries: Bool)

    func write(to writer: inout WireWriter) {
        switch self {
        case .entry(let entry):
            writer.put(UInt8(1))
            writer.put(entry.index)
            writer.put(entry.term)
            writer.put(entry.kind)
            writer.counted(entry.data)
        case .hard(let state):
            writer.put(UInt8(2))
            writer.put(state.term)
            writer.put(state.vote)
            writer.put(state.commit)
        case .base(let position, let dropsEntries):
            writer.put(UInt8(dropsEntries ? 4 : 3))
            writer.put(position.index)
            writer.put(position.term)
        }
    }

    init(from reader: inout WireReader) throws(VaultError) {
        switch try reader.number(UInt8.self) {
        case 1:
            self = .entry(
                LogEntry(
                    index: try reader.number(), term: try reader.number(), kind: try reader.number(),
                    data: try reader.counted()))
        case 2:
            self = .hard(
                HardState(
                    term: try reader.number(), vote: try reader.number(), commit: try reader.number()))
        case let kind where kind == 3 || kind == 4:
            self = .base(
                LogPosition(index: try reader.number(), term: try reader.number()),
                dropsEntries: kind == 4)
        case let kind:
            throw .corrupted(place: "a record of the log has the unknown kind \(kind)")
        }
    }
}
