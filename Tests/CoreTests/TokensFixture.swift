import Base
import PluginKit
import TestKit

@testable import Core

/// A token store over plain memory, and calls of `auth/token/` as the dispatcher makes them.
final class TokenFixture {
    let storage = MemoryStorage()
    let clock = ManualClock()
    let random: SeededRandom
    var store: TokenStore
    /// What auth methods answer when a token of theirs is renewed, by the mount's accessor.
    var login: [String: LoginTerms] = [:]
    /// Tokens (by accessor) whose policies give `sudo` everywhere.
    var sudoPolicies: Set<String> = ["super"]

    init(seed: UInt64 = 1, entriesAtOnce: Int = 256) {
        random = SeededRandom(seed: seed)
        store = TokenStore(
            hash: { bytes in bytes.map { String(Int($0) + 256, radix: 16).dropFirst() }.joined() },
            batch: BatchSealing(
                seal: { plain in
                    [UInt8(plain.reduce(7) { ($0 &* 31 &+ Int($1)) & 0xFF })] + plain.map { $0 ^ 0x5A }
                },
                open: { sealed in
                    let plain = sealed.dropFirst().map { $0 ^ 0x5A }
                    return sealed.first == UInt8(plain.reduce(7) { ($0 &* 31 &+ Int($1)) & 0xFF })
                        ? plain : nil
                }),
            random: random, leases: LeaseStore(random: random), pending: PendingRevocations(),
            cubbyholePrefix: { "cubby/\($0)/" })
        store.entriesAtOnce = entriesAtOnce
    }

    var now: Timestamp { clock.now() }

    /// A commit: what `body` writes is stored, and the tombstones among it are noted.
    func commit<Result>(_ body: (inout Transaction) throws(VaultError) -> Result) throws(VaultError) -> Result
    {
        var keys: [String] = []
        let result = try storage.run { (tx: inout Transaction) throws(VaultError) -> Result in
            let result = try body(&tx)
            keys = Array(tx.log.writes.keys)
            return result
        }
        try store.pending.noteCommit(keys: keys, view: storage)
        return result
    }

    func root(_ id: String = "root") throws(VaultError) -> TokenEntry {
        try commit { tx throws(VaultError) in
            try store.issueRoot(&tx, id: SecretBytes(copying: Array(id.utf8)), now: now).entry
        }
    }

    func authenticate(_ token: String) throws(VaultError) -> TokenEntry? {
        var tx = Transaction(view: storage)
        return try authenticate(token, &tx)
    }

    private func authenticate(_ token: String, _ tx: inout Transaction) throws(VaultError) -> TokenEntry? {
        try SecretBytes(copying: Array(token.utf8)).withBytes { bytes throws(VaultError) in
            try store.authenticate(bytes, now: now, &tx)
        }
    }

    func isAlive(hash: String) throws(VaultError) -> Bool {
        var tx = Transaction(view: storage)
        return try store.live(hash: hash, now: now, &tx) != nil
    }

    func cleanUpAll(limit: Int = 16) throws(VaultError) -> Int {
        var passes = 1
        while try commit({ tx throws(VaultError) in try store.cleanUp(&tx, now: now, limit: limit) }) {
            passes += 1
        }
        return passes
    }

    /// What the server's background work does about leases that have ended.
    @discardableResult
    func expire(limit: Int = 100) throws(VaultError) -> ExpiredLeases {
        var tx = Transaction(view: storage)
        let due = try store.leases.due(&tx, now: now, limit: limit)
        return try commit { tx throws(VaultError) in try store.expire(&tx, due: due, now: now, limit: limit) }
    }

    func keys(_ prefix: String) -> [String] { storage.entries.keys.filter { $0.hasPrefix(prefix) }.sorted() }

    var environment: TokenEnvironment {
        let super_ = sudoPolicies
        return TokenEnvironment(
            hasSudo: { request, _, _ in !super_.isDisjoint(with: request.client.policies) },
            accessor: { "auth_token_1" },
            caps: { TTLCaps(defaultTTL: .seconds(2_764_800), maxTTL: .seconds(2_764_800)) },
            policyExists: { name, _ in ["default", "super"].contains(name) },
            renewLogin: { [login] origin, renewal, _ throws(VaultError) in
                guard let terms = login[origin.mountAccessor] else { throw .badRequest("no such mount") }
                return (terms, TTLCaps(defaultTTL: .seconds(3_600), maxTTL: .seconds(7_200)))
            })
    }

    /// One request, from its token to its answer.
    func call(
        _ operation: PluginKit.Operation, _ path: String, token: String = "root", _ body: String = "{}"
    ) throws(VaultError) -> LogicalResponse {
        let method = TokenMethod(store: store, environment: environment)
        var request = LogicalRequest(
            id: "1", operation: operation, mountPath: "auth/token/", path: path, now: now)
        request.fields = try RawJSON(validating: Array(body.utf8)).members.map { ($0.name, .json($0.value)) }
        request.clientToken = SecretBytes(copying: Array(token.utf8))
        let spent = try commit { tx throws(VaultError) -> TokenEntry in
            guard let found = try authenticate(token, &tx) else { throw .permissionDenied }
            return try store.spendUse(&tx, found)
        }
        request.client = spent.client
        defer {
            if spent.isLastUseSpent {
                _ = try? commit { tx throws(VaultError) in try store.revoke(&tx, hash: spent.hash, now: now) }
            }
        }
        guard case .found(let route, let parameters) = RouteTable(method.mountRoutes).match(operation, path),
            case .sync(let handler) = route.action
        else { throw .unsupportedPath }
        request.parameters = parameters
        return try commit { tx throws(VaultError) in try handler(request, &tx) }
    }

    /// A new token, by the API.
    func create(_ body: String = "{}", token: String = "root", path: String = "create") throws(VaultError)
        -> String
    {
        try call(.update, path, token: token, body).auth?.issued?.token?.text ?? ""
    }

    func lookup(_ token: String) throws(VaultError) -> [String: String] {
        try call(.update, "lookup", #"{"token":"\#(token)"}"#).members
    }
}

extension SecretBytes {
    var text: String { withBytes { String(decoding: $0, as: UTF8.self) } }
}

extension LogicalResponse {
    /// The members of `data`, each as JSON text.
    var members: [String: String] {
        guard let data else { return [:] }
        var found: [String: String] = [:]
        RawJSON(trusted: data.encoded()).forEachMember {
            found[$0] = String(decoding: $1.bytes, as: UTF8.self)
        }
        return found
    }
}
