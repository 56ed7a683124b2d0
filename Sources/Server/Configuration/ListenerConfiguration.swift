package import Base

/// One `listener` block.
package struct ListenerConfiguration: Sendable {
    /// What it listens on.
    package enum Kind: Sendable, Equatable { case tcp, unix }
    /// The versions that are offered.
    package enum TLSVersion: String, Sendable { case tls12, tls13 }
    /// Whose PROXY headers are believed.
    package enum ProxyProtocolBehavior: String, Sendable, CaseIterable {
        case useAlways = "use_always"
        case allowAuthorized = "allow_authorized"
        case denyUnauthorized = "deny_unauthorized"
    }

    /// The block's label.
    package var kind: Kind
    /// `host:port`, or the path of a socket.
    package var address: String
    /// `host:port` of the port between nodes; empty when not given: then one above `address`.
    package var clusterAddress = ""

    /// `tls_disable`.
    package var isTLSDisabled = false
    /// `tls_cert_file`: PEM, leaf first.
    package var tlsCertificateFile = ""
    /// `tls_key_file`.
    package var tlsKeyFile = ""
    /// `tls_client_ca_file`.
    package var tlsClientCAFile = ""
    /// `tls_min_version`.
    package var tlsMinVersion = TLSVersion.tls12
    /// `tls_max_version`.
    package var tlsMaxVersion = TLSVersion.tls13
    /// Go's names, as written; empty for the default.
    package var tlsCipherSuites: [String] = []
    /// `tls_require_and_verify_client_cert`.
    package var requiresClientCertificate = false
    /// `tls_disable_client_certs`.
    package var ignoresClientCertificates = false

    /// Nil where the server's default holds. Zero or less switches the limit off.
    package var maxRequestBytes: Int?
    /// `max_request_duration`.
    package var maxRequestDuration: Duration?
    /// `http_read_timeout`.
    package var readTimeout: Duration?
    /// `http_read_header_timeout`.
    package var readHeaderTimeout: Duration?
    /// `http_write_timeout`.
    package var writeTimeout: Duration?
    /// `http_idle_timeout`.
    package var idleTimeout: Duration?
    /// `max_json_depth`.
    package var maxJSONDepth: Int?
    /// `max_json_string_value_length`.
    package var maxJSONStringBytes: Int?
    /// `max_json_object_entry_count`.
    package var maxJSONObjectEntries: Int?
    /// `max_json_array_element_count`.
    package var maxJSONArrayElements: Int?

    /// Networks whose `X-Forwarded-For` is believed; empty for none.
    package var forwardedForNetworks: [CIDRBlock] = []
    /// `x_forwarded_for_hop_skips`: how many addresses from the right are proxies of ours.
    package var forwardedForHopSkips = 0
    /// `x_forwarded_for_reject_not_authorized`.
    package var rejectsForwardedForUnauthorized = true
    /// `x_forwarded_for_reject_not_present`.
    package var rejectsForwardedForAbsent = true

    /// `proxy_protocol_behavior`; nil where no load balancer speaks the PROXY protocol.
    package var proxyProtocol: ProxyProtocolBehavior?
    /// `proxy_protocol_authorized_addrs`.
    package var proxyProtocolNetworks: [CIDRBlock] = []

    /// `telemetry { unauthenticated_metrics_access }`.
    package var hasUnauthenticatedMetrics = false
    /// `profiling { unauthenticated_pprof_access }`.
    package var hasUnauthenticatedProfiling = false
    /// `require_request_header`: refuses requests without `X-Vault-Request`.
    package var requiresRequestHeader = false
    /// Response headers by `default`, class (`4xx`) or status (`404`); several values are one, with `; `.
    package var customResponseHeaders: [String: [(name: String, value: String)]] = [:]

    /// `socket_mode`: octal, checked; empty for the default.
    package var socketMode = ""
    /// `socket_user`: name or number; empty to leave it.
    package var socketUser = ""
    /// `socket_group`: name or number; empty to leave it.
    package var socketGroup = ""

    /// A listener that says nothing else.
    package init(kind: Kind, address: String) {
        self.kind = kind
        self.address = address
    }

    /// The limits of this listener: the standard ones where the block says nothing.
    package var limits: Limits { limits(maxRequestDuration: nil) }

    /// The same, with the server's own `default_max_request_duration`.
    package func limits(maxRequestDuration standard: Duration?) -> Limits {
        var limits = Limits.standard
        func seconds(_ span: Duration?, _ standard: Int) -> Int {
            span.map { $0 <= .zero ? Int(Int32.max) : max(1, Int($0.wholeSeconds)) } ?? standard
        }
        func count(_ number: Int?, _ standard: Int) -> Int { number.map { $0 <= 0 ? .max : $0 } ?? standard }
        limits.bodyBytes = count(maxRequestBytes, limits.bodyBytes)
        limits.requestSeconds = seconds(maxRequestDuration ?? standard, limits.requestSeconds)
        limits.readTimeoutSeconds = seconds(readTimeout, limits.readTimeoutSeconds)
        limits.headerTimeoutSeconds = seconds(readHeaderTimeout, limits.headerTimeoutSeconds)
        limits.writeTimeoutSeconds = seconds(writeTimeout, limits.writeTimeoutSeconds)
        limits.idleTimeoutSeconds = seconds(idleTimeout, limits.idleTimeoutSeconds)
        limits.jsonDepth = count(maxJSONDepth, limits.jsonDepth)
        limits.jsonStringBytes = count(maxJSONStringBytes, limits.jsonStringBytes)
        limits.jsonObjectEntries = count(maxJSONObjectEntries, limits.jsonObjectEntries)
        limits.jsonArrayElements = count(maxJSONArrayElements, limits.jsonArrayElements)
        return limits
    }
}

/// Reads `host:port`, `[v6]:port` or `:port`; nil for anything else. The host comes without brackets.
package func hostAndPort(_ address: String) -> (host: String, port: Int)? {
    guard let colon = address.lastIndex(of: ":") else { return nil }
    let digits = address[address.index(after: colon)...]
    guard (1...5).contains(digits.utf8.count), digits.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }),
        let port = Int(digits),
        port <= 65_535
    else { return nil }
    var host = address[..<colon]
    if host.hasPrefix("[") {
        guard host.hasSuffix("]"), host.contains(":") else { return nil }
        host = host.dropFirst().dropLast()
    } else if host.contains(":") {
        return nil
    }
    let isClean = host.utf8.allSatisfy {
        $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "[")
    }
    return isClean ? (String(host), port) : nil
}
