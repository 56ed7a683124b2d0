package import Base
import Net

/// The two calls of Google Cloud KMS that a seal needs (Cloud KMS REST v1: cryptoKeys.encrypt and decrypt).
package final class GoogleKMSClient: Sendable {
    private let key: String
    private let endpoint: String
    private let userAgent: String
    private let identity: GoogleIdentity
    private let client: UpstreamClient
    private let log: Log

    /// - Parameters:
    ///   - key: `projects/…/locations/…/keyRings/…/cryptoKeys/…`.
    ///   - endpoint: base URL with a slash at its end; nil for Google's own.
    package init(
        key: String, endpoint: String?, userAgent: String, identity: GoogleIdentity, clock: any Clock,
        log: Log
    ) {
        self.key = key
        self.endpoint = endpoint ?? "https://cloudkms.googleapis.com/"
        self.userAgent = userAgent
        self.identity = identity
        client = UpstreamClient("Google Cloud KMS", clock: clock)
        self.log = log
    }

    /// Encrypts by the primary version.
    /// - Returns: the name of that version, and what it made.
    package func encrypt(_ plain: SecretBytes) throws(VaultError) -> (version: String, blob: [UInt8]) {
        let answer = try call("encrypt", "plaintext", Base64.standard.encode(plain))
        guard let name = answer["name"]?.string,
            let blob = answer["ciphertext"]?.string.flatMap({ Base64.standard.decode($0) })
        else { throw Self.incomplete }
        return (name, blob)
    }

    /// Decrypts what any version of the key has encrypted.
    package func decrypt(_ blob: [UInt8]) throws(VaultError) -> SecretBytes {
        let answer = try call(
            "decrypt", "ciphertext", SecretBytes(copying: Base64.standard.encode(blob).utf8))
        guard var text = answer["plaintext"]?.stringBytes else { throw Self.incomplete }
        defer { text.wipe() }
        guard let plain = text.withUnsafeBytes({ Base64.standard.decodeSecret($0) }) else {
            throw Self.incomplete
        }
        return plain
    }

    private static let incomplete = VaultError.unavailable(
        "Google Cloud KMS gave an answer without what was asked for", retryAfterSeconds: 0)

    private func call(_ verb: String, _ field: String, _ value: SecretBytes) throws(VaultError) -> RawJSON {
        let response = try client.send(as: identity) { authorization in
            var writer = JSONWriter()
            writer.beginObject()
            writer.name(field)
            value.withBytes { writer.string(utf8: $0) }
            writer.endObject()
            return HTTPClientRequest(
                method: "POST", url: "\(endpoint)v1/\(key):\(verb)",
                headers: [authorization, ("Content-Type", "application/json"), ("User-Agent", userAgent)],
                body: writer.bytes)
        }
        if response.status == 200 { return try client.json(response) }
        throw error(response, UpstreamClient.json(response)?["error"])
    }

    private func error(_ response: HTTPClientResponse, _ answer: RawJSON?) -> VaultError {
        let status = answer?["status"]?.string ?? ""
        // Google's own words name projects and accounts: for the log only.
        log.warn(
            "Google Cloud KMS refused",
            [
                "status": String(response.status), "code": status,
                "message": UpstreamClient.clean(answer?["message"]?.string ?? ""),
            ])
        switch (response.status, status) {
        case (404, _): return .badRequest("Google Cloud KMS has no such key (\(status))")
        case (403, _):
            return .forbidden("Google Cloud KMS does not let this account use the key (\(status))")
        case (400, "FAILED_PRECONDITION"):
            return .unavailable(
                "Google Cloud KMS has the key version disabled or destroyed (\(status))", retryAfterSeconds: 0
            )
        case (400, _):
            return .badRequest(
                "Google Cloud KMS did not make the stored key with this key, or it was changed (\(status))")
        default: return client.refusal(response, status)
        }
    }
}
