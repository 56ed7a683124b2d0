package import Base
import Net

/// The two calls of AWS KMS that a seal needs (AWS KMS API Reference: Encrypt, Decrypt), by symmetric keys.
package final class AWSKMSClient: Sendable {
    private let endpoint: String
    private let signature: AWSSignature
    private let chain: AWSCredentialChain
    private let client: UpstreamClient
    private let clock: any Clock
    private let log: Log

    /// - Parameter endpoint: base URL; nil for AWS's own in the region.
    package init(
        region: String, endpoint: String?, credentials: AWSCredentialChain, clock: any Clock, log: Log
    ) {
        let suffix = region.hasPrefix("cn-") ? "amazonaws.com.cn" : "amazonaws.com"
        self.endpoint = endpoint ?? "https://kms.\(region).\(suffix)/"
        signature = AWSSignature(region: region, service: "kms")
        chain = credentials
        client = UpstreamClient("AWS KMS", clock: clock)
        self.clock = clock
        self.log = log
    }

    /// Encrypts up to 4,096 bytes.
    /// - Parameter key: id, alias or ARN.
    /// - Returns: the ARN of the key that was used, and what it made.
    package func encrypt(_ plain: SecretBytes, key: String) throws(VaultError) -> (key: String, blob: [UInt8])
    {
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("KeyId", key)
        writer.name("Plaintext")
        Base64.standard.encode(plain).withBytes { writer.string(utf8: $0) }
        writer.endObject()
        let answer = try call("Encrypt", writer.bytes)
        guard let arn = answer["KeyId"]?.string,
            let blob = answer["CiphertextBlob"]?.string.flatMap({ Base64.standard.decode($0) })
        else { throw Self.incomplete }
        return (arn, blob)
    }

    /// Gives back what this key has encrypted.
    package func decrypt(_ blob: [UInt8], key: String) throws(VaultError) -> SecretBytes {
        let body: JSONValue = [
            "KeyId": .string(key), "CiphertextBlob": .string(Base64.standard.encode(blob)),
        ]
        let answer = try call("Decrypt", body.encoded())
        guard var text = answer["Plaintext"]?.stringBytes else { throw Self.incomplete }
        defer { text.wipe() }
        guard let plain = text.withUnsafeBytes({ Base64.standard.decodeSecret($0) }) else {
            throw Self.incomplete
        }
        return plain
    }

    private static let incomplete = VaultError.unavailable(
        "AWS KMS gave an answer without what was asked for", retryAfterSeconds: 0)

    /// Asks once more with other credentials when those at hand were refused: they may have been renewed.
    private func call(_ operation: String, _ body: [UInt8]) throws(VaultError) -> RawJSON {
        var isSecondTime = false
        while true {
            let request = HTTPClientRequest(
                method: "POST", url: endpoint,
                headers: [
                    ("Content-Type", "application/x-amz-json-1.1"),
                    ("X-Amz-Target", "TrentService.\(operation)"),
                ], body: body)
            let response = try client.send(
                signature.signed(request, by: try chain.credentials(), at: clock.now()))
            if response.status == 200 { return try client.json(response) }
            let answer = UpstreamClient.json(response)
            let type = Self.type(of: response, answer)
            let message = (answer?["message"] ?? answer?["Message"])?.string ?? ""
            if Self.credentialErrors.contains(type), !isSecondTime {
                chain.forget()
                isSecondTime = true
                continue
            }
            // AWS's own words name accounts and users: for the log only.
            log.warn(
                "AWS KMS refused",
                ["operation": operation, "error": type, "message": UpstreamClient.clean(message)])
            throw error(type, response)
        }
    }

    /// From JSON, or from the XML in which some front ends answer.
    private static func type(of response: HTTPClientResponse, _ answer: RawJSON?) -> String {
        if let text = answer?["__type"]?.string {
            return UpstreamClient.clean(String(text.split(separator: "#").last ?? ""))
        }
        let code = AWSTokenService.element("Code", response.body) ?? []
        return UpstreamClient.clean(String(decoding: code, as: UTF8.self))
    }

    private static let credentialErrors: Set<String> = [
        "SignatureDoesNotMatch",
        "ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId",
        "InvalidSignatureException", "IncompleteSignatureException", "RequestExpired",
    ]

    private func error(_ type: String, _ response: HTTPClientResponse) -> VaultError {
        switch type {
        case _ where Self.credentialErrors.contains(type):
            .forbidden("AWS KMS refuses the credential (\(type))" + client.skew(response))
        case "AccessDeniedException", "AccessDenied":
            .forbidden("AWS KMS does not let this credential use the key (\(type))")
        case "NotFoundException":
            .badRequest(
                "AWS KMS has no such key (\(type)): expected kms_key_id and region of a key that is there")
        case "DisabledException", "KMSInvalidStateException":
            .unavailable(
                "AWS KMS has the key disabled or on its way to deletion (\(type))", retryAfterSeconds: 0)
        case "InvalidCiphertextException", "IncorrectKeyException":
            .badRequest("AWS KMS did not make the stored key with this key, or it was changed (\(type))")
        case "ThrottlingException", "LimitExceededException", "DependencyTimeoutException",
            "KMSInternalException", "KeyUnavailableException":
            .unavailable(
                "AWS KMS is busy or ill (\(type))",
                retryAfterSeconds: response.header("retry-after").flatMap { Int($0) } ?? 0)
        default: client.refusal(response, type)
        }
    }
}
