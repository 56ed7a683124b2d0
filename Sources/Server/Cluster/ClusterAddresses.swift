import Base
import CPosix
import Glibc

/// Where this node listens for the others, and what it tells them of itself.
struct ClusterAddresses: Sendable, Equatable {
    /// `host:port` of each socket between members.
    var bind: [String]
    /// `host:port` that the others connect to.
    var advertised: String
    /// The URL of this node's API, for redirects; empty when nothing sensible can be said.
    var api: String

    /// Reads them out of `cluster_addr`, `api_addr` and the listeners; what is not given follows from what
    /// is: the port between members is one above the API's, the host is the API's, or the machine's first
    /// address.
    /// - Throws: `.badRequest` that names the key and what was expected.
    init(_ configuration: ServerConfiguration, machineAddress: () -> String? = Self.firstAddress)
        throws(VaultError)
    {
        let listeners = configuration.listeners.filter { $0.kind == .tcp }
        var bind: [String] = []
        for listener in listeners {
            if !listener.clusterAddress.isEmpty {
                bind.append(listener.clusterAddress)
            } else if let (host, port) = hostAndPort(listener.address), (1..<65_535).contains(port) {
                bind.append(Self.join(host, port + 1))
            }
        }
        self.bind = bind
        guard let firstBind = bind.first else {
            throw .badRequest("storage \"raft\": expected a listener \"tcp\" with a cluster_address")
        }
        api = configuration.apiAddress
        if api.isEmpty, let first = listeners.first, let (host, port) = hostAndPort(first.address),
            let shown = Self.isAnywhere(host) ? machineAddress() : host
        {
            api = (first.isTLSDisabled ? "http://" : "https://") + Self.join(shown, port)
        }
        while api.hasSuffix("/") { api.removeLast() }
        if !configuration.clusterAddress.isEmpty {
            advertised = try Self.hostPort(configuration.clusterAddress, "cluster_addr", defaultPort: 8201)
        } else {
            let (host, port) = hostAndPort(firstBind) ?? ("", 8201)
            let apiHost = api.isEmpty ? nil : try? Self.hostPort(api, "api_addr", defaultPort: 8200)
            let shown =
                Self.isAnywhere(host) ? apiHost.flatMap(hostAndPort)?.host ?? machineAddress() : host
            guard let shown, !shown.isEmpty else {
                throw .badRequest(
                    "cluster_addr: expected the URL that the other nodes reach this one at, such as "
                        + "https://10.0.0.1:8201; it cannot be told from the listeners")
            }
            advertised = Self.join(shown, port)
        }
    }

    /// `host:port` of a URL.
    static func hostPort(_ url: String, _ key: String, defaultPort: Int) throws(VaultError) -> String {
        var rest = Substring(url)
        for scheme in ["https://", "http://"] where rest.hasPrefix(scheme) {
            rest = rest.dropFirst(scheme.count)
        }
        let authority = String(rest.prefix { $0 != "/" && $0 != "?" })
        if let (host, port) = hostAndPort(authority), port > 0, !host.isEmpty { return join(host, port) }
        let hasPort = authority.hasSuffix("]") ? false : authority.contains(":")
        let bare =
            authority.hasPrefix("[") && authority.hasSuffix("]")
            ? String(authority.dropFirst().dropLast()) : authority
        guard !hasPort, !bare.isEmpty else {
            throw .badRequest("\(key): expected a URL such as https://host:\(defaultPort), found '\(url)'")
        }
        return join(bare, defaultPort)
    }

    static func join(_ host: String, _ port: Int) -> String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    private static func isAnywhere(_ host: String) -> Bool {
        host.isEmpty || host == "0.0.0.0" || host == "::" || host == "0:0:0:0:0:0:0:0"
    }

    /// The first address of the machine that is not its own loop, IPv4 before IPv6; nil without one.
    static func firstAddress() -> String? {
        var first: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&first) == 0 else { return nil }
        defer { freeifaddrs(first) }
        var found: [Int32: String] = [:]
        var next = first
        while let entry = next {
            next = entry.pointee.ifa_next
            guard let address = entry.pointee.ifa_addr, entry.pointee.ifa_flags & UInt32(IFF_LOOPBACK) == 0
            else { continue }
            let family = Int32(address.pointee.sa_family)
            guard family == AF_INET || family == AF_INET6, found[family] == nil else { continue }
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            let size = family == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
            guard
                getnameinfo(
                    address, socklen_t(size), &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST) == 0
            else { continue }
            let host = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            // An address that needs a zone means nothing to another machine.
            if !host.contains("%") { found[family] = host }
        }
        return found[AF_INET] ?? found[AF_INET6]
    }
}
