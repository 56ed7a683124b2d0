private import Glibc

/// Paths in the order of their bytes, for exact and longest-prefix lookup without an allocation.
///
/// All keys lie in one array of bytes. A prefix knows the next shorter prefix of itself in the table:
/// the greatest key that is not above a path either is its longest prefix or has it as an ancestor.
struct PathTable: Sendable {
    private let bytes: [UInt8]
    /// One more than there are keys; key `i` is `bytes[offsets[i]..<offsets[i + 1]]`.
    private let offsets: [Int]
    private let parents: [Int]
    /// Where each key's permissions stand in the ACL.
    let values: [Int]

    var count: Int { values.count }

    init(_ entries: [(key: [UInt8], value: Int)]) {
        let sorted = entries.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        var bytes: [UInt8] = []
        var offsets = [0]
        var parents: [Int] = []
        var open: [Int] = []
        for (index, entry) in sorted.enumerated() {
            while let last = open.last, !entry.key.starts(with: sorted[last].key) { open.removeLast() }
            parents.append(open.last ?? -1)
            open.append(index)
            bytes += entry.key
            offsets.append(bytes.count)
        }
        self.bytes = bytes
        self.offsets = offsets
        self.parents = parents
        values = sorted.map(\.value)
    }

    func key(_ index: Int) -> ArraySlice<UInt8> { bytes[offsets[index]..<offsets[index + 1]] }

    /// The value at exactly this path.
    func exact(_ path: UnsafeBufferPointer<UInt8>) -> Int? {
        guard let index = floor(path), length(index) == path.count, isPrefix(index, of: path) else {
            return nil
        }
        return values[index]
    }

    /// The longest key that the path starts with: its value and its length.
    func longestPrefix(of path: UnsafeBufferPointer<UInt8>) -> (value: Int, length: Int)? {
        var index = floor(path) ?? -1
        while index >= 0 {
            if isPrefix(index, of: path) { return (values[index], length(index)) }
            index = parents[index]
        }
        return nil
    }

    /// The values of all keys that start with `head`.
    func values(below head: UnsafeBufferPointer<UInt8>) -> [Int] {
        (0..<count).filter { key($0).starts(with: head) }.map { values[$0] }
    }

    /// The greatest key that is not above the path.
    private func floor(_ path: UnsafeBufferPointer<UInt8>) -> Int? {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if isAbove(middle, path) { high = middle } else { low = middle + 1 }
        }
        return low == 0 ? nil : low - 1
    }

    private func length(_ index: Int) -> Int { offsets[index + 1] - offsets[index] }

    private func isPrefix(_ index: Int, of path: UnsafeBufferPointer<UInt8>) -> Bool {
        length(index) <= path.count && compare(index, path, length(index)) == 0
    }

    private func isAbove(_ index: Int, _ path: UnsafeBufferPointer<UInt8>) -> Bool {
        let order = compare(index, path, min(length(index), path.count))
        return order == 0 ? length(index) > path.count : order > 0
    }

    private func compare(_ index: Int, _ path: UnsafeBufferPointer<UInt8>, _ count: Int) -> Int32 {
        bytes.withUnsafeBufferPointer { keys in
            guard count > 0, let mine = keys.baseAddress, let theirs = path.baseAddress else { return 0 }
            return memcmp(mine + offsets[index], theirs, count)
        }
    }
}

/// A path with `+` segments, perhaps with `*` at its end.
struct SegmentPattern: Sendable {
    /// Without the `*`.
    let text: [UInt8]
    let isPrefix: Bool
    let value: Int
    let rank: PathRank

    /// Whether a path without its trailing star holds a segment that is just `+`.
    static func isPattern(_ path: [UInt8]) -> Bool {
        path.split(separator: UInt8(ascii: "/")).contains([UInt8(ascii: "+")])
    }

    init(_ path: [UInt8], value: Int) {
        isPrefix = path.last == UInt8(ascii: "*")
        text = isPrefix ? path.dropLast() : path
        self.value = value
        var wildcards = 0
        var first: Int?
        for index in text.indices where Self.isWildcard(text, index) {
            wildcards += 1
            first = first ?? index
        }
        rank = PathRank(
            firstWildcard: first ?? text.count, isPrefix: isPrefix, wildcards: wildcards, length: text.count)
    }

    /// Whether a `+` that fills its segment stands here.
    private static func isWildcard(_ text: [UInt8], _ index: Int) -> Bool {
        let slash = UInt8(ascii: "/")
        return text[index] == UInt8(ascii: "+") && (index == 0 || text[index - 1] == slash)
            && (index + 1 == text.count || text[index + 1] == slash)
    }

    /// Whether a path fits.
    func matches(_ path: UnsafeBufferPointer<UInt8>) -> Bool {
        var place = 0
        guard walk(path, &place) else { return false }
        return isPrefix || place == path.count
    }

    /// Whether some path that starts with `head` could fit.
    func mayMatch(below head: UnsafeBufferPointer<UInt8>) -> Bool {
        var place = 0
        return walk(head, &place) ? isPrefix || place == head.count : place == head.count
    }

    /// Goes through the pattern. False when it differs from the path, which `place` then has not used up
    /// unless the path ended first.
    private func walk(_ path: UnsafeBufferPointer<UInt8>, _ place: inout Int) -> Bool {
        let slash = UInt8(ascii: "/")
        for index in text.indices {
            if Self.isWildcard(text, index) {
                while place < path.count, path[place] != slash { place += 1 }
            } else {
                guard place < path.count, path[place] == text[index] else { return false }
                place += 1
            }
        }
        return true
    }
}

/// How specific a wildcard rule is. The greater rank wins (`Vault docs: concepts/policies`): a later
/// first wildcard, then no `*` at the end, then fewer `+`, then a longer path.
struct PathRank: Sendable, Comparable {
    let firstWildcard: Int
    let isPrefix: Bool
    let wildcards: Int
    let length: Int

    static func < (a: PathRank, b: PathRank) -> Bool {
        if a.firstWildcard != b.firstWildcard { return a.firstWildcard < b.firstWildcard }
        if a.isPrefix != b.isPrefix { return a.isPrefix }
        if a.wildcards != b.wildcards { return a.wildcards > b.wildcards }
        return a.length < b.length
    }
}
