import Base
import Net

/// Gets credentials of a role from AWS STS (API version 2011-06-15: AssumeRole, AssumeRoleWithWebIdentity).
final class AWSTokenService: Sendable {
    private static let version = "2011-06-15"

    private let url: String
    private let signature: AWSSignature
    private let client: UpstreamClient
    private let clock: any Clock

    /// - Parameter endpoint: its URL; nil for AWS's own in the region.
    init(region: String, endpoint: String?, clock: any Clock) {
        let suffix = region.hasPrefix("cn-") ? "amazonaws.com.cn" : "amazonaws.com"
        url = endpoint ?? "https://sts.\(region).\(suffix)/"
        signature = AWSSignature(region: region, service: "sts")
        client = UpstreamClient("AWS STS", clock: clock)
        self.clock = clock
    }

    /// A role for who has a token of an identity provider that it trusts. The file is read anew each time.
    func assume(
        _ role: String, tokenFile: String, session: String
    ) throws(VaultError) -> AWSCredentials {
        let token = try SmallFile.readToken(tokenFile)
        let request = request("AssumeRoleWithWebIdentity", role, session, [("WebIdentityToken", token)])
        return try read(try client.send(request))
    }

    /// A role for who has other credentials.
    func assume(
        _ role: String, by credentials: AWSCredentials, session: String, externalID: String?
    ) throws(VaultError) -> AWSCredentials {
        let more = externalID.map { [("ExternalId", SecretBytes(plain: $0))] } ?? []
        let request = request("AssumeRole", role, session, more)
        return try read(try client.send(signature.signed(request, by: credentials, at: clock.now())))
    }

    private func request(
        _ action: String, _ role: String, _ session: String, _ more: [(String, SecretBytes)]
    ) -> HTTPClientRequest {
        HTTPClientRequest(
            method: "POST", url: url, headers: [("Content-Type", "application/x-www-form-urlencoded")],
            body: PercentEncoding.form(
                [
                    ("Action", SecretBytes(plain: action)), ("Version", SecretBytes(plain: Self.version)),
                    ("RoleArn", SecretBytes(plain: role)), ("RoleSessionName", SecretBytes(plain: session)),
                ] + more))
    }

    private static let credentialErrors: Set<String> = [
        "AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException", "IDPRejectedClaim",
        "InvalidClientTokenId", "InvalidIdentityToken", "RequestExpired", "SignatureDoesNotMatch",
    ]

    private func read(_ response: HTTPClientResponse) throws(VaultError) -> AWSCredentials {
        var response = response
        defer { response.body.wipe() }
        guard response.status == 200 else {
            let code = UpstreamClient.clean(
                String(decoding: Self.element("Code", response.body) ?? [], as: UTF8.self))
            if Self.credentialErrors.contains(code) {
                throw .forbidden("AWS STS refuses the credential (\(code))" + client.skew(response))
            }
            throw client.refusal(response, code)
        }
        guard let found = Self.credentials(xml: response.body) else {
            throw .unavailable("AWS STS gave an answer without credentials", retryAfterSeconds: 0)
        }
        return found
    }

    private static func credentials(xml: [UInt8]) -> AWSCredentials? {
        func text(_ name: String) -> String? {
            element(name, xml).map { String(decoding: $0, as: UTF8.self) }
        }
        guard let accessKey = text("AccessKeyId"), let secretKey = element("SecretAccessKey", xml) else {
            return nil
        }
        return AWSCredentials(
            accessKey: accessKey, secretKey: SecretBytes(copying: secretKey),
            sessionToken: text("SessionToken"), expires: text("Expiration").flatMap { Timestamp(rfc3339: $0) }
        )
    }

    /// The text of the first element of this name: all that STS's answers need.
    static func element(_ name: String, _ xml: [UInt8]) -> [UInt8]? {
        let start = Array("<\(name)>".utf8)
        let end = Array("</\(name)>".utf8)
        guard let from = xml.firstRange(of: start), let to = xml[from.upperBound...].firstRange(of: end)
        else {
            return nil
        }
        return Array(xml[from.upperBound..<to.lowerBound])
    }
}

extension Collection<UInt8> {
    /// Where these bytes stand first.
    fileprivate func firstRange(of bytes: [UInt8]) -> Range<Index>? {
        var at = startIndex
        while at != endIndex {
            let rest = self[at...]
            if rest.starts(with: bytes) { return at..<index(at, offsetBy: bytes.count) }
            at = index(after: at)
        }
        return nil
    }
}
