package import Base

/// How a client connects.
package struct HTTPClientSettings: Sendable {
    /// PEM file of the roots to trust instead of the system's.
    package var caFile: String?
    /// PEM text of the roots to trust, in place of a file.
    package var caPEM: [UInt8]?
    /// Directory of hashed PEM files to trust instead of the system's.
    package var caPath: String?
    /// PEM file of the client's certificate, and of its key.
    package var clientCertificateFile: String?
    /// PEM file of that certificate's key.
    package var clientKeyFile: String?
    /// PEM text of the client's certificate and of its key, in place of files.
    package var clientCertificatePEM: [UInt8]?
    /// PEM text of that certificate's key.
    package var clientKeyPEM: SecretBytes?
    /// Name that the server's certificate must show, when it is not the host's.
    package var serverName: String?
    /// Accepts any certificate. The caller has warned its user.
    package var skipVerify = false
    /// Proxy to go through, before those of the environment.
    package var proxy: String?
    /// Path of a unix socket to connect to; the URL's host is then only a name.
    package var unixSocket: String?
    /// For the whole request.
    package var timeout: Duration = .seconds(60)
    /// For connecting, TLS included.
    package var connectTimeout: Duration = .seconds(30)
    /// Bytes of a response's body.
    package var mostResponseBytes = 64 << 20

    /// The system's roots, no certificate, no proxy but the environment's.
    package init() {}
}

/// One request. The URL is complete and escaped.
package struct HTTPClientRequest: Sendable {
    /// As it goes on the wire.
    package var method: String
    /// Complete and escaped.
    package var url: String
    /// In their order.
    package var headers: [(String, String)]
    /// Nil for none.
    package var body: [UInt8]?

    /// A request of these parts.
    package init(method: String, url: String, headers: [(String, String)] = [], body: [UInt8]? = nil) {
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
    }
}

/// One response, whole. Names of headers are in lower case, in the order received.
package struct HTTPClientResponse: Sendable {
    /// Between 100 and 599.
    package var status: Int
    /// In the order received.
    package var headers: [(name: String, value: String)]
    /// All of it.
    package var body: [UInt8]

    /// A response of these parts.
    package init(status: Int, headers: [(name: String, value: String)], body: [UInt8]) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// The first header of that name, which is given in lower case.
    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
}

/// Why no response came.
package struct HTTPClientError: Error, Sendable {
    /// What kind of failure it is.
    package enum Kind: Sendable {
        /// A wrong URL or an unreadable file: trying again is useless.
        case configuration
        /// No connection came about.
        case connect
        case timeout
        /// The certificate or the handshake was refused.
        case tls
        /// The server answered a TLS hello in plain text.
        case plainText
        /// The connection broke, or did not speak HTTP.
        case broken
        case tooLarge
    }
    /// For whoever decides what to do next.
    package let kind: Kind
    /// The cause alone, such as `dial tcp 127.0.0.1:8200: connect: connection refused`.
    package let cause: String
    /// The cause with method and URL, as Go's clients print it: `Get "http://…": dial tcp …`; without a
    /// password that the URL may hold.
    package let message: String

    init(_ kind: Kind, _ cause: String, _ request: HTTPClientRequest) {
        self.kind = kind
        self.cause = cause
        let method = request.method.prefix(1) + request.method.dropFirst().lowercased()
        message = method.isEmpty ? cause : "\(method) \"\(request.url.withoutURLCredentials)\": \(cause)"
    }
}
