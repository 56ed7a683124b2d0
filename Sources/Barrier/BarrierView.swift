package import Base
import PluginKit

/// A backend's reader seen through the barrier: plain text, every value and every absence proved.
///
/// For one thread. What it has not proved it does not give: it throws `.corrupted` instead.
package final class BarrierView: StorageView {
    private let reader: any StorageReader
    private var keys: KeyHolder

    init(_ barrier: UnsealedBarrier, _ reader: any StorageReader) {
        self.reader = reader
        keys = KeyHolder(barrier)
    }

    package var sequence: UInt64 { reader.sequence }

    /// Moves the view to the newest commit; needed before the first read and after `release`.
    /// - Throws: `.sealed`.
    package func refresh() throws(VaultError) {
        // The reader first: every entry that it shows then has its term in the keyring taken next.
        try reader.refresh()
        do throws(VaultError) {
            try keys.refresh()
        } catch {
            reader.release()
            throw error
        }
    }

    /// Lets go of the backend's view, and of keys that are no longer valid. Cheap.
    package func release() {
        reader.release()
        keys.dropIfStale()
    }

    package func get(_ key: String) throws(VaultError) -> [UInt8]? {
        Instruments.barrierGets.add()
        try StoredKey.check(key)
        return try key.utf8.span.bytes.withUnsafeBytes { (logical) throws(VaultError) in
            guard StoredKey.isLong(logical) else { return try get(stored: logical, logical) }
            return try StoredKey.hashed(logical).withRaw { (stored) throws(VaultError) in
                try get(stored: stored, logical)
            }
        }
    }

    package func list(_ prefix: String, after: String?, limit: Int) throws(VaultError) -> [String] {
        Instruments.barrierLists.add()
        guard limit > 0 else { return [] }
        let after = after.map { Array($0.utf8) }
        let prefix = try checked(prefix)
        var page = Page(after: after, limit: limit)
        var walk = try self.walk(from: Self.listBound(prefix, after))
        while let key = walk.current?.key, Self.mayStart(key, with: prefix), !page.isFull {
            // What follows byte 440 of a hashed key is no path.
            let path = UnsafeRawBufferPointer(rebasing: key.prefix(StoredKey.longestPlainBytes))
            if let slash = path.firstIndex(of: Self.slash, from: prefix.count) {
                page.add(path, from: prefix.count, to: slash + 1)
                try Self.behind(path[...slash]).withRaw { (bound) throws(VaultError) in try walk.seek(bound) }
            } else if StoredKey.isLong(key) {
                for full in try walk.takeLongKeys() {
                    full.withUnsafeBytes { full in
                        guard prefix.withUnsafeBytes({ full.hasPrefix($0) }) else { return }
                        let slash = full.firstIndex(of: Self.slash, from: prefix.count)
                        page.add(full, from: prefix.count, to: slash.map { $0 + 1 } ?? full.count)
                    }
                }
            } else {
                page.add(key, from: prefix.count, to: key.count)
                if !page.isFull { try walk.advance() }
            }
        }
        return page.names
    }

    package func scan(_ prefix: String, after: String?, limit: Int) throws(VaultError) -> [String] {
        Instruments.barrierLists.add()
        guard limit > 0 else { return [] }
        let after = after.map { Array($0.utf8) }
        let prefix = try checked(prefix)
        var page = Page(after: after, limit: limit)
        let start = after.map { prefix < $0 ? $0 + [0] : prefix } ?? prefix
        var walk = try self.walk(from: start)
        while let key = walk.current?.key, Self.mayStart(key, with: prefix), !page.isFull {
            if StoredKey.isLong(key) {
                for full in try walk.takeLongKeys() {
                    full.withUnsafeBytes { full in
                        guard prefix.withUnsafeBytes({ full.hasPrefix($0) }) else { return }
                        page.add(full, from: 0, to: full.count)
                    }
                }
            } else {
                page.add(key, from: 0, to: key.count)
                if !page.isFull { try walk.advance() }
            }
        }
        return page.names
    }

    /// Checks every link and every entry behind the stored key `position` (empty for the start), at most
    /// `limit` of them, for the background scrub.
    /// - Returns: where to go on, or nil at the end.
    /// - Throws: `.corrupted` that names the place.
    package func scrub(from position: [UInt8], limit: Int) throws(VaultError) -> [UInt8]? {
        var walk = try self.walk(storedBound: position.isEmpty ? [1] : position + [0])
        var last: [UInt8] = position
        for _ in 0..<limit {
            guard let pair = walk.current else { return nil }
            last = Array(pair.key)
            try walk.advance()
            let logical = StoredKey.isLong(pair.key) ? StorageChain.full(pair) : pair.key
            var value = try get(stored: pair.key, logical)
            value?.wipe()
        }
        return walk.current == nil ? nil : last
    }

    private func get(
        stored: UnsafeRawBufferPointer, _ logical: UnsafeRawBufferPointer
    ) throws(VaultError) -> [UInt8]? {
        let cipher = try keys.cipher()
        if let entry = try reader.get(.entries, stored) { return try cipher.open(entry, at: logical) }
        let walk = try ChainWalk(keys.chain(), reader, from: stored)
        if let found = walk.current?.key, found.isSame(as: stored) {
            throw .corrupted(place: place("missing entries", logical))
        }
        return nil
    }

    private func walk(from logical: [UInt8]) throws(VaultError) -> ChainWalk {
        try walk(storedBound: StoredKey.bound(logical))
    }

    private func walk(storedBound: [UInt8]) throws(VaultError) -> ChainWalk {
        let chain = try keys.chain()
        return try storedBound.withRaw { (bound) throws(VaultError) in
            try ChainWalk(chain, reader, from: bound)
        }
    }

    private func checked(_ prefix: String) throws(VaultError) -> [UInt8] {
        try StoredKey.checkPrefix(prefix)
        return Array(prefix.utf8)
    }

    private static let slash = UInt8(ascii: "/")

    /// Whether keys that begin with `prefix` can stand at a stored key: it is one itself, or is hashed and
    /// agrees as far as its text goes.
    private static func mayStart(_ key: UnsafeRawBufferPointer, with prefix: [UInt8]) -> Bool {
        prefix.withUnsafeBytes { prefix in
            guard StoredKey.isLong(prefix) else { return key.hasPrefix(prefix) }
            return StoredKey.isLong(key)
                && key.hasPrefix(UnsafeRawBufferPointer(rebasing: prefix[..<StoredKey.longestPlainBytes]))
        }
    }

    /// Where the names behind `after` can first stand.
    private static func listBound(_ prefix: [UInt8], _ after: [UInt8]?) -> [UInt8] {
        guard let after else { return prefix }
        let last = prefix + after
        return after.last == slash ? behind(last) : last + [0]
    }

    /// The first place behind all keys that start with `folder`, which ends in a slash.
    private static func behind(_ folder: some Collection<UInt8>) -> [UInt8] {
        folder.dropLast() + [slash + 1]
    }
}

/// One page of a listing: drops what is not behind `after`, and a folder that comes twice in a row.
private struct Page {
    let after: [UInt8]?
    let limit: Int
    private(set) var names: [String] = []

    init(after: [UInt8]?, limit: Int) {
        self.after = after
        self.limit = limit
    }

    var isFull: Bool { names.count >= limit }

    mutating func add(_ bytes: UnsafeRawBufferPointer, from start: Int, to end: Int) {
        if isFull { return }
        let name = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
        if let after, !after.withUnsafeBytes({ $0.precedes(name) }) { return }
        let text = String(decoding: name, as: UTF8.self)
        // Compared by bytes: `==` on text takes different spellings of a letter for the same.
        if name.last == UInt8(ascii: "/"), let last = names.last, last.utf8.elementsEqual(text.utf8) {
            return
        }
        names.append(text)
    }
}
