import Base
import PluginKit

/// Shows a store that holds nothing but the chain's first record: what a new server's first entries are
/// encrypted over, so that they go into the very commit that makes the store.
final class FreshStore: StorageReader {
    private let key: UnsafeMutableRawBufferPointer
    private let value: UnsafeMutableRawBufferPointer

    /// - Parameter record: the chain's first record, which says that no key follows.
    init(firstRecord record: [UInt8]) {
        key = .allocate(byteCount: StorageChain.sentinel.count, alignment: 1)
        key.copyBytes(from: StorageChain.sentinel)
        value = .allocate(byteCount: record.count, alignment: 1)
        value.copyBytes(from: record)
    }

    deinit {
        key.deallocate()
        value.deallocate()
    }

    var sequence: UInt64 { 0 }
    func refresh() throws(VaultError) {}
    func release() {}

    func get(
        _ table: StorageTable, _ wanted: UnsafeRawBufferPointer
    ) throws(VaultError) -> UnsafeRawBufferPointer? {
        table == .links && wanted.isSame(as: UnsafeRawBufferPointer(key))
            ? UnsafeRawBufferPointer(value) : nil
    }

    func first(_ table: StorageTable, from bound: UnsafeRawBufferPointer) throws(VaultError) -> StoredPair? {
        table == .links && !UnsafeRawBufferPointer(key).precedes(bound) ? pair : nil
    }

    func next(_ table: StorageTable) throws(VaultError) -> StoredPair? { nil }

    func last(_ table: StorageTable, before bound: UnsafeRawBufferPointer) throws(VaultError) -> StoredPair? {
        table == .links && UnsafeRawBufferPointer(key).precedes(bound) ? pair : nil
    }

    private var pair: StoredPair {
        StoredPair(key: UnsafeRawBufferPointer(key), value: UnsafeRawBufferPointer(value))
    }
}
