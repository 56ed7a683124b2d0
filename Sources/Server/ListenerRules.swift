import Base
import Net
import PluginKit

/// What the configuration of a listener asks of each request that comes in there, and of each answer.
package final class ListenerRules: Sendable {
    let limits: Limits
    let forwardedFor: ForwardedForRules?
    let requiresRequestHeader: Bool
    let hasUnauthenticatedMetrics: Bool
    let headers: ResponseHeaders

    /// - Parameters:
    ///   - limits: the listener's, with the server's defaults in it.
    ///   - more: headers that every answer of this server carries.
    init(_ configuration: ListenerConfiguration, limits: Limits, more: [ResponseHeaders.Field] = []) {
        self.limits = limits
        forwardedFor = ForwardedForRules(configuration)
        requiresRequestHeader = configuration.requiresRequestHeader
        hasUnauthenticatedMetrics = configuration.hasUnauthenticatedMetrics
        headers = ResponseHeaders(
            configuration.customResponseHeaders,
            isTLS: configuration.kind == .tcp && !configuration.isTLSDisabled, more: more)
    }

    /// Who the client is, as far as this listener believes what is said of it.
    /// - Throws: `.badRequest` where the configuration says to reject, `.preconditionFailed` without the
    ///   request header that it asks for.
    func admit(_ request: HTTPRequest) throws(VaultError) -> ConnectionInfo {
        // A browser on a foreign page cannot send it without asking first.
        if requiresRequestHeader, request.vaultRequest != "true" {
            throw .preconditionFailed("missing 'X-Vault-Request' header")
        }
        var address = request.peer.address
        if let forwardedFor { address = try forwardedFor.client(of: request) }
        return ConnectionInfo(
            remoteAddress: address, remotePort: request.peer.port,
            peerCertificates: request.peer.certificateChain)
    }
}

/// When `X-Forwarded-For` is believed, and which of its addresses (Vault's `x_forwarded_for_*`).
struct ForwardedForRules: Sendable {
    private let networks: [CIDRBlock]
    private let hopSkips: Int
    private let rejectsUnauthorized: Bool
    private let rejectsAbsent: Bool

    /// Nil where no network is authorized: then the header means nothing.
    init?(_ configuration: ListenerConfiguration) {
        if configuration.forwardedForNetworks.isEmpty { return nil }
        networks = configuration.forwardedForNetworks
        hopSkips = configuration.forwardedForHopSkips
        rejectsUnauthorized = configuration.rejectsForwardedForUnauthorized
        rejectsAbsent = configuration.rejectsForwardedForAbsent
    }

    /// The client's address.
    func client(of request: HTTPRequest) throws(VaultError) -> String {
        // Several fields are one list (RFC 9110 §5.3).
        var chain: [Substring] = []
        request.forEachHeader { name, value in
            guard name.count == 15, name.lazy.map({ $0 | 0x20 }).elementsEqual("x-forwarded-for".utf8) else {
                return
            }
            let text = String(decoding: value, as: UTF8.self)
            chain += text.split(separator: ",", omittingEmptySubsequences: false)
        }
        guard !chain.isEmpty else {
            if !rejectsAbsent { return request.peer.address }
            throw .badRequest("missing x-forwarded-for header and configured to reject when not present")
        }
        guard networks.contains(where: { $0.contains(request.peer.address) }) else {
            if !rejectsUnauthorized { return request.peer.address }
            throw .badRequest(
                "client address not authorized for x-forwarded-for and configured to reject connection")
        }
        guard hopSkips < chain.count else {
            throw .badRequest(
                "malformed x-forwarded-for configuration or request: \(hopSkips) hops to skip, but the header "
                    + "has \(chain.count)")
        }
        guard let address = Self.address(chain[chain.count - 1 - hopSkips]) else {
            throw .badRequest("x-forwarded-for: expected an IP address at the place that counts")
        }
        return address
    }

    /// The address alone, also where a proxy adds a port: `192.0.2.1:80`, `[2001:db8::1]:80`.
    private static func address(_ text: Substring) -> String? {
        let trimmed = String(
            text.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }
                .reversed())
        if CIDRBlock.isAddress(trimmed) { return trimmed }
        if trimmed.hasPrefix("["), trimmed.hasSuffix("]") {
            let inner = String(trimmed.dropFirst().dropLast())
            return CIDRBlock.isAddress(inner) ? inner : nil
        }
        guard let (host, _) = hostAndPort(trimmed), CIDRBlock.isAddress(host) else { return nil }
        return host
    }
}
