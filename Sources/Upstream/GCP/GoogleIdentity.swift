package import Base
import Crypto
import Net

/// Gets tokens for Google's APIs: by a service account's key, by workload identity federation, or from the
/// metadata server of the machine (which also serves GKE's workload identity).
package final class GoogleIdentity: BearerIdentity {
    private static let scope = "https://www.googleapis.com/auth/cloudkms"
    private static let tokenLifetime = 3_600
    private static let metadataSeconds = 5

    private enum Source: Sendable {
        case serviceAccount(email: String, keyID: String, pem: SecretBytes, tokenURI: String)
        case external(
            audience: String, tokenType: String, tokenURL: String, file: String, impersonation: String?)
        case metadata(String)
    }

    private let source: Source
    /// Where tokens come from, when it is not where the credentials say.
    private let override: String?
    private let held: BearerToken
    private let client: UpstreamClient
    private let clock: any Clock

    /// - Parameters:
    ///   - credentials: the JSON of a key or of a federation; nil for the metadata server.
    ///   - authEndpoint: replaces the token endpoint, or the metadata server, with a slash at its end.
    /// - Throws: `.badRequest` when the JSON is neither.
    package init(credentials: SecretBytes?, authEndpoint: String?, clock: any Clock) throws(VaultError) {
        override = authEndpoint
        self.clock = clock
        held = BearerToken(clock: clock)
        guard let credentials else {
            source = .metadata(authEndpoint ?? "http://metadata.google.internal/")
            client = UpstreamClient("Google's metadata server", clock: clock, seconds: Self.metadataSeconds)
            return
        }
        source = try Self.source(credentials)
        client = UpstreamClient("Google's token service", clock: clock)
    }

    private static func source(_ credentials: SecretBytes) throws(VaultError) -> Source {
        let bytes = credentials.withBytes { Array($0) }
        guard let json = try? RawJSON(validating: bytes) else {
            throw .badRequest("Google's credentials: expected the JSON of a service account's key")
        }
        func text(_ name: String) throws(VaultError) -> String {
            if let text = json[name]?.string, !text.isEmpty { return text }
            throw .badRequest("Google's credentials: expected '\(name)'")
        }
        switch json["type"]?.string {
        case "service_account":
            guard let pem = json["private_key"]?.stringBytes else {
                throw .badRequest("Google's credentials: expected 'private_key'")
            }
            return .serviceAccount(
                email: try text("client_email"), keyID: json["private_key_id"]?.string ?? "",
                pem: SecretBytes(copying: pem),
                tokenURI: json["token_uri"]?.string ?? "https://oauth2.googleapis.com/token")
        case "external_account":
            guard let file = json["credential_source"]?["file"]?.string else {
                throw .badRequest("Google's credentials: expected a 'credential_source' with a 'file'")
            }
            return .external(
                audience: try text("audience"), tokenType: try text("subject_token_type"),
                tokenURL: try text("token_url"), file: file,
                impersonation: json["service_account_impersonation_url"]?.string)
        case let type:
            throw .badRequest(
                "Google's credentials: 'type': expected service_account or external_account, found "
                    + "'\(UpstreamClient.clean(type ?? ""))'")
        }
    }

    func token() throws(VaultError) -> String {
        try held.token { () throws(VaultError) in try fetch() }
    }

    func forget() { held.forget() }

    private func fetch() throws(VaultError) -> (token: String, lifetime: Duration) {
        switch source {
        case .metadata(let base):
            let response = try client.send(
                HTTPClientRequest(
                    method: "GET",
                    url: base + "computeMetadata/v1/instance/service-accounts/default/token",
                    headers: [("Metadata-Flavor", "Google")]))
            return try BearerToken.read(response, from: client)
        case .serviceAccount(let email, let keyID, let pem, let tokenURI):
            let assertion = try assertion(email, keyID, pem, tokenURI)
            return try post(
                override.map { $0 + "token" } ?? tokenURI,
                [
                    ("grant_type", SecretBytes(plain: "urn:ietf:params:oauth:grant-type:jwt-bearer")),
                    ("assertion", assertion),
                ])
        case .external(let audience, let tokenType, let tokenURL, let file, let impersonation):
            return try federate(audience, tokenType, tokenURL, file, impersonation)
        }
    }

    private func post(
        _ url: String, _ fields: [(String, SecretBytes)]
    ) throws(VaultError) -> (token: String, lifetime: Duration) {
        let response = try client.send(
            HTTPClientRequest(
                method: "POST", url: url, headers: [("Content-Type", "application/x-www-form-urlencoded")],
                body: PercentEncoding.form(fields)))
        return try BearerToken.read(response, from: client)
    }

    /// A JWT that the account has signed (RFC 7523).
    private func assertion(
        _ email: String, _ keyID: String, _ pem: SecretBytes, _ audience: String
    ) throws(VaultError) -> SecretBytes {
        let now = Int(clock.now().seconds)
        let header: JSONValue = ["alg": "RS256", "typ": "JWT", "kid": .string(keyID)]
        let claims: JSONValue = [
            "iss": .string(email), "scope": .string(Self.scope), "aud": .string(audience), "iat": .int(now),
            "exp": .int(now + Self.tokenLifetime),
        ]
        let text = Base64.url.encode(header.encoded()) + "." + Base64.url.encode(claims.encoded())
        let signature = try RSASigner.sign(Array(text.utf8), pem: pem)
        return SecretBytes(plain: text + "." + Base64.url.encode(signature))
    }

    /// A token of another issuer for one of Google's (RFC 8693), and that, where asked for, for a service
    /// account's.
    private func federate(
        _ audience: String, _ tokenType: String, _ tokenURL: String, _ file: String, _ impersonation: String?
    ) throws(VaultError) -> (token: String, lifetime: Duration) {
        var subject = try SmallFile.read(file)
        defer { subject.wipe() }
        while let last = subject.last, last == 10 || last == 13 { subject.removeLast() }
        let scope = impersonation == nil ? Self.scope : "https://www.googleapis.com/auth/cloud-platform"
        let own = try post(
            override.map { $0 + "token" } ?? tokenURL,
            [
                ("grant_type", SecretBytes(plain: "urn:ietf:params:oauth:grant-type:token-exchange")),
                ("audience", SecretBytes(plain: audience)), ("scope", SecretBytes(plain: scope)),
                (
                    "requested_token_type",
                    SecretBytes(plain: "urn:ietf:params:oauth:token-type:access_token")
                ), ("subject_token_type", SecretBytes(plain: tokenType)),
                ("subject_token", SecretBytes(copying: subject)),
            ])
        guard let impersonation else { return own }
        let body: JSONValue = ["scope": [.string(Self.scope)], "lifetime": "3600s"]
        let response = try client.send(
            HTTPClientRequest(
                method: "POST", url: impersonation,
                headers: [("Authorization", "Bearer " + own.token), ("Content-Type", "application/json")],
                body: body.encoded()))
        return try BearerToken.read(response, from: client)
    }
}
