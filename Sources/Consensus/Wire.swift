package import Base

/// Writes little-endian numbers and counted bytes: the one encoding of frames, payloads, log records and
/// snapshots.
package struct WireWriter {
    /// What was written.
    package private(set) var bytes: [UInt8]

    /// - Parameter reserving: bytes that will be written; only a hint.
    package init(reserving count: Int = 0) {
        bytes = []
        bytes.reserveCapacity(count)
    }

    /// Appends a number, the lowest byte first.
    package mutating func put<Number: FixedWidthInteger & BitwiseCopyable>(_ number: Number) {
        withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
    }

    /// Appends bytes as they are.
    package mutating func raw(_ more: [UInt8]) { bytes.append(contentsOf: more) }
    /// The same from any memory.
    package mutating func raw(_ more: UnsafeRawBufferPointer) { bytes.append(contentsOf: more) }

    /// Appends a count of 32 bits, and the bytes.
    package mutating func counted(_ more: [UInt8]) {
        put(UInt32(more.count))
        raw(more)
    }
    /// The same with the bytes of a text.
    package mutating func counted(_ text: String) { counted(Array(text.utf8)) }

    /// Forgets what was written behind an offset.
    mutating func cut(to count: Int) { bytes.removeSubrange(min(count, bytes.count)...) }

    /// Fills up with zeros to a multiple of 8.
    mutating func pad() { while bytes.count & 7 != 0 { bytes.append(0) } }
}

/// Reads what `WireWriter` wrote. Whatever the bytes are, it never reads beyond them.
package struct WireReader {
    private let bytes: [UInt8]
    /// The next byte.
    package private(set) var offset: Int
    private let end: Int

    /// Reads from an offset to the end.
    package init(_ bytes: [UInt8], from offset: Int = 0) {
        self.bytes = bytes
        self.offset = min(offset, bytes.count)
        end = bytes.count
    }

    /// Bytes that are left.
    package var count: Int { end - offset }

    /// A number. - Throws: `.corrupted` when the bytes end before it does.
    package mutating func number<Number: FixedWidthInteger & BitwiseCopyable>(
        _ type: Number.Type = Number.self
    ) throws(VaultError) -> Number {
        guard count >= MemoryLayout<Number>.size else { throw Self.short }
        let value = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: Number.self) }
        offset += MemoryLayout<Number>.size
        return Number(littleEndian: value)
    }

    /// So many bytes. - Throws: `.corrupted` when there are fewer.
    package mutating func raw(_ size: Int) throws(VaultError) -> [UInt8] {
        guard size >= 0, size <= count else { throw Self.short }
        defer { offset += size }
        return Array(bytes[offset..<offset + size])
    }

    /// Bytes behind their count of 32 bits.
    package mutating func counted() throws(VaultError) -> [UInt8] {
        try raw(Int(try number(UInt32.self)))
    }

    /// Text behind its count; what is not UTF-8 is replaced.
    package mutating func text() throws(VaultError) -> String {
        String(decoding: try counted(), as: UTF8.self)
    }

    /// All that is left.
    package mutating func rest() -> [UInt8] {
        defer { offset = end }
        return Array(bytes[offset..<end])
    }

    private static let short = VaultError.corrupted(place: "a record ends before its contents do")
}

extension RaftPeer {
    /// As it stands in changes of the membership and beside the state. Written so that a later version can
    /// add to its end.
    func encode(to writer: inout WireWriter) {
        var own = WireWriter()
        own.put(raftID)
        own.put(isVoter ? UInt8(1) : 0)
        for text in [nodeID, clusterAddress, apiAddress, hostName, version] { own.counted(text) }
        writer.counted(own.bytes)
    }

    init(from reader: inout WireReader) throws(VaultError) {
        var own = WireReader(try reader.counted())
        let raftID = try own.number(UInt64.self)
        let isVoter = try own.number(UInt8.self) == 1
        self.init(
            raftID: raftID, nodeID: try own.text(), clusterAddress: try own.text(),
            apiAddress: try own.text(), hostName: try own.text(), version: try own.text(), isVoter: isVoter)
    }
}

extension RaftProgress {
    /// As state machines store it, and as the head of a snapshot has it.
    package var encoded: [UInt8] {
        var writer = WireWriter()
        writer.put(UInt32(1))
        writer.put(index)
        writer.put(term)
        writer.counted(configuration)
        writer.put(UInt32(members.count))
        for member in members { member.encode(to: &writer) }
        // Without one it is as earlier versions wrote it.
        if !removed.isEmpty { writer.put(UInt32(removed.count)) }
        for raftID in removed { writer.put(raftID) }
        return writer.bytes
    }

    /// - Throws: `.corrupted` when these are not the bytes of `encoded`.
    package init(encoded bytes: [UInt8]) throws(VaultError) {
        var reader = WireReader(bytes)
        guard try reader.number(UInt32.self) == 1 else {
            throw .corrupted(place: "the progress of the state has a form that this version does not know")
        }
        let index = try reader.number(UInt64.self)
        let term = try reader.number(UInt64.self)
        let configuration = try reader.counted()
        var members: [RaftPeer] = []
        for _ in 0..<(try reader.number(UInt32.self)) { members.append(try RaftPeer(from: &reader)) }
        var removed: [UInt64] = []
        if reader.count > 0 {
            for _ in 0..<(try reader.number(UInt32.self)) { removed.append(try reader.number()) }
        }
        self.init(
            index: index, term: term, configuration: configuration, members: members, removed: removed)
    }
}
