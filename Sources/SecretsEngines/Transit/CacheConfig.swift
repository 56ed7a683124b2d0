import Base
import PluginKit

/// How many keys the mount keeps ready in memory.
extension TransitEngine {
    static let cacheSizeField = Field<Int>(
        "size", default: 0, "Number of keys to keep ready in memory; 0 is \(KeyRingCache.usualKeys).")
    private static let mostCached = 100_000

    static var cacheRoutes: [Route<Self>] {
        [
            Route(.read, "cache-config", "Read the size of the cache.", run: Self.readCacheConfig),
            Route(
                .update, "cache-config", "Set the size of the cache.", fields: cacheSizeField,
                exists: Self.hasCacheConfig, run: Self.writeCacheConfig),
        ]
    }

    /// The size that is stored.
    static func cacheSize(_ tx: Transaction) throws(VaultError) -> Int {
        guard let bytes = try tx.get(Place.cacheConfig) else { return 0 }
        guard let size = RawJSON(trusted: bytes).int else { throw .corrupted(place: "transit cache-config") }
        return size
    }

    @Sendable func hasCacheConfig(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> Bool { try tx.get(Place.cacheConfig) != nil }

    @Sendable func readCacheConfig(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let size = try Self.cacheSize(tx)
        return LogicalResponse(data: ["size": .int(size)], warnings: pending(size))
    }

    @Sendable func writeCacheConfig(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let size = try request[Self.cacheSizeField]
        guard (0...Self.mostCached).contains(size) else {
            throw .badRequest("field 'size': expected a number of keys from 0 to \(Self.mostCached)")
        }
        tx.put(Place.cacheConfig, JSONValue.int(size).encoded())
        return LogicalResponse(warnings: pending(size))
    }

    /// A cache keeps the size that it began with: shrinking it would drop what is in use.
    private func pending(_ size: Int) -> [String] {
        guard let current = rings.size, current != size else { return [] }
        return ["the size takes effect when the server is unsealed next, or the mount is made anew"]
    }
}
