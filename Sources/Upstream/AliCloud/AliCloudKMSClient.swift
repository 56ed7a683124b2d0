package import Base
import Crypto
import Net

/// The two calls of AliCloud KMS that a seal needs (KMS API 2016-01-20: Encrypt, Decrypt), in the RPC style
/// with signatures of version 1.0 (HMAC-SHA1, the one that all its clients speak).
package final class AliCloudKMSClient: Sendable {
    private let endpoint: String
    private let source: AliCloudCredentialSource
    private let client: UpstreamClient
    private let clock: any Clock
    private let random: any RandomSource
    private let log: Log

    /// - Parameter endpoint: base URL with a slash at its end; nil for AliCloud's own in the region.
    package init(
        region: String, endpoint: String?, credentials: AliCloudCredentialSource, clock: any Clock,
        random: any RandomSource, log: Log
    ) {
        self.endpoint = endpoint ?? "https://kms.\(region).aliyuncs.com/"
        source = credentials
        client = UpstreamClient("AliCloud KMS", clock: clock)
        self.clock = clock
        self.random = random
        self.log = log
    }

    /// Encrypts up to 6,144 bytes by the primary version of a key.
    /// - Returns: ids of the key and of its version, and what it made.
    package func encrypt(
        _ plain: SecretBytes, key: String
    ) throws(VaultError) -> (key: String, version: String, blob: String) {
        let answer = try call(
            "Encrypt", [("KeyId", SecretBytes(plain: key)), ("Plaintext", Base64.standard.encode(plain))])
        guard let id = answer["KeyId"]?.string, let version = answer["KeyVersionId"]?.string,
            let blob = answer["CiphertextBlob"]?.string, !blob.isEmpty
        else { throw Self.incomplete }
        return (id, version, blob)
    }

    /// Decrypts; the text names its key.
    /// - Returns: the id of the key that was used, and what it gave.
    package func decrypt(_ blob: String) throws(VaultError) -> (key: String, plain: SecretBytes) {
        let answer = try call("Decrypt", [("CiphertextBlob", SecretBytes(plain: blob))])
        guard let key = answer["KeyId"]?.string, var text = answer["Plaintext"]?.stringBytes else {
            throw Self.incomplete
        }
        defer { text.wipe() }
        guard let plain = text.withUnsafeBytes({ Base64.standard.decodeSecret($0) }) else {
            throw Self.incomplete
        }
        return (key, plain)
    }

    private static let incomplete = VaultError.unavailable(
        "AliCloud KMS gave an answer without what was asked for", retryAfterSeconds: 0)

    private func call(_ action: String, _ parameters: [(String, SecretBytes)]) throws(VaultError) -> RawJSON {
        var isSecondTime = false
        while true {
            let body = form(action, parameters, try source.credentials())
            let response = try client.send(
                HTTPClientRequest(
                    method: "POST", url: endpoint,
                    headers: [("Content-Type", "application/x-www-form-urlencoded")], body: body))
            if response.status == 200 { return try client.json(response) }
            let answer = UpstreamClient.json(response)
            let code = answer?["Code"]?.string ?? ""
            if code.hasPrefix("InvalidSecurityToken"), !isSecondTime {
                source.forget()
                isSecondTime = true
                continue
            }
            // AliCloud's own words may name accounts: for the log only.
            log.warn(
                "AliCloud KMS refused",
                [
                    "operation": action, "code": code,
                    "message": UpstreamClient.clean(answer?["Message"]?.string ?? ""),
                ])
            throw error(code, response)
        }
    }

    /// All parameters and their signature, as the form that goes out.
    private func form(
        _ action: String, _ parameters: [(String, SecretBytes)], _ credentials: AliCloudCredentials
    ) -> [UInt8] {
        var fields = parameters
        func add(_ name: String, _ value: String) { fields.append((name, SecretBytes(plain: value))) }
        add("Action", action)
        add("Version", "2016-01-20")
        add("Format", "JSON")
        add("AccessKeyId", credentials.accessKey)
        add("SignatureMethod", "HMAC-SHA1")
        add("SignatureVersion", "1.0")
        add("SignatureNonce", random.uuid())
        add("Timestamp", clock.now().rfc3339(fraction: 0))
        if let token = credentials.securityToken { add("SecurityToken", token) }
        fields.sort { $0.0 < $1.0 }
        var query = PercentEncoding.form(fields)
        var text = Array("POST&%2F&".utf8) + PercentEncoding.encode(query)
        defer { text.wipe() }
        let key = SecretBytes(count: credentials.secretKey.count + 1) { target in
            credentials.secretKey.withBytes { target.copyMemory(from: $0) }
            target[target.count - 1] = UInt8(ascii: "&")
        }
        let signature = Base64.standard.encode(HMACSHA1.code(key: key, message: text))
        query += Array("&Signature=\(PercentEncoding.encode(signature))".utf8)
        return query
    }

    private func error(_ code: String, _ response: HTTPClientResponse) -> VaultError {
        switch code {
        case _ where code.hasPrefix("InvalidAccessKeyId"), "SignatureDoesNotMatch", "IncompleteSignature":
            .forbidden("AliCloud KMS refuses the credential (\(code))" + client.skew(response))
        case _ where code.hasPrefix("InvalidSecurityToken"), "InvalidTimeStamp.Expired", "SignatureNonceUsed":
            .forbidden("AliCloud KMS refuses the credential (\(code))" + client.skew(response))
        case _ where code.hasPrefix("Forbidden.KeyNotFound"), "Forbidden.ResourceNotFound":
            .badRequest("AliCloud KMS has no such key (\(code))")
        case _ where code.hasPrefix("Rejected."):
            .unavailable("AliCloud KMS has the key disabled, or is busy (\(code))", retryAfterSeconds: 0)
        case _ where code.hasPrefix("Forbidden"):
            .forbidden("AliCloud KMS does not let this credential use the key (\(code))")
        case _ where code.hasPrefix("Throttling"), "InternalFailure", "ServiceUnavailable":
            .unavailable("AliCloud KMS is busy or ill (\(code))", retryAfterSeconds: 0)
        case "UnsupportedOperation", "InvalidParameter", "InvalidCiphertext":
            .badRequest("AliCloud KMS did not make the stored key, or it was changed (\(code))")
        default: client.refusal(response, code)
        }
    }
}
