package import Base

/// A consistent view of storage in plain text, at one moment. The barrier implements it over any backend.
///
/// Keys are paths of UTF-8 text with `/` between segments. A view belongs to one thread.
package protocol StorageView: AnyObject {
    /// The number of the last commit that this view sees.
    var sequence: UInt64 { get }
    /// Whether there is more to see than what was committed: nothing read here may be kept for others.
    var seesUncommitted: Bool { get }

    /// The value at a key; nil when there is provably none.
    /// - Throws: `.corrupted` when what is stored fails authentication, or is missing without being deleted.
    func get(_ key: String) throws(VaultError) -> [UInt8]?

    /// The names directly below `prefix` (empty or with a trailing slash), in the order of their bytes;
    /// a name with more below it ends in a slash. At most `limit`, those behind `after`.
    func list(_ prefix: String, after: String?, limit: Int) throws(VaultError) -> [String]

    /// Whole keys that start with `prefix`, at any depth, in the order of their bytes. At most `limit`,
    /// those behind `after`.
    func scan(_ prefix: String, after: String?, limit: Int) throws(VaultError) -> [String]
}

extension StorageView {
    /// What storage itself gives.
    package var seesUncommitted: Bool { false }
}
