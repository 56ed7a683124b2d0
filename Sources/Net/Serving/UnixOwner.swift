import Base
import Glibc

/// Who shall own a unix socket, looked up before the socket is made.
struct UnixOwner {
    /// What `chown` leaves as it is.
    private static let unchanged = UInt32.max

    private let user: UInt32
    private let group: UInt32

    /// Throws `.badRequest` that names an account that does not exist.
    init(_ configuration: ListenerConfiguration) throws(VaultError) {
        let (user, group) = (configuration.unixUser, configuration.unixGroup)
        self.user = try Self.number(user, "socket_user") { getpwnam($0)?.pointee.pw_uid }
        self.group = try Self.number(group, "socket_group") { getgrnam($0)?.pointee.gr_gid }
    }

    /// False with `errno` when the system refuses.
    func take(_ path: String) -> Bool {
        if user == Self.unchanged, group == Self.unchanged { return true }
        return chown(path, user, group) == 0
    }

    /// Listeners are opened by one thread, before any other looks accounts up.
    private static func number(
        _ name: String, _ key: String, _ look: (String) -> UInt32?
    ) throws(VaultError) -> UInt32 {
        if name.isEmpty { return unchanged }
        if let number = UInt32(name), number != unchanged { return number }
        guard let found = look(name) else {
            throw .badRequest("'\(key)': this machine has no account called '\(name)'")
        }
        return found
    }
}
