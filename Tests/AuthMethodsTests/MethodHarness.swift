import Base
import PluginKit
import TestKit

/// One auth mount over plain storage, called as the core calls it: route, existence check, handler, commit.
final class MethodHarness<Method: AuthMethod> {
    struct Answer {
        let status: Int
        let data: RawJSON?
        let errors: [String]
        let grant: AuthGrant?
        let error: VaultError?

        /// A member of `data` as compact text; nil when there is none.
        subscript(name: String) -> String? { data?[name].map { String(decoding: $0.bytes, as: UTF8.self) } }
        func text(_ name: String) -> String { data?[name]?.string ?? "" }
        var text: String { data.map { String(decoding: $0.bytes, as: UTF8.self) } ?? "" }
    }

    let storage = MemoryStorage()
    let clock = ManualClock()
    let method: Method
    private let table: RouteTable
    var address = "127.0.0.1"

    /// - Parameter adjust: changes the method before its routes are made.
    init(adjust: (inout Method) -> Void = { _ in }) throws {
        var method = try Method(
            MountContext(
                uuid: "u", accessor: "auth_1", path: "auth/m/", clock: clock, random: SeededRandom(seed: 1)))
        adjust(&method)
        self.method = method
        table = RouteTable(method.mountRoutes)
    }

    func request(_ operation: PluginKit.Operation, _ path: String, _ body: String? = nil) throws(VaultError)
        -> LogicalRequest
    {
        var request = LogicalRequest(
            id: "r", operation: operation, path: path,
            connection: ConnectionInfo(remoteAddress: address), now: clock.now())
        if let body {
            let json = try RawJSON(validating: Array(body.utf8))
            request.body = json
            request.fields = json.members.map { ($0.name, .json($0.value)) }
        }
        guard case .found(_, let parameters) = table.match(operation, path) else {
            throw .unsupportedOperation
        }
        request.parameters = parameters
        return request
    }

    @discardableResult
    func call(_ operation: PluginKit.Operation, _ path: String, _ body: String? = nil) async -> Answer {
        do throws(VaultError) {
            let request = try request(operation, path, body)
            guard case .found(let route, _) = table.match(operation, path) else {
                throw .unsupportedOperation
            }
            let response: LogicalResponse
            switch route.action {
            case .sync(let handler):
                response = try storage.run("m/") { (tx) throws(VaultError) in try handler(request, &tx) }
            case .async(let handler):
                response = try await handler(request, StorageTransactions(storage: storage))
            }
            if let recheck = response.auth?.recheck {
                try storage.run("m/") { (tx) throws(VaultError) in try recheck(&tx) }
            }
            var data: RawJSON?
            if let value = response.data { data = try RawJSON(validating: value.encoded()) }
            let isEmpty = data == nil && response.auth == nil && response.warnings.isEmpty
            return Answer(
                status: response.status ?? (isEmpty ? 204 : 200), data: data, errors: [],
                grant: response.auth, error: nil)
        } catch {
            return Answer(status: error.status, data: nil, errors: error.messages, grant: nil, error: error)
        }
    }

    /// What the core asks before it renews the token of a grant.
    func renew(_ grant: AuthGrant) throws(VaultError) -> LoginTerms {
        let renewal = LoginRenewal(
            policies: grant.policies + ["default"], metadata: grant.metadata ?? [:],
            internalData: grant.internalData, now: clock.now())
        return try storage.run("m/") { (tx) throws(VaultError) in try method.renew(renewal, &tx) }
    }

    func tidy() throws(VaultError) -> Bool {
        try storage.run("m/") { (tx) throws(VaultError) in try method.tidy(&tx, now: clock.now()) }
    }

    func keys(_ prefix: String) -> [String] {
        storage.entries.keys.filter { $0.hasPrefix("m/" + prefix) }.sorted()
    }

    /// Whether some stored entry holds these bytes.
    func stores(_ text: String) -> Bool {
        let wanted = Array(text.utf8)
        return storage.entries.contains { key, value in
            key.contains(text) || value.indices.contains { value[$0...].starts(with: wanted) }
        }
    }
}

/// SAFETY: a test calls one handler at a time and waits for it.
private final class StorageTransactions: Transactions, @unchecked Sendable {
    private let storage: MemoryStorage
    init(storage: MemoryStorage) { self.storage = storage }

    func run<Result: Sendable>(
        _ body: @escaping @Sendable (inout Transaction) throws(VaultError) -> Result
    ) async throws(VaultError) -> Result { try storage.run("m/", body) }
}
