import Glibc

/// Tells whether keys begin with one of several prefixes.
///
/// Bulk work lists a few prefixes for each of hundreds of tokens; comparing all of them with all keys of a
/// batch would take longer than to write it. So of many prefixes the hashes are compared, one for each
/// different length. Hashes may collide: a wrong yes costs a transaction's second run, and a wrong no there
/// is not.
struct PrefixFilter {
    /// Up to this many prefixes are compared one by one.
    private static let few = 4

    private var texts: [[UInt8]] = []
    private var hashes: [(length: Int, hashes: Set<Int>)] = []

    init(_ prefixes: [String]) {
        if prefixes.count <= Self.few {
            texts = prefixes.map { Array($0.utf8) }
            return
        }
        var found: [Int: Set<Int>] = [:]
        for prefix in prefixes {
            prefix.utf8.span.bytes.withUnsafeBytes { bytes in
                _ = found[bytes.count, default: []].insert(Self.hash(bytes))
            }
        }
        hashes = found.map { (length: $0.key, hashes: $0.value) }
    }

    func matches(_ key: String) -> Bool {
        key.utf8.span.bytes.withUnsafeBytes { key in
            for text in texts where text.count <= key.count {
                if Self.isSame(text, key) { return true }
            }
            return hashes.contains { length, hashes in
                length <= key.count
                    && hashes.contains(Self.hash(UnsafeRawBufferPointer(rebasing: key[..<length])))
            }
        }
    }

    private static func isSame(_ text: [UInt8], _ key: UnsafeRawBufferPointer) -> Bool {
        text.withUnsafeBytes { text in
            guard let a = text.baseAddress, let b = key.baseAddress else { return text.isEmpty }
            return memcmp(a, b, text.count) == 0
        }
    }

    private static func hash(_ bytes: UnsafeRawBufferPointer) -> Int {
        var hasher = Hasher()
        hasher.combine(bytes: bytes)
        return hasher.finalize()
    }
}
