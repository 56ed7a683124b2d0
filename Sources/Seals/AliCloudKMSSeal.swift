package import Base
package import PluginKit
import Upstream

/// A symmetric key of AliCloud KMS. The user or role needs `kms:Encrypt` and `kms:Decrypt` on it.
package struct AliCloudKMSSeal: Seal {
    /// See `Seal.type`.
    package static let type = "alicloudkms"
    private static let region = SealSetting(
        "region", environment: ["ALICLOUD_REGION"], "Region of the key; `us-east-1`.")
    private static let domain = SealSetting(
        "domain", environment: ["ALICLOUD_DOMAIN"], "Host of the KMS, where it is not the region's.")
    private static let accessKey = SealSetting(
        "access_key", environment: ["ALICLOUD_ACCESS_KEY"],
        "Access key id; without keys, a role of the pod's service account (RRSA) or of the instance is used.")
    private static let secretKey = SealSetting(
        "secret_key", aliases: ["access_secret"], environment: ["ALICLOUD_SECRET_KEY"], "Its secret.")
    private static let keyID = SealSetting(
        "kms_key_id", environment: ["ALICLOUDKMS_WRAPPER_KEY_ID", "VAULT_ALICLOUDKMS_SEAL_KEY_ID"],
        "Id or alias of the key.")
    private static let role = SealSetting(
        "ram_role", environment: ["ALICLOUD_ECS_RAM_ROLE"], "Name of the RAM role, where there are several.")
    private static let roleARN = SealSetting(
        "role_arn", environment: ["ALIBABA_CLOUD_ROLE_ARN"], "RAM role for a service account.")
    private static let providerARN = SealSetting(
        "oidc_provider_arn", environment: ["ALIBABA_CLOUD_OIDC_PROVIDER_ARN"], "Its OIDC provider.")
    private static let tokenFile = SealSetting(
        "oidc_token_file", environment: ["ALIBABA_CLOUD_OIDC_TOKEN_FILE"], "File of its token.")
    private static let sessionName = SealSetting(
        "role_session_name", environment: ["ALIBABA_CLOUD_ROLE_SESSION_NAME"],
        "Name of its session; `holdfast`.")
    private static let endpoint = SealSetting(
        "endpoint", environment: ["ALICLOUD_KMS_ENDPOINT"],
        "URL of the KMS, for private endpoints and emulators.")
    private static let authEndpoint = SealSetting(
        "auth_endpoint", environment: ["ALICLOUD_METADATA_ENDPOINT"],
        "URL of the token service or, with the instance's role, of its metadata service.")
    /// See `Seal.settings`.
    package static let settings = [
        region, domain, accessKey, secretKey, keyID, role, roleARN, providerARN, tokenFile, sessionName,
        endpoint, authEndpoint,
    ]

    private let key: String
    private let client: AliCloudKMSClient
    /// See `Seal.facts`.
    package let facts: [(name: String, value: String)]

    /// See `Seal.init`.
    package init(_ context: SealContext) throws(VaultError) {
        let settings = context.settings
        key = try settings.required(Self.keyID)
        let region = settings.text(Self.region) ?? "us-east-1"
        let domain = settings.text(Self.domain)
        let isHost = { (text: String) in
            text.utf8.allSatisfy {
                $0 == 45 || $0 == 46 || $0 == 58 || (48...57).contains($0) || (65...90).contains($0 & 0xDF)
            }
        }
        guard isHost(region) else { throw .badRequest("'region': expected a name such as eu-central-1") }
        if let domain, !isHost(domain) { throw .badRequest("'domain': expected the name of a host") }
        client = AliCloudKMSClient(
            region: region,
            endpoint: try settings.url(Self.endpoint) ?? domain.map { "https://\($0)/" },
            credentials: AliCloudCredentialSource(
                try Self.identity(settings), endpoint: try settings.url(Self.authEndpoint), region: region,
                clock: context.clock, random: context.random), clock: context.clock, random: context.random,
            log: context.log)
        facts =
            [("AliCloud KMS Region", region)] + (domain.map { [("AliCloud KMS Domain", $0)] } ?? [])
            + [("AliCloud KMS KeyID", key)]
    }

    private static func identity(_ settings: SealSettings) throws(VaultError) -> AliCloudIdentity {
        let secret = try settings.secret(secretKey)
        switch (settings.text(accessKey), secret) {
        case (let accessKey?, let secret?):
            return .keys(
                AliCloudCredentials(
                    accessKey: accessKey, secretKey: secret,
                    securityToken: settings.variable("ALICLOUD_SECURITY_TOKEN")))
        case (nil, nil): break
        default: throw .badRequest("'access_key', 'secret_key': expected both or neither")
        }
        switch (settings.text(roleARN), settings.text(providerARN), settings.text(tokenFile)) {
        case (let role?, let provider?, let file?):
            return .oidc(
                AliCloudOIDCRole(
                    role: role, provider: provider, tokenFile: file,
                    session: settings.text(sessionName) ?? "holdfast"))
        case (nil, nil, nil): return .instance(role: settings.text(role))
        default:
            throw .badRequest("'role_arn', 'oidc_provider_arn', 'oidc_token_file': expected all or none")
        }
    }

    /// See `Seal.wrap`.
    package func wrap(_ key: SecretBytes) throws(VaultError) -> WrappedKey {
        let made = try client.encrypt(key, key: self.key)
        return WrappedKey(keyID: "\(made.key)/\(made.version)", ciphertext: Array(made.blob.utf8))
    }

    /// AliCloud decrypts whatever the credential may: a wrapping by another of its keys is none of ours.
    package func unwrap(_ wrapped: WrappedKey) throws(VaultError) -> SecretBytes {
        let made = try client.decrypt(String(decoding: wrapped.ciphertext, as: UTF8.self))
        guard wrapped.keyID.split(separator: "/").first.map(String.init) == made.key else {
            throw .badRequest(
                "AliCloud KMS opened the stored key by another key than the one that is stored with it")
        }
        return made.plain
    }
}
