package import Base
import Glibc
package import Net
import Synchronization

/// A blocking client of somebody else's API: for threads that may wait. One connection is kept alive and its
/// users take turns.
///
/// Errors name the service and its host, and never a header, a query or a body: these hold secrets.
package final class UpstreamClient: Sendable {
    /// Seconds for a whole request, and for connecting.
    package static let timeoutSeconds = 10
    /// Seconds for connecting, TLS included.
    package static let connectTimeoutSeconds = 5
    /// Bytes of an answer: all that come here are short.
    private static let mostAnswerBytes = 1 << 20

    /// As operators know it: `AWS KMS`.
    package let service: String
    private let client: Mutex<HTTPClient>
    private let clock: any Clock

    /// - Parameters:
    ///   - settings: TLS and proxy; timeouts and sizes are this type's own.
    ///   - seconds: for a whole request, where the usual is too long.
    package init(
        _ service: String, _ settings: HTTPClientSettings = HTTPClientSettings(),
        clock: any Clock = SystemClock(), seconds: Int? = nil
    ) {
        self.service = service
        self.clock = clock
        var settings = settings
        if settings.caFile == nil, settings.caPath == nil, settings.caPEM == nil {
            // As Go's programs do: private clouds have roots of their own.
            settings.caFile = getenv("SSL_CERT_FILE").map { String(cString: $0) }
        }
        settings.timeout = .seconds(seconds ?? Self.timeoutSeconds)
        settings.connectTimeout = .seconds(min(seconds ?? .max, Self.connectTimeoutSeconds))
        settings.mostResponseBytes = Self.mostAnswerBytes
        let ready = settings
        client = Mutex(HTTPClient(ready))
    }

    /// Of the clock that tokens are judged by.
    var now: Timestamp { clock.now() }

    /// Sends a request and waits for the answer, whatever its status. The body is wiped.
    /// - Throws: `.unavailable` when none comes; `.badRequest` for a URL or file that cannot be used.
    package func send(_ request: HTTPClientRequest) throws(VaultError) -> HTTPClientResponse {
        var request = request
        let outcome: Result<HTTPClientResponse, HTTPClientError> = client.withLock { client in
            do throws(HTTPClientError) { return .success(try client.send(request)) } catch {
                return .failure(error)
            }
        }
        request.body?.wipe()
        switch outcome {
        case .success(let response): return response
        case .failure(let error):
            if error.kind == .configuration { throw .badRequest("\(service): \(error.cause)") }
            throw .unavailable("\(service) cannot be reached: \(error.cause)", retryAfterSeconds: 0)
        }
    }

    /// What an answer that is no success means, where the service has no finer words.
    /// - Parameter reason: from the answer, if it is fit to be shown.
    package func refusal(_ response: HTTPClientResponse, _ reason: String) -> VaultError {
        let text = "\(service) answers \(response.status)" + (reason.isEmpty ? "" : ": \(Self.clean(reason))")
        switch response.status {
        case 429, 408, 500...:
            return .unavailable(
                text, retryAfterSeconds: response.header("retry-after").flatMap { Int($0) } ?? 0)
        case 401, 403: return .forbidden(text + skew(response))
        default: return .badRequest(text)
        }
    }

    /// What to say when this machine's clock is so far from the service's that it refuses signatures; else
    /// empty.
    package func skew(_ response: HTTPClientResponse) -> String {
        guard let theirs = response.header("date").flatMap({ Timestamp(httpDate: $0) }) else { return "" }
        let seconds = (clock.now() - theirs).wholeSeconds
        let minutes = (seconds + (seconds < 0 ? -30 : 30)) / 60
        if abs(minutes) < 3 { return "" }
        return "; this machine's clock is \(abs(minutes)) minutes "
            + (minutes > 0 ? "ahead of" : "behind") + " that of \(service)"
    }

    /// The body of an answer as JSON; nil when it is none.
    package static func json(_ response: HTTPClientResponse) -> RawJSON? {
        try? RawJSON(validating: response.body)
    }

    /// - Throws: `.unavailable`: an answer that cannot be read is a proxy's, or a service that is ill.
    package func json(_ response: HTTPClientResponse) throws(VaultError) -> RawJSON {
        guard let json = Self.json(response) else {
            throw .unavailable("\(service) gave an answer that is no JSON", retryAfterSeconds: 0)
        }
        return json
    }

    /// Words of others in one line of bounded length.
    package static func clean(_ text: String) -> String {
        var line = String.UnicodeScalarView()
        for scalar in text.unicodeScalars.prefix(300) {
            let isBreak = [0x2028, 0x2029].contains(scalar.value)
            line.append(scalar.value < 32 || (127..<160).contains(scalar.value) || isBreak ? " " : scalar)
        }
        return String(line)
    }
}

/// Text for URLs and forms.
package enum PercentEncoding {
    /// Leaves only what RFC 3986 calls unreserved.
    package static func encode(_ text: String) -> String {
        String(decoding: encode(Array(text.utf8)), as: UTF8.self)
    }

    /// The same for bytes that may be secret; wipe the result.
    package static func encode(_ bytes: [UInt8]) -> [UInt8] {
        var encoded: [UInt8] = []
        encoded.reserveCapacity(bytes.count * 3)
        let digits = Array("0123456789ABCDEF".utf8)
        for byte in bytes {
            switch byte {
            case 48...57, 65...90, 97...122, 45, 46, 95, 126: encoded.append(byte)
            default: encoded += [37, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return encoded
    }

    /// A form's body. Wipe it after use.
    package static func form(_ fields: [(String, SecretBytes)]) -> [UInt8] {
        var body: [UInt8] = []
        body.reserveCapacity(fields.reduce(0) { $0 + $1.0.utf8.count + 3 * $1.1.count + 2 })
        for (name, value) in fields {
            if !body.isEmpty { body.append(UInt8(ascii: "&")) }
            body += Array(name.utf8)
            body.append(UInt8(ascii: "="))
            var plain = value.withBytes { Array($0) }
            var encoded = encode(plain)
            body += encoded
            plain.wipe()
            encoded.wipe()
        }
        return body
    }
}

extension SmallFile {
    /// A token that stands in a file, without the line's end.
    static func readToken(_ path: String) throws(VaultError) -> SecretBytes {
        var token = try read(path)
        defer { token.wipe() }
        while let last = token.last, last == 10 || last == 13 { token.removeLast() }
        return SecretBytes(copying: token)
    }
}

extension SecretBytes {
    /// Text that is no secret, where one is expected.
    package convenience init(plain text: String) { self.init(copying: text.utf8) }
}

extension Timestamp {
    /// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
    init?(httpDate text: String) {
        let parts = text.split(separator: " ")
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        guard parts.count == 6, let month = months.firstIndex(where: { $0 == parts[2] }), parts[5] == "GMT"
        else { return nil }
        let number = month < 9 ? "0\(month + 1)" : "\(month + 1)"
        self.init(rfc3339: "\(parts[3])-\(number)-\(parts[1])T\(parts[4])Z")
    }
}
