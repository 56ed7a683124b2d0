import Base
import Crypto
import PluginKit

/// A user as storage knows it.
struct UserRecord: Sendable, Equatable {
    var hash: PasswordHash
    var token = TokenParameters()

    init(hash: PasswordHash) { self.hash = hash }

    var encoded: [UInt8] {
        JSONValue.object([("v", 1), ("hash", .string(hash.text)), ("token", token.record)]).encoded()
    }

    init?(stored bytes: [UInt8]) {
        guard let json = try? RawJSON(validating: bytes), json["v"]?.int == 1,
            let hash = json["hash"]?.string.flatMap({ PasswordHash($0) }),
            let token = json["token"].flatMap({ TokenParameters(record: $0) })
        else { return nil }
        self.hash = hash
        self.token = token
    }
}

/// `users/`.
extension UserpassMethod {
    private static let folder = "user/"

    /// The user of that canonical name; nil for a name that nobody has or can have.
    func user(_ name: String, _ tx: inout Transaction) throws(VaultError) -> UserRecord? {
        guard LoginNames.isPossible(name), let bytes = try tx.get(Self.folder + name) else { return nil }
        guard let user = UserRecord(stored: bytes) else { throw .corrupted(place: "userpass: \(name)") }
        return user
    }

    private func put(_ tx: inout Transaction, _ name: String, _ user: UserRecord) {
        tx.put(Self.folder + name, user.encoded)
    }

    @Sendable func listUsers(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        try .keys(tx.list(Self.folder))
    }

    @Sendable func readUser(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        guard let user = try user(LoginNames.canonical(try request[Self.username]), &tx) else {
            throw .notFound
        }
        return LogicalResponse(data: .object(user.token.members(old: Self.oldNames)))
    }

    @Sendable func deleteUser(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let name = LoginNames.canonical(try request[Self.username])
        if try user(name, &tx) != nil { tx.delete(Self.folder + name) }
        return .empty
    }

    @Sendable func writeUser(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let name = try LoginNames.parse(request, Self.username)
        let hash = try await newHash(request)
        try await transactions.run { tx throws(VaultError) in
            let known = try user(name, &tx)
            guard var user = known ?? hash.map({ UserRecord(hash: $0) }) else {
                throw .badRequest("missing password")
            }
            if let hash { user.hash = hash }
            try user.token.update(from: request, old: Self.oldNames)
            put(&tx, name, user)
        }
        return .empty
    }

    @Sendable func writePassword(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let name = try LoginNames.parse(request, Self.username)
        guard let hash = try await newHash(request) else { throw .badRequest("missing password") }
        try await transactions.run { tx throws(VaultError) in
            guard var user = try user(name, &tx) else { throw .badRequest("username does not exist") }
            user.hash = hash
            put(&tx, name, user)
        }
        return .empty
    }

    @Sendable func writePolicies(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let name = try LoginNames.parse(request, Self.username)
        guard var user = try user(name, &tx) else { throw .badRequest("username does not exist") }
        // Whatever else the body holds is not for this path.
        var policiesOnly = request
        policiesOnly.fields = request.fields.filter {
            $0.name == Self.policies.name || $0.name == Self.tokenPolicies.name
        }
        try user.token.update(from: policiesOnly, old: Self.oldNames)
        put(&tx, name, user)
        return .empty
    }

    /// Nil when no password was sent.
    private func newHash(_ request: LogicalRequest) async throws(VaultError) -> PasswordHash? {
        guard let password = try request.optional(Self.password) else { return nil }
        if password.count == 0 { throw .badRequest("field 'password': expected at least one byte") }
        return try await PasswordHash.make(password, random: random)
    }
}
