import Base
import PluginKit
import TestKit

/// One mount over plain storage, called as the core calls it: route, existence check, handler, commit.
final class MountHarness {
    struct Answer {
        let status: Int
        let data: RawJSON?
        let errors: [String]
        let response: LogicalResponse?

        /// The value at a path of names joined by `/`, as compact text; nil when there is none.
        subscript(path: String) -> String? {
            var value = data
            for name in path.split(separator: "/") { value = value?[String(name)] }
            return value.map { String(decoding: $0.bytes, as: UTF8.self) }
        }
        var text: String { data.map { String(decoding: $0.bytes, as: UTF8.self) } ?? "" }
    }

    let storage = MemoryStorage()
    let clock = ManualClock()
    private(set) var table: RouteTable
    var client = ClientIdentity(
        displayName: "token", accessor: "a", policies: ["root"], storageID: "owner-1", isRoot: true)

    init<Engine: SecretsEngine>(_ type: Engine.Type, options: [String: String] = [:]) throws {
        table = RouteTable([])
        try remount(type, options: options)
    }

    /// What tuning the mount's options does.
    func remount<Engine: SecretsEngine>(_ type: Engine.Type, options: [String: String]) throws {
        let context = MountContext(uuid: "u", accessor: "kv_1", path: "m/", options: options, clock: clock)
        let engine = try Engine(context)
        try storage.run("mount/") { (tx) throws(VaultError) in try engine.prepare(&tx) }
        table = RouteTable(engine.mountRoutes)
    }

    @discardableResult
    func call(
        _ operation: Operation, _ path: String, _ body: String? = nil, query: [String: String] = [:],
        contentType: String = "application/json"
    ) -> Answer {
        var request = LogicalRequest(
            id: "r", operation: operation, path: path, client: client, now: clock.now())
        request.contentType = contentType
        do throws(VaultError) {
            if let body {
                let json = try RawJSON(validating: Array(body.utf8))
                request.body = json
                request.fields = json.members.map { ($0.name, .json($0.value)) }
            }
            request.fields += query.map { ($0.key, .text($0.value)) }
            guard case .found(let route, let parameters) = table.match(operation, path) else {
                throw .unsupportedOperation
            }
            request.parameters = parameters
            guard case .sync(let handler) = route.action else { throw .internal("not synchronous") }
            let sent = request
            let response = try storage.run("mount/") { (tx) throws(VaultError) in try handler(sent, &tx) }
            var data: RawJSON?
            if let value = response.data { data = try RawJSON(validating: value.encoded()) }
            let isEmpty = data == nil && response.warnings.isEmpty
            return Answer(
                status: response.status ?? (isEmpty ? 204 : 200), data: data, errors: [], response: response)
        } catch {
            return Answer(status: error.status, data: nil, errors: error.messages, response: nil)
        }
    }

    func patch(_ path: String, _ body: String) -> Answer {
        call(.patch, path, body, contentType: "application/merge-patch+json")
    }

    func exists(_ path: String) throws -> Bool? {
        guard case .found(let route, let parameters) = table.match(.update, path) else { return nil }
        var request = LogicalRequest(
            id: "r", operation: .update, path: path, client: client, now: clock.now())
        request.parameters = parameters
        guard let check = route.exists else { return nil }
        let sent = request
        return try storage.run("mount/") { (tx) throws(VaultError) in try check(sent, &tx) }
    }
}
