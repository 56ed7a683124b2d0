import Base
import Core
import Net

/// What becomes of a request under a CORS configuration (Fetch standard §3.2, decided as Vault does).
enum CORSDecision {
    /// It is answered as any other, with these headers besides.
    case proceed([ResponseHeaders.Field])
    /// It was a preflight, and this is its answer: 200 without a body.
    case preflight([ResponseHeaders.Field])
    case refused(VaultError)

    private static let methods = ["DELETE", "GET", "OPTIONS", "POST", "PUT", "LIST", "PATCH"]
    private static let maxAgeSeconds = "300"

    static func decide(_ request: HTTPRequest, _ config: CORSConfig) -> CORSDecision {
        // Only browsers send it, and they always do.
        guard let origin = request.header("origin"), !origin.isEmpty else { return .proceed([]) }
        guard config.allows(origin) else { return .refused(.forbidden("origin not allowed")) }
        let own: [ResponseHeaders.Field] = [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
        guard request.method == .options else { return .proceed(own) }
        guard let wanted = request.header("access-control-request-method"), methods.contains(wanted) else {
            return .refused(.methodNotAllowed)
        }
        return .preflight(
            own + [
                ("Access-Control-Allow-Methods", methods.joined(separator: ",")),
                ("Access-Control-Allow-Headers", config.allowedHeaders.joined(separator: ",")),
                ("Access-Control-Max-Age", maxAgeSeconds),
            ])
    }
}
