import Barrier
package import Base
import Synchronization

/// A cluster that has agreed to take this node on, once it holds the root key.
package struct PendingJoin: Sendable {
    /// The cluster's record of its seal, which this node shows as its own.
    package let sealConfig: [UInt8]
    /// What the seal makes the root key of.
    package let wrappedRootKey: [UInt8]
    /// Goes on with the root key; must not wait.
    package let proceed: @Sendable (SecretBytes) -> Void
    /// Whether it goes on already.
    fileprivate(set) var isOpened = false

    /// A cluster that waits for this node.
    package init(
        sealConfig: [UInt8], wrappedRootKey: [UInt8], proceed: @escaping @Sendable (SecretBytes) -> Void
    ) {
        self.sealConfig = sealConfig
        self.wrappedRootKey = wrappedRootKey
        self.proceed = proceed
    }
}

/// Joining a cluster, as far as keys are concerned. An empty node shows the cluster's seal; its holders'
/// shares, or the seal itself, open the cluster's root key; with that the node can be taken on. Then it has
/// the cluster's store, and is unsealed like any other.
extension SealController {
    /// Waits for the root key of a cluster from now on.
    /// - Throws: `.corrupted` when the seal's configuration cannot be read; `.badRequest` when this node has
    ///   a store of its own.
    package func awaitJoin(_ join: PendingJoin) throws(VaultError) {
        if try BarrierBootstrap.isInitialized(core.backend) {
            throw .badRequest("this node holds a cluster's data already")
        }
        adopt(try SealConfig(record: join.sealConfig))
        resetProgress()
        pendingJoin.withLock { $0 = join }
        wake()
    }

    /// Whether a cluster is being joined that this node has no data of yet.
    package var isJoining: Bool { pendingJoin.withLock { $0 != nil } }

    /// Gives up waiting: the cluster has refused this node.
    package func abandonJoin() {
        pendingJoin.withLock { $0 = nil }
        adopt(nil)
        resetProgress()
    }

    /// Unseals with the root key, now that the cluster's store is here.
    /// - Throws: `.badRequest` when the cluster has another root key by now.
    package func finishJoin(_ rootKey: SecretBytes) throws(VaultError) {
        try alone { () throws(VaultError) in
            pendingJoin.withLock { $0 = nil }
            try reload()
            try activate(rootKey)
        }
    }

    /// Whether the root key has been handed to who joins.
    var hasOpenedJoin: Bool { pendingJoin.withLock { $0?.isOpened ?? false } }

    /// Hands the root key to who joins.
    /// - Returns: false when nobody does.
    func joins(with rootKey: SecretBytes) -> Bool {
        let join = pendingJoin.withLock { join in
            join?.isOpened = true
            return join
        }
        guard let join else { return false }
        join.proceed(rootKey)
        return true
    }
}
