internal import Base
internal import CCurl
internal import CPosix
internal import Glibc
import Synchronization

/// A synchronous HTTP client over one libcurl handle.
///
/// One client keeps its connection alive between requests and serves one caller at a time. libcurl
/// itself is opened on the first request of the process. Redirects are the caller's business: only
/// it knows which of its headers may travel to another host. A response larger than its bound is an
/// error, never a truncated body. Proxies named in the environment are honoured.
package final class HTTPClient {
    private let settings: HTTPClientSettings
    private var handle: CurlHandle?

    package init(_ settings: HTTPClientSettings = HTTPClientSettings()) { self.settings = settings }

    /// Sends the request and waits for the whole response, whatever its status.
    package func send(_ request: HTTPClientRequest) throws(HTTPClientError) -> HTTPClientResponse {
        let handle = try readyHandle()
        handle.reset()
        let place = try Place(request.url, settings)
        try configure(handle, place, request)
        let collector = Collector(mostBytes: settings.mostResponseBytes)
        var headers = request.headers
        if place.replacesHost { headers.append(("Host", place.authority)) }
        let outcome = handle.perform(
            headers: headers, body: request.method == "HEAD" ? nil : request.body, collector: collector)
        if collector.overflowed {
            throw HTTPClientError(
                .tooLarge, "the response is larger than \(settings.mostResponseBytes) bytes", request)
        }
        if let failure = outcome.failure {
            throw Self.error(failure, outcome.detail, outcome.systemError, place, request)
        }
        return HTTPClientResponse(
            status: outcome.status, headers: collector.headers, body: collector.body)
    }

    /// Sends the request and hands a success's body over piece by piece, for as long as `span` (nil is
    /// without end) or until the server ends it or `sink` says false; any of these is a success.
    /// - Returns: the response; its body is empty unless its status is an error's.
    package func stream(
        _ request: HTTPClientRequest, for span: Duration?,
        sink: @escaping (UnsafeRawBufferPointer) -> Bool
    ) throws(HTTPClientError) -> HTTPClientResponse {
        let handle = try readyHandle()
        handle.reset()
        let place = try Place(request.url, settings)
        try configure(handle, place, request)
        handle.set(CURLOPT_TIMEOUT_MS, Int(span?.milliseconds ?? 0))
        let collector = Collector(mostBytes: settings.mostResponseBytes, sink: sink)
        var headers = request.headers
        if place.replacesHost { headers.append(("Host", place.authority)) }
        let outcome = handle.perform(headers: headers, body: request.body, collector: collector)
        if let failure = outcome.failure {
            let isEnd = failure == CURLE_WRITE_ERROR || failure == CURLE_OPERATION_TIMEDOUT && span != nil
            if !isEnd || outcome.status == 0 {
                throw Self.error(failure, outcome.detail, outcome.systemError, place, request)
            }
        }
        return HTTPClientResponse(
            status: outcome.status, headers: collector.headers, body: collector.body)
    }

    private func readyHandle() throws(HTTPClientError) -> CurlHandle {
        if let handle { return handle }
        let made = try CurlHandle()
        handle = made
        return made
    }

    private func configure(
        _ handle: CurlHandle, _ place: Place, _ request: HTTPClientRequest
    ) throws(HTTPClientError) {
        handle.set(CURLOPT_URL, place.url)
        handle.set(CURLOPT_NOSIGNAL, 1)
        handle.set(CURLOPT_FOLLOWLOCATION, 0)
        // A path with dots is the server's to judge, not the client's to clean.
        handle.set(CURLOPT_PATH_AS_IS, 1)
        handle.set(CURLOPT_PROTOCOLS_STR, "http,https")
        handle.set(CURLOPT_TIMEOUT_MS, Int(settings.timeout.milliseconds))
        handle.set(CURLOPT_CONNECTTIMEOUT_MS, Int(settings.connectTimeout.milliseconds))
        if request.method == "HEAD" {
            handle.set(CURLOPT_NOBODY, 1)
        } else {
            handle.set(CURLOPT_CUSTOMREQUEST, request.method)
        }
        if let proxy = settings.proxy { handle.set(CURLOPT_PROXY, proxy) }
        if let path = settings.unixSocket { handle.set(CURLOPT_UNIX_SOCKET_PATH, path) }
        if let connectTo = place.connectTo { handle.connect(to: connectTo) }
        guard place.isTLS else { return }
        handle.set(CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
        if settings.skipVerify {
            handle.set(CURLOPT_SSL_VERIFYPEER, 0)
            handle.set(CURLOPT_SSL_VERIFYHOST, 0)
        }
        for (option, path) in [
            (CURLOPT_CAINFO, settings.caFile), (CURLOPT_CAPATH, settings.caPath),
            (CURLOPT_SSLCERT, settings.clientCertificateFile), (CURLOPT_SSLKEY, settings.clientKeyFile),
        ] {
            guard let path else { continue }
            guard access(path, R_OK) == 0 else {
                throw HTTPClientError(.configuration, "open \(path): \(systemText(errno))", request)
            }
            handle.set(option, path)
        }
        if let certificate = settings.clientCertificatePEM, let key = settings.clientKeyPEM {
            handle.set(CURLOPT_SSLCERT_BLOB, copying: certificate)
            key.withBytes { handle.set(CURLOPT_SSLKEY_BLOB, copying: $0) }
        }
        // Roots that the caller names replace the system's, they do not add to them.
        if let roots = settings.caPEM, settings.caFile == nil {
            handle.set(CURLOPT_CAINFO_BLOB, copying: roots)
            if settings.caPath == nil { handle.set(CURLOPT_CAPATH, nil) }
        }
        if settings.caFile != nil, settings.caPath == nil { handle.set(CURLOPT_CAPATH, nil) }
        if settings.caPath != nil, settings.caFile == nil { handle.set(CURLOPT_CAINFO, nil) }
    }

    /// Words the failure as Go's clients do: users search for these sentences.
    private static func error(
        _ code: CURLcode, _ detail: String, _ systemError: Int32, _ place: Place, _ request: HTTPClientRequest
    ) -> HTTPClientError {
        switch code {
        case CURLE_COULDNT_CONNECT:
            let cause = systemError != 0 ? "connect: \(systemText(systemError))" : detail
            return HTTPClientError(.connect, "dial tcp \(place.authorityWithPort): \(cause)", request)
        case CURLE_COULDNT_RESOLVE_HOST:
            return HTTPClientError(.connect, "dial tcp: lookup \(place.host): no such host", request)
        case CURLE_OPERATION_TIMEDOUT:
            return HTTPClientError(.timeout, "context deadline exceeded (\(detail))", request)
        case CURLE_PEER_FAILED_VERIFICATION:
            return HTTPClientError(.tls, "tls: failed to verify certificate: \(detail)", request)
        case CURLE_SSL_CONNECT_ERROR where detail.contains("wrong version number"):
            return HTTPClientError(.plainText, "http: server gave HTTP response to HTTPS client", request)
        case CURLE_SSL_CONNECT_ERROR, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR:
            return HTTPClientError(.tls, "tls: \(detail)", request)
        case CURLE_GOT_NOTHING:
            return HTTPClientError(.broken, "EOF", request)
        default:
            return HTTPClientError(.broken, detail, request)
        }
    }
}

/// The words of `strerror`, in lower case as Go has them.
private func systemText(_ code: Int32) -> String {
    String(cString: strerror(code)).lowercased()
}

extension Duration {
    fileprivate var milliseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000 + attoseconds / 1_000_000_000_000_000
    }
}

/// Where a URL points, and what libcurl is told when the certificate's name differs from the host's.
private struct Place {
    var url: String
    let isTLS: Bool
    let host: String
    let authority: String
    let authorityWithPort: String
    /// `name:port:host:port`: connect to the second while TLS speaks of the first.
    var connectTo: String?
    var replacesHost: Bool { connectTo != nil }

    init(_ url: String, _ settings: HTTPClientSettings) throws(HTTPClientError) {
        let refusal = { (text: String) in
            HTTPClientError(.configuration, text, HTTPClientRequest(method: "", url: url))
        }
        let parts = url.utf8.split(
            separator: UInt8(ascii: "/"), maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count >= 3, parts[1].isEmpty, let scheme = String(parts[0]),
            scheme == "http:" || scheme == "https:"
        else { throw refusal("unsupported protocol scheme: expected http:// or https://") }
        let whole = String(parts[2]) ?? ""
        // A name and password before the host are libcurl's business alone.
        let credentials = whole.lastIndex(of: "@").map { whole[...$0] } ?? ""
        let authority = String(whole.dropFirst(credentials.count))
        guard !authority.isEmpty else { throw refusal("no Host in request URL") }
        self.url = url
        self.authority = authority
        isTLS = scheme == "https:"
        let port: String
        let bracket = authority.lastIndex(of: "]") ?? authority.startIndex
        if let colon = authority[bracket...].lastIndex(of: ":") {
            host = String(authority[..<colon])
            port = String(authority[authority.index(after: colon)...])
        } else {
            host = authority
            port = isTLS ? "443" : "80"
        }
        authorityWithPort = "\(host):\(port)"
        guard isTLS, let name = settings.serverName, name != host else { return }
        self.url = "https://\(credentials)\(name):\(port)" + url.dropFirst("https://".count + whole.count)
        connectTo = "\(name):\(port):\(host):\(port)"
    }
}
