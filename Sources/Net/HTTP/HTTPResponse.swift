/// One answer. Framing (`Content-Length`, `Connection`, `Date`) is the server's to add.
package struct HTTPResponse: Sendable {
    /// Between 200 and 599.
    package var status: Int
    /// Further fields, in their order. Keep constant ones in one shared array: it is not copied.
    package var headers: [(name: String, value: String)]
    /// `Content-Type`; nil sends none.
    package var contentType: String?
    package var body: [UInt8]
    /// Closes the connection after this answer.
    package var close: Bool

    package init(
        status: Int, contentType: String? = nil, headers: [(name: String, value: String)] = [],
        body: [UInt8] = [],
        close: Bool = false
    ) {
        self.status = status
        self.headers = headers
        self.contentType = contentType
        self.body = body
        self.close = close
    }

    /// The answer to a request that cannot be read, in the shape of Vault's errors.
    init(_ error: HTTPProtocolError) {
        self.init(
            status: error.status, contentType: "application/json",
            headers: error.retryAfterSeconds.map { [("Retry-After", String($0))] } ?? [],
            body: Array("{\"errors\":[\"\(error.message)\"]}\n".utf8), close: true)
    }

    /// RFC 9110 §15 and the registry; a code without a name gets an empty phrase, which is allowed.
    var reason: StaticString {
        switch status {
        case 200: "OK"
        case 201: "Created"
        case 202: "Accepted"
        case 204: "No Content"
        case 301: "Moved Permanently"
        case 302: "Found"
        case 303: "See Other"
        case 304: "Not Modified"
        case 307: "Temporary Redirect"
        case 308: "Permanent Redirect"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 406: "Not Acceptable"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 412: "Precondition Failed"
        case 413: "Content Too Large"
        case 415: "Unsupported Media Type"
        case 417: "Expectation Failed"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        default: ""
        }
    }
}
