import Barrier
import Base
import Glibc
import PluginKit
import Synchronization

/// Going over from one seal to another.
///
/// One node does it for all, in one commit: the active one, once it has the new configuration and the holders
/// have let it. A standby that was unsealed with `-migrate` keeps the holders' key, and goes over when it
/// becomes active; when another node has by then, it forgets the key. So the nodes of a cluster are restarted
/// one after the other, the active one last, and whatever is killed meanwhile: what is stored is wrapped
/// either by the old seal or by the new one.
///
/// Root key and seal key are new: who could open the server by the old seal cannot open what is written from
/// now on. The holders' shares stay: of the unseal key with Shamir's seal, of the recovery key otherwise.
extension SealController {
    /// How long unsealing waits to see whether this node becomes active.
    private static let dutyPatience = Duration.seconds(5)

    /// Whether this node is to go over to another seal when it is active.
    var isGoingOver: Bool { migrationKey.withLock { $0 != nil } }

    /// Unseals by the old seal; then goes over to the new one, at once or when this node becomes active.
    /// - Parameter key: of the holders.
    func migrate(_ key: SecretBytes, _ config: SealConfig) throws(VaultError) {
        let rootKey = try self.rootKey(toMigrate: config, key)
        // The new seals are asked before anything changes.
        _ = try seals.wrap(SecretBytes.random(HolderKey.bytes, from: core.random), by: seals.enabled)
        let isJoining = self.isJoining
        if !isJoining { migrationKey.withLock { $0 = key } }
        do throws(VaultError) { try activate(rootKey) } catch {
            migrationKey.withLock { $0 = nil }
            throw error
        }
        if isJoining { return }
        do throws(VaultError) { try awaitMigration() } catch {
            guard core.role != nil else {
                core.seal()
                throw error
            }
            noteFailure(error)
            wake()
        }
    }

    /// Goes over as soon as this node is active; leaves it to later when another one is.
    private func awaitMigration() throws(VaultError) {
        let end = core.clock.monotonicNanoseconds() &+ UInt64(Self.dutyPatience.wholeNanoseconds)
        while let active = core.active, isGoingOver {
            if active.duty != nil { return try goOver(active) }
            let standing = core.role?.standing
            let isFollower = standing.map { $0.hasQuorum && !$0.isLeader && $0.leader != nil } ?? false
            if isFollower || core.clock.monotonicNanoseconds() >= end {
                core.log.info("this node goes over to another seal when it becomes active")
                return
            }
            usleep(20_000)
        }
    }

    /// Goes over, when this node is to and is active. For the keeper.
    /// - Returns: why it did not work; nil when it did, or when there is nothing to do.
    func goOverWhenActive() -> VaultError? {
        guard isGoingOver, let active = core.active, active.duty != nil else { return nil }
        do throws(VaultError) {
            try alone { () throws(VaultError) in try goOver(active) }
            return nil
        } catch {
            noteFailure(error)
            return isGoingOver ? error : nil
        }
    }

    private func goOver(_ active: ActiveCore) throws(VaultError) {
        guard let key = migrationKey.withLock({ $0 }) else { return }
        let basis = try basis(active)
        let config = basis.config
        guard SealPlan(config, seals).isMigration else { return forgetMigration() }
        guard opens(key, config) else { throw forgetReplacedKey() }
        let fresh = SecretBytes.random(HolderKey.bytes, from: core.random)
        var next = try wrapped(
            fresh, for: key, config.holders, breakGlass: config.automatic?.breakGlass != nil)
        if core.role != nil {
            next.config.left =
                config.automatic?.copies.map { SealConfig.SealName(name: $0.name, type: $0.type) } ?? []
        }
        try commit(next.config, next.rootKey, fresh, alongside: [:], on: basis, active)
        migrationKey.withLock { $0 = nil }
        reason = ""
        core.log.info("went over to another seal", ["from": config.type, "to": next.config.type])
        lookAgain()
    }

    /// The root key, by the old seal or by the holders.
    private func rootKey(
        toMigrate config: SealConfig, _ key: SecretBytes
    ) throws(VaultError) -> SecretBytes {
        guard let automatic = config.automatic else { return try rootKey(under: key) }
        try Self.checkRecovery(key, config)
        do throws(VaultError) {
            return try seals.open(automatic.copies, try wrappedRootKey(), by: seals.members).rootKey
        } catch {
            guard let breakGlass = automatic.breakGlass else { throw error }
            core.log.warn(
                "BREAK GLASS: the old seal does not answer; recovery key shares open the server instead",
                ["reason": error.messages.joined(separator: "; ")])
            return try SealEnvelope.unwrapRootKey(breakGlass, under: key)
        }
    }

    // MARK: What other nodes do

    /// The active node has changed what is stored.
    /// - Parameter before: what this node's configuration made of what was stored before.
    func followMigration(from before: SealPlan?) {
        guard let config, let plan, core.active != nil else { return }
        if let key = migrationKey.withLock({ $0 }) {
            if !plan.isMigration { forgetMigration() } else if !opens(key, config) { _ = forgetReplacedKey() }
        }
        let warning = warning(plan, "")
        if plan != before, !warning.isEmpty { core.log.error(warning) }
    }

    /// Whether it is the holders' key still.
    private func opens(_ key: SecretBytes, _ config: SealConfig) -> Bool {
        if config.automatic != nil { return (try? Self.checkRecovery(key, config)) != nil }
        return (try? rootKey(under: key)) != nil
    }

    private func forgetMigration() {
        migrationKey.withLock { $0 = nil }
        reason = ""
        core.log.info("another node has gone over to the configured seal")
    }

    private func forgetReplacedKey() -> VaultError {
        migrationKey.withLock { $0 = nil }
        let text =
            "the key shares were replaced since this node was unsealed: seal it, and unseal it with -migrate "
            + "and the new shares"
        core.log.error(text)
        return .badRequest(text)
    }

    private func noteFailure(_ error: VaultError) {
        reason = isGoingOver ? error.messages.joined(separator: "; ") : ""
        core.log.warn(
            "this node could not go over to another seal; it is tried again",
            ["reason": error.privateCause ?? error.messages.joined(separator: "; ")])
    }

    // MARK: What is told

    /// What an unsealed node's operator should know of its configuration; empty when it fits what is stored.
    func warning(_ plan: SealPlan, _ reason: String) -> String {
        switch plan {
        case .shares, .automatic: return ""
        case .impossible(let why): return "this node goes on until it is restarted: \(why)"
        case .migration where !isGoingOver:
            return
                "this node's configuration names another seal than the one in use: to go over to it, seal "
                + "this node and unseal it with -migrate"
        case .migration where reason.isEmpty:
            return "this node goes over to the configured seal when it becomes active"
        case .migration: return "this node could not yet go over to the configured seal: \(reason)"
        }
    }
}
