package import Base
package import PluginKit
import Upstream

/// A key of the transit engine of another Vault or Holdfast. Its token needs `update` on `encrypt/<key>` and
/// `decrypt/<key>` of the engine, and nothing more: with `create` a misspelt name would make a new key.
package struct TransitSeal: Seal {
    package static let type = "transit"
    // The file comes before the environment for these, because `VAULT_ADDR` and its kin are often set for
    // the command line of the very server that is to be unsealed.
    private static let address = SealSetting("address", "URL of the server; else `VAULT_ADDR`.")
    private static let usualAddress = SealSetting("VAULT_ADDR", environment: ["VAULT_ADDR"], "")
    private static let token = SealSetting(
        "token", "Its token; `file://path` is read again when it is refused. Else `VAULT_TOKEN`.")
    private static let keyName = SealSetting(
        "key_name", environment: ["TRANSIT_WRAPPER_KEY_NAME", "VAULT_TRANSIT_SEAL_KEY_NAME"],
        "Name of the key.")
    private static let mountPath = SealSetting(
        "mount_path", environment: ["TRANSIT_WRAPPER_MOUNT_PATH", "VAULT_TRANSIT_SEAL_MOUNT_PATH"],
        "Path of the engine; `transit`.")
    private static let namespace = SealSetting(
        "namespace", environment: ["VAULT_NAMESPACE"], "Namespace of the engine.")
    private static let disableRenewal = SealSetting(
        "disable_renewal",
        environment: ["TRANSIT_WRAPPER_DISABLE_RENEWAL", "VAULT_TRANSIT_SEAL_DISABLE_RENEWAL"],
        "Whether the token is left as it is.")
    private static let caCert = SealSetting(
        "tls_ca_cert", "PEM file of the roots to trust; else `VAULT_CACERT`.")
    private static let caPath = SealSetting(
        "tls_ca_path", "Directory of such files, hashed; else `VAULT_CAPATH`.")
    private static let clientCert = SealSetting(
        "tls_client_cert", "PEM file of our certificate; else `VAULT_CLIENT_CERT`.")
    private static let clientKey = SealSetting(
        "tls_client_key", "PEM file of its key; else `VAULT_CLIENT_KEY`.")
    private static let serverName = SealSetting(
        "tls_server_name", "Name in the server's certificate; else `VAULT_TLS_SERVER_NAME`.")
    private static let skipVerify = SealSetting(
        "tls_skip_verify", "Accepts any certificate: for tests; else `VAULT_SKIP_VERIFY`.")
    package static let settings = [
        address, token, keyName, mountPath, namespace, disableRenewal, caCert, caPath, clientCert, clientKey,
        serverName, skipVerify,
    ]

    private let keyName: String
    private let client: TransitClient
    package let facts: [(name: String, value: String)]

    package init(_ context: SealContext) throws(VaultError) {
        let settings = context.settings
        let inFile = settings.text(Self.address) != nil
        guard let address = try settings.url(inFile ? Self.address : Self.usualAddress) else {
            throw .badRequest("'address' or VAULT_ADDR: expected a URL, found none")
        }
        keyName = try settings.required(Self.keyName)
        let mountPath = Self.trimmed(settings.text(Self.mountPath) ?? "transit")
        guard !mountPath.isEmpty, mountPath.utf8.allSatisfy({ $0 > 32 && $0 < 127 && $0 != 37 && $0 != 63 })
        else { throw .badRequest("'mount_path': expected a path such as transit, found \"\(mountPath)\"") }
        var configuration = TransitConfiguration(
            address: address, mountPath: mountPath, keyName: keyName)
        configuration.namespace = settings.text(Self.namespace)
        configuration.renewsToken = try !settings.flag(Self.disableRenewal)
        try Self.readTLS(settings, &configuration)
        if configuration.skipsVerification {
            context.log.warn(
                "tls_skip_verify: whoever stands between this server and the transit server can unseal it")
        }
        _ = try Self.readToken(settings)
        client = TransitClient(configuration, clock: context.clock, log: context.log) {
            () throws(VaultError) in try Self.readToken(settings)
        }
        var facts: [(name: String, value: String)] = [
            ("Transit Address", address), ("Transit Mount Path", mountPath + "/"),
            ("Transit Key Name", keyName),
        ]
        if let namespace = configuration.namespace { facts.append(("Transit Namespace", namespace)) }
        self.facts = facts
    }

    package func wrap(_ key: SecretBytes) throws(VaultError) -> WrappedKey {
        let made = try client.encrypt(key)
        return WrappedKey(keyID: "\(keyName):v\(made.version)", ciphertext: made.ciphertext)
    }

    package func unwrap(_ wrapped: WrappedKey) throws(VaultError) -> SecretBytes {
        let name = wrapped.keyID.lastIndex(of: ":").map { wrapped.keyID[..<$0] } ?? ""
        guard name == keyName else {
            throw .badRequest(
                "'key_name': the stored key was wrapped by the transit key '\(name)', not by '\(keyName)'")
        }
        return try client.decrypt(wrapped.ciphertext)
    }

    // MARK: Settings

    private static func readToken(_ settings: SealSettings) throws(VaultError) -> SecretBytes {
        if let token = try settings.secret(token), token.count > 0 { return token }
        if let token = settings.variable("VAULT_TOKEN") { return SecretBytes(copying: token.utf8) }
        throw .badRequest("'token' or VAULT_TOKEN: expected a token, found none")
    }

    private static func readTLS(
        _ settings: SealSettings, _ configuration: inout TransitConfiguration
    ) throws(VaultError) {
        func text(_ setting: SealSetting, or variable: String) -> String? {
            settings.text(setting) ?? settings.variable(variable)
        }
        configuration.caFile = text(caCert, or: "VAULT_CACERT")
        configuration.caPath = text(caPath, or: "VAULT_CAPATH")
        configuration.certificateFile = text(clientCert, or: "VAULT_CLIENT_CERT")
        configuration.keyFile = text(clientKey, or: "VAULT_CLIENT_KEY")
        guard (configuration.certificateFile == nil) == (configuration.keyFile == nil) else {
            throw .badRequest("'tls_client_cert', 'tls_client_key': expected both or neither")
        }
        configuration.serverName = text(serverName, or: "VAULT_TLS_SERVER_NAME")
        if settings.text(skipVerify) != nil {
            configuration.skipsVerification = try settings.flag(skipVerify)
        } else if let text = settings.variable("VAULT_SKIP_VERIFY") {
            guard let flag = Bool(vaultText: text) else {
                throw .badRequest("VAULT_SKIP_VERIFY: expected true or false")
            }
            configuration.skipsVerification = flag
        }
    }

    private static func trimmed(_ path: String) -> String {
        var path = path[...]
        while path.first == "/" { path.removeFirst() }
        while path.last == "/" { path.removeLast() }
        return String(path)
    }
}
