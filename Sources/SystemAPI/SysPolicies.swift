import Base
import Core
package import PluginKit

/// `sys/policies/acl` and its older face `sys/policy`.
package struct SysPolicies: Sendable {
    private let store = PolicyStore()

    package init() {}

    private static let name = Field<String>(required: "name", "Name of the policy; case does not count.")
    private static let policy = Field<String>("policy", "The policy in HCL or JSON, plain or in base64.")
    private static let rules = Field<String>("rules", "The older name of 'policy'.")

    package static var routes: [Route<Self>] {
        [
            Route(.list, "policies/acl", "List the policies.", run: Self.list),
            Route(.read, "policies/acl/:name", "Read a policy.", fields: name, run: Self.read),
            Route(.update, "policies/acl/:name", "Write a policy.", fields: name, policy, run: Self.write),
            Route(.delete, "policies/acl/:name", "Delete a policy.", fields: name, run: Self.delete),
            Route(.update, "policies/acl/", "Refused: the name is missing.", .hidden, run: Self.missingName),
            Route(.read, "policy", "List the policies.", run: Self.oldList),
            Route(.list, "policy", "List the policies.", run: Self.oldList),
            Route(.read, "policy/:name", "Read a policy.", fields: name, run: Self.oldRead),
            Route(
                .update, "policy/:name", "Write a policy.", fields: name, policy, rules, run: Self.oldWrite),
            Route(.delete, "policy/:name", "Delete a policy.", fields: name, run: Self.delete),
        ]
    }

    private func list(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        LogicalResponse(data: ["keys": .strings(try store.list(in: tx))])
    }

    private func oldList(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let names = JSONValue.strings(try store.list(in: tx))
        var response = LogicalResponse(data: ["keys": names, "policies": names])
        response.mirrorsData = true
        return response
    }

    private func read(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let name = PolicyStore.canonicalName(try request[Self.name])
        guard let text = try store.read(name, in: tx) else { throw .notFound }
        return LogicalResponse(data: ["name": .string(name), "policy": .string(text)])
    }

    private func oldRead(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let name = PolicyStore.canonicalName(try request[Self.name])
        guard let text = try store.read(name, in: tx) else { throw .notFound }
        var response = LogicalResponse(data: ["name": .string(name), "rules": .string(text)])
        response.mirrorsData = true
        return response
    }

    private func write(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        LogicalResponse(warnings: try put(request, try request.optional(Self.policy) ?? "", &tx))
    }

    private func oldWrite(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        if let text = try request.optional(Self.policy) {
            return LogicalResponse(warnings: try put(request, text, &tx))
        }
        let warnings = try put(request, try request.optional(Self.rules) ?? "", &tx)
        return LogicalResponse(warnings: warnings + ["'rules' is deprecated, please use 'policy' instead"])
    }

    private func put(
        _ request: LogicalRequest, _ text: String, _ tx: inout Transaction
    ) throws(VaultError) -> [String] {
        try store.put(try request[Self.name], PolicyStore.text(fromAPI: text), in: &tx)
    }

    private func delete(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try store.delete(try request[Self.name], in: &tx)
        return .empty
    }

    private func missingName(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        throw .badRequest("missing name: expected sys/policies/acl/<name>")
    }
}
