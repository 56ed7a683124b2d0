import Barrier
package import Base
import Synchronization

extension SealController {
    /// Takes one share, in hexadecimal or base64. With the last one needed the server is unsealed.
    ///
    /// With seals that need nobody these are shares of the recovery key. They let a server that was sealed
    /// by an operator go on by its seals, let it go over to another seal (`migrate`) or, where that was
    /// asked for, open it without any.
    /// - Throws: `.badRequest` when the share is malformed, when the shares together open nothing, or when
    ///   `migrate` is missing or out of place; `.unavailable` when no seal answers.
    package func enter(share text: SecretBytes, migrate: Bool = false) throws(VaultError) {
        guard let config else { throw .badRequest("Vault is not initialized") }
        let plan = SealPlan(config, seals)
        if core.active == nil { try check(migrate, plan) }
        // The other nodes have gone over already: nothing is left to do but to unseal.
        let migrate = migrate && plan.isMigration
        let share = try KeyShares.decode(text, threshold: config.holders.threshold)
        if core.active != nil { return }
        guard let complete = try add(share, migrate, config) else { return }
        let key = try complete.combined()
        try alone { () throws(VaultError) in
            if core.active != nil { return }
            switch plan {
            case .shares: try activate(try rootKey(under: key))
            case .automatic: try resume(key, config)
            case .migration: try self.migrate(key, config)
            case .impossible(let reason): throw .badRequest(reason)
            }
        }
    }

    private func check(_ migrate: Bool, _ plan: SealPlan) throws(VaultError) {
        if case .impossible(let reason) = plan { throw .badRequest(reason) }
        if migrate, !plan.isMigration, seals.members.allSatisfy({ !$0.isDisabled }) {
            throw .badRequest(
                "can't perform a seal migration: no seal is marked as disabled in the configuration")
        }
        if !migrate, plan.isMigration {
            throw .badRequest("migrate option not provided and seal migration is pending")
        }
    }

    /// - Returns: all shares, when this was the last one needed.
    private func add(
        _ share: SecretBytes, _ migrate: Bool, _ config: SealConfig
    ) throws(VaultError) -> KeyShares? {
        attempt.withLock { attempt in
            if attempt.isMigration != migrate { attempt = Attempt() }
            guard attempt.shares.add(share) else { return nil }
            attempt.isMigration = migrate
            if attempt.shares.count == 1 { attempt.nonce = core.random.uuid() }
            guard attempt.shares.count >= config.holders.threshold else { return nil }
            defer { attempt = Attempt() }
            return attempt.shares
        }
    }

    /// Opens the barrier and takes up service; a node that joins a cluster goes on with that instead.
    func activate(_ rootKey: SecretBytes) throws(VaultError) {
        if joins(with: rootKey) { return }
        try core.activate(
            try BarrierBootstrap.unseal(
                core.backend, rootKey: rootKey, clock: core.clock, random: core.random))
        isHeld = false
        reason = ""
        wake()
    }

    // MARK: Without a person

    /// Unseals by the first seal that answers. Does nothing when the server is unsealed.
    /// - Throws: with the reason why it stays sealed; nothing has changed then.
    func unsealAutomatically() throws(VaultError) {
        try alone { () throws(VaultError) in
            guard core.active == nil, !isHeld, !hasOpenedJoin, let config, let automatic = config.automatic
            else { return }
            let opened = try seals.open(automatic.copies, try wrappedRootKey(), by: seals.enabled)
            try activate(opened.rootKey)
            if automatic.breakGlass != nil { warnOfBreakGlass() }
        }
    }

    /// A quorum has come: go on by the seals, or without them where the operator wanted that to be possible.
    private func resume(_ key: SecretBytes, _ config: SealConfig) throws(VaultError) {
        try Self.checkRecovery(key, config)
        guard let automatic = config.automatic else { return }
        if let breakGlass = automatic.breakGlass {
            try activate(try SealEnvelope.unwrapRootKey(breakGlass, under: key))
            core.log.warn("BREAK GLASS: recovery key shares have unsealed the server, not its seal")
            return
        }
        let rootKey: SecretBytes
        do throws(VaultError) {
            rootKey = try seals.open(automatic.copies, try wrappedRootKey(), by: seals.enabled).rootKey
        } catch {
            // The quorum wants the server open: from now on the keeper tries by itself.
            isHeld = false
            reason = error.messages.joined(separator: "; ")
            wake()
            guard case .unavailable(let text, let seconds) = error else { throw error }
            throw .unavailable(
                "the recovery key is right, but only a seal can unseal this server: \(text)",
                retryAfterSeconds: seconds)
        }
        try activate(rootKey)
    }

    func warnOfBreakGlass() {
        core.log.warn(
            "BREAK GLASS is on: holders of the recovery key can unseal this server without its seal")
    }
}
