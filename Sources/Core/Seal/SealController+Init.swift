import Barrier
package import Base
import Crypto
import PluginKit

extension SealController {
    /// What initialising gives, once. The caller hands it to the operator and keeps nothing.
    package struct InitialKeys: Sendable {
        /// Shares of the unseal key or, with `isAutomatic`, of the recovery key; or what they became under
        /// their holders' PGP keys.
        package let shares: [SecretBytes]
        /// The first token, or what it became under a PGP key in base64.
        package let rootToken: SecretBytes
        /// The server unseals itself.
        package let isAutomatic: Bool
    }

    /// Makes the keys, the first records and the root token, and stores all of them in one commit: a server
    /// that failed on the way is as it was before. Where the configuration names seals, the server is
    /// unsealed when this returns.
    ///
    /// - Parameters:
    ///   - shares: of the unseal key, or of the recovery key where the configuration names seals.
    ///   - breakGlass: whether the recovery key can unseal without any seal.
    ///   - rootTokenID: the token's own text, for development servers; nil for a random one.
    package func initialize(
        shares: Int, threshold: Int, pgpKeys: [String] = [], breakGlass: Bool = false,
        rootTokenPGPKey: String? = nil, rootTokenID: SecretBytes? = nil
    ) throws(VaultError) -> InitialKeys {
        try alone { () throws(VaultError) in
            if config != nil { throw .badRequest("Vault is already initialized") }
            let isAutomatic = !seals.enabled.isEmpty
            let holderKey = try HolderKey(
                HolderKey.Wish(
                    shares: shares, threshold: threshold, pgpKeys: pgpKeys,
                    fields: isAutomatic ? .recovery : .secret), random: core.random)
            let rootKey = SecretBytes.random(HolderKey.bytes, from: core.random)
            let made = try wrapped(rootKey, for: holderKey.key, holderKey.holders, breakGlass: breakGlass)
            let token = try store(made, rootKey, rootTokenID, rootTokenPGPKey)
            adopt(made.config)
            if isAutomatic {
                try activate(rootKey)
                if breakGlass { warnOfBreakGlass() }
            }
            return InitialKeys(shares: holderKey.shares, rootToken: token, isAutomatic: isAutomatic)
        }
    }

    /// A root key wrapped as the configuration says: by its seals, with a new seal key, or else by the key
    /// of the holders.
    func wrapped(
        _ rootKey: SecretBytes, for holderKey: SecretBytes, _ holders: KeyHolders, breakGlass: Bool
    ) throws(VaultError) -> (config: SealConfig, rootKey: [UInt8]) {
        if seals.enabled.isEmpty {
            let wrapped = try SealEnvelope.wrapRootKey(rootKey, under: holderKey, random: core.random)
            return (SealConfig(holders: holders), wrapped)
        }
        let sealKey = SecretBytes.random(HolderKey.bytes, from: core.random)
        let automatic = SealConfig.Automatic(
            copies: try seals.wrap(sealKey, by: seals.enabled),
            recoveryCheck: SealConfig.check(of: holderKey),
            breakGlass: breakGlass
                ? try SealEnvelope.wrapRootKey(rootKey, under: holderKey, random: core.random) : nil)
        let wrapped = try SealEnvelope.wrapRootKey(rootKey, under: sealKey, random: core.random)
        return (SealConfig(holders: holders, automatic: automatic), wrapped)
    }

    /// Writes a new server's storage.
    /// - Returns: the root token as the operator gets it.
    private func store(
        _ made: (config: SealConfig, rootKey: [UInt8]), _ rootKey: SecretBytes, _ tokenID: SecretBytes?,
        _ tokenPGPKey: String?
    ) throws(VaultError) -> SecretBytes {
        var token: SecretBytes?
        try BarrierBootstrap.initialize(
            core.backend, sealConfig: made.config.record, wrappedRootKey: made.rootKey,
            rootKey: rootKey, clock: core.clock, random: core.random
        ) { (barrier, view) throws(VaultError) in
            var tx = Transaction(view: view)
            core.mounts.writeEntries(core.mounts.initialEntries(), &tx)
            ClusterIdentity(name: clusterName, random: core.random).write(&tx)
            VersionHistory.note(&tx, now: core.clock.now())
            let store = try core.makeTokenStore(barrier, at: view.sequence)
            let made = try store.issueRoot(&tx, id: tokenID, now: core.clock.now())
            token = made.token
            if let tokenPGPKey, !tokenPGPKey.isEmpty {
                let message = try PGP.encrypt(made.token, toPublicKey: Array(tokenPGPKey.utf8))
                token = SecretBytes(copying: Base64.standard.encode(message.ciphertext).utf8)
            }
            return tx.log.writes
        }
        guard let token else { throw .internal("initialising made no token") }
        return token
    }
}
