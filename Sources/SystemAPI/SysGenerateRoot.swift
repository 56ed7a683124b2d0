import Base
package import Core
package import PluginKit

/// `sys/generate-root/*`: a new root token for holders of key shares.
///
/// Open to anybody, for who has lost every token must be able to get one; the shares are the proof.
/// Ending an attempt needs its nonce.
package struct SysGenerateRoot: Sendable {
    private let generation: RootGeneration

    package init(generation: RootGeneration) { self.generation = generation }

    private static let otp = Field<SecretBytes>(
        "otp",
        "A one-time pad, as long as a root token; made and answered when neither it nor pgp_key is given.")
    private static let pgpKey = Field<String>("pgp_key", default: "", "OpenPGP key in base64 for the token.")
    private static let key = Field<SecretBytes>("key", "One key share, in hexadecimal or base64.")
    private static let nonce = Field<String>("nonce", default: "", "The attempt's nonce.")

    package static var routes: [Route<Self>] {
        // The shorter form is the older one.
        let older: RouteTraits = [.unauthenticated, .hidden]
        return attempt("generate-root/attempt", .unauthenticated) + attempt("generate-root", older) + [
            Route(
                .update, "generate-root/update", "Enter one key share.", .unauthenticated,
                fields: key, nonce, runAsync: Self.update)
        ]
    }

    private static func attempt(_ path: String, _ traits: RouteTraits) -> [Route<Self>] {
        [
            Route(.read, path, "How the making of a root token stands.", traits, runAsync: Self.status),
            Route(
                .update, path, "Begin to make a root token.", traits, fields: otp, pgpKey,
                runAsync: Self.start),
            Route(
                .delete, path, "Give the making of a root token up.", traits, fields: nonce,
                runAsync: Self.cancel),
        ]
    }

    private func status(_ request: LogicalRequest, _ transactions: any Transactions) async throws(VaultError)
        -> LogicalResponse
    {
        let status = try await BlockingPool.shared.run { [generation] () throws(VaultError) in
            try generation.status()
        }
        return Self.describe(status, otpBytes: RootGeneration.otpBytes)
    }

    private func start(_ request: LogicalRequest, _ transactions: any Transactions) async throws(VaultError)
        -> LogicalResponse
    {
        var otp = try request.optional(Self.otp)
        if otp?.count == 0 { otp = nil }
        let pad = otp
        let pgpKey = try request[Self.pgpKey]
        let status = try await BlockingPool.shared.run { [generation] () throws(VaultError) in
            try generation.start(otp: pad, pgpKey: pgpKey)
        }
        return Self.describe(status, otpBytes: RootGeneration.otpBytes)
    }

    private func cancel(_ request: LogicalRequest, _ transactions: any Transactions) async throws(VaultError)
        -> LogicalResponse
    {
        let nonce = try request[Self.nonce]
        try await BlockingPool.shared.run { [generation] () throws(VaultError) in
            try generation.cancel(nonce: nonce)
        }
        return .empty
    }

    private func update(_ request: LogicalRequest, _ transactions: any Transactions) async throws(VaultError)
        -> LogicalResponse
    {
        let share = try request[Self.key]
        let nonce = try request[Self.nonce]
        let status = try await BlockingPool.shared.run { [generation] () throws(VaultError) in
            try generation.enter(share: share, nonce: nonce)
        }
        return Self.describe(status, otpBytes: 0)
    }

    /// Written byte by byte: pad and token never become text of Swift's.
    private static func describe(_ status: RootGeneration.Status, otpBytes: Int) -> LogicalResponse {
        var writer = JSONWriter()
        func secret(_ name: String, _ value: SecretBytes?) {
            writer.name(name)
            guard let value else { return writer.string("") }
            value.withBytes { writer.string(utf8: $0) }
        }
        writer.beginObject()
        writer.field("nonce", status.nonce)
        writer.field("started", status.isStarted)
        writer.field("progress", status.progress)
        writer.field("required", status.required)
        writer.field("complete", status.isComplete)
        secret("encoded_token", status.encodedToken)
        secret("encoded_root_token", status.encodedToken)
        writer.field("pgp_fingerprint", status.pgpFingerprint)
        secret("otp", status.otp)
        writer.field("otp_length", otpBytes)
        writer.endObject()
        var response = LogicalResponse()
        response.raw = RawAnswer(status: 200, contentType: "application/json", body: writer.bytes)
        return response
    }
}
