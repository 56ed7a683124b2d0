import Base
package import Core
package import PluginKit

/// `sys/init`, `sys/unseal`, `sys/seal`, `sys/seal-status` and `sys/health`: what answers also while the
/// server is sealed, and what seals it.
package struct SysSeal: Sendable {
    private let seal: SealController
    private let core: VaultCore

    package init(core: VaultCore, seal: SealController) {
        self.core = core
        self.seal = seal
    }

    private static let shares = Field<Int>("secret_shares", "Number of key shares to make.")
    private static let threshold = Field<Int>("secret_threshold", "Number of shares that unseal.")
    private static let pgpKeys = Field<[String]>("pgp_keys", "OpenPGP keys in base64, one for each share.")
    private static let rootTokenPGPKey = Field<String>(
        "root_token_pgp_key", "OpenPGP key for the root token.")
    private static let storedShares = Field<Int>(
        "stored_shares", "Kept for compatibility: 0, or 1 with a seal that unseals by itself.")
    private static let recoveryShares = Field<Int>(
        "recovery_shares", "Number of recovery key shares; with a seal that unseals by itself.")
    private static let recoveryThreshold = Field<Int>(
        "recovery_threshold", "Recovery key shares that are a quorum.")
    private static let recoveryPGPKeys = Field<[String]>(
        "recovery_pgp_keys", "OpenPGP keys in base64, one for each recovery key share.")
    private static let breakGlass = Field<Bool>(
        "break_glass", default: false,
        "Let the recovery key unseal the server without its seal, for the day that the KMS is lost.")
    private static let key = Field<SecretBytes>("key", "One key share, in hexadecimal or base64.")
    private static let reset = Field<Bool>("reset", default: false, "Forget the shares entered so far.")
    private static let migrate = Field<Bool>("migrate", default: false, "Move to another seal.")

    private static let open: RouteTraits = [.unauthenticated, .whileSealed]

    package static var routes: [Route<Self>] {
        [
            Route(.read, "init", "Whether the server was initialised.", open, run: Self.initStatus),
            Route(
                .update, "init", "Initialise the server.", open,
                fields: shares, threshold, pgpKeys, rootTokenPGPKey, storedShares, recoveryShares,
                recoveryThreshold, recoveryPGPKeys, breakGlass,
                runAsync: Self.initialize),
            Route(
                .update, "unseal", "Enter one key share.", open, fields: key, reset, migrate,
                runAsync: Self.unseal),
            Route(.read, "seal-status", "How far the server is unsealed.", open, run: Self.status),
            Route(.read, "health", "Whether this node can serve.", open, run: Self.health),
            Route(.update, "seal", "Seal the server at once.", [.sudo, .thisNode], runAsync: Self.sealNow),
        ]
    }

    private func initStatus(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        .plain(["initialized": .bool(seal.status.isInitialized)])
    }

    private func initialize(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let wish = seal.status.isAutomatic ? try recoveryWish(request) : try shamirWish(request)
        let tokenKey = try request.optional(Self.rootTokenPGPKey)
        let keys = try await BlockingPool.shared.run { [seal] () throws(VaultError) in
            try seal.initialize(
                shares: wish.shares, threshold: wish.threshold, pgpKeys: wish.pgpKeys,
                breakGlass: wish.breakGlass, rootTokenPGPKey: tokenKey)
        }
        return Self.describe(keys)
    }

    private typealias Wish = (shares: Int, threshold: Int, pgpKeys: [String], breakGlass: Bool)

    private func shamirWish(_ request: LogicalRequest) throws(VaultError) -> Wish {
        for field in [Self.recoveryShares, Self.recoveryThreshold, Self.storedShares] {
            if let count = try request.optional(field), count != 0 { throw foreign(field.name) }
        }
        if let keys = try request.optional(Self.recoveryPGPKeys), !keys.isEmpty {
            throw foreign(Self.recoveryPGPKeys.name)
        }
        if try request[Self.breakGlass] { throw foreign(Self.breakGlass.name) }
        return (
            try request.optional(Self.shares) ?? 0, try request.optional(Self.threshold) ?? 0,
            try request.optional(Self.pgpKeys) ?? [], false
        )
    }

    private func recoveryWish(_ request: LogicalRequest) throws(VaultError) -> Wish {
        for field in [Self.shares, Self.threshold] {
            if let count = try request.optional(field), count != 0 { throw foreign(field.name) }
        }
        if let keys = try request.optional(Self.pgpKeys), !keys.isEmpty { throw foreign(Self.pgpKeys.name) }
        if let count = try request.optional(Self.storedShares), !(0...1).contains(count) {
            throw .badRequest("stored_shares: expected 1, or nothing")
        }
        return (
            try request.optional(Self.recoveryShares) ?? 0,
            try request.optional(Self.recoveryThreshold) ?? 0,
            try request.optional(Self.recoveryPGPKeys) ?? [], try request[Self.breakGlass]
        )
    }

    private func foreign(_ field: String) -> VaultError {
        .badRequest("parameter \(field) is not applicable to seal type \(seal.status.type)")
    }

    /// Written byte by byte: the shares never become text of Swift's.
    private static func describe(_ keys: SealController.InitialKeys) -> LogicalResponse {
        var writer = JSONWriter()
        func list(_ name: String, _ shares: [SecretBytes], _ encode: (SecretBytes) -> SecretBytes) {
            writer.name(name)
            writer.beginArray()
            for share in shares { encode(share).withBytes { writer.string(utf8: $0) } }
            writer.endArray()
        }
        writer.beginObject()
        let unsealShares = keys.isAutomatic ? [] : keys.shares
        list("keys", unsealShares, Hex.encode)
        list("keys_base64", unsealShares, Base64.standard.encode)
        if keys.isAutomatic {
            list("recovery_keys", keys.shares, Hex.encode)
            list("recovery_keys_base64", keys.shares, Base64.standard.encode)
        }
        writer.name("root_token")
        keys.rootToken.withBytes { writer.string(utf8: $0) }
        writer.endObject()
        var response = LogicalResponse()
        response.raw = RawAnswer(status: 200, contentType: "application/json", body: writer.bytes)
        return response
    }

    private func unseal(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let migrates = try request[Self.migrate]
        if try request[Self.reset] {
            seal.resetProgress()
        } else {
            guard let key = try request.optional(Self.key), key.count > 0 else {
                throw .badRequest("'key' must be specified in request body as JSON, or 'reset' set to true")
            }
            try await BlockingPool.shared.run { [seal] () throws(VaultError) in
                try seal.enter(share: key, migrate: migrates)
            }
        }
        return .plain(describe(seal.status))
    }

    private func status(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        .plain(describe(seal.status))
    }

    private func describe(_ status: SealStatus) -> JSONValue {
        var members: [(String, JSONValue)] = [
            ("type", .string(status.type)), ("initialized", .bool(status.isInitialized)),
            ("sealed", .bool(status.isSealed)), ("t", .int(status.threshold)), ("n", .int(status.shares)),
            ("progress", .int(status.progress)), ("nonce", .string(status.nonce)),
            ("version", .string(Version.api)), ("build_date", .string(Version.buildDate)),
            ("migration", .bool(status.isMigrating)),
            ("recovery_seal", .bool(status.isAutomatic)), ("storage_type", .string(status.storageType)),
        ]
        if status.isAutomatic, status.isInitialized {
            // What the holders' shares are made by.
            members.append(("recovery_seal_type", "shamir"))
            members.append(("recovery_break_glass", .bool(status.hasBreakGlass)))
        }
        if !status.reason.isEmpty { members.append(("sealed_reason", .string(status.reason))) }
        if isRemoved { members.append(("removed_from_cluster", true)) }
        if !status.warning.isEmpty { members.append(("warnings", .strings([status.warning]))) }
        if !status.isSealed {
            members.append(("cluster_name", .string(status.clusterName)))
            members.append(("cluster_id", .string(status.clusterID)))
        }
        return .object(members)
    }

    private func sealNow(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        seal.seal()
        return .empty
    }

    // MARK: Health

    private static let healthCodes = [
        ("uninitcode", 501), ("sealedcode", 503), ("activecode", 200), ("standbycode", 429),
        ("drsecondarycode", 472), ("performancestandbycode", 473), ("haunhealthycode", 474),
        ("removedcode", 530),
    ]

    private func health(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let status = seal.status
        let isStandby = !status.isSealed && !core.isActive
        // All are checked, also those that do not apply, so that a typo shows before the day it matters.
        let standbyOK = try flag(request, "standbyok")
        _ = try flag(request, "perfstandbyok")
        let state = healthState(status, isStandby: isStandby, standbyOK: standbyOK)
        var code = 500
        for (name, usual) in Self.healthCodes {
            let asked = request.fields.isEmpty ? nil : try self.code(request, name)
            if name == state { code = asked ?? usual }
        }
        let mode: JSONValue = status.isSealed || isStandby ? "unknown" : "disabled"
        var members: [(String, JSONValue)] = [
            ("initialized", .bool(status.isInitialized)), ("sealed", .bool(status.isSealed)),
            ("standby", .bool(status.isSealed || isStandby)), ("performance_standby", false),
            ("replication_performance_mode", mode), ("replication_dr_mode", mode),
            ("server_time_utc", .int(Int(request.now.seconds))), ("version", .string(Version.api)),
        ]
        if !status.reason.isEmpty { members.append(("sealed_reason", .string(status.reason))) }
        if !status.isSealed {
            members.append(("cluster_name", .string(status.clusterName)))
            members.append(("cluster_id", .string(status.clusterID)))
        }
        // Beyond Vault's members, and only in trouble: the status stays, since reading may go on.
        if isRemoved { members.append(("removed_from_cluster", true)) }
        if !core.backend.takesCommits { members.append(("storage_writable", false)) }
        if core.audit.isFailing { members.append(("audit_available", false)) }
        return .plain(.object(members), status: code)
    }

    /// Which of the codes it is. A standby that hears no leader cannot answer, whatever is asked for.
    private func healthState(_ status: SealStatus, isStandby: Bool, standbyOK: Bool) -> String {
        if !status.isInitialized { return "uninitcode" }
        if isRemoved { return "removedcode" }
        if status.isSealed { return "sealedcode" }
        guard isStandby else { return "activecode" }
        if core.role?.standing.hasQuorum == false { return "haunhealthycode" }
        return standbyOK ? "activecode" : "standbycode"
    }

    /// Sealed or not: it will never serve again as it is.
    private var isRemoved: Bool { core.role?.standing.isRemoved ?? false }

    private func flag(_ request: LogicalRequest, _ name: String) throws(VaultError) -> Bool {
        guard case .text(let text)? = request.input(name) else { return false }
        if text.isEmpty { return true }
        guard let flag = Bool(vaultText: text) else {
            throw .badRequest("\(name): expected true or false")
        }
        return flag
    }

    private func code(_ request: LogicalRequest, _ name: String) throws(VaultError) -> Int? {
        guard case .text(let text)? = request.input(name) else { return nil }
        guard let code = Int(text), (200...599).contains(code) else {
            throw .badRequest("\(name): expected a status code from 200 to 599")
        }
        return code
    }
}
