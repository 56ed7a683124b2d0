package import Barrier
package import Base
package import PluginKit
import Synchronization

/// All that exists only while the server is unsealed. Made by unsealing, dropped whole by sealing. What only
/// the active node has comes and goes with its `duty`.
package final class ActiveCore: Sendable {
    package let barrier: UnsealedBarrier
    package let mounts: MountRegistry
    package let tokens: TokenStore
    package let policies: ACLCache
    /// The identities behind tokens.
    package let identities: IdentityCache
    package let audit: AuditBroker
    package let cluster: ClusterIdentity
    private let http: HTTPSettings

    package init(
        barrier: UnsealedBarrier, mounts: MountRegistry, tokens: TokenStore, policies: ACLCache,
        identities: IdentityCache, audit: AuditBroker, cluster: ClusterIdentity, http: HTTPSettings
    ) {
        self.identities = identities
        self.barrier = barrier
        self.mounts = mounts
        self.tokens = tokens
        self.policies = policies
        self.audit = audit
        self.cluster = cluster
        self.http = http
    }

    /// The identity behind a token's entity; nil for a token without one.
    /// - Throws: `.permissionDenied` when the entity is disabled, or gone.
    func goodIdentity(of entityID: String, _ tx: Transaction) throws(VaultError) -> Identity? {
        try identities.goodIdentity(of: entityID, tx)
    }

    /// All that a client's own policies and those of its identity allow.
    /// - Throws: `.permissionDenied` when its entity is disabled, or gone.
    package func acl(of client: ClientIdentity, in tx: Transaction) throws(VaultError) -> ACL {
        try policies.acl(for: client.policies, of: goodIdentity(of: client.entityID, tx), in: tx)
    }

    private let held = Mutex<ActiveDuty?>(nil)
    /// Nil on a standby.
    package var duty: ActiveDuty? { held.withLock { $0 } }

    /// Takes up or lays down the active node's part.
    func set(_ duty: ActiveDuty?) { held.withLock { $0 = duty } }

    /// The duty, for what only the active node does.
    /// - Throws: `.standby`.
    package func onDuty() throws(VaultError) -> ActiveDuty {
        guard let duty else { throw .standby }
        return duty
    }

    /// Where writes go; on a standby, to a thread that refuses all of them with `.standby`.
    var commits: CommitThread { duty?.commits ?? .standby }

    /// Transactions over all of storage, on the commit thread.
    package var transactions: CommitTransactions { CommitTransactions(commits) }

    /// What operators have set about HTTP answers, as of the last commit.
    package var httpConfig: HTTPConfig { http.config }

    /// Takes the HTTP settings anew.
    func reloadHTTPConfig(_ view: any StorageView) throws(VaultError) { http.set(try HTTPConfig(view)) }
}
