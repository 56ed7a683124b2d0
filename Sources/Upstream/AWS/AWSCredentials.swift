package import Base
import Net
import Synchronization

/// What signs requests to AWS.
package struct AWSCredentials: Sendable {
    /// The public half: an access key id.
    package let accessKey: String
    /// The secret half.
    package let secretKey: SecretBytes
    /// Of credentials that end.
    package let sessionToken: String?
    /// Nil when they do not end.
    package let expires: Timestamp?

    /// Takes each part as it is.
    package init(
        accessKey: String, secretKey: SecretBytes, sessionToken: String? = nil, expires: Timestamp? = nil
    ) {
        self.accessKey = accessKey
        self.secretKey = secretKey
        self.sessionToken = sessionToken
        self.expires = expires
    }
}

/// Where credentials may come from, in the order of AWS's own clients: keys that were given, a web identity
/// (IRSA), profile files, the container's endpoint, the instance's metadata service (version 2 only).
package struct AWSCredentialSources: Sendable {
    /// Of keys that were given, with `secretKey`.
    package var accessKey: String?
    /// See `accessKey`.
    package var secretKey: SecretBytes?
    /// Of keys that were given and end.
    package var sessionToken: String?
    /// Of a web identity, with `webIdentityTokenFile`.
    package var roleARN: String?
    /// See `roleARN`.
    package var webIdentityTokenFile: String?
    /// Names a web identity's session in AWS's logs.
    package var roleSessionName = "holdfast"
    /// File of profiles; nil for the usual one.
    package var credentialsFile: String?
    /// Section of that file; nil for the usual one.
    package var profile: String?
    /// Where the token service is asked.
    package var region = ""
    /// Base URL of the token service; nil for AWS's own in the region.
    package var stsEndpoint: String?
    /// Gives a variable of the environment.
    package var environment: @Sendable (String) -> String?

    /// Nothing is given yet.
    package init(environment: @escaping @Sendable (String) -> String?) { self.environment = environment }
}

/// Finds credentials, keeps them, and gets new ones before they end.
package final class AWSCredentialChain: Sendable {
    /// Credentials that end sooner are replaced.
    private static let reserve = Duration.seconds(300)
    private static let metadataSeconds = 2

    private let sources: AWSCredentialSources
    private let clock: any Clock
    private let held = Mutex<AWSCredentials?>(nil)
    private let sts: AWSTokenService
    private let metadata: UpstreamClient
    private let container: UpstreamClient

    /// Asks nothing before `credentials()`.
    package init(_ sources: AWSCredentialSources, clock: any Clock) {
        self.sources = sources
        self.clock = clock
        sts = AWSTokenService(region: sources.region, endpoint: sources.stsEndpoint, clock: clock)
        metadata = UpstreamClient("the AWS metadata service", clock: clock, seconds: Self.metadataSeconds)
        container = UpstreamClient(
            "the container's credential endpoint", clock: clock, seconds: Self.metadataSeconds)
    }

    /// Credentials that are good for some minutes at least.
    /// - Throws: `.badRequest` when nothing is configured that gives any; `.unavailable` and `.forbidden` of
    ///   the services that give them out.
    package func credentials() throws(VaultError) -> AWSCredentials {
        let now = clock.now()
        if let credentials = held.withLock({ $0 }),
            credentials.expires.map({ $0 > now + Self.reserve }) ?? true
        {
            return credentials
        }
        let fresh = try find()
        held.withLock { $0 = fresh }
        return fresh
    }

    /// Forgets what AWS has refused: a file may hold newer ones.
    package func forget() { held.withLock { $0 = nil } }

    private func find() throws(VaultError) -> AWSCredentials {
        if let accessKey = sources.accessKey, let secretKey = sources.secretKey {
            return AWSCredentials(
                accessKey: accessKey, secretKey: secretKey, sessionToken: sources.sessionToken)
        }
        if let role = sources.roleARN, let file = sources.webIdentityTokenFile {
            return try sts.assume(role, tokenFile: file, session: sources.roleSessionName)
        }
        if let found = try fromProfile() { return found }
        if let found = try fromContainer() { return found }
        if sources.environment("AWS_EC2_METADATA_DISABLED") == "true" { throw Self.nothing }
        return try fromInstance()
    }

    private static let nothing = VaultError.badRequest(
        "AWS: no credentials were found: expected access_key and secret_key, a role for a web identity, a "
            + "profile, or a machine with a role")

    // MARK: Profiles

    private func fromProfile() throws(VaultError) -> AWSCredentials? {
        let home = sources.environment("HOME") ?? ""
        let profile = sources.profile ?? sources.environment("AWS_PROFILE") ?? "default"
        let isNamed = sources.profile != nil || sources.environment("AWS_PROFILE") != nil
        let paths = [
            sources.credentialsFile ?? sources.environment("AWS_SHARED_CREDENTIALS_FILE")
                ?? home + "/.aws/credentials",
            sources.environment("AWS_CONFIG_FILE") ?? home + "/.aws/config",
        ]
        let found = try credentials(of: profile, AWSProfiles(paths), after: [])
        if found == nil, isNamed {
            throw .badRequest(
                "AWS: the profile '\(profile)' has no credentials in \(paths.joined(separator: ", "))")
        }
        return found
    }

    /// - Parameter chain: the profiles that have led here.
    private func credentials(
        of name: String, _ profiles: AWSProfiles, after chain: [String]
    ) throws(VaultError) -> AWSCredentials? {
        let profile = profiles[name]
        // A role may be assumed by the keys of its own profile.
        if let role = profile.roleARN, !chain.contains(name) {
            let session = profile.roleSessionName ?? sources.roleSessionName
            if let file = profile.tokenFile {
                return try sts.assume(role, tokenFile: file, session: session)
            }
            return try sts.assume(
                role, by: try base(of: profile, name, profiles, after: chain + [name]), session: session,
                externalID: profile.externalID)
        }
        return profile.keys
    }

    /// Credentials that let a profile have its role.
    private func base(
        of profile: AWSProfiles.Profile, _ name: String, _ profiles: AWSProfiles, after chain: [String]
    ) throws(VaultError) -> AWSCredentials {
        var found: AWSCredentials?
        if let source = profile.sourceProfile {
            found = try credentials(of: source, profiles, after: chain)
        } else {
            switch profile.credentialSource {
            case "Ec2InstanceMetadata"?: found = try fromInstance()
            case "EcsContainer"?: found = try fromContainer()
            default: break
            }
        }
        guard let found else {
            throw .badRequest(
                "AWS: the profile '\(name)' has a role_arn: expected a source_profile with credentials, a "
                    + "credential_source of Ec2InstanceMetadata or EcsContainer, or a web_identity_token_file"
            )
        }
        return found
    }

    // MARK: Machines

    private func fromContainer() throws(VaultError) -> AWSCredentials? {
        guard let url = try Self.containerURL(sources.environment) else { return nil }
        var headers: [(String, String)] = []
        if let path = sources.environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            let token = String(decoding: try SmallFile.read(path), as: UTF8.self)
            headers = [("Authorization", String(token.filter { !$0.isNewline }))]
        } else if let token = sources.environment("AWS_CONTAINER_AUTHORIZATION_TOKEN") {
            headers = [("Authorization", token)]
        }
        return try credentials(at: url, headers, container)
    }

    /// Where ECS and EKS Pod Identity give out credentials; nil elsewhere.
    /// - Throws: `.badRequest` for plain HTTP to another machine: credentials would be there for all to see.
    static func containerURL(_ environment: (String) -> String?) throws(VaultError) -> String? {
        if let path = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            return "http://169.254.170.2" + (path.hasPrefix("/") ? "" : "/") + path
        }
        guard let url = environment("AWS_CONTAINER_CREDENTIALS_FULL_URI") else { return nil }
        let host = AWSSignature.parts(of: url).host
        let isNear = ["127.0.0.1", "localhost", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"]
            .contains { host == $0 || host.hasPrefix($0 + ":") }
        guard url.hasPrefix("https://") || url.hasPrefix("http://") && isNear && !host.contains("@") else {
            throw .badRequest(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI: expected https, or an address of this machine or of ECS"
            )
        }
        return url
    }

    private func fromInstance() throws(VaultError) -> AWSCredentials {
        var base = sources.environment("AWS_EC2_METADATA_SERVICE_ENDPOINT") ?? "http://169.254.169.254"
        while base.hasSuffix("/") { base.removeLast() }
        let session: HTTPClientResponse
        do throws(VaultError) {
            session = try metadata.send(
                HTTPClientRequest(
                    method: "PUT", url: base + "/latest/api/token",
                    headers: [("X-aws-ec2-metadata-token-ttl-seconds", "300")]))
        } catch {
            if case .unavailable(let text, _) = error {
                throw .unavailable(
                    "AWS: no credentials are configured, and \(text)", retryAfterSeconds: 0)
            }
            throw error
        }
        guard session.status == 200 else { throw metadata.refusal(session, "no session token (IMDSv2)") }
        let headers = [("X-aws-ec2-metadata-token", String(decoding: session.body, as: UTF8.self))]
        let url = base + "/latest/meta-data/iam/security-credentials/"
        let roles = try metadata.send(HTTPClientRequest(method: "GET", url: url, headers: headers))
        let role = String(decoding: roles.body.prefix { $0 > 32 }, as: UTF8.self)
        guard roles.status == 200, !role.isEmpty else {
            throw metadata.refusal(roles, "the machine has no role")
        }
        return try credentials(at: url + PercentEncoding.encode(role), headers, metadata)
    }

    private func credentials(
        at url: String, _ headers: [(String, String)], _ client: UpstreamClient
    ) throws(VaultError) -> AWSCredentials {
        var response = try client.send(HTTPClientRequest(method: "GET", url: url, headers: headers))
        defer { response.body.wipe() }
        guard response.status == 200 else { throw client.refusal(response, "") }
        let json = try client.json(response)
        guard let accessKey = json["AccessKeyId"]?.string,
            let secretKey = json["SecretAccessKey"]?.stringBytes
        else { throw .unavailable("\(client.service) gave no credentials", retryAfterSeconds: 0) }
        return AWSCredentials(
            accessKey: accessKey, secretKey: SecretBytes(copying: secretKey),
            sessionToken: json["Token"]?.string,
            expires: json["Expiration"]?.string.flatMap { Timestamp(rfc3339: $0) })
    }
}
