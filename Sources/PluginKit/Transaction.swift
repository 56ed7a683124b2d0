package import Base

/// One request's view of storage and the writes it wants, below one prefix.
///
/// Reads see the writes made before them. Nothing reaches storage until the commit thread has found
/// that no key read and no prefix listed has changed since; then all writes are one atomic commit.
package struct Transaction {
    package let log: TransactionLog
    /// What stands before every key: the mount's storage prefix, or nothing for the core.
    package let prefix: String

    package init(view: any StorageView, prefix: String = "") {
        log = TransactionLog(view: view)
        self.prefix = prefix
    }

    private init(log: TransactionLog, prefix: String) {
        self.log = log
        self.prefix = prefix
    }

    /// The same transaction, seen from `prefix` (counted from storage's root) only.
    package func scoped(to prefix: String) -> Transaction { Transaction(log: log, prefix: prefix) }

    package func get(_ key: String) throws(VaultError) -> [UInt8]? {
        try log.get(prefix.isEmpty ? key : prefix + key)
    }

    package mutating func put(_ key: String, _ value: [UInt8]) {
        log.write(prefix.isEmpty ? key : prefix + key, value)
    }

    package mutating func delete(_ key: String) { log.write(prefix.isEmpty ? key : prefix + key, nil) }

    /// Leaves everything below `path` (with its trailing slash) to the background, which deletes it in
    /// bounded steps. Nothing may be put there any more.
    package mutating func deleteLater(_ path: String) {
        let whole = prefix + path
        let note = String(whole.map { $0 == "/" ? ":" : $0 })
        log.write(Self.deletionNotes + note, JSONValue.string(whole).encoded())
    }

    /// Where the notes for the background stand, counted from storage's root.
    package static let deletionNotes = "core/deleting/"

    /// Names directly below `path` (empty or with a trailing slash); see `StorageView.list`.
    package func list(_ path: String, after: String? = nil, limit: Int = .max) throws(VaultError) -> [String]
    {
        try log.list(prefix + path, after: after, limit: limit)
    }

    /// Keys below `path` at any depth, relative to this transaction's prefix; see `StorageView.scan`.
    package func scan(_ path: String, after: String? = nil, limit: Int = .max) throws(VaultError) -> [String]
    {
        let found = try log.scan(prefix + path, after: after.map { prefix + $0 }, limit: limit)
        return prefix.isEmpty ? found : found.map { String($0.utf8.dropFirst(prefix.utf8.count)) ?? "" }
    }
}

/// What a transaction has read and wants to write. Belongs to one thread until it is handed to the commit
/// thread.
package final class TransactionLog {
    private let view: any StorageView
    package private(set) var readKeys: [String] = []
    package private(set) var listedPrefixes: [String] = []
    /// Nil deletes.
    package private(set) var writes: [String: [UInt8]?] = [:]

    init(view: any StorageView, writes: [String: [UInt8]?] = [:]) {
        self.view = view
        self.writes = writes
        // As many as most requests read: growing costs more than they do.
        readKeys.reserveCapacity(6)
    }

    /// The commit that the reads saw.
    package var sequence: UInt64 { view.sequence }
    package var hasWrites: Bool { !writes.isEmpty }
    /// Whether the reads saw what may never be committed.
    package var seesUncommitted: Bool { view.seesUncommitted }

    /// Makes the outcome depend on a key that was read elsewhere, through a cache.
    package func noteRead(_ key: String) { readKeys.append(key) }

    func get(_ key: String) throws(VaultError) -> [UInt8]? {
        if !writes.isEmpty, let written = writes[key] { return written }
        readKeys.append(key)
        return try view.get(key)
    }

    func write(_ key: String, _ value: [UInt8]?) { writes.updateValue(value, forKey: key) }

    func list(_ prefix: String, after: String?, limit: Int) throws(VaultError) -> [String] {
        listedPrefixes.append(prefix)
        guard writes.contains(where: { $0.key.utf8.starts(with: prefix.utf8) }) else {
            return try view.list(prefix, after: after, limit: limit)
        }
        // With writes of our own below the prefix, names come from whole keys, so that a folder whose
        // last key was deleted here is gone and a new one is there.
        var names: [String] = []
        for key in try scan(prefix, after: nil, limit: .max) {
            let rest = key.utf8.dropFirst(prefix.utf8.count)
            let end = rest.firstIndex(of: UInt8(ascii: "/")).map { rest.index(after: $0) } ?? rest.endIndex
            guard let name = String(rest[..<end]), name != names.last else { continue }
            if let after, !after.utf8.lexicographicallyPrecedes(name.utf8) { continue }
            names.append(name)
            if names.count == limit { break }
        }
        return names
    }

    func scan(_ prefix: String, after: String?, limit: Int) throws(VaultError) -> [String] {
        listedPrefixes.append(prefix)
        let mine = writes.filter { $0.key.utf8.starts(with: prefix.utf8) }
        if mine.isEmpty { return try view.scan(prefix, after: after, limit: limit) }
        let deleted = mine.count { $0.value == nil }
        let stored = try view.scan(
            prefix, after: after, limit: limit > .max - deleted ? .max : limit + deleted)
        var keys = Set(stored)
        for (key, value) in mine {
            if value == nil { keys.remove(key) } else { keys.insert(key) }
        }
        let sorted = keys.filter { key in after.map { $0.utf8.lexicographicallyPrecedes(key.utf8) } ?? true }
            .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        return Array(sorted.prefix(limit))
    }
}

/// What a transaction read and wants to write, ready to be sent to the commit thread.
package struct WriteSet: Sendable {
    /// The commit that its reads saw.
    package let sequence: UInt64
    package let readKeys: [String]
    package let listedPrefixes: [String]
    /// Nil deletes.
    package let writes: [String: [UInt8]?]

    package init(sequence: UInt64, readKeys: [String], listedPrefixes: [String], writes: [String: [UInt8]?]) {
        self.sequence = sequence
        self.readKeys = readKeys
        self.listedPrefixes = listedPrefixes
        self.writes = writes
    }
}

extension TransactionLog {
    /// The reads and writes so far.
    package var writeSet: WriteSet {
        WriteSet(sequence: sequence, readKeys: readKeys, listedPrefixes: listedPrefixes, writes: writes)
    }
}

/// A view that sees writes that are not committed yet over one that does not: a batch in the making.
package final class OverlayView: StorageView {
    private let merged: TransactionLog

    package init(base: any StorageView, writes: [String: [UInt8]?]) {
        merged = TransactionLog(view: base, writes: writes)
    }

    package var sequence: UInt64 { merged.sequence }
    /// Its writes are still to be committed.
    package var seesUncommitted: Bool { true }
    package func get(_ key: String) throws(VaultError) -> [UInt8]? { try merged.get(key) }
    package func list(_ prefix: String, after: String?, limit: Int) throws(VaultError) -> [String] {
        try merged.list(prefix, after: after, limit: limit)
    }
    package func scan(_ prefix: String, after: String?, limit: Int) throws(VaultError) -> [String] {
        try merged.scan(prefix, after: after, limit: limit)
    }
}

/// Transactions for handlers that wait: each `run` is one, retried on conflict and durable when it returns.
package protocol Transactions: Sendable {
    func run<Result: Sendable>(
        _ body: @escaping @Sendable (inout Transaction) throws(VaultError) -> Result
    ) async throws(VaultError) -> Result
}
