package import Base

/// A place where audit records go. The core makes the records, counts the failures and refuses requests
/// that no device could record; a device only has to bring lines to where they stay.
///
/// A device belongs to one thread, which may block in it. It opens what it writes to by its first
/// `append`, and again after a failure, so that it recovers as soon as the world lets it.
/// `TestKit` holds the suite that each must pass.
package protocol AuditDevice: AnyObject, SendableMetatype {
    /// The name in `sys/audit`: `file`, `socket`, `syslog`.
    static var type: String { get }
    /// Names of the options that are its own; those that all devices share are the core's.
    static var options: [String] { get }

    /// Checks the options and touches nothing outside of the process.
    /// - Throws: `.badRequest` that names the option.
    init(options: [String: String]) throws(VaultError)

    /// Writes records: each element is one or more of them, each record a line with its line feed. All of
    /// them are where they belong when it returns; when it throws, none counts as written.
    /// - Throws: `.unavailable` with the cause, for the server's log and the operator who enables the device.
    func append(_ records: [[UInt8]]) throws(VaultError)

    /// Lets go of what is open, so that the next record goes to what has its name by then (rotation).
    func reopen()

    /// Lets go of everything.
    func close()
}
