package import Base
package import PluginKit

/// Key and value: secrets as JSON objects under paths that the user chooses.
///
/// Version 1 keeps the last value only; version 2 keeps a history with check-and-set, soft deletion and
/// metadata. Which of the two a mount is, its option `version` says; the routes follow from it.
///
/// Invariants:
/// - A value is stored as the very bytes that were sent, so that numbers keep their digits.
/// - Both versions share one key space: a secret lives at `s/<path>`, in a record whose first byte tells
///   its format. A version 1 record reads as version 1 of a secret with history, and becomes one on its
///   next write, so that the upgrade of a mount takes no time however much is in it.
/// - What a request changes (metadata, value, versions that fall off the end) is one transaction.
package struct KVEngine: SecretsEngine {
    package static let type = "kv"
    package static let summary = "Secrets as names and values, with or without versions."

    let context: MountContext
    let isVersioned: Bool

    package init(_ context: MountContext) throws(VaultError) {
        self.context = context
        switch context.options["version"] {
        case nil, "", "1": isVersioned = false
        case "2": isVersioned = true
        default: throw .badRequest("options.version: expected 1 or 2")
        }
    }

    package static var routes: [Route<Self>] { versionedRoutes }

    package var mountRoutes: [BoundRoute] {
        (isVersioned ? Self.versionedRoutes : Self.plainRoutes).map { $0.bind(self) }
    }

    package func prepare(_ tx: inout Transaction) throws(VaultError) {
        let recorded = try tx.get(Key.layout)
        if isVersioned {
            if recorded == nil { tx.put(Key.layout, [UInt8(ascii: "2")]) }
        } else if recorded != nil {
            throw .badRequest("options.version: a mount with version 2 cannot go back to version 1")
        }
    }

    /// Where things are, below the mount's prefix.
    enum Key {
        /// Present once the mount has had version 2.
        static let layout = "layout"
        static let config = "config"
        static func secret(_ path: String) -> String { "s/" + path }
        /// The value of one version, unless it stands in the secret's own record.
        static func value(_ path: String, version: Int) -> String { "v/\(version)/" + path }
    }
}
