package import Base
package import PluginKit

/// What the audit knows of one request.
package struct AuditedCall: Sendable {
    /// The request as it came in: its path is the whole one below `/v1/`.
    package let request: LogicalRequest
    /// The token that came with it, good or bad.
    package let token: [UInt8]?
    /// The token's entry; nil when there is none, or when it was refused.
    package let bearer: TokenEntry?
    package let mount: Mount?
    /// What the token's entity and its groups gave besides.
    package let identityPolicies: [String]

    /// A call with what was found out about it.
    package init(
        request: LogicalRequest, token: [UInt8]?, bearer: TokenEntry?, mount: Mount?,
        identityPolicies: [String] = []
    ) {
        self.identityPolicies = identityPolicies
        self.request = request
        self.token = token
        self.bearer = bearer
        self.mount = mount
    }
}

/// Which records a call gets at one point of its way.
package enum AuditStage: Sendable {
    /// Before a handler that reaches the outside world.
    case request
    /// Before the answer; a later one of the same request replaces an earlier one.
    case response(Result<LogicalResponse, VaultError>)
    /// Both, before a handler's writes are committed: it has touched nothing yet.
    case both(Result<LogicalResponse, VaultError>)
}

/// An error in a record: a fixed text in the clear, and what may quote the client, to be hashed.
struct AuditedError {
    /// Nil for what Vault does not call an error: there was nothing at the path.
    let text: String?
    let hashed: [String]

    init(_ error: VaultError) {
        switch error {
        case .notFound:
            text = nil
            hashed = []
        case .badRequest, .badRequests, .tooLarge, .unsupportedMediaType, .conflict, .preconditionFailed,
            .notFoundBecause, .invalidCredentials:
            text = Self.list("invalid request")
            hashed = error.messages
        case .missingToken:
            text = Self.list("invalid request")
            hashed = []
        case .permissionDenied, .policyDenied:
            text = Self.list("permission denied")
            hashed = []
        case .forbidden:
            text = Self.list("permission denied")
            hashed = error.messages
        case .tooManyRequests:
            text = Self.list("request path is rate limited")
            hashed = error.messages
        case .unavailable:
            text = Self.list("unavailable")
            hashed = error.messages
        case .noHandler, .unsupportedPath, .unsupportedOperation, .unsupportedOperationWithoutToken, .sealed,
            .standby, .unknownOutcome, .removedFromCluster, .notInitialized, .corrupted, .internal:
            text = error.messages.first ?? ""
            hashed = []
        case .methodNotAllowed:
            text = Self.list("unsupported operation")
            hashed = []
        }
    }

    /// One error in the form of Go's lists of errors, which readers of Vault's logs know.
    private static func list(_ text: String) -> String { "1 error occurred:\n\t* \(text)\n\n" }
}
