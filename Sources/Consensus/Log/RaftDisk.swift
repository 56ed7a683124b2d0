package import Base

/// The directory of the write-ahead log: real files, or the simulation's, which lose and tear what was not
/// synced. Used by one thread.
package protocol RaftDisk: AnyObject {
    /// Names of the files in the directory, in any order.
    func names() throws(VaultError) -> [String]
    /// Opens a file for reading and writing.
    /// - Parameter create: makes it when it is not there; its name is durable after `syncNames`.
    func open(_ name: String, create: Bool) throws(VaultError) -> any RaftFile
    /// Removes a file's name.
    func remove(_ name: String) throws(VaultError)
    /// Makes made and removed names durable.
    func syncNames() throws(VaultError)
    /// Where the directory is, for messages.
    var place: String { get }
}

/// One file of the log.
package protocol RaftFile: AnyObject {
    /// Size in bytes.
    func size() throws(VaultError) -> Int
    /// Reads up to `count` bytes; fewer only at the end of the file.
    func read(at offset: Int, count: Int) throws(VaultError) -> [UInt8]
    /// Writes all the bytes; durable after `sync` only.
    /// - Throws: `.unavailable` when there is no room.
    func write(_ bytes: [UInt8], at offset: Int) throws(VaultError)
    /// Takes room on the disk up to this size, filled with zeros, so that appending changes no metadata.
    /// - Throws: `.unavailable` when there is no room.
    func preallocate(_ bytes: Int) throws(VaultError)
    /// Waits until everything written is on the disk. After an error nothing may be trusted any more.
    func sync() throws(VaultError)
}
