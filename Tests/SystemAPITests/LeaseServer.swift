import Base
import Core
import PluginKit
import SecretsEngines
import SystemAPI
import TestKit
import Testing

/// A whole server without a network: storage in memory, barrier, commit thread, background work, and all
/// of `sys/`, with engines and a method that tests control. Calls pass through the real dispatcher.
final class LeaseServer: Sendable {
    let backend: MemoryBackend
    let clock = ManualClock()
    let outside = FakeOutside()
    /// The world of the mounts of type `other-leasing`.
    let otherOutside = FakeOutside()
    let core: VaultCore
    let seal: SealController
    let unsealKey: SecretBytes
    private let dispatcher: Dispatcher

    init() throws {
        backend = MemoryBackend()
        let log = Log(level: .error)
        let clock = self.clock
        let outside = self.outside
        let otherOutside = self.otherOutside
        let mounts = MountRegistry(
            secrets: [
                "kv": MountRegistry.factory(KVEngine.self),
                "leasing": { context throws(VaultError) in
                    MountRegistry.parts(of: FakeLeasingEngine(context, outside: outside))
                },
                "other-leasing": { context throws(VaultError) in
                    MountRegistry.parts(of: FakeLeasingEngine(context, outside: otherOutside))
                },
            ],
            auth: ["fake-login": MountRegistry.factory(FakeLogin.self)],
            defaultTTL: .seconds(2_764_800), maxTTL: .seconds(2_764_800), clock: clock,
            random: SystemRandom(), log: log)
        let audit = AuditBroker(kinds: [:], clock: clock, random: SystemRandom(), log: log)
        core = VaultCore(
            backend: backend, mounts: mounts, audit: audit, clock: clock, random: SystemRandom(), log: log)
        seal = try SealController(core: core, clusterName: "test")
        var facts = ServerFacts()
        facts.hasRawStorage = true
        let routes = SystemRoutes.make(core: core, seal: seal, facts: facts)
        mounts.setBuiltIn("sys/", routes)
        let context = MountContext(uuid: "", accessor: "", path: "cubbyhole/", clock: clock)
        mounts.setBuiltIn("cubbyhole/", try Cubbyhole(context).mountRoutes)
        dispatcher = Dispatcher(systemRoutes: RouteTable(routes), mounts: mounts, log: log) { [core] in
            core.active
        }
        let keys = try seal.initialize(
            shares: 1, threshold: 1, rootTokenID: SecretBytes(copying: Array("root".utf8)))
        unsealKey = Base64.standard.encode(keys.shares[0])
        _ = try seal.enter(share: unsealKey)
    }

    deinit { core.seal() }

    func unseal() throws { _ = try seal.enter(share: unsealKey) }

    /// One request, from its token to its answer.
    @discardableResult
    func call(
        _ operation: PluginKit.Operation, _ path: String, _ body: String? = nil, token: String? = "root",
        query: [String: String] = [:], wrap: Duration? = nil, timeLimit: Duration? = nil
    ) async -> Answer {
        var request = LogicalRequest(
            id: SystemRandom().uuid(), operation: operation, path: path, now: clock.now())
        request.wrapTTL = wrap
        request.timeLimit = timeLimit
        if let body, let json = try? RawJSON(validating: Array(body.utf8)) {
            request.body = json
            request.fields = json.members.map { ($0.name, .json($0.value)) }
        }
        request.fields += query.map { ($0.key, .text($0.value)) }
        let sent = request
        return await withCheckedContinuation { continuation in
            let context = LoopContext(backend: backend)
            dispatcher.dispatch(sent, token: token.map { Array($0.utf8) }, context: context) {
                result, mount in
                continuation.resume(
                    returning: Answer(result, id: sent.id, mountType: mount?.entry.type ?? ""))
            }
            context.forget()
        }
    }

    /// The same, where the test has no use for a failure.
    func must(
        _ operation: PluginKit.Operation, _ path: String, _ body: String? = nil, token: String? = "root",
        query: [String: String] = [:], wrap: Duration? = nil
    ) async throws -> Answer {
        let answer = await call(operation, path, body, token: token, query: query, wrap: wrap)
        try #require(answer.status < 400, "\(operation) \(path): \(answer.errors)")
        return answer
    }

    /// A new token of these policies.
    func token(_ body: String = #"{"policies":["default"]}"#) async throws -> String {
        try #require(try await must(.update, "auth/token/create", body)["auth/client_token"])
    }

    /// A policy of this text.
    func policy(_ name: String, _ text: String) async throws {
        let quoted = String(decoding: JSONValue.string(text).encoded(), as: UTF8.self)
        _ = try await must(.update, "sys/policies/acl/\(name)", "{\"policy\":\(quoted)}")
    }

    /// Keys of the plain entries below a prefix.
    func keys(_ prefix: String) throws -> [String] {
        let active = try #require(core.active)
        return try active.transactions.runBlocking { tx throws(VaultError) in try tx.scan(prefix) }
    }

    /// Waits for what the background work will bring about.
    func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
        let came = try await Patience.awaits(condition)
        #expect(came, "never came: \(what)")
    }
}

/// What a client would get.
struct Answer: Sendable {
    let status: Int
    let errors: [String]
    /// The whole envelope, or the raw body.
    let json: RawJSON?
    let response: LogicalResponse?

    init(_ outcome: Outcome, id: String, mountType: String) {
        switch outcome {
        case .forward:
            status = 0
            errors = ["to be forwarded"]
            json = nil
            response = nil
        case .failure(let error):
            status = error.status
            errors = error.messages
            json = nil
            response = nil
        case .success(let response):
            let body =
                response.raw?.body ?? Envelope.encode(response, id: id, mountType: mountType)
            status = response.raw?.status ?? response.status ?? (body == nil ? 204 : 200)
            errors = []
            json = body.flatMap { try? RawJSON(validating: $0) }
            self.response = response
        }
    }

    /// The value at a path of names joined by `/`, strings without quotes; nil when there is none.
    subscript(path: String) -> String? {
        var value = json
        for name in path.split(separator: "/") { value = value?[String(name)] }
        return value.map { $0.string ?? String(decoding: $0.bytes, as: UTF8.self) }
    }

    /// The strings of a list at a path.
    func list(_ path: String) -> [String] {
        var value = json
        for name in path.split(separator: "/") { value = value?[String(name)] }
        return value?.elements.compactMap(\.string) ?? []
    }
}

/// A login that everybody passes.
struct FakeLogin: AuthMethod {
    static let type = "fake-login"
    static let summary = "Lets everybody in."
    private static let name = Field<String>(required: "name", "Who it is.")

    init(_ context: MountContext) throws(VaultError) {}

    static var routes: [Route<Self>] {
        [Route(.update, "login/:name", "Log in.", .unauthenticated, fields: name, run: Self.login)]
    }

    func renew(_ renewal: LoginRenewal, _ tx: inout Transaction) throws(VaultError) -> LoginTerms {
        LoginTerms(ttl: .zero, maxTTL: .zero, period: .zero)
    }

    @Sendable private func login(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        var response = LogicalResponse()
        response.auth = AuthGrant(policies: ["default"], displayName: try request[Self.name])
        return response
    }
}
