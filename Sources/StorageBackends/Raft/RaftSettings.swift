package import Base
internal import Consensus
internal import Glibc

/// The keys of the stanza `storage "raft"` that concern this node's consensus.
package struct RaftSettings: Sendable {
    /// The keys that are known, Vault's. Blocks (`retry_join`) are read where the server is put together.
    package static let keys = [
        "path", "node_id", "performance_multiplier", "trailing_logs", "snapshot_threshold",
        "snapshot_interval", "max_entry_size", "retry_join", "retry_join_as_non_voter",
        "autopilot_reconcile_interval", "autopilot_update_interval", "autopilot_redundancy_zone",
        "autopilot_upgrade_version",
    ]
    /// Keys of Vault's that change nothing here, and why.
    private static let idle = [
        ("snapshot_interval", "the log is compacted as soon as snapshot_threshold entries have gathered"),
        ("autopilot_reconcile_interval", "autopilot looks several times a second"),
        ("autopilot_update_interval", "autopilot looks several times a second"),
        ("autopilot_redundancy_zone", "redundancy zones are not known here"),
        ("autopilot_upgrade_version", "upgrades are made node by node"),
    ]

    /// Says which of the keys that were given have no effect.
    static func warn(_ settings: [String: String], _ log: Log) {
        for (key, reason) in idle where settings[key] != nil {
            log.warn("storage \"raft\": '\(key)' has no effect", ["reason": reason])
        }
    }

    /// The directory of all data, without a slash at its end.
    let path: String
    /// Empty when neither the stanza nor the environment names the node.
    let nodeID: String
    let timing: RaftTiming
    let trailingEntries: UInt64
    let compactionEntries: UInt64
    /// Bytes of one value at most.
    let valueBytes: Int

    /// - Throws: `.badRequest` that names the key and what was expected.
    package init(_ settings: [String: String]) throws(VaultError) {
        guard var path = Self.environment("VAULT_RAFT_PATH") ?? settings["path"], !path.isEmpty else {
            throw .badRequest(
                "storage \"raft\": 'path' is missing: give the directory that shall hold the data")
        }
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        self.path = path
        nodeID = Self.environment("VAULT_RAFT_NODE_ID") ?? settings["node_id"] ?? ""
        guard nodeID.utf8.count <= 255, nodeID.utf8.allSatisfy({ $0 > 32 && $0 != 127 }) else {
            throw .badRequest("storage \"raft\": 'node_id': expected up to 255 bytes without blanks")
        }
        let number = { (key: String, least: UInt64, most: UInt64, standard: UInt64) throws(VaultError) in
            guard let text = settings[key] else { return standard }
            guard let value = UInt64(text), value >= least, value <= most else {
                throw VaultError.badRequest(
                    "storage \"raft\": '\(key)': expected a whole number from \(least) to \(most), "
                        + "found '\(text)'")
            }
            return value
        }
        timing = RaftTiming(multiplier: Int(try number("performance_multiplier", 0, 10, 0)))
        trailingEntries = try number("trailing_logs", 1, 10_000_000, 10_000)
        compactionEntries = try number("snapshot_threshold", 1, 10_000_000, 8_192)
        // Vault's default is 1 MiB, and its values are larger than ours by their encoding.
        valueBytes = Int(try number("max_entry_size", 1_024, 46 << 20, 36 << 20))
    }

    private static func environment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
}
