package import Base
package import Consensus
internal import Glibc
internal import NodeStore
package import PluginKit
internal import Synchronization

/// `storage "raft"`: the node's LMDB store, replicated by consensus over the nodes of a cluster.
///
/// - Before there is a cluster the first commit makes one: this node is its only member, and the batch is
///   its first state, in the same transaction.
/// - A node that is its cluster's only voter takes part from the moment that it is opened: there is nobody
///   to ask. Any other does from `start` to `pause`, while it is unsealed; in between it reads what it has.
/// - `commit` proposes the batch and waits until it is applied here; only the leader can.
///
/// In the directory lie `data.mdb` with what stands beside it, the log in `raft/`, and copies of the state on
/// their way in `raft-copies/`.
package final class RaftBackend: StorageBackend {
    /// The name of the stanza.
    package static let type = "raft"
    /// The keys of the stanza that are known.
    package static let settings = RaftSettings.keys

    private static let identityFact = "raft/identity"
    /// Bytes that must be free for a write to begin: what stops a log in the middle stops the node.
    private static let spareBytes: UInt64 = 64 << 20

    let store: RaftStore
    private let settings: RaftSettings
    private let clock: any Clock
    private let random: any RandomSource
    let log: Log
    let logIdentity: UInt64
    private let mutable: Mutex<Mutable>
    private let spaceCheckedAt = Atomic<UInt64>(0)
    /// Whether this node, as the leader, is putting another state in place.
    let isRestoring = Atomic<Bool>(false)

    private struct Mutable {
        var identity: RaftPeer
        var node: RaftNode?
        var isClosed = false
        var onFailure: (@Sendable (VaultError) -> Void)?
    }

    private init(
        _ settings: RaftSettings, _ environment: Environment, clock: any Clock,
        random: any RandomSource, log: Log
    ) throws(VaultError) {
        self.settings = settings
        self.clock = clock
        self.random = random
        self.log = log
        store = try RaftStore(
            environment, directory: "\(settings.path)/raft-copies", random: random, log: log)
        let (raftID, logIdentity, nodeID) = try Self.identify(settings, environment, store, random)
        self.logIdentity = logIdentity
        mutable = Mutex(Mutable(identity: RaftPeer(raftID: raftID, nodeID: nodeID)))
    }

    /// Opens or makes the store. A node that is alone in its cluster leads it when this returns.
    /// - Throws: `.badRequest` when a key of the stanza makes no sense or the directory is another's;
    ///   `.corrupted` when store or log are damaged. The sentences are for the operator.
    package static func open(_ settings: [String: String], log: Log) throws(VaultError) -> RaftBackend {
        try open(settings, clock: SystemClock(), random: SystemRandom(), log: log)
    }

    static func open(
        _ settings: [String: String], clock: any Clock, random: any RandomSource, log: Log
    ) throws(VaultError) -> RaftBackend {
        RaftSettings.warn(settings, log)
        return try advising { () throws(VaultError) in
            let backend = try openIdle(settings, clock: clock, random: random, log: log)
            do throws(VaultError) {
                try backend.adoptPeersFile()
                if backend.isAlone { try backend.take(part: nil) } else { try backend.checkLog() }
                return backend
            } catch {
                backend.close()
                throw error
            }
        }
    }

    /// Behind what is damaged, what to do about it.
    private static func advising<Result>(
        _ body: () throws(VaultError) -> Result
    ) throws(VaultError) -> Result {
        do throws(VaultError) { return try body() } catch {
            guard case .corrupted(let place) = error else { throw error }
            throw .corrupted(
                place: "\(place). Where this node has peers that hold its data, set its files aside with "
                    + "'holdfast operator raft rebuild', and it joins them anew")
        }
    }

    /// Opens the store, and takes no part in anything.
    static func openIdle(
        _ settings: [String: String], clock: any Clock, random: any RandomSource, log: Log
    ) throws(VaultError) -> RaftBackend {
        let settings = try RaftSettings(settings)
        if let product = foreignProduct(settings.path) {
            throw .badRequest(
                "storage \"raft\": \(settings.path) holds the data of \(product). Give an empty directory "
                    + "as 'path'.")
        }
        let environment = try Environment.open(directory: settings.path, log: log)
        do throws(VaultError) {
            return try RaftBackend(settings, environment, clock: clock, random: random, log: log)
        } catch {
            environment.close()
            throw error
        }
    }

    // MARK: - StorageBackend

    /// A view of everything that was applied here.
    package func makeReader() throws(VaultError) -> any StorageReader {
        try OverlaidReader(store.state.source)
    }

    /// Waits until the batch is committed by a quorum and applied here.
    /// - Throws: `.unavailable` when this node does not lead, when leadership was lost on the way or the disk
    ///   gives no answer (then the batch may yet take effect), when another write came first, or when the disk
    ///   is full.
    package func commit(_ batch: CommitBatch) throws(VaultError) -> UInt64 {
        try check(batch)
        guard try store.progress() != nil else { return try begin(batch) }
        // It would wait until all of that is on the disk, and then mostly be void.
        if isRestoring.load(ordering: .acquiring) {
            throw .unavailable("a snapshot is being put in place", retryAfterSeconds: 5)
        }
        guard let node else {
            throw .unavailable("this node takes no part in its cluster now", retryAfterSeconds: 1)
        }
        let index = try Self.wait { (done) in node.propose(RaftPayload.batch(batch).bytes, done: done) }
        guard let number = store.number(ofEntry: index) else {
            throw .unavailable("another write came first; try again", retryAfterSeconds: 1)
        }
        return number
    }

    /// Takes no part any more and lets go of the files.
    package func close() {
        pause()
        mutable.withLock { $0.isClosed = true }
        store.state.close()
        store.environment.close()
    }

    // MARK: - The cluster

    /// This node as the cluster knows it or shall know it.
    package var identity: RaftPeer { mutable.withLock { $0.identity } }

    /// Says where this node can be reached. Members learn it by `MembershipChange.update`.
    package func describe(
        clusterAddress: String, apiAddress: String, hostName: String, version: String
    ) {
        mutable.withLock { mutable in
            mutable.identity.clusterAddress = clusterAddress
            mutable.identity.apiAddress = apiAddress
            mutable.identity.hostName = hostName
            mutable.identity.version = version
        }
    }

    /// Where its data lies.
    package var directory: String { settings.path }

    /// Whether this node belongs to a cluster, as far as it knows.
    package var hasCluster: Bool { !members.isEmpty }

    /// Whether this node was removed from its cluster, as far as it knows.
    package var isRemoved: Bool {
        if let node { return node.state.isRemoved }
        let (members, own) = (members, identity.raftID)
        return !members.isEmpty && !members.contains { $0.raftID == own }
    }

    /// The members as this node knows them, perhaps from long ago.
    package var members: [RaftPeer] {
        do throws(VaultError) { return try store.progress()?.members ?? [] } catch { return [] }
    }

    /// The node's consensus while it takes part; nil otherwise.
    package var node: RaftNode? { mutable.withLock { $0.node } }

    /// The last entry that is applied here.
    package var appliedIndex: UInt64 { store.appliedIndex }

    /// Takes part in the cluster from now on, or joins one: an empty node waits for the leader's state.
    package func start(_ transport: any RaftTransport) throws(VaultError) {
        try Self.advising { () throws(VaultError) in try take(part: transport) }
    }

    /// Takes no part any more. A node that is alone goes on without its peers.
    package func pause() {
        let node = mutable.withLock { mutable -> RaftNode? in
            defer { mutable.node = nil }
            return mutable.node
        }
        node?.stop()
    }

    /// Calls back after each change of the state, on the thread that made it: it must not wait.
    package func onChange(_ listener: @escaping @Sendable (AppliedChange) -> Void) {
        store.onChange(listener)
    }

    /// Called once when the disk or consensus has failed and this node stopped taking part. Without it the
    /// process ends: a node that can no longer store its votes must not seem to be well.
    package func onFailure(_ handler: @escaping @Sendable (VaultError) -> Void) {
        mutable.withLock { $0.onFailure = handler }
    }

    /// A path for a state that is being received; `ConsensusNode.receiveSnapshot` takes it.
    package func incomingPath() -> String {
        "\(settings.path)/raft-copies/\(SnapshotPlace.incomingPrefix)\(random.base62(12))"
    }

    /// Bytes that are free on the disk of the storage directory; nil when the system does not tell.
    package var freeBytes: UInt64? { SnapshotPlace.freeBytes(settings.path) }

    // MARK: -

    func logDirectory() throws(VaultError) -> DirectoryDisk {
        try DirectoryDisk("\(settings.path)/raft")
    }

    /// This node as the membership has it, with its addresses.
    var knownIdentity: RaftPeer {
        let own = identity
        return members.first { $0.raftID == own.raftID } ?? own
    }

    func randomBytes(_ count: Int) -> [UInt8] { random.bytes(count) }

    /// Whether this node is the only voter of its cluster, so that it needs nobody to decide.
    private var isAlone: Bool {
        let members = members
        let id = identity.raftID
        return members.contains { $0.raftID == id && $0.isVoter }
            && !members.contains { $0.raftID != id && $0.isVoter }
    }

    private func begin(_ batch: CommitBatch) throws(VaultError) -> UInt64 {
        let identity = identity
        guard node == nil else {
            throw .unavailable("this node is about to join a cluster", retryAfterSeconds: 1)
        }
        let first = RaftProgress(
            index: 1, term: 1, configuration: RaftNode.configuration(voters: [identity.raftID]),
            members: [identity])
        let number = try store.begin(batch, first)
        try take(part: nil)
        return number
    }

    private func take(part transport: (any RaftTransport)?) throws(VaultError) {
        if let node {
            node.use(transport)
            return
        }
        let node = try RaftNode(
            configuration, disk: try logDirectory(), machine: store,
            transport: transport, clock: clock, random: random, log: log
        ) { [weak self] failure in self?.failed(failure) }
        let isTaken = mutable.withLock { mutable in
            guard !mutable.isClosed, mutable.node == nil else { return false }
            mutable.node = node
            return true
        }
        guard isTaken else {
            node.stop()
            throw .internal("the store is closed")
        }
        if isAlone { try lead(node) }
    }

    private var configuration: RaftConfiguration {
        var configuration = RaftConfiguration(identity: identity, logIdentity: logIdentity)
        configuration.timing = settings.timing
        configuration.trailingEntries = settings.trailingEntries
        configuration.compactionEntries = settings.compactionEntries
        return configuration
    }

    /// A node with peers uses its log only when it is unsealed; that it is damaged shall show before.
    func checkLog() throws(VaultError) {
        guard hasCluster else { return }
        try RaftNode.check(configuration, disk: try logDirectory(), machine: store)
    }

    /// A node that is alone becomes its cluster's leader at once. When this returns, reads see everything that
    /// was acknowledged before the restart, however much of the log had to be applied again for it.
    private func lead(_ node: RaftNode) throws(VaultError) {
        node.campaign()
        let end = clock.monotonicNanoseconds() + Self.replayNanoseconds
        while true {
            let answers = BlockingQueue<RaftError?>(limit: 1)
            node.readIndex { _ = answers.push($0) }
            guard let refusal = answers.take(most: 1).first ?? nil else { return }
            if refusal == .stopped || clock.monotonicNanoseconds() >= end { throw refusal.vaultError }
            usleep(1_000)
        }
    }
    /// How long a start may apply entries of the log.
    private static let replayNanoseconds: UInt64 = 120_000_000_000

    private func failed(_ failure: VaultError) {
        if let handler = mutable.withLock({ $0.onFailure }) { return handler(failure) }
        log.error("The process ends: consensus has failed, and a restart reads what is really on the disk.")
        _exit(1)
    }

    /// What the store would refuse must not reach the log.
    private func check(_ batch: CommitBatch) throws(VaultError) {
        try batch.checkKeys()
        for write in batch.writes {
            guard (write.value?.count ?? 0) <= settings.valueBytes else {
                throw .tooLarge(
                    "a stored value may have \(settings.valueBytes) bytes (max_entry_size of storage "
                        + "\"raft\"), this one has \(write.value?.count ?? 0)")
            }
        }
        let now = clock.monotonicNanoseconds()
        let last = spaceCheckedAt.load(ordering: .relaxed)
        guard now > last + 100_000_000 || last == 0 else { return }
        guard freeBytes ?? .max >= Self.spareBytes else {
            throw .unavailable("storage is full: nothing was written", retryAfterSeconds: 30)
        }
        spaceCheckedAt.store(now, ordering: .relaxed)
    }

    static func wait(
        _ body: (@escaping @Sendable (Result<UInt64, RaftError>) -> Void) -> Void
    ) throws(VaultError) -> UInt64 {
        let answers = BlockingQueue<Result<UInt64, RaftError>>(limit: 1)
        body { _ = answers.push($0) }
        switch answers.take(most: 1).first {
        case .success(let index): return index
        case .failure(let error): throw error.vaultError
        case nil: throw .internal("consensus gave no answer")
        }
    }

    /// The numbers that are this directory's for good, and the node's name.
    private static func identify(
        _ settings: RaftSettings, _ environment: Environment, _ store: RaftStore,
        _ random: any RandomSource
    ) throws(VaultError) -> (raftID: UInt64, logIdentity: UInt64, nodeID: String) {
        let reader = try environment.makeReader()
        try reader.refresh()
        let found = try reader.copyFact(identityFact)
        var isEmpty = true
        for table in StorageTable.allCases
        where try reader.first(Int(table.rawValue), from: emptyBytes) != nil {
            isEmpty = false
        }
        reader.release()
        if let found {
            var fields = WireReader(found)
            let raftID: UInt64 = try fields.number()
            let logIdentity: UInt64 = try fields.number()
            let stored = try fields.text()
            return (raftID, logIdentity, settings.nodeID.isEmpty ? stored : settings.nodeID)
        }
        guard isEmpty else {
            throw .badRequest(
                "storage \"raft\": \(settings.path) holds the data of storage \"file\". Give an empty "
                    + "directory as 'path', and move the data with 'holdfast operator migrate'.")
        }
        var numbers: [UInt64] = []
        while numbers.count < 2 {
            let number = decodeNumber(random.bytes(8))
            if number != 0 { numbers.append(number) }
        }
        let nodeID = settings.nodeID.isEmpty ? random.uuid() : settings.nodeID
        var fields = WireWriter()
        for number in numbers { fields.put(number) }
        fields.counted(nodeID)
        _ = try environment.commit(expectedBytes: 64, writes: 1) { (transaction) throws(VaultError) in
            try transaction.setFact(identityFact, fields.bytes)
        }
        return (numbers[0], numbers[1], nodeID)
    }

    /// Whose data a directory holds by its names, when it is not ours.
    private static func foreignProduct(_ path: String) -> String? {
        func has(_ name: String) -> Bool { access("\(path)/\(name)", F_OK) == 0 }
        if has("core/_keyring") || has("core/_seal-config") || has("core/_shamir-kek") {
            return "another server's file storage (Vault or OpenBao)"
        }
        if has("vault.db") || has("raft/raft.db") {
            return "another server's raft storage (Vault or OpenBao)"
        }
        return nil
    }
}
