package import Base
import Net

/// How this server proves to Azure who it is.
package enum AzureCredential: Sendable {
    /// A service principal with a secret.
    case secret(tenant: String, clientID: String, secret: SecretBytes)
    /// A service principal that trusts the cluster's service accounts; the file is read anew each time.
    case workload(tenant: String, clientID: String, tokenFile: String)
    /// The machine's own identity, or one of several by its client id.
    case managed(clientID: String?)
    /// The same in App Service and its kin, where each process is told an address and a secret header.
    case appService(endpoint: String, header: SecretBytes, clientID: String?)
}

/// Gets tokens for one resource (Microsoft identity platform: OAuth 2.0 client credentials; Azure IMDS; App
/// Service, REST endpoint for managed identities).
package final class AzureIdentity: BearerIdentity {
    private static let metadataSeconds = 5

    private let credential: AzureCredential
    private let authority: String
    private let metadata: String
    private let resource: String
    private let held: BearerToken
    private let client: UpstreamClient

    /// - Parameters:
    ///   - authority: base URL of the login service.
    ///   - metadata: base URL of the machine's metadata service.
    ///   - resource: what the token is for: `https://vault.azure.net`.
    package init(
        _ credential: AzureCredential, authority: String, metadata: String, resource: String, clock: any Clock
    ) {
        self.credential = credential
        self.authority = authority
        self.metadata = metadata
        self.resource = resource
        held = BearerToken(clock: clock)
        switch credential {
        case .managed:
            client = UpstreamClient("Azure's metadata service", clock: clock, seconds: Self.metadataSeconds)
        case .appService: client = UpstreamClient("Azure App Service's identity endpoint", clock: clock)
        case .secret, .workload: client = UpstreamClient("Azure's login service", clock: clock)
        }
    }

    func token() throws(VaultError) -> String {
        try held.token { () throws(VaultError) in
            try BearerToken.read(try client.send(try request()), from: client)
        }
    }

    func forget() { held.forget() }

    private func request() throws(VaultError) -> HTTPClientRequest {
        switch credential {
        case .secret(let tenant, let clientID, let secret):
            return login(tenant, clientID, [("client_secret", secret)])
        case .workload(let tenant, let clientID, let file):
            let token = try SmallFile.readToken(file)
            return login(
                tenant, clientID,
                [
                    (
                        "client_assertion_type",
                        SecretBytes(plain: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                    ), ("client_assertion", token),
                ])
        case .managed(let clientID):
            var url =
                metadata + "metadata/identity/oauth2/token?api-version=2018-02-01&resource="
                + PercentEncoding.encode(resource)
            if let clientID { url += "&client_id=" + PercentEncoding.encode(clientID) }
            return HTTPClientRequest(method: "GET", url: url, headers: [("Metadata", "true")])
        case .appService(let endpoint, let header, let clientID):
            var url = endpoint + "?api-version=2019-08-01&resource=" + PercentEncoding.encode(resource)
            if let clientID { url += "&client_id=" + PercentEncoding.encode(clientID) }
            let secret = header.withBytes { String(decoding: $0, as: UTF8.self) }
            return HTTPClientRequest(method: "GET", url: url, headers: [("X-IDENTITY-HEADER", secret)])
        }
    }

    private func login(
        _ tenant: String, _ clientID: String, _ proof: [(String, SecretBytes)]
    ) -> HTTPClientRequest {
        HTTPClientRequest(
            method: "POST", url: authority + PercentEncoding.encode(tenant) + "/oauth2/v2.0/token",
            headers: [("Content-Type", "application/x-www-form-urlencoded")],
            body: PercentEncoding.form(
                [
                    ("grant_type", SecretBytes(plain: "client_credentials")),
                    ("client_id", SecretBytes(plain: clientID)),
                    ("scope", SecretBytes(plain: resource + "/.default")),
                ] + proof))
    }
}
