package import Base

/// What `sys/seal-status`, `sys/health` and `status` show.
package struct SealStatus: Sendable {
    /// `shamir`, or the kind of the seal that unseals the server by itself.
    package var type: String
    package var storageType: String
    package var isInitialized: Bool
    package var isSealed: Bool
    /// Of the unseal key, or with `isAutomatic` of the recovery key.
    package var threshold: Int
    package var shares: Int
    /// Shares entered so far.
    package var progress: Int
    /// Names one attempt at unsealing; empty between attempts.
    package var nonce: String
    /// Empty while sealed.
    package var clusterName = ""
    package var clusterID = ""
    /// The server unseals itself, and holders have shares of a recovery key.
    package var isAutomatic = false
    /// The configuration names another seal than the storage, and `unseal -migrate` is waited for.
    package var isMigrating = false
    /// Why a server that should have unsealed itself has not; empty otherwise.
    package var reason = ""
    /// Whether the recovery key can unseal without any seal.
    package var hasBreakGlass = false
    /// What an unsealed node's operator should know of its configuration and the seal in use; else empty.
    package var warning = ""
}

/// How one seal does, in `sys/seal-backend-status` and the metrics.
package struct SealHealth: Sendable {
    package let name: String
    package let type: String
    package var isHealthy = true
    /// What it said last; empty while it is healthy.
    package var reason = ""
    /// Since when it is not healthy; nil while it is.
    package var unhealthySince: Timestamp?
    /// When it was asked last; nil before the first time.
    package var lastAsked: Timestamp?
    /// The version of the key that wraps now; empty before the first time.
    package var keyID = ""
    /// Whether the root key can be opened by it.
    package var hasCopy = false
}
