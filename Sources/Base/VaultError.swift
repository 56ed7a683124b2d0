/// The one error type that crosses module borders.
///
/// A case fixes both the HTTP status and the text that a client sees, in the words that Vault's
/// clients know; the private cause of a failure of ours (`internal`, `corrupted`) goes to the log
/// only, with the request's id. Nothing anywhere decides by matching an error's text.
package enum VaultError: Error, Sendable, Equatable {
    /// 400: the caller's fault, in one sentence that names the field and what was expected.
    case badRequest(String)
    /// 400: several faults at once, each its own line in `errors`.
    case badRequests([String])
    /// 400: a login whose name or secret is wrong; counted towards the lockout of the name.
    case invalidCredentials(String)
    /// 400: no token came with a request that needs one.
    case missingToken
    /// 403: the token is unknown or expired.
    case permissionDenied
    /// 403: the token is good, but its policies do not allow this.
    case policyDenied
    /// 403 with a reason that the caller may know.
    case forbidden(String)
    /// 404 with an empty list of errors: there is nothing at this path.
    case notFound
    /// 404 with a reason.
    case notFoundBecause(String)
    /// 404: no mount serves this path.
    case noHandler(path: String)
    /// 404: a mount serves this prefix but has no such path.
    case unsupportedPath
    /// 405: the path exists, the operation does not.
    case unsupportedOperation
    /// 405: the same, at a path that needs no token.
    case unsupportedOperationWithoutToken
    /// 405 with an empty list of errors: the verb is not one of the API's.
    case methodNotAllowed
    /// 409: what was asked conflicts with what is there.
    case conflict(String)
    /// 412: a consistency or compare-and-set precondition that the client stated does not hold.
    case preconditionFailed(String)
    /// 413: the body, or one value in it, is larger than its limit.
    case tooLarge(String)
    /// 415: the content type cannot be read here.
    case unsupportedMediaType(String)
    /// 429: a quota is used up.
    case tooManyRequests(String)
    /// 503: the server is sealed.
    case sealed
    /// 503: only the active node can do this, and this one is not; nothing has been done.
    case standby
    /// 503: the active node was lost while it had the write, which may yet take effect: never to be done
    /// again without the client's asking.
    case unknownOutcome
    /// 503: this node was removed from its cluster, and will not serve again as it is.
    case removedFromCluster
    /// 400: the server has not been initialised.
    case notInitialized
    /// 503: for now, with the reason and the number of seconds after which to try again.
    case unavailable(String, retryAfterSeconds: Int)
    /// 500: stored data failed authentication. The place is for the log.
    case corrupted(place: String)
    /// 500: our fault. The cause is for the log; the client sees a fixed sentence.
    case `internal`(String)

    /// The HTTP status of the answer.
    package var status: Int {
        switch self {
        case .badRequest, .badRequests, .invalidCredentials, .missingToken, .notInitialized: 400
        case .permissionDenied, .policyDenied, .forbidden: 403
        case .notFound, .notFoundBecause, .noHandler, .unsupportedPath: 404
        case .unsupportedOperation, .unsupportedOperationWithoutToken, .methodNotAllowed: 405
        case .conflict: 409
        case .preconditionFailed: 412
        case .tooLarge: 413
        case .unsupportedMediaType: 415
        case .tooManyRequests: 429
        case .sealed, .standby, .unknownOutcome, .removedFromCluster, .unavailable: 503
        case .corrupted, .internal: 500
        }
    }

    /// The strings in the answer's `errors`: safe for any client.
    package var messages: [String] {
        switch self {
        case .badRequest(let text), .forbidden(let text), .notFoundBecause(let text), .conflict(let text),
            .preconditionFailed(let text), .tooLarge(let text), .unsupportedMediaType(let text),
            .tooManyRequests(let text), .unavailable(let text, _), .invalidCredentials(let text):
            [text]
        case .badRequests(let texts): texts
        case .missingToken: ["missing client token"]
        case .permissionDenied: ["permission denied"]
        case .policyDenied: ["1 error occurred:\n\t* permission denied\n\n"]
        case .notFound, .methodNotAllowed: []
        case .noHandler(let path): ["no handler for route '\(path)'"]
        case .unsupportedPath: ["1 error occurred:\n\t* unsupported path\n\n"]
        case .unsupportedOperation: ["1 error occurred:\n\t* unsupported operation\n\n"]
        case .unsupportedOperationWithoutToken: ["unsupported operation"]
        case .sealed: ["Vault is sealed"]
        case .standby: ["Vault is in standby mode"]
        case .unknownOutcome:
            ["the active node changed during the write: it may or may not have taken effect"]
        case .removedFromCluster:
            [
                "this node has been removed from its cluster: stop it, empty its data directory, and let it "
                    + "join again"
            ]
        case .notInitialized: ["server is not yet initialized"]
        case .corrupted: ["stored data failed its integrity check; the server's log names the place"]
        case .internal: ["internal error; the server's log has the cause under this request's id"]
        }
    }

    /// What the operator's log gets and the client does not; nil where the client saw everything.
    package var privateCause: String? {
        switch self {
        case .internal(let cause): cause
        case .corrupted(let place): "integrity check failed: \(place)"
        default: nil
        }
    }
}
