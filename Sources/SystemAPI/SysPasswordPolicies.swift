package import Base
import Core
package import PluginKit

/// `sys/policies/password`: how passwords for other systems are made.
package struct SysPasswordPolicies: Sendable {
    private static let prefix = "sys/password-policy/"
    /// Bytes of a name.
    private static let nameBytes = 256
    private let random: any RandomSource

    package init(random: any RandomSource) { self.random = random }

    private static let name = Field<String>(required: "name", "Name of the password policy.")
    private static let policy = Field<String>("policy", "The policy in HCL or JSON, plain or in base64.")

    package static var routes: [Route<Self>] {
        [
            Route(.list, "policies/password", "List the password policies.", run: Self.list),
            Route(
                .read, "policies/password/:name/generate", "Make a password.", fields: name,
                run: Self.generate),
            Route(.read, "policies/password/:name", "Read a password policy.", fields: name, run: Self.read),
            Route(
                .update, "policies/password/:name", "Write a password policy.", fields: name, policy,
                run: Self.write),
            Route(
                .delete, "policies/password/:name", "Delete a password policy.", fields: name,
                run: Self.delete),
        ]
    }

    private func list(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try .keys(tx.list(Self.prefix))
    }

    private func read(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        LogicalResponse(data: ["policy": .string(try text(request, &tx))])
    }

    private func write(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let name = try Self.checkedName(request)
        let sent = try request.optional(Self.policy) ?? ""
        if sent.isEmpty { throw .badRequest("policy: expected a password policy") }
        let text = PolicyStore.text(fromAPI: sent)
        do throws(VaultError) { _ = try PasswordPolicy(parsing: text) } catch {
            guard case .badRequest(let reason) = error else { throw error }
            throw .badRequest("invalid password policy: \(reason)")
        }
        tx.put(Self.prefix + name, JSONValue.object([("policy", .string(text))]).encoded())
        return .empty
    }

    private func delete(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        tx.delete(Self.prefix + (try Self.checkedName(request)))
        return .empty
    }

    private func generate(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let policy = try PasswordPolicy(parsing: try text(request, &tx))
        return LogicalResponse(data: ["password": .secret(policy.generate(from: random))])
    }

    private func text(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError) -> String {
        let key = Self.prefix + (try Self.checkedName(request))
        guard let bytes = try tx.get(key) else { throw .notFoundBecause("policy does not exist") }
        guard let text = RawJSON(trusted: bytes)["policy"]?.string else { throw .corrupted(place: key) }
        return text
    }

    private static func checkedName(_ request: LogicalRequest) throws(VaultError) -> String {
        let name = try request[name]
        guard (1...nameBytes).contains(name.utf8.count),
            name.utf8.allSatisfy({ $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "/") })
        else { throw .badRequest("name: expected 1 to \(nameBytes) printable ASCII characters") }
        return name
    }
}
