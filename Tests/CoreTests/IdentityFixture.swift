import Base
import PluginKit
import TestKit

@testable import Core

/// The identity store over plain memory, and calls of `identity/` as the dispatcher makes them.
final class IdentityFixture {
    let storage = MemoryStorage()
    let clock = ManualClock()
    let store: IdentityStore
    let mount: IdentityMount
    private let table: RouteTable
    /// Auth mounts by their accessors.
    static let accessors = ["auth_a", "auth_b"]

    init(seed: UInt64 = 1) {
        store = IdentityStore(random: SeededRandom(seed: seed))
        var mounts: [String: Mount] = [:]
        for accessor in Self.accessors {
            var entry = MountEntry(
                kind: .auth, path: "\(accessor)/", type: "userpass", description: "",
                random: SeededRandom(seed: seed))
            entry.accessor = accessor
            mounts[accessor] = Mount(entry: entry, storagePrefix: "", routes: RouteTable([]))
        }
        mount = IdentityMount(store: store) { [mounts] in mounts[$0] }
        table = RouteTable(mount.mountRoutes)
    }

    var now: Timestamp { clock.now() }
    var view: Transaction { Transaction(view: storage) }

    /// One request; 404 and the like are thrown.
    @discardableResult
    func call(
        _ operation: PluginKit.Operation, _ path: String, _ body: String = "{}"
    ) throws(VaultError) -> LogicalResponse {
        var request = LogicalRequest(
            id: "1", operation: operation, mountPath: "identity/", path: path, now: now)
        request.fields = try RawJSON(validating: Array(body.utf8)).members.map { ($0.name, .json($0.value)) }
        guard case .found(let route, let parameters) = table.match(operation, path),
            case .sync(let handler) = route.action
        else { throw .unsupportedPath }
        request.parameters = parameters
        let asked = request
        return try storage.run { tx throws(VaultError) in try handler(asked, &tx) }
    }

    /// The reason of a refusal; empty when there was none.
    func refusal(_ operation: PluginKit.Operation, _ path: String, _ body: String = "{}") -> String {
        do throws(VaultError) {
            try call(operation, path, body)
            return ""
        } catch { return "\(error.status) \(error.messages.joined())" }
    }

    /// A member of `data`, without its quotes.
    func read(_ path: String, _ member: String) throws(VaultError) -> String {
        let text = try call(.read, path).members[member] ?? ""
        return text.hasPrefix("\"") ? String(text.dropFirst().dropLast()) : text
    }

    /// Writes, and gives the id of what was made.
    @discardableResult
    func make(_ path: String, _ body: String) throws(VaultError) -> String {
        String((try call(.update, path, body).members["id"] ?? "").dropFirst().dropLast())
    }

    func identity(_ id: String) throws(VaultError) -> Identity? { try store.identity(of: id, view) }

    /// A login, as the core makes its entity.
    func logIn(
        _ name: String, at accessor: String = "auth_a", groups: [String]? = nil,
        metadata: [String: String] = [:]
    ) throws(VaultError) -> Entity {
        try storage.run { tx throws(VaultError) in
            try store.entity(
                for: LoginAlias(name: name, metadata: metadata), groups: groups, at: accessor, now: now, &tx)
        }
    }

    /// Storage is what its records say, and nothing else: see `IdentityStore`'s invariants.
    func faults() throws(VaultError) -> [String] {
        var expected: [String: String] = [:]
        var faults: [String] = []
        let groups = try store.groupIDs(view)
        for id in try store.entityIDs(view) {
            guard let entity = try store.entity(id: id, view) else { continue }
            expected[IdentityKeys.entity(named: entity.name)] = id + entity.name
            for alias in entity.aliases {
                expected[IdentityKeys.aliases + alias.id] = id
                expected[IdentityKeys.alias(alias.name, at: alias.mountAccessor)] = id
            }
            for merged in entity.mergedIDs { expected[IdentityKeys.merged + merged] = id }
            for group in entity.groupIDs where groups.contains(group) {
                expected[IdentityKeys.members(of: group) + id] = ""
            }
        }
        for id in groups {
            guard let group = try store.group(id: id, view) else { continue }
            expected[IdentityKeys.group(named: group.name)] = id + group.name
            if let alias = group.alias {
                expected[IdentityKeys.groupAliases + alias.id] = id
                expected[IdentityKeys.groupAlias(alias.name, at: alias.mountAccessor)] = id
            }
            for parent in group.parentIDs {
                if try store.group(id: parent, view)?.memberGroupIDs.contains(id) != true {
                    faults.append("\(id) says that \(parent) is above it")
                }
            }
            for member in group.memberGroupIDs {
                if try store.group(id: member, view)?.parentIDs.contains(id) != true {
                    faults.append("\(id) says that \(member) is below it")
                }
            }
        }
        let isRecord = { (key: String) in
            key.hasPrefix(IdentityKeys.entities) || key.hasPrefix(IdentityKeys.groups)
        }
        // What is left of deleted groups goes in the background.
        let isLeftOver = { (key: String) in
            key.hasPrefix("sys/identity/group/members/")
                && !groups.contains { key.hasPrefix(IdentityKeys.members(of: $0)) }
        }
        var found: [String: String] = [:]
        for (key, value) in storage.entries where key.hasPrefix(IdentityKeys.root) && !isRecord(key) {
            if !isLeftOver(key) { found[key] = String(decoding: value, as: UTF8.self) }
        }
        for key in Set(expected.keys).union(found.keys) where expected[key] != found[key] {
            faults.append("\(key): \(expected[key] ?? "nothing") is \(found[key] ?? "nothing")")
        }
        return faults
    }
}
