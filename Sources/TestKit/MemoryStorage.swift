package import Base
package import PluginKit

/// Plain storage in memory for tests of engines and stores: what the barrier and the commit thread
/// are to the product, without encryption and without threads.
package final class MemoryStorage: StorageView {
    /// Every entry, by whole key.
    package private(set) var entries: [String: [UInt8]] = [:]
    package private(set) var sequence: UInt64 = 0

    package init() {}

    package func get(_ key: String) throws(VaultError) -> [UInt8]? { entries[key] }

    package func list(_ prefix: String, after: String?, limit: Int) throws(VaultError) -> [String] {
        var names: Set<String> = []
        for key in entries.keys where key.utf8.starts(with: prefix.utf8) {
            let rest = key.dropFirst(prefix.count)
            names.insert(rest.firstIndex(of: "/").map { String(rest[...$0]) } ?? String(rest))
        }
        return page(names, after, limit)
    }

    package func scan(_ prefix: String, after: String?, limit: Int) throws(VaultError) -> [String] {
        page(Set(entries.keys.filter { $0.utf8.starts(with: prefix.utf8) }), after, limit)
    }

    /// Runs `body` in a transaction below `prefix` and, when it does not throw, stores what it wrote.
    @discardableResult
    package func run<Result>(
        _ prefix: String = "", _ body: (inout Transaction) throws(VaultError) -> Result
    ) throws(VaultError) -> Result {
        var transaction = Transaction(view: self, prefix: prefix)
        let result = try body(&transaction)
        for (key, value) in transaction.log.writes { entries[key] = value }
        sequence += 1
        return result
    }

    private func page(_ names: Set<String>, _ after: String?, _ limit: Int) -> [String] {
        let sorted = names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let wanted = sorted.filter { name in
            after.map { $0.utf8.lexicographicallyPrecedes(name.utf8) } ?? true
        }
        return Array(wanted.prefix(limit))
    }
}
