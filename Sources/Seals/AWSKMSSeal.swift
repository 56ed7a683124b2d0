package import Base
package import PluginKit
import Upstream

/// A symmetric key of AWS KMS. The key needs `kms:Encrypt` and `kms:Decrypt`.
///
/// AWS's automatic rotation changes nothing that a client could see; when an alias moves to another key, the
/// seal key is wrapped anew by that key.
package struct AWSKMSSeal: Seal {
    /// See `Seal.type`.
    package static let type = "awskms"
    private static let region = SealSetting(
        "region", environment: ["AWS_REGION", "AWS_DEFAULT_REGION"], "Region of the key; `us-east-1`.")
    private static let accessKey = SealSetting(
        "access_key", environment: ["AWS_ACCESS_KEY_ID"], "Access key id.")
    private static let secretKey = SealSetting(
        "secret_key", environment: ["AWS_SECRET_ACCESS_KEY"], "Secret access key.")
    private static let sessionToken = SealSetting(
        "session_token", environment: ["AWS_SESSION_TOKEN"], "Session token of keys that end.")
    private static let keyID = SealSetting(
        "kms_key_id", environment: ["AWSKMS_WRAPPER_KEY_ID", "VAULT_AWSKMS_SEAL_KEY_ID"],
        "Id, alias or ARN of the key.")
    private static let endpoint = SealSetting(
        "endpoint", environment: ["AWS_KMS_ENDPOINT"], "URL of the KMS, for private endpoints and emulators.")
    private static let authEndpoint = SealSetting(
        "auth_endpoint", environment: ["AWS_STS_ENDPOINT"], "URL of STS, where a web identity is used.")
    private static let roleARN = SealSetting(
        "role_arn", environment: ["AWS_ROLE_ARN"], "Role of a web identity.")
    private static let tokenFile = SealSetting(
        "web_identity_token_file", environment: ["AWS_WEB_IDENTITY_TOKEN_FILE"], "File of its token.")
    private static let sessionName = SealSetting(
        "role_session_name", environment: ["AWS_ROLE_SESSION_NAME"], "Name of its session; `holdfast`.")
    private static let credentialsFile = SealSetting(
        "shared_creds_filename", environment: ["AWS_SHARED_CREDENTIALS_FILE"], "File of profiles.")
    private static let profile = SealSetting(
        "shared_creds_profile", environment: ["AWS_PROFILE"], "Profile in that file.")
    /// See `Seal.settings`.
    package static let settings = [
        region, accessKey, secretKey, sessionToken, keyID, endpoint, authEndpoint, roleARN, tokenFile,
        sessionName, credentialsFile, profile,
    ]

    private let key: String
    private let shownRegion: String
    private let shownEndpoint: String
    private let client: AWSKMSClient

    /// See `Seal.init`.
    package init(_ context: SealContext) throws(VaultError) {
        let settings = context.settings
        key = try settings.required(Self.keyID)
        let region = settings.text(Self.region) ?? Self.region(ofARN: key) ?? "us-east-1"
        var sources = AWSCredentialSources { settings.variable($0) }
        sources.accessKey = settings.text(Self.accessKey)
        sources.secretKey = try settings.secret(Self.secretKey)
        guard (sources.accessKey == nil) == (sources.secretKey == nil) else {
            throw .badRequest("'access_key', 'secret_key': expected both or neither")
        }
        sources.sessionToken = settings.text(Self.sessionToken)
        sources.roleARN = settings.text(Self.roleARN)
        sources.webIdentityTokenFile = settings.text(Self.tokenFile)
        if let name = settings.text(Self.sessionName) { sources.roleSessionName = name }
        sources.credentialsFile = settings.text(Self.credentialsFile)
        sources.profile = settings.text(Self.profile)
        sources.region = region
        sources.stsEndpoint = try settings.url(Self.authEndpoint)
        let endpoint = try settings.url(Self.endpoint)
        client = AWSKMSClient(
            region: region, endpoint: endpoint,
            credentials: AWSCredentialChain(sources, clock: context.clock), clock: context.clock,
            log: context.log)
        shownRegion = region
        shownEndpoint = endpoint ?? ""
    }

    /// `arn:aws:kms:eu-west-1:…`.
    private static func region(ofARN key: String) -> String? {
        let parts = key.split(separator: ":", omittingEmptySubsequences: false)
        return parts.count > 5 && parts[0] == "arn" ? String(parts[3]) : nil
    }

    /// See `Seal.facts`.
    package var facts: [(name: String, value: String)] {
        [("AWS KMS Region", shownRegion), ("AWS KMS KeyID", key)]
            + (shownEndpoint.isEmpty ? [] : [("AWS KMS Endpoint", shownEndpoint)])
    }

    /// See `Seal.wrap`.
    package func wrap(_ key: SecretBytes) throws(VaultError) -> WrappedKey {
        let made = try client.encrypt(key, key: self.key)
        return WrappedKey(keyID: made.key, ciphertext: made.blob)
    }

    /// See `Seal.unwrap`.
    package func unwrap(_ wrapped: WrappedKey) throws(VaultError) -> SecretBytes {
        try client.decrypt(wrapped.ciphertext, key: wrapped.keyID)
    }
}
