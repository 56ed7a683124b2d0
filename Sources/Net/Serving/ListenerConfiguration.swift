package import Base

/// Where to listen, and what holds for the connections that come in there.
package struct ListenerConfiguration: Sendable {
    /// `127.0.0.1:8200`, `[::]:8200` or `:8200` (both for IPv4 and IPv6), `name:8200`, or `unix:/path`.
    package var address: String
    /// Nil serves plain HTTP.
    package var tls: TLSConfiguration?
    /// Permission bits of a unix socket; nil keeps what the umask gives.
    package var unixMode: UInt32?
    /// Name or number of a unix socket's owner; empty leaves it.
    package var unixUser = ""
    /// Name or number of a unix socket's group; empty leaves it.
    package var unixGroup = ""
    /// Limits of requests and deadlines; nil takes the server's.
    package var limits: Limits?
    /// Set where a load balancer says who the client is before anything else.
    package var proxyProtocol: ProxyProtocolRules?

    /// A listener that says nothing else.
    package init(address: String, tls: TLSConfiguration? = nil, unixMode: UInt32? = nil) {
        self.address = address
        self.tls = tls
        self.unixMode = unixMode
    }
}

/// Whose PROXY headers are believed.
package struct ProxyProtocolRules: Sendable {
    /// Vault's `proxy_protocol_behavior`.
    package enum Behavior: Sendable {
        /// Everyone's.
        case useAlways
        /// Those from `networks`; others' are read and dropped.
        case allowAuthorized
        /// Those from `networks`; other connections are closed.
        case denyUnauthorized
    }

    package var behavior: Behavior
    package var networks: [CIDRBlock]

    package init(_ behavior: Behavior, networks: [CIDRBlock]) {
        self.behavior = behavior
        self.networks = networks
    }

    /// Whether a header from this address is believed. A unix socket's peer has no address.
    func trusts(_ address: String) -> Bool {
        behavior == .useAlways || networks.contains { $0.contains(address) }
    }
}

/// What a listener's connections need to know of it.
final class ListenerSettings: Sendable {
    /// Its place among the server's listeners.
    let index: Int
    let limits: Limits
    let proxyProtocol: ProxyProtocolRules?

    init(index: Int, limits: Limits, proxyProtocol: ProxyProtocolRules?) {
        self.index = index
        self.limits = limits
        self.proxyProtocol = proxyProtocol
    }

    static let none = ListenerSettings(index: 0, limits: .standard, proxyProtocol: nil)
}

/// How a listener speaks TLS.
package struct TLSConfiguration: Sendable, Equatable {
    package enum Version: Sendable, Comparable {
        case v12, v13
    }

    /// What becomes of client certificates.
    package enum ClientCertificates: Sendable {
        /// Not asked for.
        case disabled
        /// Asked for and handed on unverified: whoever reads them verifies them.
        case request
        /// A connection without one that `clientCAFile` vouches for is refused.
        case require
    }

    /// PEM: the certificate, then its issuers.
    package var certificateFile: String
    /// PEM, not encrypted.
    package var keyFile: String
    package var minimumVersion: Version
    package var maximumVersion: Version
    package var clientCAFile: String?
    package var clientCertificates: ClientCertificates
    /// Names of TLS 1.2 suites, as IANA's registry or as OpenSSL writes them; empty gives the safe default.
    package var cipherSuites: [String]
    /// Whether clients may choose HTTP/2.
    package var offersHTTP2 = true

    package init(
        certificateFile: String, keyFile: String, minimumVersion: Version = .v12,
        maximumVersion: Version = .v13,
        clientCAFile: String? = nil, clientCertificates: ClientCertificates = .request,
        cipherSuites: [String] = []
    ) {
        self.certificateFile = certificateFile
        self.keyFile = keyFile
        self.minimumVersion = minimumVersion
        self.maximumVersion = maximumVersion
        self.clientCAFile = clientCAFile
        self.clientCertificates = clientCertificates
        self.cipherSuites = cipherSuites
    }
}
