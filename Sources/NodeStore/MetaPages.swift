import Base

/// One of LMDB's trees, as a head page or a table's record describes it (`MDB_db`, 48 bytes).
struct TreeRecord {
    static let bytes = 48
    static let noPage = UInt64.max

    let flags: UInt16
    let depth: Int
    let branchPages: UInt64
    let leafPages: UInt64
    let overflowPages: UInt64
    let entries: UInt64
    let root: UInt64

    init(_ page: Page, at offset: Int) {
        flags = page.u16(offset + 4)
        depth = Int(page.u16(offset + 6))
        branchPages = page.u64(offset + 8)
        leafPages = page.u64(offset + 16)
        overflowPages = page.u64(offset + 24)
        entries = page.u64(offset + 32)
        root = page.u64(offset + 40)
    }
}

/// One of the two head pages of LMDB's data file (format 1, as 0.9 writes it).
struct MetaPage {
    let pageBytes: Int
    let free: TreeRecord
    let main: TreeRecord
    let lastPage: UInt64
    let transaction: UInt64

    /// Nil when this is no head page of this format.
    init?(_ page: Page) {
        let isMeta = page.flags == 0x08 && page.u32(16) == 0xBEEF_C0DE && page.u32(20) == 1
        pageBytes = Int(page.u32(40))
        guard isMeta, (512...65536).contains(pageBytes), pageBytes & (pageBytes - 1) == 0 else { return nil }
        free = TreeRecord(page, at: 40)
        main = TreeRecord(page, at: 88)
        lastPage = page.u64(136)
        transaction = page.u64(144)
    }
}

/// The two head pages, checked against each other.
///
/// LMDB writes commit n into head page n & 1 and leaves the other as it was, so that in a sound file
/// the two numbers follow each other and lie in their own places.
struct MetaPages {
    let newest: MetaPage
    /// The newest one's first sector, which holds all of it, and where it lies in the file.
    private let sector: [UInt8]
    private let offset: Int

    init(_ file: borrowing OpenFile) throws(VaultError) {
        let first = try Page(file, number: 0, bytes: 4096)
        guard let even = MetaPage(first) else {
            throw Self.damaged(file, "its first head page is not one of LMDB's")
        }
        let second = try Page(file, number: 1, bytes: even.pageBytes)
        guard let odd = MetaPage(second), odd.pageBytes == even.pageBytes else {
            throw Self.damaged(file, "its second head page is not one of LMDB's")
        }
        let isNew = even.transaction == 0 && odd.transaction == 0
        let areNeighbours =
            even.transaction & 1 == 0 && odd.transaction & 1 == 1
            && (even.transaction &+ 1 == odd.transaction || odd.transaction &+ 1 == even.transaction)
        guard isNew || areNeighbours else {
            throw Self.damaged(
                file,
                "its head pages name the commits \(even.transaction) and \(odd.transaction), "
                    + "which cannot follow each other")
        }
        let isOdd = odd.transaction > even.transaction
        newest = isOdd ? odd : even
        sector = Array((isOdd ? second : first).slice(0, Self.sectorBytes))
        offset = isOdd ? even.pageBytes : 0
        guard newest.lastPage >= 1, newest.lastPage < 1 << 48 else {
            throw Self.damaged(file, "its head page names \(newest.lastPage) as the last page")
        }
        for tree in [newest.free, newest.main] where tree.root != TreeRecord.noPage {
            guard tree.root >= 2, tree.root <= newest.lastPage else {
                throw Self.damaged(file, "its head page names the page \(tree.root), which does not exist")
            }
        }
    }

    /// Writes the newest head page again, as it is, and syncs the file. A process that ended because this very
    /// page could not be synced leaves it in the kernel's memory, where it counts as written: no later sync
    /// would write it, and a loss of power would take back what readers have seen.
    func settle(_ file: borrowing OpenFile) throws(VaultError) {
        try file.write(sector, at: offset)
        try file.sync()
    }

    private static let sectorBytes = 512

    static func damaged(_ file: borrowing OpenFile, _ reason: String) -> VaultError {
        .corrupted(
            place: "the data file \(file.path) is damaged: \(reason). "
                + "Nothing was changed. Restore the storage directory from a backup.")
    }
}

/// The bytes of one page, read from the file and never from the map: reading beyond the end is short, not
/// fatal.
struct Page {
    private let content: [UInt8]

    /// Reads a page, or several that follow each other; what the file does not have is zeros.
    init(_ file: borrowing OpenFile, number: UInt64, bytes: Int) throws(VaultError) {
        var buffer = [UInt8](repeating: 0, count: bytes)
        // A page takes at least 512 bytes, and meta pages are read as if pages had 4096.
        let offset = number == 0 ? 0 : Int(number) * bytes
        try Page.fill(&buffer, file, offset)
        content = buffer
    }

    /// Reads `count` bytes from the start of a page.
    init(_ file: borrowing OpenFile, number: UInt64, pageBytes: Int, count: Int) throws(VaultError) {
        var buffer = [UInt8](repeating: 0, count: count)
        try Page.fill(&buffer, file, Int(number) * pageBytes)
        content = buffer
    }

    private static func fill(
        _ buffer: inout [UInt8], _ file: borrowing OpenFile, _ offset: Int
    ) throws(VaultError) {
        var failure: VaultError?
        buffer.withUnsafeMutableBytes { bytes in
            do throws(VaultError) { _ = try file.read(bytes, at: offset) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    var count: Int { content.count }
    func u16(_ at: Int) -> UInt16 { load(at) }
    func u32(_ at: Int) -> UInt32 { load(at) }
    func u64(_ at: Int) -> UInt64 { load(at) }
    func slice(_ at: Int, _ count: Int) -> ArraySlice<UInt8> { content[at..<at + count] }

    private func load<Word: FixedWidthInteger>(_ at: Int) -> Word {
        precondition(at >= 0 && at + MemoryLayout<Word>.size <= content.count)
        return content.withUnsafeBytes {
            Word(littleEndian: $0.loadUnaligned(fromByteOffset: at, as: Word.self))
        }
    }

    // The page's own head.
    static let headBytes = 16
    var number: UInt64 { u64(0) }
    var flags: UInt16 { u16(10) }
    var lower: Int { Int(u16(12)) }
    var upper: Int { Int(u16(14)) }
    /// Of the first page of a long value: how many pages it takes.
    var overflowPages: UInt64 { UInt64(u32(12)) }
    var nodeCount: Int { (lower - Self.headBytes) / 2 }
    func nodeOffset(_ index: Int) -> Int { Int(u16(Self.headBytes + 2 * index)) }
}

/// One entry of a page.
struct Node {
    static let headBytes = 8
    let offset: Int
    let low: UInt64
    let high: UInt64
    let flags: UInt16
    let keyBytes: Int

    /// The offset must have been checked.
    init(_ page: Page, at offset: Int) {
        self.offset = offset
        low = UInt64(page.u16(offset))
        high = UInt64(page.u16(offset + 2))
        flags = page.u16(offset + 4)
        keyBytes = Int(page.u16(offset + 6))
    }

    /// Of a branch: the page below.
    var child: UInt64 { low | high << 16 | UInt64(flags) << 32 }
    /// Of a leaf: the length of the value.
    var valueBytes: Int { Int(low | high << 16) }
    var isOverflow: Bool { flags == 1 }
    var isTable: Bool { flags == 2 }
    func key(_ page: Page) -> ArraySlice<UInt8> { page.slice(offset + Self.headBytes, keyBytes) }
    var valueOffset: Int { offset + Self.headBytes + keyBytes }
}
