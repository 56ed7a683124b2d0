import Base
internal import Consensus
import PluginKit

/// What an entry of the log means to the store.
///
///     kind u8; 0: number of the commit that it was made over u64 (all ones: any), writes:
///                 table u8, key bytes u16, 1 or 0 for a value, [value bytes u32], key, [value]
///              1: restore u64, number of the chunk u32, chunk          (a state that an operator restores)
///              2: restore u64, number of chunks u32                    (it is complete: put it in place)
///              3: restore u64                                          (it is given up)
enum RaftPayload {
    case batch(CommitBatch)
    case restoreChunk(restore: UInt64, number: UInt32, bytes: [UInt8])
    case restoreEnd(restore: UInt64, chunks: UInt32)
    case restoreAbort(restore: UInt64)

    /// The first byte of a batch.
    static let batchKind: UInt8 = 0

    var bytes: [UInt8] {
        var writer = WireWriter()
        switch self {
        case .batch(let batch):
            let size = batch.writes.reduce(9) { $0 + 8 + $1.key.count + ($1.value?.count ?? 0) }
            writer = WireWriter(reserving: size)
            writer.put(Self.batchKind)
            writer.put(batch.over ?? .max)
            for write in batch.writes { writer.put(write) }
        case .restoreChunk(let restore, let number, let bytes):
            writer = WireWriter(reserving: bytes.count + 16)
            writer.put(UInt8(1))
            writer.put(restore)
            writer.put(number)
            writer.raw(bytes)
        case .restoreEnd(let restore, let chunks):
            writer.put(UInt8(2))
            writer.put(restore)
            writer.put(chunks)
        case .restoreAbort(let restore):
            writer.put(UInt8(3))
            writer.put(restore)
        }
        return writer.bytes
    }

    /// - Throws: `.corrupted` for what this version does not know: it must not go on then.
    init(_ bytes: [UInt8], index: UInt64) throws(VaultError) {
        var reader = WireReader(bytes)
        switch try reader.number(UInt8.self) {
        case Self.batchKind:
            var batch = CommitBatch()
            let over = try reader.number(UInt64.self)
            batch.over = over == .max ? nil : over
            while reader.count > 0 { try reader.take(into: &batch) }
            self = .batch(batch)
        case 1:
            self = .restoreChunk(
                restore: try reader.number(), number: try reader.number(), bytes: reader.rest())
        case 2: self = .restoreEnd(restore: try reader.number(), chunks: try reader.number())
        case 3: self = .restoreAbort(restore: try reader.number())
        default:
            throw .corrupted(
                place: "entry \(index) of the log holds something that this version does not know")
        }
    }
}

extension WireWriter {
    mutating func put(_ write: CommitBatch.Write) {
        put(write.table.rawValue)
        put(UInt16(write.key.count))
        put(UInt8(write.value == nil ? 0 : 1))
        if let value = write.value { put(UInt32(value.count)) }
        raw(write.key)
        if let value = write.value { raw(value) }
    }
}

extension WireReader {
    mutating func take(into batch: inout CommitBatch) throws(VaultError) {
        guard let table = StorageTable(rawValue: try number(UInt8.self)) else {
            throw .corrupted(place: "a write to a table that this version does not know")
        }
        let keyBytes = Int(try number(UInt16.self))
        let hasValue = try number(UInt8.self) == 1
        let valueBytes = hasValue ? Int(try number(UInt32.self)) : 0
        let key = try raw(keyBytes)
        if hasValue { batch.put(table, key, try raw(valueBytes)) } else { batch.delete(table, key) }
    }
}
