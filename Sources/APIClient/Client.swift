package import Base
internal import Glibc
internal import Net

/// A thin, synchronous client of our own API, which is Vault's.
///
/// Paths are given without `/v1/` and unescaped. A 404 is no error for `read` and `list`: they give
/// nil, or what little the answer carries. Retries follow Vault's client: after 5xx (501 excepted),
/// 412, and connections that break or never come about; a refused certificate or a wrong address is
/// final. At most one redirect is followed, with method, body and headers, and never from TLS to
/// plain text: that is how a standby names the active node.
package final class Client {
    package var configuration: ClientConfiguration
    private let http: HTTPClient
    private let base: String

    /// - Throws: `.misuse` when the address cannot be one.
    package init(_ configuration: ClientConfiguration) throws(APIError) {
        var configuration = configuration
        if configuration.address.hasPrefix("unix://") {
            configuration.connection.unixSocket = String(configuration.address.dropFirst("unix://".count))
            base = "http://localhost"
        } else {
            var address = configuration.address
            while address.last == "/" { address.removeLast() }
            guard address.hasPrefix("http://") || address.hasPrefix("https://") else {
                let shown = configuration.address.withoutURLCredentials
                throw .misuse("address \"\(shown)\": expected http://, https:// or unix:// at its start")
            }
            guard address.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) else {
                let shown = configuration.address.withoutURLCredentials
                throw .misuse("address \"\(shown)\" has a character that no URL may have")
            }
            base = address
        }
        self.configuration = configuration
        http = HTTPClient(configuration.connection)
    }

    /// The address that a user gave, for messages: without a password.
    package var address: String { configuration.address.withoutURLCredentials }

    /// GET. Nil when there is nothing at the path.
    package func read(_ path: String, query: [(String, String)] = []) throws(APIError) -> Secret? {
        do throws(APIError) {
            return try envelope(call("GET", path, query: query))
        } catch { return try dataOfMissing(error) }
    }

    /// GET with `list=true`, which also reaches servers behind proxies that know no LIST.
    package func list(_ path: String) throws(APIError) -> Secret? {
        try read(path, query: [("list", "true")])
    }

    /// PUT. Nil when the server has nothing to say.
    package func write(_ path: String, _ body: JSONValue) throws(APIError) -> Secret? {
        try envelope(call("PUT", path, body: body.encoded()))
    }

    /// DELETE. Nil when the server has nothing to say.
    package func delete(_ path: String, query: [(String, String)] = []) throws(APIError) -> Secret? {
        try envelope(call("DELETE", path, query: query))
    }

    /// Any request; the body of a success, or nil when it is empty.
    package func call(
        _ method: String, _ path: String, query: [(String, String)] = [], body: [UInt8]? = nil,
        contentType: String = "application/json", extraHeaders: [(String, String)] = []
    ) throws(APIError) -> RawJSON? {
        let request = try request(method, path, query, body, contentType, extraHeaders)
        if let text = shown(request, method, path, query) { throw .shown(text) }
        let response = try followed(request) { (request) throws(APIError) in try sendWithRetries(request) }
        if response.body.isEmpty { return nil }
        do throws(VaultError) {
            return try RawJSON(validating: response.body, limits: .ofResponses)
        } catch {
            throw .unreadable(
                "\(method) \(request.url.withoutURLCredentials): the answer is not JSON; is this address a "
                    + "Vault-compatible server?"
            )
        }
    }

    /// GET of an answer that need not be JSON: its body.
    package func bytes(_ path: String, query: [(String, String)] = []) throws(APIError) -> [UInt8] {
        let request = try request("GET", path, query, nil, "", [])
        if let text = shown(request, "GET", path, query) { throw .shown(text) }
        return try followed(request) { (request) throws(APIError) in try sendWithRetries(request) }.body
    }

    /// GET of an answer that has no end, such as the server's log: `sink` gets its pieces until it says
    /// false, the server ends, or `span` is over.
    package func stream(
        _ path: String, query: [(String, String)], for span: Duration?,
        sink: @escaping (UnsafeRawBufferPointer) -> Bool
    ) throws(APIError) {
        let request = try request("GET", path, query, nil, "", [])
        if let text = shown(request, "GET", path, query) { throw .shown(text) }
        _ = try followed(request) { (request) throws(APIError) in
            do throws(HTTPClientError) {
                return try http.stream(request, for: span, sink: sink)
            } catch { throw .transport(Self.fault(error.kind), error.message) }
        }
    }

    private func request(
        _ method: String, _ path: String, _ query: [(String, String)], _ body: [UInt8]?,
        _ contentType: String, _ extraHeaders: [(String, String)]
    ) throws(APIError) -> HTTPClientRequest {
        var url = base + "/v1/" + Self.escaped(path, keeping: "/:@!$&'()*+,;=-._~")
        for (index, (name, value)) in query.enumerated() {
            url += index == 0 ? "?" : "&"
            url += Self.escaped(name, keeping: "-._~") + "=" + Self.escaped(value, keeping: "-._~")
        }
        var headers = self.headers(for: method, path)
        if body != nil { headers.append(("Content-Type", contentType)) }
        // Nothing may smuggle in a header of its own.
        if let (name, _) = headers.first(where: { $1.utf8.contains { $0 < 32 || $0 > 126 } }) {
            throw .misuse(
                "the value for \(name) has a character that no header may have: "
                    + "check the token for blanks and line ends"
            )
        }
        return HTTPClientRequest(method: method, url: url, headers: headers + extraHeaders, body: body)
    }

    /// What a user wants to see in place of the request; nil to send it.
    private func shown(
        _ request: HTTPClientRequest, _ method: String, _ path: String, _ query: [(String, String)]
    ) -> String? {
        switch configuration.shows {
        case .curl: Self.curlCommand(request)
        case .policy: RequestPolicy.text(method, path, isList: query.contains { $0 == ("list", "true") })
        case nil: nil
        }
    }

    /// Sends, follows one redirect, and throws for a status that is an error's.
    private func followed(
        _ first: HTTPClientRequest, _ send: (HTTPClientRequest) throws(APIError) -> HTTPClientResponse
    ) throws(APIError) -> HTTPClientResponse {
        var request = first
        var response = try send(request)
        if [301, 302, 307, 308].contains(response.status), let target = response.header("location") {
            guard configuration.followsRedirects else {
                throw .transport(
                    .other,
                    "the server answers \(response.status) and names \(target.withoutURLCredentials), "
                        + "but redirects are disabled")
            }
            request.url = try redirected(from: request.url, to: target)
            response = try send(request)
        }
        guard (200..<400).contains(response.status) else {
            throw .response(
                ResponseError(
                    status: response.status, method: request.method, url: request.url,
                    namespace: configuration.namespace, body: response.body))
        }
        return response
    }

    /// The envelope in an answer; nil when the answer is empty.
    package func envelope(_ body: RawJSON?) -> Secret? { body.map { Secret($0) } }

    /// A 404 with data or warnings gives them, one without gives nil; any other error stays.
    package func dataOfMissing(_ error: APIError) throws(APIError) -> Secret? {
        guard case .response(let answer) = error, answer.status == 404 else { throw error }
        guard let body = answer.body else { return nil }
        let secret = Secret(body)
        return secret.hasContent ? secret : nil
    }

    private func headers(for method: String, _ path: String) -> [(String, String)] {
        var headers = [("X-Vault-Request", "true")]
        if !configuration.token.isEmpty { headers.append(("X-Vault-Token", configuration.token)) }
        if !configuration.namespace.isEmpty { headers.append(("X-Vault-Namespace", configuration.namespace)) }
        // Wrapping is what this path is for, so it has a default.
        let wrapTTL = configuration.wrapTTL ?? (path == "sys/wrapping/wrap" && method != "GET" ? "5m" : nil)
        if let wrapTTL { headers.append(("X-Vault-Wrap-TTL", wrapTTL)) }
        return headers + configuration.headers
    }

    private func sendWithRetries(_ request: HTTPClientRequest) throws(APIError) -> HTTPClientResponse {
        var left = configuration.maxRetries
        while true {
            do throws(HTTPClientError) {
                let response = try http.send(request)
                let isPassing = response.status == 412 || response.status >= 500 && response.status != 501
                if !isPassing || left == 0 { return response }
            } catch {
                let isPassing = error.kind == .connect || error.kind == .broken
                if !isPassing || left == 0 { throw .transport(Self.fault(error.kind), error.message) }
            }
            left -= 1
            usleep(UInt32(configuration.retryPause.wholeNanoseconds / 1_000))
        }
    }

    private func redirected(from url: String, to target: String) throws(APIError) -> String {
        if target.hasPrefix("/") {
            let scheme = url.hasPrefix("https://") ? "https://" : "http://"
            return scheme + url.dropFirst(scheme.count).prefix { $0 != "/" } + target
        }
        if url.hasPrefix("https://"), !target.hasPrefix("https://") {
            throw .transport(
                .other, "redirect would cause protocol downgrade: \(target.withoutURLCredentials)")
        }
        return target
    }

    private static func fault(_ kind: HTTPClientError.Kind) -> TransportFault {
        switch kind {
        case .connect: .unreachable
        case .timeout: .timeout
        case .tls: .tls
        case .plainText: .plainText
        case .broken: .broken
        case .configuration, .tooLarge: .other
        }
    }

    static func escaped(_ text: String, keeping: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        let kept = Set(keeping.utf8)
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            let isAlphanumeric =
                byte >= 48 && byte <= 57 || byte >= 65 && byte <= 90 || byte >= 97 && byte <= 122
            if isAlphanumeric || kept.contains(byte) {
                bytes.append(byte)
            } else {
                bytes.append(contentsOf: [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]])
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The token is fetched when the command runs, so that it stands in no history.
    private static func curlCommand(_ request: HTTPClientRequest) -> String {
        func quoted(_ text: String) -> String {
            "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\"'\"'")
                + "'"
        }
        var command = "curl"
        if request.method != "GET" { command += " -X \(request.method)" }
        for (name, value) in request.headers {
            command +=
                name == "X-Vault-Token"
                ? " -H \"X-Vault-Token: $(vault print token)\"" : " -H \(quoted("\(name): \(value)"))"
        }
        if let body = request.body { command += " -d \(quoted(String(decoding: body, as: UTF8.self)))" }
        return command + " " + quoted(request.url)
    }
}
