package import Base
package import PluginKit

/// Which versions have served this store, and since when (Vault API: `sys/version-history`).
package struct VersionHistory: Sendable {
    private static let prefix = "core/versions/"

    package let version: String
    package let buildDate: String
    /// When this version first opened the store.
    package let installed: Timestamp

    /// All versions, the first to the newest.
    package static func read(_ tx: inout Transaction) throws(VaultError) -> [VersionHistory] {
        var all: [VersionHistory] = []
        for version in try tx.list(prefix) {
            guard let bytes = try tx.get(prefix + version) else { continue }
            let json = RawJSON(trusted: bytes)
            guard let text = json["installed"]?.string, let installed = Timestamp(rfc3339: text) else {
                throw .corrupted(place: prefix + version)
            }
            all.append(
                VersionHistory(
                    version: version, buildDate: json["build_date"]?.string ?? "", installed: installed))
        }
        return all.sorted { ($0.installed, $0.version) < ($1.installed, $1.version) }
    }

    /// Enters this version.
    static func note(_ tx: inout Transaction, now: Timestamp) {
        let record: JSONValue = [
            "installed": .string(now.rfc3339()), "build_date": .string(Version.buildDate),
        ]
        tx.put(prefix + Version.api, record.encoded())
    }

    /// Enters this version when it serves the store for the first time.
    static func noteThisVersion(_ transactions: CommitTransactions, now: Timestamp) throws(VaultError) {
        try transactions.runBlocking { tx throws(VaultError) in
            if try tx.get(prefix + Version.api) == nil { note(&tx, now: now) }
        }
    }
}
