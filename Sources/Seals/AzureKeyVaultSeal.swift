package import Base
package import PluginKit
import Upstream

/// An RSA key of Azure Key Vault. The identity needs the permissions to wrap and unwrap by it.
///
/// The newest version wraps; each wrapping names its version, and is unwrapped by that.
package struct AzureKeyVaultSeal: Seal {
    /// See `Seal.type`.
    package static let type = "azurekeyvault"
    private static let tenantID = SealSetting(
        "tenant_id", environment: ["AZURE_TENANT_ID"], "Directory (tenant) id.")
    private static let clientID = SealSetting(
        "client_id", environment: ["AZURE_CLIENT_ID"], "Client id of the service principal or identity.")
    private static let clientSecret = SealSetting(
        "client_secret", environment: ["AZURE_CLIENT_SECRET"],
        "Its secret; without one, a workload identity or the machine's (App Service's) identity is used.")
    private static let environment = SealSetting(
        "environment", environment: ["AZURE_ENVIRONMENT"], "Which of Azure's clouds; `AZUREPUBLICCLOUD`.")
    private static let vaultName = SealSetting(
        "vault_name",
        environment: ["AZUREKEYVAULT_WRAPPER_VAULT_NAME", "VAULT_AZUREKEYVAULT_VAULT_NAME"],
        "Name of the key vault.")
    private static let keyName = SealSetting(
        "key_name", environment: ["AZUREKEYVAULT_WRAPPER_KEY_NAME", "VAULT_AZUREKEYVAULT_KEY_NAME"],
        "Name of the key.")
    private static let resource = SealSetting(
        "resource", environment: ["AZURE_AD_RESOURCE"],
        "Domain of key vaults and managed HSMs; that of the cloud.")
    private static let endpoint = SealSetting(
        "endpoint", environment: ["AZUREKEYVAULT_ENDPOINT"],
        "URL of the key vault, for private endpoints and emulators.")
    private static let authEndpoint = SealSetting(
        "auth_endpoint", environment: ["AZURE_AUTHORITY_HOST"],
        "URL of the login service or, with the machine's identity, of the metadata service.")
    private static let tokenFile = SealSetting(
        "federated_token_file", environment: ["AZURE_FEDERATED_TOKEN_FILE"],
        "File of a workload identity's token.")
    /// See `Seal.settings`.
    package static let settings = [
        tenantID, clientID, clientSecret, environment, vaultName, keyName, resource, endpoint, authEndpoint,
        tokenFile,
    ]

    /// Login service and domain of key vaults.
    private static let clouds: [String: (login: String, domain: String)] = [
        "AZUREPUBLICCLOUD": ("https://login.microsoftonline.com/", "vault.azure.net"),
        "AZUREUSGOVERNMENTCLOUD": ("https://login.microsoftonline.us/", "vault.usgovcloudapi.net"),
        "AZURECHINACLOUD": ("https://login.chinacloudapi.cn/", "vault.azure.cn"),
        "AZUREGERMANCLOUD": ("https://login.microsoftonline.de/", "vault.microsoftazure.de"),
    ]

    private let keyName: String
    private let client: AzureKeyVaultClient
    /// See `Seal.facts`.
    package let facts: [(name: String, value: String)]

    /// See `Seal.init`.
    package init(_ context: SealContext) throws(VaultError) {
        let settings = context.settings
        let vaultName = try settings.required(Self.vaultName)
        keyName = try settings.required(Self.keyName)
        let cloudName = settings.text(Self.environment)?.uppercased() ?? "AZUREPUBLICCLOUD"
        guard let cloud = Self.clouds[cloudName] else {
            throw .badRequest(
                "'environment': expected one of \(Self.clouds.keys.sorted().joined(separator: ", "))")
        }
        guard
            vaultName.utf8.allSatisfy({ $0 == 45 || (48...57).contains($0) || (65...90).contains($0 & 0xDF) })
        else { throw .badRequest("'vault_name': expected letters, digits and hyphens") }
        let domain = settings.text(Self.resource) ?? cloud.domain
        let credential = try Self.credential(settings)
        let authority = try settings.url(Self.authEndpoint)
        var metadata = "http://169.254.169.254/"
        if case .managed = credential, let authority { metadata = authority }
        let identity = AzureIdentity(
            credential, authority: authority ?? cloud.login, metadata: metadata,
            resource: domain.hasPrefix("https://") ? domain : "https://\(domain)", clock: context.clock)
        client = AzureKeyVaultClient(
            vault: try settings.url(Self.endpoint) ?? "https://\(vaultName).\(domain)/", identity: identity,
            clock: context.clock, log: context.log)
        facts = [
            ("Azure Environment", cloudName), ("Azure Vault Name", vaultName), ("Azure Key Name", keyName),
        ]
    }

    private static func credential(_ settings: SealSettings) throws(VaultError) -> AzureCredential {
        let clientID = settings.text(clientID)
        if let secret = try settings.secret(clientSecret) {
            guard let clientID else { throw .badRequest("'client_id': expected one beside client_secret") }
            return .secret(tenant: try settings.required(tenantID), clientID: clientID, secret: secret)
        }
        if let file = settings.text(tokenFile), let clientID {
            return .workload(tenant: try settings.required(tenantID), clientID: clientID, tokenFile: file)
        }
        if let endpoint = settings.variable("IDENTITY_ENDPOINT"),
            let header = settings.variable("IDENTITY_HEADER")
        {
            return .appService(
                endpoint: endpoint, header: SecretBytes(copying: header.utf8), clientID: clientID)
        }
        return .managed(clientID: clientID)
    }

    /// See `Seal.wrap`.
    package func wrap(_ key: SecretBytes) throws(VaultError) -> WrappedKey {
        let made = try client.wrap(key, key: keyName)
        return WrappedKey(keyID: made.kid, ciphertext: made.blob)
    }

    /// See `Seal.unwrap`.
    package func unwrap(_ wrapped: WrappedKey) throws(VaultError) -> SecretBytes {
        let parts = wrapped.keyID.split(separator: "/")
        guard parts.count > 2, let version = parts.last else {
            throw .badRequest("the stored key names no version of an Azure key")
        }
        return try client.unwrap(wrapped.ciphertext, key: keyName, version: String(version))
    }
}
