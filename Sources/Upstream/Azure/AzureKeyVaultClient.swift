package import Base
import Net

/// The two calls of Azure Key Vault that a seal needs (Key Vault REST API 7.4: Wrap Key, Unwrap Key), by RSA
/// keys and RSA-OAEP-256.
package final class AzureKeyVaultClient: Sendable {
    private static let version = "7.4"
    private static let algorithm = "RSA-OAEP-256"

    private let vault: String
    private let identity: AzureIdentity
    private let client: UpstreamClient
    private let log: Log

    /// - Parameter vault: base URL: `https://name.vault.azure.net/`.
    package init(vault: String, identity: AzureIdentity, clock: any Clock, log: Log) {
        self.vault = vault
        self.identity = identity
        client = UpstreamClient("Azure Key Vault", clock: clock)
        self.log = log
    }

    /// Wraps by the newest version of a key.
    /// - Returns: the key's identifier, a URL that ends in its version, and what it made.
    package func wrap(_ plain: SecretBytes, key: String) throws(VaultError) -> (kid: String, blob: [UInt8]) {
        let answer = try call("keys/\(PercentEncoding.encode(key))/wrapkey", plain)
        guard let kid = answer["kid"]?.string,
            let blob = answer["value"]?.string.flatMap({ Base64.url.decode($0) }), !blob.isEmpty
        else { throw Self.incomplete }
        return (kid, blob)
    }

    /// Unwraps by the version of a key that wrapped.
    package func unwrap(_ blob: [UInt8], key: String, version: String) throws(VaultError) -> SecretBytes {
        let path = "keys/\(PercentEncoding.encode(key))/\(PercentEncoding.encode(version))/unwrapkey"
        let answer = try call(path, SecretBytes(copying: blob))
        guard var text = answer["value"]?.stringBytes else { throw Self.incomplete }
        defer { text.wipe() }
        guard let plain = text.withUnsafeBytes({ Base64.url.decodeSecret($0) }) else { throw Self.incomplete }
        return plain
    }

    private static let incomplete = VaultError.unavailable(
        "Azure Key Vault gave an answer without what was asked for", retryAfterSeconds: 0)

    private func call(_ path: String, _ value: SecretBytes) throws(VaultError) -> RawJSON {
        let response = try client.send(as: identity) { authorization in
            var writer = JSONWriter()
            writer.beginObject()
            writer.field("alg", Self.algorithm)
            writer.name("value")
            Base64.url.encode(value).withBytes { writer.string(utf8: $0) }
            writer.endObject()
            return HTTPClientRequest(
                method: "POST", url: "\(vault)\(path)?api-version=\(Self.version)",
                headers: [authorization, ("Content-Type", "application/json")], body: writer.bytes)
        }
        if response.status == 200 { return try client.json(response) }
        throw error(response, UpstreamClient.json(response)?["error"])
    }

    private func error(_ response: HTTPClientResponse, _ answer: RawJSON?) -> VaultError {
        let code = (answer?["innererror"]?["code"] ?? answer?["code"])?.string ?? ""
        // Azure's own words name principals and tenants: for the log only.
        log.warn(
            "Azure Key Vault refused",
            [
                "status": String(response.status), "code": code,
                "message": UpstreamClient.clean(answer?["message"]?.string ?? ""),
            ])
        switch (response.status, code) {
        case (404, _):
            return .badRequest("Azure Key Vault has no such key or version (\(code))")
        case (_, "KeyDisabled"), (_, "KeyExpired"), (_, "KeyNotYetValid"):
            return .unavailable("Azure Key Vault has the key disabled (\(code))", retryAfterSeconds: 0)
        case (400, _):
            return .badRequest(
                "Azure Key Vault cannot use what it was given: the stored key was changed, or the key is no "
                    + "RSA key that may wrap (\(code))")
        case (401, _):
            return .forbidden("Azure Key Vault refuses the credential (\(code))" + client.skew(response))
        case (403, _):
            return .forbidden("Azure Key Vault does not let this identity use the key (\(code))")
        default: return client.refusal(response, code)
        }
    }
}
