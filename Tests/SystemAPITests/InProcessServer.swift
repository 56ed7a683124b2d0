import AuthMethods
import Base
import Core
import PluginKit
import SecretsEngines
import SystemAPI
import Synchronization
import Testing
import TestKit

/// A whole core without sockets: requests go in as the API front makes them, and answers come out.
final class InProcessServer: Sendable {
    let clock: ManualClock
    let backend: any StorageBackend
    let core: VaultCore
    let seal: SealController
    let dispatcher: Dispatcher
    /// What initialising gave; empty over a store that was initialised before.
    let keys: [String]
    let rootToken: String

    struct Answer: Sendable {
        /// The status of an answer that only the active node can give.
        static let forwarded = 0
        let status: Int
        let body: [UInt8]
        var headers: [String: String] = [:]

        /// A member by its path, `data/keys`; nil when it is not there.
        subscript(_ path: String) -> RawJSON? {
            path.split(separator: "/").reduce(try? RawJSON(validating: body)) { json, name in
                json?[String(name)]
            }
        }
        func text(_ path: String) -> String { self[path]?.string ?? "" }
        func texts(_ path: String) -> [String] { self[path]?.elements.compactMap(\.string) ?? [] }
    }

    /// - Parameters:
    ///   - shares: key shares to initialise with; zero leaves the store as it is.
    ///   - facts: what the endpoints say of their process.
    ///   - auditKinds: the audit devices that can be enabled.
    init(
        backend: any StorageBackend = MemoryBackend(), clock: ManualClock = ManualClock(), shares: Int = 3,
        threshold: Int = 2, facts: ServerFacts = ServerFacts(),
        engines: [String: MountRegistry.Factory] = [:], auditKinds: [String: AuditBroker.Kind] = [:],
        role: (any ClusterRole)? = nil,
        takesPart: (join: @Sendable () -> Void, leave: @Sendable () -> Void)? = nil,
        seals: SealSet = SealSet(), sealCheckInterval: Duration = .seconds(600)
    ) throws {
        self.clock = clock
        self.backend = backend
        let log = Log(level: .error)
        let mounts = MountRegistry(
            secrets: engines.merging([KVEngine.type: MountRegistry.factory(KVEngine.self)]) { $1 },
            auth: [
                UserpassMethod.type: MountRegistry.factory(UserpassMethod.self),
                AppRoleMethod.type: MountRegistry.factory(AppRoleMethod.self),
            ],
            defaultTTL: .seconds(2_764_800), maxTTL: .seconds(2_764_800), clock: clock,
            random: SystemRandom(), log: log)
        let audit = AuditBroker(kinds: auditKinds, clock: clock, random: SystemRandom(), log: log)
        core = VaultCore(
            backend: backend, mounts: mounts, audit: audit, clock: clock, random: SystemRandom(), log: log,
            role: role)
        if let takesPart { core.takePart(join: { _ in takesPart.join() }, leave: takesPart.leave) }
        seal = try SealController(
            core: core, clusterName: "test", seals: seals, checkInterval: sealCheckInterval)
        let routes = SystemRoutes.make(core: core, seal: seal, facts: facts)
        mounts.setBuiltIn("sys/", routes)
        let context = MountContext(uuid: "", accessor: "", path: "cubbyhole/", clock: clock, log: log)
        mounts.setBuiltIn("cubbyhole/", try Cubbyhole(context).mountRoutes)
        dispatcher = Dispatcher(
            systemRoutes: RouteTable(routes), mounts: mounts, inFlight: core.inFlight, log: log,
            gate: core.gate
        ) { [core] in core.active }
        guard shares > 0 else {
            (keys, rootToken) = ([], "")
            return
        }
        let made = try seal.initialize(shares: shares, threshold: threshold)
        keys = made.shares.map { share in Hex.encode(share).withBytes { String(decoding: $0, as: UTF8.self) }
        }
        rootToken = made.rootToken.withBytes { String(decoding: $0, as: UTF8.self) }
        for key in keys.prefix(threshold) { try seal.enter(share: SecretBytes(copying: key.utf8)) }
    }

    deinit { core.seal() }

    /// One request. Without a token it comes with the root token; an empty one is none.
    func call(
        _ operation: PluginKit.Operation, _ path: String, _ body: String = "", token: String? = nil,
        from address: String = "127.0.0.1", cluster: ClusterOptions? = nil
    ) async throws -> Answer {
        let isList = operation == .list && !path.hasSuffix("/")
        var request = LogicalRequest(
            id: "test", operation: operation, path: isList ? path + "/" : path,
            connection: ConnectionInfo(remoteAddress: address), now: clock.now())
        if !body.isEmpty {
            let json = try RawJSON(validating: Array(body.utf8))
            request.body = json
            request.fields = json.members.map { ($0.name, .json($0.value)) }
        }
        request.cluster = cluster
        let token = Array((token ?? rootToken).utf8)
        let asked = request
        let (result, type) = await withCheckedContinuation { continuation in
            dispatcher.dispatch(
                asked, token: token.isEmpty ? nil : token, context: LoopContext(backend: backend)
            ) { result, mount in
                continuation.resume(returning: (result, mount?.entry.type ?? ""))
            }
        }
        switch result {
        case .success(let response):
            if let raw = response.raw { return Answer(status: raw.status, body: raw.body) }
            let body = Envelope.encode(response, id: "test", mountType: type)
            return Answer(
                status: response.status ?? (body == nil ? 204 : 200), body: body ?? [],
                headers: Dictionary(response.headers.map { ($0.name, $0.value) }) { first, _ in first })
        case .failure(let error):
            let body: JSONValue = ["errors": .strings(error.messages)]
            return Answer(status: error.status, body: body.encoded())
        case .forward: return Answer(status: Answer.forwarded, body: [])
        }
    }

    /// A token with these rules.
    func token(_ policy: String) async throws -> String {
        let text = JSONValue.object([("policy", .string(policy))]).encoded()
        _ = try await call(.update, "sys/policies/acl/limited", String(decoding: text, as: UTF8.self))
        let answer = try await call(.update, "auth/token/create", #"{"policies":["limited"]}"#)
        return answer.text("auth/client_token")
    }
}

/// A backend that refuses commits when it is told to.
final class FailingBackend: StorageBackend {
    static let type = "failing"
    private let inner = MemoryBackend()
    private let state = Mutex((commits: 0, failsAt: Int.max))
    /// Refuses commits of more bytes, as a disk that is nearly full does.
    let room = Atomic<Int>(.max)

    /// Commits that were made.
    var commits: Int { state.withLock { $0.commits } }
    /// Refuses every commit from the `count`th on, counted from now.
    func fail(after count: Int) { state.withLock { $0.failsAt = $0.commits + count } }
    func recover() { state.withLock { $0.failsAt = .max } }

    func makeReader() throws(VaultError) -> any StorageReader { try inner.makeReader() }
    func commit(_ batch: CommitBatch) throws(VaultError) -> UInt64 {
        let fails = state.withLock { state in
            let bytes = batch.writes.reduce(0) { $0 + ($1.value?.count ?? 0) }
            if state.commits >= state.failsAt || bytes > room.load(ordering: .relaxed) { return true }
            state.commits += 1
            return false
        }
        if fails { throw .unavailable("the disk is full", retryAfterSeconds: 0) }
        return try inner.commit(batch)
    }
    func close() {}
}
