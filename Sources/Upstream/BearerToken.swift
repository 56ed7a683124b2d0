import Base
import Net
import Synchronization

/// A token of OAuth 2.0, kept until shortly before it ends.
final class BearerToken: Sendable {
    /// Tokens that end sooner are replaced.
    private static let reserve = Duration.seconds(120)

    private let held = Mutex<(token: String, expires: Timestamp)?>(nil)
    private let clock: any Clock

    init(clock: any Clock) { self.clock = clock }

    /// The token at hand, or a fresh one.
    func token(
        or fetch: () throws(VaultError) -> (token: String, lifetime: Duration)
    ) throws(VaultError) -> String {
        let now = clock.now()
        if let held = held.withLock({ $0 }), held.expires > now + Self.reserve { return held.token }
        let fresh = try fetch()
        held.withLock { $0 = (fresh.token, now + fresh.lifetime) }
        return fresh.token
    }

    /// Forgets what the service has refused.
    func forget() { held.withLock { $0 = nil } }

    /// Reads a token endpoint's answer (RFC 6749 §5.1 and §5.2).
    /// - Throws: `.forbidden` when it refuses the credential.
    static func read(
        _ response: HTTPClientResponse, from client: UpstreamClient
    ) throws(VaultError) -> (token: String, lifetime: Duration) {
        let json = UpstreamClient.json(response)
        guard response.status == 200 else {
            let reason = json?["error"]?.string ?? ""
            if response.status == 400 || response.status == 401 {
                throw .forbidden(
                    "\(client.service) refuses the credential"
                        + (reason.isEmpty ? "" : " (\(UpstreamClient.clean(reason)))") + client.skew(response)
                )
            }
            throw client.refusal(response, reason)
        }
        guard let token = (json?["access_token"] ?? json?["accessToken"])?.string else {
            throw .unavailable("\(client.service) gave an answer without a token", retryAfterSeconds: 0)
        }
        func number(_ name: String) -> Int? {
            json?[name].flatMap { $0.int ?? $0.string.flatMap { Int($0) } }
        }
        // App Service tells when it ends, in seconds since 1970.
        let end = number("expires_on").map { min(max($0, 0), 1 << 40) - Int(client.now.seconds) }
        let seconds = number("expires_in") ?? end ?? 300
        return (token, .seconds(min(max(seconds, 0), 86_400)))
    }
}

/// Who gets such tokens for an account.
protocol BearerIdentity: Sendable {
    /// The token at hand, or a fresh one.
    func token() throws(VaultError) -> String
    /// Forgets what the service has refused.
    func forget()
}

extension UpstreamClient {
    /// Sends a request with the account's token; once more with a fresh one when that at hand was refused.
    /// - Parameter request: made anew for each attempt, with the header that it is given.
    func send(
        as identity: some BearerIdentity, _ request: ((String, String)) -> HTTPClientRequest
    ) throws(VaultError) -> HTTPClientResponse {
        let response = try send(request(("Authorization", "Bearer " + (try identity.token()))))
        guard response.status == 401 else { return response }
        identity.forget()
        return try send(request(("Authorization", "Bearer " + (try identity.token()))))
    }
}
