import Base
import Crypto
import PluginKit

/// The chain that proves which keys exist.
///
/// GCM authenticates a value under its path, so a changed or moved entry shows. That an entry is *gone*
/// (a damaged index page, a deleted record) shows only if presence is authenticated too. So the keys
/// of the table `links` form a list: the record of each key K holds a code under the chain key over
/// (K, the key N that follows it, the full path when K is hashed). A first record (one zero byte)
/// sorts before all keys, an empty N marks the end.
///
/// Invariants:
/// - A key is in `links` exactly when its entry is in `entries`; both change in one commit.
/// - Nothing is believed of `links` but by a verified record: a record that verifies for P with N, where
///   N is what the backend says comes next, proves that no key stands between P and N.
/// - A reader may therefore *jump*: after it has seen one key of a folder, it seeks the first key N
///   behind the folder, and verifies the record of the last key P before that place. Nothing stands
///   between P and N; what stands in the folder besides is not claimed.
/// - No record is rewritten before it has been verified: a writer never blesses damage.
///
/// What it does not show is an old state that is put back whole (entries, links and all): for that
/// there is no anchor outside of the store. `docs/decisions/001-presence-chain.md` has the design.
final class StorageChain {
    /// The key of the record before all others.
    static let sentinel: [UInt8] = [0]

    private static let headerBytes = 4
    private let code: SipHash128
    private let scratch: UnsafeMutableRawBufferPointer

    init(key: SecretBytes) {
        code = SipHash128(key: key)
        scratch = .allocate(
            byteCount: Self.headerBytes + 2 * storageKeyBytesLimit + StoredKey.longestLogicalBytes,
            alignment: 8)
    }

    deinit { scratch.deallocate() }

    /// The record of `key` when `next` follows it; `full` is the logical key where `key` is a hashed one.
    func record(
        _ key: UnsafeRawBufferPointer, next: UnsafeRawBufferPointer?, full: UnsafeRawBufferPointer
    ) -> [UInt8] {
        let (low, high) = code(key, next, full)
        return [UInt8](unsafeUninitializedCapacity: SipHash128.codeBytes + full.count) {
            target, initialized in
            let target = UnsafeMutableRawBufferPointer(target)
            target.storeBytes(of: low.littleEndian, as: UInt64.self)
            target.storeBytes(of: high.littleEndian, toByteOffset: 8, as: UInt64.self)
            UnsafeMutableRawBufferPointer(rebasing: target[SipHash128.codeBytes...]).copyMemory(from: full)
            initialized = target.count
        }
    }

    /// Proves that `next` follows the key of `pair` and that nothing stands between.
    /// - Throws: `.corrupted` when the record says otherwise.
    func verify(_ pair: StoredPair, next: UnsafeRawBufferPointer?) throws(VaultError) {
        let record = pair.value
        guard record.count >= SipHash128.codeBytes,
            record.count <= SipHash128.codeBytes + StoredKey.longestLogicalBytes,
            pair.key.count <= storageKeyBytesLimit, next?.count ?? 0 <= storageKeyBytesLimit
        else { throw .corrupted(place: place("links", pair.key)) }
        let (low, high) = code(pair.key, next, Self.full(pair))
        // `^` and `|` bind alike in Swift, so each difference has a name of its own.
        let lowDifference = low ^ UInt64(littleEndian: record.loadUnaligned(as: UInt64.self))
        let highDifference =
            high ^ UInt64(littleEndian: record.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        if lowDifference | highDifference != 0 { throw .corrupted(place: place("links", pair.key)) }
    }

    /// The full logical key in the record of a hashed key; empty for others. Good only once verified.
    static func full(_ pair: StoredPair) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: pair.value[min(SipHash128.codeBytes, pair.value.count)...])
    }

    /// The message is both lengths, then the three strings: no two triples give the same bytes.
    private func code(
        _ key: UnsafeRawBufferPointer, _ next: UnsafeRawBufferPointer?, _ full: UnsafeRawBufferPointer
    ) -> (UInt64, UInt64) {
        let nextCount = next?.count ?? 0
        scratch.storeBytes(of: UInt16(key.count).littleEndian, as: UInt16.self)
        scratch.storeBytes(of: UInt16(nextCount).littleEndian, toByteOffset: 2, as: UInt16.self)
        var at = Self.headerBytes
        UnsafeMutableRawBufferPointer(rebasing: scratch[at...]).copyMemory(from: key)
        at += key.count
        if let next {
            UnsafeMutableRawBufferPointer(rebasing: scratch[at...]).copyMemory(from: next)
            at += nextCount
        }
        UnsafeMutableRawBufferPointer(rebasing: scratch[at...]).copyMemory(from: full)
        at += full.count
        return code.code(UnsafeRawBufferPointer(rebasing: scratch[..<at]))
    }
}

/// A walk along the chain in which every step is proved: `current` is a key that a verified record
/// names as the successor of another, or nil when one names the end.
struct ChainWalk {
    private let chain: StorageChain
    private let reader: any StorageReader
    private(set) var current: StoredPair?

    /// Starts at the first key that is not below `bound` (which is above the sentinel).
    init(
        _ chain: StorageChain, _ reader: any StorageReader, from bound: UnsafeRawBufferPointer
    ) throws(VaultError) {
        self.chain = chain
        self.reader = reader
        try seek(bound)
    }

    mutating func seek(_ bound: UnsafeRawBufferPointer) throws(VaultError) {
        guard let before = try reader.last(.links, before: bound) else {
            throw .corrupted(place: "links: the first record is missing")
        }
        let next = try reader.next(.links)
        try chain.verify(before, next: next?.key)
        current = next
    }

    mutating func advance() throws(VaultError) {
        guard let here = current else { return }
        let next = try reader.next(.links)
        try chain.verify(here, next: next?.key)
        current = next
    }

    /// The full logical keys of the row of hashed keys that starts here, in order; moves behind the row.
    mutating func takeLongKeys() throws(VaultError) -> [[UInt8]] {
        guard let first = current else { return [] }
        let start = UnsafeRawBufferPointer(rebasing: first.key[..<StoredKey.longestPlainBytes])
        var keys: [[UInt8]] = []
        while let here = current, StoredKey.isLong(here.key), here.key.hasPrefix(start) {
            try advance()
            keys.append(Array(StorageChain.full(here)))
        }
        return keys.sorted { $0 < $1 }
    }
}
