import CPosix
import Glibc

/// Asks the resolver for all addresses of a name. Waits for it: never on an I/O thread.
package enum HostLookup {
    /// Numeric addresses, IPv4 first, each once; empty when the name has none.
    package static func addresses(of name: String) -> [String] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(name, nil, &hints, &found) == 0, let first = found else { return [] }
        defer { freeaddrinfo(first) }
        var addresses: [(isIPv6: Bool, text: String)] = []
        var next: UnsafeMutablePointer<addrinfo>? = first
        while let entry = next {
            next = entry.pointee.ai_next
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            guard
                getnameinfo(
                    entry.pointee.ai_addr, entry.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0,
                    NI_NUMERICHOST) == 0
            else { continue }
            let host = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if !addresses.contains(where: { $0.text == host }) {
                addresses.append((entry.pointee.ai_family == AF_INET6, host))
            }
        }
        return addresses.filter { !$0.isIPv6 }.map(\.text) + addresses.filter(\.isIPv6).map(\.text)
    }
}
