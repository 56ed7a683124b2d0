import Base
import Glibc

/// Owns one connected socket. Nothing here waits longer than it was told, but the look-up of a host's name.
final class SocketConnection {
    private let descriptor: Int32
    private let isStream: Bool

    /// - Throws: `.unavailable` with the cause.
    init(_ endpoint: Endpoint, within timeout: Duration) throws(VaultError) {
        switch endpoint {
        case .network(let host, let port, let isStream):
            self.isStream = isStream
            descriptor = try Self.connect(host, port, isStream, timeout)
        case .unix(let path, let isStream):
            self.isStream = isStream
            descriptor = try Self.connect(path, isStream, timeout)
        }
    }

    deinit { close(descriptor) }

    /// False when the peer has closed its end: what is written then is lost without an error.
    var isOpen: Bool {
        if !isStream { return true }
        var byte: UInt8 = 0
        let count = recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
        return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR))
    }

    /// Sends records: a stream all together, datagrams one by one.
    func send(_ records: [[UInt8]], within timeout: Duration) throws(VaultError) {
        let deadline = Deadline(timeout)
        for record in isStream ? [Array(records.joined())] : records {
            var done = 0
            while done < record.count {
                let count = record.withUnsafeBytes { bytes in
                    Glibc.send(
                        descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done,
                        Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
                }
                if count >= 0 {
                    done = isStream ? done + count : record.count
                } else if errno == EAGAIN {
                    try Self.wait(descriptor, until: deadline)
                } else if errno != EINTR {
                    throw systemError("the socket")
                }
            }
        }
    }

    // MARK: Connecting

    private static func connect(
        _ host: String, _ port: String, _ isStream: Bool, _ timeout: Duration
    ) throws(VaultError) -> Int32 {
        var hints = addrinfo()
        hints.ai_socktype = socketType(isStream)
        var found: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, port, &hints, &found)
        guard status == 0, let first = found else {
            throw .unavailable("the socket: \(String(cString: gai_strerror(status)))", retryAfterSeconds: 1)
        }
        defer { freeaddrinfo(first) }
        let deadline = Deadline(timeout)
        var failure = VaultError.unavailable("the socket: no address", retryAfterSeconds: 1)
        var next: UnsafeMutablePointer<addrinfo>? = first
        while let address = next?.pointee {
            next = address.ai_next
            do throws(VaultError) {
                return try connect(
                    address.ai_family, isStream, address.ai_addr, address.ai_addrlen, deadline)
            } catch { failure = error }
        }
        throw failure
    }

    private static func connect(
        _ path: String, _ isStream: Bool, _ timeout: Duration
    ) throws(VaultError) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let outcome: Result<Int32, VaultError> = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                do throws(VaultError) {
                    return .success(
                        try connect(
                            AF_UNIX, isStream, pointer, socklen_t(MemoryLayout<sockaddr_un>.size),
                            Deadline(timeout)))
                } catch { return .failure(error) }
            }
        }
        return try outcome.get()
    }

    private static func connect(
        _ family: Int32, _ isStream: Bool, _ address: UnsafePointer<sockaddr>?, _ length: socklen_t,
        _ deadline: Deadline
    ) throws(VaultError) -> Int32 {
        let kind = socketType(isStream) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(family, kind, 0)
        guard descriptor >= 0 else { throw systemError("the socket") }
        do throws(VaultError) {
            if Glibc.connect(descriptor, address, length) != 0 {
                guard errno == EINPROGRESS else { throw systemError("the socket") }
                try wait(descriptor, until: deadline)
                var code: Int32 = 0
                var size = socklen_t(MemoryLayout<Int32>.size)
                getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
                guard code == 0 else {
                    errno = code
                    throw systemError("the socket")
                }
            }
        } catch {
            close(descriptor)
            throw error
        }
        return descriptor
    }

    private static func socketType(_ isStream: Bool) -> Int32 {
        Int32(isStream ? SOCK_STREAM.rawValue : SOCK_DGRAM.rawValue)
    }

    /// Waits until the socket can be written to.
    private static func wait(_ descriptor: Int32, until deadline: Deadline) throws(VaultError) {
        var item = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        guard poll(&item, 1, deadline.millisecondsLeft) > 0 else {
            throw .unavailable("the socket: nothing was taken in time", retryAfterSeconds: 1)
        }
    }

    /// A moment of the monotonic clock.
    private struct Deadline {
        private let end: UInt64
        init(_ span: Duration) {
            end = SystemClock().monotonicNanoseconds() + UInt64(span.wholeNanoseconds)
        }
        var millisecondsLeft: Int32 {
            let now = SystemClock().monotonicNanoseconds()
            return now >= end ? 0 : Int32((end - now) / 1_000_000) + 1
        }
    }
}

/// Where a socket leads.
enum Endpoint {
    case network(host: String, port: String, isStream: Bool)
    case unix(path: String, isStream: Bool)

    var isStream: Bool {
        switch self {
        case .network(_, _, let isStream), .unix(_, let isStream): isStream
        }
    }

    /// - Throws: `.badRequest` that names the option.
    init(kind: String, address: String) throws(VaultError) {
        switch kind {
        case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6":
            guard let colon = address.lastIndex(of: ":"),
                let port = UInt16(address[address.index(after: colon)...]),
                port > 0
            else { throw .badRequest("options: address: expected host:port") }
            var host = address[..<colon]
            if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
            guard !host.isEmpty, host.utf8.count <= 255, host.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) else {
                throw .badRequest("options: address: expected host:port")
            }
            self = .network(host: String(host), port: String(port), isStream: kind.hasPrefix("tcp"))
        case "unix", "unixgram":
            guard address.hasPrefix("/"), address.utf8.count < 108, !address.utf8.contains(0) else {
                throw .badRequest("options: address: expected the absolute path of a socket, below 108 bytes")
            }
            self = .unix(path: address, isStream: kind == "unix")
        default:
            throw .badRequest("options: socket_type: expected tcp, udp, unix or unixgram")
        }
    }
}
