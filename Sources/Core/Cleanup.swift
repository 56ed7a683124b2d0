package import Base
package import PluginKit

/// Deletion of large prefixes in the background.
///
/// What was disabled is unreachable with the commit that disabled it; a durable note of its storage prefix
/// makes sure that all of it is deleted, in bounded batches, also after a crash.
package enum Cleanup {
    private static let notes = Transaction.deletionNotes
    /// Keys deleted in one commit.
    private static let batch = 500

    /// Notes that everything below `prefix` (with its trailing slash) shall go.
    package static func schedule(prefix: String, _ tx: inout Transaction) {
        var root = tx.scoped(to: "")
        root.deleteLater(prefix)
    }

    /// Deletes some of what is noted.
    /// - Returns: whether there is more to do.
    package static func run(_ tx: inout Transaction) throws(VaultError) -> Bool {
        guard let note = try tx.list(notes, limit: 1).first, let bytes = try tx.get(notes + note),
            let prefix = RawJSON(trusted: bytes).string, prefix.hasSuffix("/")
        else { return false }
        let keys = try tx.scan(prefix, limit: batch)
        for key in keys { tx.delete(key) }
        if keys.count < batch { tx.delete(notes + note) }
        return true
    }
}
