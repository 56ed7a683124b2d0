package import Base
import Glibc
import Net
import Synchronization

/// Which key of which transit engine, and how to reach it.
package struct TransitConfiguration: Sendable {
    /// With a slash at its end.
    package var address: String
    /// Without slashes at its ends.
    package var mountPath: String
    package var keyName: String
    package var namespace: String?
    package var renewsToken = true
    /// PEM file, and directory of hashed ones, of the roots to trust instead of the system's.
    package var caFile: String?
    package var caPath: String?
    /// PEM files of our certificate and its key.
    package var certificateFile: String?
    package var keyFile: String?
    /// Name that the server's certificate must show, when it is not the address's.
    package var serverName: String?
    /// Accepts any certificate.
    package var skipsVerification = false

    package init(address: String, mountPath: String, keyName: String) {
        self.address = address
        self.mountPath = mountPath
        self.keyName = keyName
    }

    fileprivate var http: HTTPClientSettings {
        var settings = HTTPClientSettings()
        settings.caFile = caFile
        settings.caPath = caPath
        settings.clientCertificateFile = certificateFile
        settings.clientKeyFile = keyFile
        settings.serverName = serverName
        settings.skipVerify = skipsVerification
        return settings
    }
}

/// Encrypts short secrets with the transit engine of another server that speaks Vault's API. Blocking, for
/// threads that may wait.
///
/// The token is asked for again when it is refused, so that one that an agent puts anew into its file is
/// taken up; and it is renewed on a thread of its own, from the first call that succeeds until this client
/// is let go of.
package final class TransitClient: Sendable {
    package typealias TokenSource = @Sendable () throws(VaultError) -> SecretBytes

    private let configuration: TransitConfiguration
    private let tokenSource: TokenSource
    private let http: UpstreamClient
    private let clock: any Clock
    private let log: Log
    private let state: Mutex<State>

    private struct State {
        var token: SecretBytes?
        var isRenewing = false
    }

    package init(
        _ configuration: TransitConfiguration, clock: any Clock, log: Log, token: @escaping TokenSource
    ) {
        self.configuration = configuration
        self.clock = clock
        self.log = log
        tokenSource = token
        http = UpstreamClient("the transit server", configuration.http, clock: clock)
        state = Mutex(State())
    }

    /// - Returns: the ciphertext as the engine writes it, and the version of the key in it.
    /// - Throws: `.unavailable`, `.forbidden` for the token, `.badRequest` for a wrong path or key.
    package func encrypt(_ secret: SecretBytes) throws(VaultError) -> (ciphertext: [UInt8], version: Int) {
        let text = Base64.standard.encode(secret)
        let answer = try call("encrypt", "plaintext", text)
        guard let sealed = answer["ciphertext"]?.string, let version = Self.version(sealed) else {
            throw .unavailable("the transit server gave no ciphertext", retryAfterSeconds: 0)
        }
        return (Array(sealed.utf8), version)
    }

    /// - Throws: as `encrypt`; `.badRequest` for what this key did not encrypt, or was changed since.
    package func decrypt(_ ciphertext: [UInt8]) throws(VaultError) -> SecretBytes {
        guard Self.version(String(decoding: ciphertext, as: UTF8.self)) != nil else {
            throw .badRequest("the stored key is no ciphertext of a transit engine")
        }
        let answer = try call("decrypt", "ciphertext", SecretBytes(copying: ciphertext))
        let secret = try answer["plaintext"]?.withStringBytes { (text) throws(VaultError) in
            Base64.standard.decodeSecret(text)
        }
        guard let secret = secret ?? nil else {
            throw .unavailable("the transit server gave no plaintext", retryAfterSeconds: 0)
        }
        return secret
    }

    /// The number in `vault:v3:…`.
    package static func version(_ ciphertext: String) -> Int? {
        let parts = ciphertext.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "vault", parts[1].hasPrefix("v"), !parts[2].isEmpty,
            let version = Int(parts[1].dropFirst()), version > 0
        else { return nil }
        return version
    }

    // MARK: Requests

    private func call(
        _ operation: String, _ field: String, _ text: SecretBytes
    ) throws(VaultError) -> RawJSON {
        var writer = JSONWriter(reserving: text.count + 32)
        writer.beginObject()
        writer.name(field)
        text.withBytes { writer.string(utf8: $0) }
        writer.endObject()
        let path = "\(configuration.mountPath)/\(operation)/\(PercentEncoding.encode(configuration.keyName))"
        var token = try currentToken()
        var response = try send("PUT", path, writer.bytes, token)
        if response.status == 403, let fresh = try freshToken(insteadOf: token) {
            token = fresh
            response = try send("PUT", path, writer.bytes, token)
        }
        if response.status == 403 { throw try forbidden(operation, token) }
        guard response.status == 200 else { throw refusal(response) }
        startRenewing()
        return try http.json(response)["data"] ?? RawJSON(trusted: Array("null".utf8))
    }

    /// Sends a request; one redirect is followed, as a standby may answer with its leader's address.
    private func send(
        _ method: String, _ path: String, _ body: [UInt8]?, _ token: SecretBytes
    ) throws(VaultError) -> HTTPClientResponse {
        var url = "\(configuration.address)v1/\(path)"
        for _ in 0..<2 {
            var headers = [
                ("X-Vault-Token", token.withBytes { String(decoding: $0, as: UTF8.self) }),
                ("X-Vault-Request", "true"),
            ]
            if let namespace = configuration.namespace { headers.append(("X-Vault-Namespace", namespace)) }
            if body != nil { headers.append(("Content-Type", "application/json")) }
            let response = try http.send(
                HTTPClientRequest(method: method, url: url, headers: headers, body: body))
            guard response.status == 307 || response.status == 308, let target = response.header("location"),
                target.hasPrefix("https://") || url.hasPrefix("http://") && target.hasPrefix("http://")
            else { return response }
            url = target
        }
        throw .unavailable("the transit server redirects without end", retryAfterSeconds: 0)
    }

    /// Tells a token that is none any more from one that may not do this: to the engine both are the same.
    private func forbidden(_ operation: String, _ token: SecretBytes) throws(VaultError) -> VaultError {
        let response = try send("GET", "auth/token/lookup-self", nil, token)
        guard response.status == 403 else {
            return .forbidden(
                "the transit server does not let this token \(operation) by the key "
                    + "'\(configuration.keyName)' of \(configuration.mountPath)/")
        }
        return .forbidden(
            "the transit server refuses the credential: the token has ended or was revoked, or it may not "
                + "\(operation) by the key '\(configuration.keyName)' of \(configuration.mountPath)/")
    }

    private func refusal(_ response: HTTPClientResponse) -> VaultError {
        let errors = UpstreamClient.json(response)?["errors"]?.elements.compactMap(\.string) ?? []
        let reason = errors.joined(separator: "; ")
        return http.refusal(response, reason.isEmpty ? "at \(configuration.mountPath)" : reason)
    }

    // MARK: The token

    private func currentToken() throws(VaultError) -> SecretBytes {
        if let token = state.withLock({ $0.token }) { return token }
        let token = try tokenSource()
        state.withLock { $0.token = token }
        return token
    }

    /// The token as its source has it now; nil when that is still the one that was refused.
    private func freshToken(insteadOf refused: SecretBytes) throws(VaultError) -> SecretBytes? {
        let token = try tokenSource()
        if token == refused { return nil }
        state.withLock { $0.token = token }
        return token
    }

    private func startRenewing() {
        guard configuration.renewsToken else { return }
        let isFirst = state.withLock { state in
            defer { state.isRenewing = true }
            return !state.isRenewing
        }
        guard isFirst else { return }
        do throws(VaultError) {
            _ = try Thread(name: "transit-token") { [weak self] in
                var rest: Duration? = .zero
                while let pause = rest {
                    // In short steps: the client may be let go of meanwhile.
                    var left = pause
                    while left > .zero, self != nil {
                        usleep(1_000_000)
                        left -= .seconds(1)
                    }
                    guard let client = self else { return }
                    rest = client.renewToken(isFirst: pause == .zero)
                }
                self?.state.withLock { $0.isRenewing = false }
            }
        } catch {
            log.warn("the token of the transit seal is not renewed", ["cause": "\(error.messages)"])
            state.withLock { $0.isRenewing = false }
        }
    }

    /// Renews the token, or looks for the first time how long it lives.
    /// - Returns: when to do it again; nil when there is no use in it.
    private func renewToken(isFirst: Bool) -> Duration? {
        do throws(VaultError) {
            let token = try currentToken()
            let response =
                if isFirst {
                    try send("GET", "auth/token/lookup-self", nil, token)
                } else {
                    try send("PUT", "auth/token/renew-self", Array("{}".utf8), token)
                }
            if response.status == 403, try freshToken(insteadOf: token) != nil { return .seconds(1) }
            guard response.status == 200 else { throw refusal(response) }
            let answer = try http.json(response)
            let seconds =
                isFirst ? answer["data"]?["ttl"]?.int : answer["auth"]?["lease_duration"]?.int
            let isRenewable = (isFirst ? answer["data"] : answer["auth"])?["renewable"]?.bool ?? false
            guard let seconds, seconds > 0, isRenewable else { return nil }
            // Halfway, so that some tries may fail.
            return .seconds(max(1, min(seconds / 2, Self.longestRestSeconds)))
        } catch {
            log.warn("the token of the transit seal could not be renewed", ["cause": error.messages.joined()])
            if case .forbidden = error { return nil }
            return .seconds(Self.retrySeconds)
        }
    }

    private static let longestRestSeconds = 86_400
    private static let retrySeconds = 10
}
