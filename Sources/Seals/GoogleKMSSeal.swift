package import Base
package import PluginKit
import Upstream

/// A symmetric key of Google Cloud KMS. The account needs `cloudkms.cryptoKeyVersions.useToEncrypt` and
/// `useToDecrypt` on it. The primary version wraps; Google finds the version that unwraps by itself.
package struct GoogleKMSSeal: Seal {
    /// See `Seal.type`.
    package static let type = "gcpckms"
    private static let credentials = SealSetting(
        "credentials", environment: ["GOOGLE_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS"],
        "Path of the JSON of a service account's key or of a workload identity federation; without it the "
            + "metadata server is asked.")
    private static let project = SealSetting(
        "project", environment: ["GOOGLE_PROJECT"], "Id of the key's project.")
    private static let region = SealSetting(
        "region", environment: ["GOOGLE_REGION"], "Location of the key ring.")
    private static let keyRing = SealSetting(
        "key_ring", environment: ["GCPCKMS_WRAPPER_KEY_RING", "VAULT_GCPCKMS_SEAL_KEY_RING"],
        "Name of the key ring.")
    private static let cryptoKey = SealSetting(
        "crypto_key", environment: ["GCPCKMS_WRAPPER_CRYPTO_KEY", "VAULT_GCPCKMS_SEAL_CRYPTO_KEY"],
        "Name of the key.")
    private static let userAgent = SealSetting(
        "user_agent", "What the requests say they come from; `holdfast`.")
    private static let endpoint = SealSetting(
        "endpoint", environment: ["GCPCKMS_ENDPOINT"], "URL of the KMS, for private endpoints and emulators.")
    private static let authEndpoint = SealSetting(
        "auth_endpoint", environment: ["GCPCKMS_AUTH_ENDPOINT"],
        "URL of the token service or, without credentials, of the metadata server.")
    /// See `Seal.settings`.
    package static let settings = [
        credentials, project, region, keyRing, cryptoKey, userAgent, endpoint, authEndpoint,
    ]

    private let client: GoogleKMSClient
    /// See `Seal.facts`.
    package let facts: [(name: String, value: String)]

    /// See `Seal.init`.
    package init(_ context: SealContext) throws(VaultError) {
        let settings = context.settings
        let names = [
            try Self.name(Self.project, settings), try Self.name(Self.region, settings),
            try Self.name(Self.keyRing, settings), try Self.name(Self.cryptoKey, settings),
        ]
        var credentials: SecretBytes?
        if let text = settings.text(Self.credentials) {
            if text.hasPrefix("{") || text.contains("://") {
                credentials = try settings.secret(Self.credentials)
            } else {
                var bytes = try SmallFile.read(text)
                credentials = SecretBytes(copying: bytes)
                bytes.wipe()
            }
        }
        let authEndpoint =
            try settings.url(Self.authEndpoint)
            ?? (credentials == nil ? settings.variable("GCE_METADATA_HOST").map { "http://\($0)/" } : nil)
        let userAgent = settings.text(Self.userAgent) ?? "holdfast"
        guard userAgent.utf8.allSatisfy({ $0 >= 32 && $0 < 127 }) else {
            throw .badRequest("'user_agent': expected a header value in ASCII")
        }
        client = GoogleKMSClient(
            key: "projects/\(names[0])/locations/\(names[1])/keyRings/\(names[2])/cryptoKeys/\(names[3])",
            endpoint: try settings.url(Self.endpoint), userAgent: userAgent,
            identity: try GoogleIdentity(
                credentials: credentials, authEndpoint: authEndpoint, clock: context.clock),
            clock: context.clock, log: context.log)
        facts = [
            ("GCP KMS Project", names[0]), ("GCP KMS Region", names[1]), ("GCP KMS Key Ring", names[2]),
            ("GCP KMS Crypto Key", names[3]),
        ]
    }

    /// Becomes part of a URL: `example.com:project` is the longest form there is.
    private static func name(_ setting: SealSetting, _ settings: SealSettings) throws(VaultError) -> String {
        let text = try settings.required(setting)
        let isGood = text.utf8.allSatisfy {
            [45, 46, 58, 95].contains($0) || (48...57).contains($0) || (65...90).contains($0 & 0xDF)
        }
        guard isGood else {
            throw .badRequest("'\(setting.name)': expected letters, digits, hyphens and underscores")
        }
        return text
    }

    /// See `Seal.wrap`.
    package func wrap(_ key: SecretBytes) throws(VaultError) -> WrappedKey {
        let made = try client.encrypt(key)
        return WrappedKey(keyID: made.version, ciphertext: made.blob)
    }

    /// See `Seal.unwrap`.
    package func unwrap(_ wrapped: WrappedKey) throws(VaultError) -> SecretBytes {
        try client.decrypt(wrapped.ciphertext)
    }
}
