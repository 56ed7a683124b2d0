import Base
import Crypto
import Glibc

/// How a logical key (a path) becomes a key of the backend, which takes at most 511 bytes.
///
/// Up to 440 bytes the key stands as it is. A longer one is its first 440 bytes, a zero byte and the
/// SHA-256 of the whole. Logical keys hold no zero byte, so the two kinds never meet; and all long keys
/// that share their first 440 bytes stand in a row, behind every shorter key that begins so. Within
/// such a row the order is that of hashes: a listing sorts the row in memory.
enum StoredKey {
    /// The longest logical key that is stored as it is, in bytes.
    static let longestPlainBytes = 440
    /// A request's path (2,048 bytes) with any mount's prefix before it, rounded up.
    static let longestLogicalBytes = 4_096

    /// - Throws: `.badRequest` for a key that is empty, too long, or holds a zero byte.
    static func check(_ key: String) throws(VaultError) {
        guard !key.isEmpty else { throw .badRequest("a storage path must not be empty") }
        try checkPrefix(key)
    }

    /// The same for what listed keys begin with, which may be empty.
    static func checkPrefix(_ prefix: String) throws(VaultError) {
        let utf8 = prefix.utf8
        guard utf8.count <= longestLogicalBytes else {
            throw .badRequest("a storage path must not be longer than \(longestLogicalBytes) bytes")
        }
        let hasZero = utf8.span.bytes.withUnsafeBytes { bytes in
            bytes.baseAddress.map { memchr($0, 0, bytes.count) != nil } ?? false
        }
        if hasZero { throw .badRequest("a storage path must not hold a zero byte") }
    }

    /// The stored key of a logical key that is longer than `longestPlainBytes`.
    static func hashed(_ logical: UnsafeRawBufferPointer) -> [UInt8] {
        Array(logical.prefix(longestPlainBytes)) + [0] + SHA256.hash(logical)
    }

    /// The stored key of any logical key.
    static func stored(_ logical: [UInt8]) -> [UInt8] {
        isLong(logical) ? logical.withUnsafeBytes { hashed($0) } : logical
    }

    static func isLong(_ key: some Collection<UInt8>) -> Bool { key.count > longestPlainBytes }

    /// A bound that no stored key of a logical key at or behind `logical` stands below, and that the backend
    /// takes.
    static func bound(_ logical: [UInt8]) -> [UInt8] {
        // The chain's first record sorts before every key; a search must start behind it.
        if logical.first ?? 0 == 0 { return [1] }
        return isLong(logical) ? Array(logical.prefix(longestPlainBytes)) + [0] : logical
    }
}

extension [UInt8] {
    /// Order of bytes, which is the backend's.
    static func < (a: [UInt8], b: [UInt8]) -> Bool {
        a.withUnsafeBytes { a in b.withUnsafeBytes { b in a.precedes(b) } }
    }
}

// By `memcmp`: these run once for each listed key.
extension UnsafeRawBufferPointer {
    func isSame(as other: UnsafeRawBufferPointer) -> Bool { count == other.count && hasPrefix(other) }

    func hasPrefix(_ prefix: UnsafeRawBufferPointer) -> Bool {
        guard let start = prefix.baseAddress, prefix.count > 0 else { return true }
        guard let base = baseAddress, count >= prefix.count else { return false }
        return memcmp(base, start, prefix.count) == 0
    }

    func precedes(_ other: UnsafeRawBufferPointer) -> Bool {
        guard let a = baseAddress, let b = other.baseAddress else { return count < other.count }
        let order = memcmp(a, b, Swift.min(count, other.count))
        return order == 0 ? count < other.count : order < 0
    }

    /// Where the byte first stands at or behind `start`.
    func firstIndex(of byte: UInt8, from start: Int) -> Int? {
        guard let base = baseAddress, start < count else { return nil }
        return memchr(base + start, Int32(byte), count - start).map { UnsafeRawPointer($0) - base }
    }
}

/// Stored bytes as text for the operator's log.
func place(_ table: String, _ key: some Collection<UInt8>) -> String {
    "\(table) record of \(String(decoding: key.prefix { $0 != 0 }, as: UTF8.self))"
}
