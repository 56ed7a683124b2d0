import Base
package import Core
package import PluginKit

/// `sys/rekey/*` and `sys/rekey-recovery-key/*`: new unseal keys, new recovery keys.
///
/// Vault leaves these open to anybody who can reach the port. Here they need a token, so that only who is
/// trusted begins, ends or hijacks a rekeying; entering shares needs no more than the right to the path.
package struct SysRekey: Sendable {
    private let rekey: Rekey
    private let target: Rekey.Target

    package init(core: VaultCore, seal: SealController, target: Rekey.Target) {
        rekey = Rekey(core: core, seal: seal, target: target)
        self.target = target
    }

    private static let shares = Field<Int>("secret_shares", "Number of key shares to make.")
    private static let threshold = Field<Int>("secret_threshold", "Number of shares that unseal.")
    private static let storedShares = Field<Int>("stored_shares", "Kept for compatibility; must be 0.")
    private static let pgpKeys = Field<[String]>("pgp_keys", "OpenPGP keys in base64, one for each share.")
    private static let backup = Field<Bool>(
        "backup", default: false, "Keep the encrypted shares behind the barrier, too.")
    private static let verification = Field<Bool>(
        "require_verification", default: false,
        "Let the new shares take effect only when enough of them have come back.")
    private static let key = Field<SecretBytes>("key", "One key share, in hexadecimal or base64.")
    private static let nonce = Field<String>("nonce", default: "", "The operation's nonce.")

    private static let breakGlass = Field<Bool>(
        "break_glass", default: false,
        "Let the new recovery key unseal the server without its seal, for the day that the KMS is lost.")

    /// Of one of the two keys.
    package static func routes(_ target: Rekey.Target) -> [Route<Self>] {
        let isRecovery = target == .recovery
        let base = isRecovery ? "rekey-recovery-key" : "rekey"
        let key = isRecovery ? "recovery key" : "unseal key"
        let begin =
            isRecovery
            ? Route<Self>(
                .update, "\(base)/init", "Begin to make new recovery keys.", .sudo,
                fields: shares, threshold, storedShares, pgpKeys, backup, verification, breakGlass,
                runAsync: Self.start)
            : Route<Self>(
                .update, "\(base)/init", "Begin to make new unseal keys.", .sudo,
                fields: shares, threshold, storedShares, pgpKeys, backup, verification,
                runAsync: Self.start)
        let backupPath = isRecovery ? "rekey/recovery-key-backup" : "rekey/backup"
        return [
            Route(.read, "\(base)/init", "How the rekeying stands.", runAsync: Self.status), begin,
            Route(
                .delete, "\(base)/init", "Give the rekeying up.", .sudo, fields: nonce, runAsync: Self.cancel
            ),
            Route(
                .update, "\(base)/update", "Enter one share of the \(key) in use.", fields: Self.key, nonce,
                runAsync: Self.update),
            Route(
                .read, "\(base)/verify", "How the proof of new shares stands.", runAsync: Self.verification),
            Route(
                .update, "\(base)/verify", "Enter one of the new shares, to prove that it has arrived.",
                fields: Self.key, nonce, runAsync: Self.verify),
            Route(
                .delete, "\(base)/verify", "Begin the proof of the new shares again.", .sudo, fields: nonce,
                runAsync: Self.restartVerification),
            Route(
                .read, backupPath, "The new shares, encrypted to their holders' keys.", .sudo,
                run: Self.readBackup),
            Route(.delete, backupPath, "Delete the stored shares.", .sudo, run: Self.deleteBackup),
        ]
    }

    // MARK: The operation

    private func status(_ request: LogicalRequest, _ transactions: any Transactions) async throws(VaultError)
        -> LogicalResponse
    {
        .plain(Self.describe(try await pooled { rekey throws(VaultError) in try rekey.status() }))
    }

    private func start(_ request: LogicalRequest, _ transactions: any Transactions) async throws(VaultError)
        -> LogicalResponse
    {
        // Where a seal keeps the barrier's key, clients say so with 1; it is what happens anyway.
        let mostStored = target == .barrier && rekey.isAutomatic ? 1 : 0
        if let count = try request.optional(Self.storedShares), !(0...mostStored).contains(count) {
            throw .badRequest("parameter stored_shares is not applicable to the seal in use")
        }
        let wanted = Rekey.Request(
            shares: try request.optional(Self.shares) ?? 0,
            threshold: try request.optional(Self.threshold) ?? 0,
            pgpKeys: try request.optional(Self.pgpKeys) ?? [],
            isBackedUp: try request[Self.backup], requiresVerification: try request[Self.verification],
            breakGlass: target == .recovery ? try request[Self.breakGlass] : false)
        return .plain(Self.describe(try await pooled { rekey throws(VaultError) in try rekey.start(wanted) }))
    }

    private func cancel(_ request: LogicalRequest, _ transactions: any Transactions) async throws(VaultError)
        -> LogicalResponse
    {
        let nonce = try request[Self.nonce]
        try await pooled { rekey throws(VaultError) in try rekey.cancel(nonce: nonce) }
        return .empty
    }

    private func update(_ request: LogicalRequest, _ transactions: any Transactions) async throws(VaultError)
        -> LogicalResponse
    {
        let share = try request[Self.key]
        let nonce = try request[Self.nonce]
        let progress = try await pooled { rekey throws(VaultError) in
            try rekey.enter(share: share, nonce: nonce)
        }
        switch progress {
        case .waiting(let status): return .plain(Self.describe(status))
        case .complete(let completion): return Self.describe(completion)
        }
    }

    private static func describe(_ status: Rekey.Status) -> JSONValue {
        [
            "nonce": .string(status.nonce), "started": .bool(status.isStarted), "t": .int(status.threshold),
            "n": .int(status.shares), "progress": .int(status.progress), "required": .int(status.required),
            "pgp_fingerprints": list(status.pgpFingerprints), "backup": .bool(status.isBackedUp),
            "verification_required": .bool(status.requiresVerification),
            "verification_nonce": .string(status.verificationNonce),
        ]
    }

    /// Written byte by byte: the shares never become text of Swift's.
    private static func describe(_ completion: Rekey.Completion) -> LogicalResponse {
        var writer = JSONWriter()
        func list(_ name: String, _ encode: (SecretBytes) -> SecretBytes) {
            writer.name(name)
            writer.beginArray()
            for share in completion.shares { encode(share).withBytes { writer.string(utf8: $0) } }
            writer.endArray()
        }
        writer.beginObject()
        writer.field("nonce", completion.nonce)
        writer.field("complete", true)
        list("keys", Hex.encode)
        list("keys_base64", Base64.standard.encode)
        writer.field("pgp_fingerprints", Self.list(completion.pgpFingerprints))
        writer.field("backup", completion.isBackedUp)
        writer.field("verification_required", !completion.verificationNonce.isEmpty)
        if !completion.verificationNonce.isEmpty {
            writer.field("verification_nonce", completion.verificationNonce)
        }
        writer.endObject()
        var response = LogicalResponse()
        response.raw = RawAnswer(status: 200, contentType: "application/json", body: writer.bytes)
        return response
    }

    private static func list(_ texts: [String]) -> JSONValue { texts.isEmpty ? .null : .strings(texts) }

    // MARK: Verification

    private func verification(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        .plain(Self.describe(try await pooled { rekey throws(VaultError) in try rekey.verification() }))
    }

    private func verify(_ request: LogicalRequest, _ transactions: any Transactions) async throws(VaultError)
        -> LogicalResponse
    {
        let share = try request[Self.key]
        let nonce = try request[Self.nonce]
        return .plain(
            Self.describe(
                try await pooled { rekey throws(VaultError) in try rekey.verify(share: share, nonce: nonce) })
        )
    }

    private func restartVerification(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let nonce = try request[Self.nonce]
        return .plain(
            Self.describe(
                try await pooled { rekey throws(VaultError) in try rekey.restartVerification(nonce: nonce) }))
    }

    private static func describe(_ verification: Rekey.Verification) -> JSONValue {
        if verification.isComplete { return ["nonce": .string(verification.nonce), "complete": true] }
        return [
            "nonce": .string(verification.nonce), "started": true, "t": .int(verification.threshold),
            "n": .int(verification.shares), "progress": .int(verification.progress), "complete": false,
        ]
    }

    // MARK: Backup

    private func readBackup(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try rekey.checkSupported()
        guard let backup = try RekeyBackup(&tx, target) else { throw .badRequest("no backed-up keys found") }
        var fingerprints: [String] = []
        for share in backup.shares where !fingerprints.contains(share.fingerprint) {
            fingerprints.append(share.fingerprint)
        }
        func grouped(_ encode: ([UInt8]) -> String) -> JSONValue {
            .object(
                fingerprints.map { fingerprint in
                    let mine = backup.shares.filter { $0.fingerprint == fingerprint }
                    return (fingerprint, .strings(mine.map { encode($0.message) }))
                })
        }
        var response = LogicalResponse(data: [
            "nonce": .string(backup.nonce), "keys": grouped { Hex.encode($0) },
            "keys_base64": grouped { Base64.standard.encode($0) },
        ])
        response.mirrorsData = true
        return response
    }

    private func deleteBackup(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try rekey.checkSupported()
        tx.delete(RekeyBackup.key(target))
        return .empty
    }

    // MARK: -

    /// The steps compute, encrypt to PGP keys and wait for commits: not on the threads of others.
    private func pooled<Result: Sendable>(
        _ body: @escaping @Sendable (Rekey) throws(VaultError) -> Result
    ) async throws(VaultError) -> Result {
        try await BlockingPool.shared.run { [rekey] () throws(VaultError) in try body(rekey) }
    }
}
