internal import Base
internal import Net

/// Why a call to the API gave no result.
package enum APIError: Error, Sendable {
    /// The server answered with an error status.
    case response(ResponseError)
    /// No answer came; the text says why, the fault what kind of cause it was.
    case transport(TransportFault, String)
    /// The call or its settings make no sense; nothing was sent.
    case misuse(String)
    /// The answer is not what the API promises.
    case unreadable(String)
    /// Nothing was sent on purpose: the `curl` command that would send it, or the policy that would allow it.
    case shown(String)

    /// What a user reads.
    package var message: String {
        switch self {
        case .response(let error): error.message
        case .transport(_, let text), .misuse(let text), .unreadable(let text), .shown(let text): text
        }
    }

    /// The status of the server's answer, where there was one.
    package var status: Int? {
        if case .response(let error) = self { return error.status }
        return nil
    }
}

/// Why no answer came, as far as a user can do something about it.
package enum TransportFault: Sendable {
    /// Nobody listens there, or the name is not known.
    case unreachable
    /// No answer in time.
    case timeout
    /// The certificate or the handshake was refused.
    case tls
    /// The server spoke plain HTTP where TLS was expected.
    case plainText
    /// The connection broke, as it does when plain HTTP meets TLS.
    case broken
    case other
}

/// An answer with an error status.
package struct ResponseError: Error, Sendable {
    package let status: Int
    package let method: String
    /// Without a password that it may hold.
    package let url: String
    package let namespace: String
    /// The body's `errors`, or the whole body as one text when it has no such list.
    package let errors: [String]
    package let isRaw: Bool
    /// The body, where it is JSON: a 404 may carry data.
    let body: RawJSON?

    init(status: Int, method: String, url: String, namespace: String, body bytes: [UInt8]) {
        self.status = status
        self.method = method
        self.url = url.withoutURLCredentials
        self.namespace = namespace
        body = try? RawJSON(validating: bytes, limits: .ofResponses)
        if let list = body?["errors"], list.kind == .array {
            errors = list.elements.compactMap { $0.string }
            isRaw = false
        } else {
            errors = bytes.isEmpty ? [] : [String(decoding: bytes.prefix(16 << 10), as: UTF8.self)]
            isRaw = !bytes.isEmpty
        }
    }

    /// In the layout that Vault's users and their scripts know.
    package var message: String {
        let space = namespace.isEmpty ? "" : "Namespace: \(namespace)\n"
        let head =
            "Error making API request.\n\n\(space)URL: \(method) \(url)\nCode: \(status). "
            + "\(isRaw ? "Raw Message" : "Errors"):\n\n"
        return head + (isRaw ? errors[0] : errors.map { "* \($0)" }.joined(separator: "\n"))
    }
}

extension Limits {
    /// A server may send more than it takes: only nesting stays bounded.
    static let ofResponses: Limits = {
        var limits = Limits()
        limits.jsonStringBytes = 64 << 20
        limits.jsonObjectEntries = 10_000_000
        limits.jsonArrayElements = 10_000_000
        return limits
    }()
}
