import Base

/// A small file beside the data file that remembers the number of the last commit.
///
/// LMDB's two head pages have no checksum: when the newer one is damaged in the right place, LMDB
/// quietly falls back to the commit before. The anchor shows that. It is written after each commit,
/// before the commit is acknowledged, into one of two slots in turn and without a sync: after a loss
/// of power it may be older than the data, which is fine, but newer it can never rightly be.
struct Anchor: ~Copyable {
    static let name = "anchor"
    private static let slotBytes = 512
    private static let magic: UInt64 = 0x3152_4843_4E41_4648  // "HFANCHR1"

    private let file: OpenFile

    init(directory: String) throws(VaultError) {
        file = try OpenFile("\(directory)/\(Self.name)", create: true)
    }

    /// What the file says.
    enum Reading: Equatable {
        /// Never written.
        case empty
        /// Written, but neither slot is whole.
        case damaged
        case last(UInt64)
    }

    func read() throws(VaultError) -> Reading {
        var bytes = [UInt8](repeating: 0, count: 2 * Self.slotBytes)
        var failure: VaultError?
        let got = bytes.withUnsafeMutableBytes { buffer in
            do throws(VaultError) { return try file.read(buffer, at: 0) } catch { failure = error }
            return 0
        }
        if let failure { throw failure }
        if got == 0 { return .empty }
        let found = [Self.decode(bytes[..<Self.slotBytes]), Self.decode(bytes[Self.slotBytes...])]
        return found.compactMap { $0 }.max().map { .last($0) } ?? .damaged
    }

    /// Records a commit.
    func record(_ number: UInt64) throws(VaultError) {
        var slot = Self.littleEndian(Self.magic) + Self.littleEndian(number)
        slot += Self.littleEndian(UInt64(CRC32.of(slot[...])))
        slot += [UInt8](repeating: 0, count: Self.slotBytes - slot.count)
        try file.write(slot, at: Int(number & 1) * Self.slotBytes)
    }

    private static func decode(_ slot: ArraySlice<UInt8>) -> UInt64? {
        let start = slot.startIndex
        let words = (0..<3).map { word in
            slot[(start + word * 8)..<(start + word * 8 + 8)].reversed().reduce(UInt64(0)) {
                $0 << 8 | UInt64($1)
            }
        }
        guard words[0] == magic, words[2] == UInt64(CRC32.of(slot[start..<start + 16])) else { return nil }
        return words[1]
    }

    private static func littleEndian(_ value: UInt64) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
}

/// The CRC of Ethernet and gzip (polynomial 0xEDB88320).
enum CRC32 {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? 0xEDB8_8320 ^ value >> 1 : value >> 1 }
    }

    static func of(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        ~bytes.reduce(~UInt32(0)) { table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ $0 >> 8 }
    }
}
