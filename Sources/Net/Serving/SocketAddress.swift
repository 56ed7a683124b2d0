import Base
import CPosix
import Glibc

/// An address that a socket can be bound to, of any family.
struct SocketAddress {
    private var storage = sockaddr_storage()
    private var length = socklen_t(MemoryLayout<sockaddr_storage>.size)

    private init() {}

    /// Reads `host:port`, `[v6]:port` or `:port`; a name is looked up, IPv4 preferred.
    init(resolving text: String) throws(VaultError) {
        guard let (host, port) = Self.split(text) else {
            throw .badRequest("listener \(text): expected host:port, [IPv6]:port or unix:/path")
        }
        try self.init(text, host, port, flags: AI_PASSIVE | AI_NUMERICSERV)
    }

    /// Where a peer is; looks nothing up: nil for a name, or for no address at all.
    init?(numeric text: String) {
        guard let (host, port) = Self.split(text), !host.isEmpty,
            let place = try? SocketAddress(text, host, port, flags: AI_NUMERICHOST | AI_NUMERICSERV)
        else { return nil }
        self = place
    }

    private init(_ text: String, _ host: String, _ port: UInt16, flags: Int32) throws(VaultError) {
        if host.isEmpty {
            var place = sockaddr_in6()
            place.sin6_family = sa_family_t(AF_INET6)
            place.sin6_port = port.bigEndian
            self.init(copying: place)
            return
        }
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = flags
        var found: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &found)
        guard code == 0, let first = found else {
            throw .badRequest("listener \(text): \(String(cString: gai_strerror(code)))")
        }
        defer { freeaddrinfo(first) }
        var best = first
        var next: UnsafeMutablePointer<addrinfo>? = first
        while let entry = next {
            if entry.pointee.ai_family == AF_INET, best.pointee.ai_family != AF_INET { best = entry }
            next = entry.pointee.ai_next
        }
        self.init()
        length = best.pointee.ai_addrlen
        withUnsafeMutableBytes(of: &storage) {
            $0.copyMemory(
                from: UnsafeRawBufferPointer(start: best.pointee.ai_addr, count: Int(best.pointee.ai_addrlen))
            )
        }
    }

    /// Nil when the path does not fit.
    init?(unixPath: String) {
        var place = sockaddr_un()
        place.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(unixPath.utf8)
        guard !bytes.isEmpty, bytes.count < MemoryLayout.size(ofValue: place.sun_path), !bytes.contains(0)
        else {
            return nil
        }
        withUnsafeMutableBytes(of: &place.sun_path) { $0.copyBytes(from: bytes) }
        self.init(copying: place)
    }

    /// What the kernel gave a bound socket.
    init(boundTo descriptor: Int32) {
        withUnsafeMutableBytes(of: &storage) { bytes in
            _ = getsockname(descriptor, bytes.assumingMemoryBound(to: sockaddr.self).baseAddress, &length)
        }
    }

    /// Takes one connection from a listening socket and the peer's address with it.
    static func accept(_ listener: Int32) -> (descriptor: Int32, peer: SocketAddress) {
        var peer = SocketAddress()
        let flags = Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = withUnsafeMutableBytes(of: &peer.storage) { bytes in
            accept4(listener, bytes.assumingMemoryBound(to: sockaddr.self).baseAddress, &peer.length, flags)
        }
        return (descriptor, peer)
    }

    var family: Int32 { Int32(storage.ss_family) }

    var port: Int {
        switch family {
        case AF_INET: Int(UInt16(bigEndian: view(as: sockaddr_in.self).sin_port))
        case AF_INET6: Int(UInt16(bigEndian: view(as: sockaddr_in6.self).sin6_port))
        default: 0
        }
    }

    /// The address without its port, an IPv4 one in IPv6's clothes as IPv4; empty for a unix socket.
    var host: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        switch family {
        case AF_INET:
            var address = view(as: sockaddr_in.self).sin_addr
            inet_ntop(AF_INET, &address, &text, socklen_t(text.count))
        case AF_INET6:
            var address = view(as: sockaddr_in6.self).sin6_addr
            inet_ntop(AF_INET6, &address, &text, socklen_t(text.count))
        default: return ""
        }
        let whole = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return whole.hasPrefix("::ffff:") && whole.contains(".") ? String(whole.dropFirst(7)) : whole
    }

    /// `host:port` as clients write it.
    var text: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    func withPointer<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
        withUnsafePointer(to: storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }

    private init<Place>(copying place: Place) {
        self.init()
        length = socklen_t(MemoryLayout<Place>.size)
        withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: place, as: Place.self) }
    }

    private func view<Place>(as type: Place.Type) -> Place {
        withUnsafeBytes(of: storage) { $0.load(as: type) }
    }

    private static func split(_ text: String) -> (host: String, port: UInt16)? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        return (String(host), port)
    }
}
