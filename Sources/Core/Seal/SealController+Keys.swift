import Barrier
import Base
import PluginKit

extension SealController {
    /// Makes a new key that of the holders: the unseal key, together with a new root key, or the recovery
    /// key. It takes effect in one commit with `writes`.
    func replaceHolderKey(
        _ made: HolderKey, breakGlass: Bool, alongside writes: [String: [UInt8]?], _ active: ActiveCore
    ) throws(VaultError) {
        try alone { () throws(VaultError) in
            let basis = try basis(active)
            var next = basis.config
            next.holders = made.holders
            guard next.automatic != nil else {
                let rootKey = SecretBytes.random(HolderKey.bytes, from: core.random)
                let wrapped = try SealEnvelope.wrapRootKey(rootKey, under: made.key, random: core.random)
                return try commit(next, wrapped, rootKey, alongside: writes, on: basis, active)
            }
            next.automatic?.recoveryCheck = SealConfig.check(of: made.key)
            next.automatic?.breakGlass =
                breakGlass
                ? try SealEnvelope.wrapRootKey(
                    try active.barrier.rootKey(), under: made.key, random: core.random) : nil
            try commit(next, try wrappedRootKey(), nil, alongside: writes, on: basis, active)
            if breakGlass { warnOfBreakGlass() }
        }
    }

    /// Makes a new root key under a new seal key, which all enabled seals wrap.
    /// - Parameter recoveryKey: the holders', which has been proved.
    func replaceRootKey(recoveryKey: SecretBytes, _ active: ActiveCore) throws(VaultError) {
        try alone { () throws(VaultError) in
            let basis = try basis(active)
            let config = basis.config
            guard plan == .automatic else {
                throw .badRequest(
                    "this node's configuration does not have the seal in use: expected that of the cluster")
            }
            let rootKey = SecretBytes.random(HolderKey.bytes, from: core.random)
            let made = try wrapped(
                rootKey, for: recoveryKey, config.holders, breakGlass: config.automatic?.breakGlass != nil)
            try commit(made.config, made.rootKey, rootKey, alongside: [:], on: basis, active)
        }
    }

    /// What a change of the seal's records is made from. Making it may take a KMS longer than a term of duty
    /// lasts: it takes effect only in that term, and only where this still is what is stored.
    struct Basis {
        let config: SealConfig
        let duty: ActiveDuty
    }

    /// - Throws: `.standby`, `.notInitialized`.
    func basis(_ active: ActiveCore) throws(VaultError) -> Basis {
        let duty = try active.onDuty()
        guard let config else { throw .notInitialized }
        return Basis(config: config, duty: duty)
    }

    /// Stores the seal's configuration with what it makes of the root key, in one commit.
    /// - Parameter rootKey: a new one; nil leaves it as it is.
    /// - Throws: `.unavailable` when the basis is gone; `.standby`, `.unknownOutcome` with the duty.
    func commit(
        _ next: SealConfig, _ wrapped: [UInt8], _ rootKey: SecretBytes?,
        alongside writes: [String: [UInt8]?], on basis: Basis, _ active: ActiveCore
    ) throws(VaultError) {
        let record = next.record
        let expected = basis.config.record
        let isFollowed = core.role != nil
        try active.changeKeysBlocking(in: basis.duty, alongside: writes) {
            [core] (barrier) throws(VaultError) in
            guard try Self.stored(core)?.record == expected else {
                throw .unavailable("the seal was changed meanwhile: try again", retryAfterSeconds: 1)
            }
            return try barrier.replaceSeal(
                config: record, wrappedRootKey: wrapped, rootKey: rootKey, isFollowed: isFollowed)
        }
        // In a cluster the next leader's change may have been applied by now.
        if isFollowed { try reload() } else { adopt(next) }
    }

    // MARK: Wrapping anew

    /// Asks every enabled seal how it does. The active node has the seal key wrapped anew by those whose KMS
    /// has another key version than the stored copy, or that have no copy. Copies of seals that the
    /// configuration no longer enables are dropped, with the seal key that they know.
    /// - Returns: whether all enabled seals are well and have a copy of today's version.
    package func checkSeals() -> Bool {
        do throws(VaultError) {
            // What is wrapped anew is committed: by the active node, for all. A configuration from before a
            // migration, or for one to come, has nothing to wrap.
            if plan == .automatic, let active = core.active, active.duty != nil {
                try alone { () throws(VaultError) in try wrapAnew(active) }
            } else {
                for member in seals.enabled { _ = seals.failure(of: member) }
            }
        } catch {
            core.log.warn(
                "the seal key could not be wrapped anew; it is tried again",
                ["reason": error.privateCause ?? error.messages.joined(separator: "; ")])
        }
        return isFullyWrapped
    }

    /// Whether each enabled seal is well, and has wrapped the seal key by the version that it uses now.
    package var isFullyWrapped: Bool {
        let copies = config?.automatic?.copies ?? []
        return seals.health.allSatisfy { health in
            health.isHealthy
                && copies.contains {
                    $0.name == health.name && $0.type == health.type && $0.wrapped.keyID == health.keyID
                }
        }
    }

    private func wrapAnew(_ active: ActiveCore) throws(VaultError) {
        let basis = try basis(active)
        var next = basis.config
        guard let automatic = next.automatic else { return }
        let enabled = seals.enabled
        let kept = automatic.copies.filter { SealSet.member(of: $0, among: enabled) != nil }
        if kept.isEmpty { return }
        let stored = try wrappedRootKey()
        let stale = enabled.filter { seals.needsCopy($0, kept, stored) }
        if kept.count < automatic.copies.count {
            // Whoever is left must have the new seal key before the old one goes.
            return try renewSealKey(basis, by: enabled, active)
        }
        if stale.isEmpty { return }
        guard let sealKey = try? seals.open(kept, stored, by: enabled).sealKey else {
            // No seal gives back what it has wrapped, yet some of them wrap: a key version was taken away.
            // The root key is still here, so the seals that answer get a new seal key.
            return try renewSealKey(basis, by: stale, active)
        }
        var copies = kept
        for member in stale {
            let copy = try seals.wrap(sealKey, by: member)
            if let at = copies.firstIndex(where: { $0.name == member.name }) {
                copies[at] = copy
            } else {
                copies.append(copy)
            }
        }
        let names = enabled.map(\.name)
        copies.sort { names.firstIndex(of: $0.name) ?? 0 < names.firstIndex(of: $1.name) ?? 0 }
        next.automatic?.copies = copies
        try commit(next, stored, nil, alongside: [:], on: basis, active)
        core.log.info(
            "wrapped the seal key anew", ["seals": stale.map(\.name).joined(separator: ", ")])
    }

    private func renewSealKey(
        _ basis: Basis, by members: [SealSet.Member], _ active: ActiveCore
    ) throws(VaultError) {
        var next = basis.config
        let sealKey = SecretBytes.random(HolderKey.bytes, from: core.random)
        next.automatic?.copies = try seals.wrap(sealKey, by: members)
        let wrapped = try SealEnvelope.wrapRootKey(
            try active.barrier.rootKey(), under: sealKey, random: core.random)
        try commit(next, wrapped, nil, alongside: [:], on: basis, active)
        core.log.info(
            "made a new seal key", ["seals": members.map(\.name).joined(separator: ", ")])
    }
}
