import Base
import CPosix
import Glibc

/// Opens the sockets of one listener: one per loop on TCP, so that the kernel spreads connections over
/// the loops; one for all on a unix socket.
struct ListeningSocket {
    /// One for each loop; all the same on a unix socket.
    private(set) var descriptors: [Int32] = []
    /// The address that clients can use, with the port that the kernel chose where 0 was asked for.
    private(set) var address: String
    /// The unix socket's path, to be removed at the end.
    private(set) var unixPath: String?

    private static let backlog: Int32 = 1_024

    init(_ configuration: ListenerConfiguration, loops: Int) throws(VaultError) {
        address = configuration.address
        if address.hasPrefix("unix:") {
            try openUnix(String(address.dropFirst(5)), configuration, loops: loops)
        } else {
            try openTCP(loops: loops)
        }
    }

    /// Closes everything, once each.
    func close() {
        for descriptor in Set(descriptors) { Glibc.close(descriptor) }
        if let unixPath { unlink(unixPath) }
    }

    // MARK: TCP

    private mutating func openTCP(loops: Int) throws(VaultError) {
        var place = try SocketAddress(resolving: address)
        // With SO_REUSEPORT a second server would share the port unnoticed: a socket without it tries first.
        if place.port != 0 {
            let probe = try bound(place, shared: false)
            Glibc.close(probe)
        }
        do throws(VaultError) {
            for _ in 0..<loops {
                let descriptor = try bound(place, shared: true)
                descriptors.append(descriptor)
                if place.port == 0 { place = SocketAddress(boundTo: descriptor) }
                guard listen(descriptor, Self.backlog) == 0 else { throw failure(errno) }
            }
        } catch {
            close()
            throw error
        }
        address = place.text
    }

    private func bound(_ place: SocketAddress, shared: Bool) throws(VaultError) -> Int32 {
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(place.family, kind, 0)
        guard descriptor >= 0 else { throw failure(errno) }
        setOption(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
        if shared { setOption(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) }
        if place.family == AF_INET6 { setOption(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0) }
        setOption(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        let code = place.withPointer { bind(descriptor, $0, $1) }
        guard code == 0 else {
            let cause = errno
            Glibc.close(descriptor)
            throw failure(cause)
        }
        return descriptor
    }

    // MARK: Unix

    private mutating func openUnix(
        _ path: String, _ configuration: ListenerConfiguration, loops: Int
    ) throws(VaultError) {
        let owner = try UnixOwner(configuration)
        guard let place = SocketAddress(unixPath: path) else {
            throw .badRequest("listener \(address): the path of a unix socket has 1 to 107 bytes")
        }
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(AF_UNIX, kind, 0)
        guard descriptor >= 0 else { throw failure(errno) }
        var code = place.withPointer { bind(descriptor, $0, $1) }
        if code != 0, errno == EADDRINUSE {
            // What a server that was killed left behind may go; what a living one listens on may not.
            guard Self.isStale(place, path) else {
                Glibc.close(descriptor)
                throw failure(EADDRINUSE)
            }
            unlink(path)
            code = place.withPointer { bind(descriptor, $0, $1) }
        }
        // Until here the umask of the process keeps others out.
        guard code == 0, owner.take(path), configuration.unixMode.map({ chmod(path, $0) == 0 }) ?? true,
            listen(descriptor, Self.backlog) == 0
        else {
            let cause = errno
            Glibc.close(descriptor)
            throw failure(cause)
        }
        unixPath = path
        descriptors = Array(repeating: descriptor, count: loops)
    }

    private static func isStale(_ place: SocketAddress, _ path: String) -> Bool {
        var info = stat()
        guard lstat(path, &info) == 0, info.st_mode & S_IFMT == S_IFSOCK else { return false }
        let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard probe >= 0 else { return false }
        defer { Glibc.close(probe) }
        return place.withPointer { connect(probe, $0, $1) } != 0 && errno == ECONNREFUSED
    }

    private func failure(_ code: Int32) -> VaultError {
        let reason =
            switch code {
            case EADDRINUSE: "address already in use: another server listens there"
            case EACCES, EPERM:
                address.hasPrefix("unix:")
                    ? "permission denied: check the directory, 'socket_user' and 'socket_group'"
                    : "permission denied: ports below 1024 need the capability CAP_NET_BIND_SERVICE"
            case EADDRNOTAVAIL: "no interface of this machine has that address"
            default: String(cString: strerror(code))
            }
        return .badRequest("listener \(address): \(reason)")
    }
}

func setOption(_ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: Int32) {
    var value = value
    setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
}
