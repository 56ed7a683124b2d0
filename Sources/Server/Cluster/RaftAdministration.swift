import Base
import Consensus
import Core
import PluginKit
import SystemAPI

/// What `sys/storage/raft/` asks of this node, put together from the parts that know.
final class RaftAdministration: RaftControl {
    private let service: ClusterService
    private let admission: ClusterAdmission
    private let membership: MembershipChanges
    private let autopilot: Autopilot
    private let joining: JoinController
    private let snapshots: SnapshotArchives
    private let uploads: SnapshotUploads
    private let schedules: ScheduledSnapshots
    private let localMembers: @Sendable () -> [RaftPeer]
    private let isRemoved: @Sendable () -> Bool
    private let stepDown: @Sendable () async throws(VaultError) -> Void
    private let ownID: UInt64

    /// - Parameters:
    ///   - isRemoved: whether this node was removed from its cluster.
    ///   - localMembers: the members as the local store has them, for a node that takes no part yet.
    init(
        service: ClusterService, core: VaultCore, autopilot: Autopilot, joining: JoinController,
        snapshots: SnapshotArchives, schedules: ScheduledSnapshots,
        ownID: UInt64, isRemoved: @escaping @Sendable () -> Bool,
        localMembers: @escaping @Sendable () -> [RaftPeer]
    ) {
        self.service = service
        self.autopilot = autopilot
        self.joining = joining
        self.snapshots = snapshots
        self.schedules = schedules
        uploads = SnapshotUploads(archives: snapshots)
        self.localMembers = localMembers
        self.isRemoved = isRemoved
        stepDown = { () async throws(VaultError) in try await core.stepDown() }
        self.ownID = ownID
        membership = MembershipChanges(service: service)
        admission = ClusterAdmission(core: core, membership: membership)
    }

    func configuration() -> RaftMembership {
        if let state = service.node?.state { return RaftMembership(state) }
        var state = RaftState()
        state.members = localMembers().map { RaftState.Member(peer: $0) }
        return RaftMembership(state)
    }

    func remove(nodeID: String) async throws(VaultError) {
        let state = try membership.node().state
        guard let member = state.members.first(where: { $0.peer.nodeID == nodeID }) else {
            throw .badRequest("server_id: the cluster has no member '\(nodeID)'")
        }
        if member.peer.raftID == ownID {
            guard state.members.contains(where: { $0.peer.isVoter && $0.peer.raftID != ownID }) else {
                throw .badRequest("server_id: '\(nodeID)' is the only voter, without it there is no cluster")
            }
            // A leader that removes itself would leave the others to find out: the next one does it.
            try await stepDown()
            throw .standby
        }
        try await membership.make(.remove(raftID: member.peer.raftID))
    }

    func autopilotState() throws(VaultError) -> AutopilotState { try autopilot.shown() }

    func join(_ targets: [JoinTarget], options: JoinOptions) async throws(VaultError) -> Bool {
        if isRemoved() {
            throw .badRequest(
                "this node has been removed from its cluster: stop it, empty its data directory, and let it "
                    + "join again")
        }
        return try await joining.join(targets, options)
    }

    func challenge(serverID: String) throws(VaultError) -> JoinChallenge {
        try admission.challenge(serverID: serverID)
    }

    func admit(
        _ answer: JoinAnswer, _ transactions: any Transactions
    ) async throws(VaultError) -> JoinReply {
        try await admission.admit(answer, transactions)
    }

    func saveSnapshot() async throws(VaultError) -> StreamedAnswer { try await snapshots.save() }

    func restoreSnapshot(_ archive: [UInt8], isForced: Bool) async throws(VaultError) {
        try await snapshots.restore(archive, isForced: isForced)
    }

    func snapshotStatus(_ name: String) -> SnapshotScheduleStatus? { schedules.status(name) }

    func takePiece(_ bytes: [UInt8], at offset: Int, of upload: String) async throws(VaultError) {
        try await uploads.take(bytes, at: offset, of: upload)
    }

    func restoreUpload(_ upload: String, isForced: Bool) async throws(VaultError) {
        try await uploads.restore(upload, isForced: isForced)
    }

    func forgetUpload(_ upload: String) async throws(VaultError) { uploads.forget(upload) }
}
