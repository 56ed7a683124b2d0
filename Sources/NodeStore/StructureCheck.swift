import Base
internal import Glibc

/// Walks the trees of the newest commit before LMDB touches them.
///
/// LMDB trusts its pages: a damaged one can make it read or write anywhere, hand a page that is in
/// use to the next commit, or quietly not find a key. This walk reads the file itself, checks every
/// length and number against the page and the file, the order of keys, the counts, and that no page
/// is used twice or listed as free while in use. A store of up to `pageBudget` pages is walked whole;
/// of a larger one the branch pages and the list of free pages, within the same budget. What values
/// hold is the barrier's to check.
struct StructureCheck {
    private let meta: MetaPage
    private let pageBytes: Int
    private let pagesInFile: UInt64
    private let pageBudget: Int
    /// Whether leaves and long values are walked as well.
    let isWhole: Bool

    private var used: PageSet
    private var pagesRead = 0
    private var order = KeyOrder()
    private var tables: [TreeRecord] = []
    private var counted = Counts()
    private var newestFreeRecord: UInt64 = 0
    private var isCancelled: () -> Bool = { false }

    private enum Kind { case free, main, user }
    private struct Counts {
        var branch: UInt64 = 0
        var leaf: UInt64 = 0
        var overflow: UInt64 = 0
        var entries: UInt64 = 0
    }
    private enum Stop: Error {
        case damaged(String)
        case failed(VaultError)
    }

    init(_ meta: MetaPage, fileBytes: Int, pageBudget: Int) {
        self.meta = meta
        self.pageBudget = pageBudget
        pageBytes = meta.pageBytes
        pagesInFile = min(UInt64(fileBytes / meta.pageBytes), meta.lastPage + 1)
        isWhole = meta.lastPage <= UInt64(pageBudget)
        used = PageSet(count: Int(min(meta.lastPage + 1, 1 << 40)))
    }

    /// Throws `.corrupted`, with the page in its sentence, when anything is not as it must be.
    /// - Parameter isCancelled: asked now and then; ends the check with an error.
    mutating func run(
        _ file: borrowing OpenFile, isCancelled: @escaping () -> Bool = { false }
    ) throws(VaultError) {
        self.isCancelled = isCancelled
        do throws(Stop) {
            try tree(meta.main, .main, file)
            for table in tables { try tree(table, .user, file) }
            try freeTree(file)
        } catch {
            switch error {
            case .damaged(let reason): throw MetaPages.damaged(file, reason)
            case .failed(let cause): throw cause
            }
        }
    }

    private mutating func freeTree(_ file: borrowing OpenFile) throws(Stop) {
        // Its leaves are always read: they say which pages the next commit may overwrite.
        try tree(meta.free, .free, file)
        // Every commit but the first gives up at least one page and records it under its own number.
        guard
            meta.transaction < 2 || newestFreeRecord == meta.transaction
                || meta.free.root == TreeRecord.noPage
        else {
            throw .damaged(
                "its head page says commit \(meta.transaction), its list of free pages \(newestFreeRecord)")
        }
        guard meta.transaction < 2 || meta.free.root != TreeRecord.noPage else {
            throw .damaged("its list of free pages is missing")
        }
    }

    private mutating func tree(_ tree: TreeRecord, _ kind: Kind, _ file: borrowing OpenFile) throws(Stop) {
        order = KeyOrder()
        counted = Counts()
        // The free list has numbers as keys; no tree of ours has several values for a key.
        guard tree.flags == (kind == .free ? 0x08 : 0) else {
            throw .damaged("a tree claims a kind that nobody wrote")
        }
        if tree.root != TreeRecord.noPage {
            guard (1...32).contains(tree.depth) else {
                throw .damaged("a tree claims a depth of \(tree.depth)")
            }
            try visit(tree.root, level: 1, tree, kind, file)
        } else if tree.entries != 0 {
            throw .damaged("a tree of \(tree.entries) entries has no root")
        }
        guard isWhole || kind == .free else { return }
        guard counted.branch == tree.branchPages, counted.leaf == tree.leafPages,
            counted.overflow == tree.overflowPages, counted.entries == tree.entries
        else { throw .damaged("the tree at page \(tree.root) does not hold what its record counts") }
    }

    private mutating func visit(
        _ number: UInt64, level: Int, _ tree: TreeRecord, _ kind: Kind, _ file: borrowing OpenFile
    ) throws(Stop) {
        let isLeaf = level == tree.depth
        try claim(number, 1)
        if isLeaf && kind == .user && !isWhole { return }
        pagesRead += 1
        if pagesRead & 63 == 0, isCancelled() { throw .failed(.internal("the check was cancelled")) }
        if !isWhole && kind != .free && pagesRead > pageBudget { return }
        let page = try read(number, file)
        guard page.number == number, page.flags == (isLeaf ? 0x02 : 0x01) else {
            throw .damaged("page \(number) is not what the page above it says")
        }
        guard page.lower >= Page.headBytes, page.lower <= page.upper, page.upper <= pageBytes,
            page.lower & 1 == 0,
            page.nodeCount >= (isLeaf ? 1 : 2)
        else { throw .damaged("page \(number) has a bad head") }
        var room = 0
        for index in 0..<page.nodeCount {
            let offset = page.nodeOffset(index)
            guard offset >= page.upper, offset + Node.headBytes <= pageBytes else {
                throw .damaged("page \(number) has an entry outside of it")
            }
            let node = Node(page, at: offset)
            let valueBytes = !isLeaf ? 0 : node.isOverflow ? 8 : node.valueBytes
            guard node.keyBytes <= Environment.keyBytesLimit, node.valueOffset + valueBytes <= pageBytes
            else {
                throw .damaged("page \(number) has an entry that does not fit it")
            }
            room += (Node.headBytes + node.keyBytes + valueBytes + 1) & ~1
            if isLeaf {
                try leafNode(node, page, kind, file)
            } else {
                if index > 0 { try step(node.key(page), kind, number, isSeparator: true) }
                try visit(node.child, level: level + 1, tree, kind, file)
            }
        }
        // Entries fill the page's end without gaps: overlapping ones would need less room.
        guard room == pageBytes - page.upper else {
            throw .damaged("page \(number) has entries that overlap")
        }
        if isLeaf { counted.leaf += 1 } else { counted.branch += 1 }
    }

    private mutating func leafNode(
        _ node: Node, _ page: Page, _ kind: Kind, _ file: borrowing OpenFile
    ) throws(Stop) {
        guard node.keyBytes > 0, kind != .free || node.keyBytes == 8 else {
            throw .damaged("page \(page.number) has an entry with a bad key")
        }
        try step(node.key(page), kind, page.number, isSeparator: false)
        counted.entries += 1
        switch (kind, node.flags) {
        case (.main, 2) where node.valueBytes == TreeRecord.bytes:
            tables.append(TreeRecord(page, at: node.valueOffset))
        case (.user, 0), (.main, 0): break
        case (.user, 1), (.main, 1): _ = try overflow(node, page, file, whole: false)
        case (.free, 0), (.free, 1): try freeRecord(node, page, file)
        default: throw .damaged("page \(page.number) has an entry of a kind that nobody wrote")
        }
    }

    /// Checks a long value's pages; gives its bytes when `whole`.
    private mutating func overflow(
        _ node: Node, _ page: Page, _ file: borrowing OpenFile, whole: Bool
    ) throws(Stop) -> Page {
        let first = page.u64(node.valueOffset)
        let needed = UInt64((Page.headBytes + node.valueBytes + pageBytes - 1) / pageBytes)
        try claim(first, needed)
        let head: Page
        do throws(VaultError) {
            head = try Page(
                file, number: first, pageBytes: pageBytes,
                count: Page.headBytes + (whole ? node.valueBytes : 0))
        } catch {
            throw .failed(error)
        }
        // A value that a commit wrote twice may keep more pages than it needs.
        guard head.number == first, head.flags == 0x04, head.overflowPages >= needed else {
            throw .damaged("page \(first) is not the long value that page \(page.number) says")
        }
        if head.overflowPages > needed { try claim(first + needed, head.overflowPages - needed) }
        counted.overflow += head.overflowPages
        return head
    }

    /// A record of pages that a commit gave up: their count, then their numbers, falling.
    private mutating func freeRecord(_ node: Node, _ page: Page, _ file: borrowing OpenFile) throws(Stop) {
        let commit = page.u64(node.offset + Node.headBytes)
        newestFreeRecord = max(newestFreeRecord, commit)
        let list = node.isOverflow ? try overflow(node, page, file, whole: true) : page
        let at = node.isOverflow ? Page.headBytes : node.valueOffset
        guard node.valueBytes >= 8, commit <= meta.transaction else {
            throw .damaged("the list of free pages has a bad record for commit \(commit)")
        }
        let count = list.u64(at)
        guard count <= UInt64(node.valueBytes / 8 - 1) else {
            throw .damaged("the list of free pages has a bad record for commit \(commit)")
        }
        var above = UInt64.max
        for index in 0..<Int(count) {
            let free = list.u64(at + 8 + 8 * index)
            guard free >= 2, free <= meta.lastPage, free < above, used.insert(free) else {
                throw .damaged("page \(free) is listed as free and is not, or twice")
            }
            above = free
        }
    }

    private mutating func step(
        _ key: ArraySlice<UInt8>, _ kind: Kind, _ number: UInt64, isSeparator: Bool
    ) throws(Stop) {
        guard order.accept(key, isSeparator: isSeparator, isNumber: kind == .free) else {
            throw .damaged("page \(number) has its keys out of order")
        }
    }

    private mutating func claim(_ first: UInt64, _ count: UInt64) throws(Stop) {
        guard first >= 2, count <= pagesInFile, first <= pagesInFile - count else {
            throw .damaged("it is cut short or names the page \(first), which it does not have")
        }
        for page in first..<first + count where !used.insert(page) {
            throw .damaged("page \(page) is used twice")
        }
    }

    private func read(_ number: UInt64, _ file: borrowing OpenFile) throws(Stop) -> Page {
        do throws(VaultError) {
            return try Page(file, number: number, bytes: pageBytes)
        } catch {
            throw .failed(error)
        }
    }
}

/// The order of keys through a whole tree, separators of branches included.
private struct KeyOrder {
    private var last: ArraySlice<UInt8> = []
    /// A key equals the separator before it when it is the first below it.
    private var mayRepeat = true

    mutating func accept(_ key: ArraySlice<UInt8>, isSeparator: Bool, isNumber: Bool) -> Bool {
        let order =
            last.isEmpty ? -1 : isNumber ? Self.compareNumbers(last, key) : Self.compareBytes(last, key)
        guard order < 0 || order == 0 && mayRepeat else { return false }
        last = key
        mayRepeat = isSeparator
        return true
    }

    private static func compareNumbers(_ a: ArraySlice<UInt8>, _ b: ArraySlice<UInt8>) -> Int {
        let (a, b) = (number(a), number(b))
        return a < b ? -1 : a == b ? 0 : 1
    }

    private static func number(_ key: ArraySlice<UInt8>) -> UInt64 {
        key.withUnsafeBytes { $0.count == 8 ? UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) : 0 }
    }

    private static func compareBytes(_ a: ArraySlice<UInt8>, _ b: ArraySlice<UInt8>) -> Int {
        a.withUnsafeBytes { x in
            b.withUnsafeBytes { y in
                guard let left = x.baseAddress, let right = y.baseAddress else { return x.count - y.count }
                let common = Int(memcmp(left, right, min(x.count, y.count)))
                return common == 0 ? x.count - y.count : common
            }
        }
    }
}

/// A set of page numbers, one bit each.
private struct PageSet {
    private var words: [UInt64]

    init(count: Int) { words = [UInt64](repeating: 0, count: count / 64 + 1) }

    /// False when the page was there already.
    mutating func insert(_ page: UInt64) -> Bool {
        let bit = UInt64(1) << (page & 63)
        guard words[Int(page >> 6)] & bit == 0 else { return false }
        words[Int(page >> 6)] |= bit
        return true
    }
}
