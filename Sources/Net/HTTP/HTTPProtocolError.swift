/// Why a request cannot be read. The server answers with it and closes the connection, because where
/// the next request would start is no longer certain.
package struct HTTPProtocolError: Error, Sendable, Equatable {
    /// 400, 408, 413, 417, 431, 501, 503, 504 or 505.
    package let status: Int
    /// One sentence of fixed text: nothing from the request is repeated.
    package let message: String
    /// Seconds for `Retry-After`, where trying again makes sense.
    package var retryAfterSeconds: Int?

    package init(_ status: Int, _ message: String, retryAfterSeconds: Int? = nil) {
        self.status = status
        self.message = message
        self.retryAfterSeconds = retryAfterSeconds
    }

    static func bad(_ message: String) -> HTTPProtocolError { HTTPProtocolError(400, message) }
    static let tookTooLong = HTTPProtocolError(
        504, "the request took longer than this listener allows; it may still be carried out")
    static let tooSlow = HTTPProtocolError(408, "the request did not arrive in time")
    static let tooManyBodies = HTTPProtocolError(
        503, "too many request bodies at once; try again", retryAfterSeconds: 1)
    static let bodyTooLarge = HTTPProtocolError(413, "http: request body too large")
}
