package import Base
import Net
import Synchronization

/// What signs requests to AliCloud.
package struct AliCloudCredentials: Sendable {
    /// The public half: an access key id.
    package let accessKey: String
    /// The secret half.
    package let secretKey: SecretBytes
    /// Of credentials that end.
    package let securityToken: String?
    /// Nil when they do not end.
    package let expires: Timestamp?

    /// Takes each part as it is.
    package init(
        accessKey: String, secretKey: SecretBytes, securityToken: String? = nil, expires: Timestamp? = nil
    ) {
        self.accessKey = accessKey
        self.secretKey = secretKey
        self.securityToken = securityToken
        self.expires = expires
    }
}

/// Where credentials may come from.
package enum AliCloudIdentity: Sendable {
    /// Keys of a user.
    case keys(AliCloudCredentials)
    /// A role for a pod's service account (RRSA); the file is read anew each time.
    case oidc(AliCloudOIDCRole)
    /// The instance's RAM role, by its name where there are several.
    case instance(role: String?)
}

/// A role, and the identity provider whose tokens let one have it.
package struct AliCloudOIDCRole: Sendable {
    /// ARN of the RAM role.
    package let role: String
    /// ARN of the OIDC provider.
    package let provider: String
    /// File of the token.
    package let tokenFile: String
    /// Name of the session in AliCloud's logs.
    package let session: String

    /// Takes each part as it is.
    package init(role: String, provider: String, tokenFile: String, session: String) {
        self.role = role
        self.provider = provider
        self.tokenFile = tokenFile
        self.session = session
    }
}

/// Keeps credentials, and gets new ones before they end.
package final class AliCloudCredentialSource: Sendable {
    private static let reserve = Duration.seconds(300)
    private static let metadataSeconds = 3

    private let identity: AliCloudIdentity
    private let endpoint: String
    private let clock: any Clock
    private let random: any RandomSource
    private let held = Mutex<AliCloudCredentials?>(nil)
    private let client: UpstreamClient

    /// - Parameters:
    ///   - endpoint: base URL of the token service, or of the instance's metadata service; nil for the usual.
    ///   - region: whose token service is asked.
    package init(
        _ identity: AliCloudIdentity, endpoint: String?, region: String, clock: any Clock,
        random: any RandomSource
    ) {
        self.identity = identity
        self.clock = clock
        self.random = random
        if case .instance = identity {
            self.endpoint = endpoint ?? "http://100.100.100.200/"
            client = UpstreamClient(
                "AliCloud's metadata service", clock: clock, seconds: Self.metadataSeconds)
        } else {
            self.endpoint = endpoint ?? "https://sts.\(region).aliyuncs.com/"
            client = UpstreamClient("AliCloud's token service", clock: clock)
        }
    }

    func credentials() throws(VaultError) -> AliCloudCredentials {
        if case .keys(let given) = identity { return given }
        let now = clock.now()
        if let held = held.withLock({ $0 }), held.expires.map({ $0 > now + Self.reserve }) ?? false {
            return held
        }
        let fresh: AliCloudCredentials
        switch identity {
        case .keys(let given): fresh = given
        case .oidc(let role): fresh = try assume(role)
        case .instance(let role): fresh = try fromInstance(role)
        }
        held.withLock { $0 = fresh }
        return fresh
    }

    func forget() { held.withLock { $0 = nil } }

    /// AssumeRoleWithOIDC (STS 2015-04-01), which nobody has to sign.
    private func assume(_ role: AliCloudOIDCRole) throws(VaultError) -> AliCloudCredentials {
        let token = try SmallFile.readToken(role.tokenFile)
        var fields: [(String, SecretBytes)] = [("OIDCToken", token)]
        for (name, value) in [
            ("Action", "AssumeRoleWithOIDC"), ("Format", "JSON"), ("OIDCProviderArn", role.provider),
            ("RoleArn", role.role), ("RoleSessionName", role.session), ("SignatureNonce", random.uuid()),
            ("Timestamp", clock.now().rfc3339(fraction: 0)), ("Version", "2015-04-01"),
        ] { fields.append((name, SecretBytes(plain: value))) }
        var response = try client.send(
            HTTPClientRequest(
                method: "POST", url: endpoint,
                headers: [("Content-Type", "application/x-www-form-urlencoded")],
                body: PercentEncoding.form(fields)))
        defer { response.body.wipe() }
        guard response.status == 200 else {
            let code = UpstreamClient.clean(UpstreamClient.json(response)?["Code"]?.string ?? "")
            if code.hasPrefix("AuthenticationFail") || code.hasPrefix("NoPermission") {
                throw .forbidden("\(client.service) refuses the credential (\(code))" + client.skew(response))
            }
            throw client.refusal(response, code)
        }
        return try read(try client.json(response)["Credentials"])
    }

    private func fromInstance(_ role: String?) throws(VaultError) -> AliCloudCredentials {
        let session = try client.send(
            HTTPClientRequest(
                method: "PUT", url: endpoint + "latest/api/token",
                headers: [("X-aliyun-ecs-metadata-token-ttl-seconds", "300")]))
        guard session.status == 200 else { throw client.refusal(session, "no session token") }
        let headers = [("X-aliyun-ecs-metadata-token", String(decoding: session.body, as: UTF8.self))]
        let base = endpoint + "latest/meta-data/ram/security-credentials/"
        var name = role ?? ""
        if name.isEmpty {
            let roles = try client.send(HTTPClientRequest(method: "GET", url: base, headers: headers))
            name = String(decoding: roles.body.prefix { $0 > 32 }, as: UTF8.self)
            guard roles.status == 200, !name.isEmpty else {
                throw client.refusal(roles, "the instance has no RAM role")
            }
        }
        var response = try client.send(
            HTTPClientRequest(method: "GET", url: base + PercentEncoding.encode(name), headers: headers))
        defer { response.body.wipe() }
        guard response.status == 200 else { throw client.refusal(response, "") }
        return try read(try client.json(response))
    }

    private func read(_ json: RawJSON?) throws(VaultError) -> AliCloudCredentials {
        guard let accessKey = json?["AccessKeyId"]?.string,
            let secretKey = json?["AccessKeySecret"]?.stringBytes
        else { throw .unavailable("\(client.service) gave no credentials", retryAfterSeconds: 0) }
        return AliCloudCredentials(
            accessKey: accessKey, secretKey: SecretBytes(copying: secretKey),
            securityToken: json?["SecurityToken"]?.string,
            expires: json?["Expiration"]?.string.flatMap { Timestamp(rfc3339: $0) })
    }
}
