import Base
import Consensus
import Core
import Net
import PluginKit
import StorageBackends
import SystemAPI

/// What a node has besides when its storage is a cluster's: consensus in the core's words, the port between
/// members, and what joins and looks after them.
final class NodeCluster: Sendable {
    let role: RaftClusterRole
    let service: ClusterService
    private let backend: RaftBackend
    private let retryJoin: RetryJoin
    private let log: Log

    /// Nil where the storage is no cluster's.
    /// - Throws: `.badRequest` when the configuration makes no sense.
    init?(
        _ backend: any StorageBackend, _ configuration: ServerConfiguration, hostName: String,
        clock: any Clock, random: any RandomSource, log: Log
    ) throws(VaultError) {
        guard let backend = backend as? RaftBackend, let storage = configuration.storage else { return nil }
        let addresses = try ClusterAddresses(configuration)
        backend.describe(
            clusterAddress: addresses.advertised, apiAddress: addresses.api, hostName: hostName,
            version: Version.api)
        self.backend = backend
        self.log = log
        retryJoin = try RetryJoin(storage)
        role = RaftClusterRole(backend, clock: clock)
        service = ClusterService(
            storage: backend, addresses: addresses, clock: clock, random: random, log: log)
    }

    /// What this node is called in the cluster.
    var nodeID: String { backend.identity.nodeID }

    /// Ties the parts to the core.
    /// - Returns: what `sys/storage/raft/` calls, and what joins other clusters.
    func connect(_ core: VaultCore, _ seal: SealController) -> (any RaftControl, JoinController) {
        core.takePart(
            join: { [service, role] active throws(VaultError) in
                try service.start(barrier: active.barrier, clusterID: active.cluster.id)
                role.attach()
            }, leave: { [service] in service.stop() })
        let autopilot = Autopilot(core: core) { [backend] in backend.identity }
        service.onTick { autopilot.tick($0) }
        let joining = JoinController(seal: seal, core: core, service: service) { [backend] in
            backend.identity
        }
        let archives = SnapshotArchives(core: core, storage: backend)
        let schedules = ScheduledSnapshots(core: core, archives: archives)
        service.onTick { _ in schedules.tick() }
        let control = RaftAdministration(
            service: service, core: core, autopilot: autopilot, joining: joining,
            snapshots: archives, schedules: schedules,
            ownID: backend.identity.raftID, isRemoved: { [backend] in backend.isRemoved }
        ) { [backend] in backend.members }
        return (control, joining)
    }

    /// Lets an empty node look for its cluster.
    func start(_ joining: JoinController) throws(VaultError) {
        if backend.isRemoved {
            log.warn(
                "This node has been removed from its cluster and will not serve. Stop it, empty its data "
                    + "directory, and let it join again.", ["directory": backend.directory])
        }
        guard !retryJoin.targets.isEmpty, !backend.hasCluster else { return }
        try joining.keepTrying(retryJoin.targets, retryJoin.options)
    }
}

extension RaftBackend: ClusterStorage {
    var raftID: UInt64 { identity.raftID }
    var nodeID: String { identity.nodeID }
    func start(transport: any RaftTransport) throws(VaultError) { try start(transport) }
    func stop() { pause() }
    var consensus: (any ConsensusNode)? { node }
    func saveSnapshot(_ done: @escaping @Sendable (Result<SnapshotFile, VaultError>) -> Void) {
        makeSnapshot(done)
    }
    func restoreSnapshot(_ path: String, _ done: @escaping @Sendable (VaultError?) -> Void) {
        restore(snapshot: path, done)
    }
}
