import Base
package import Core
package import PluginKit

/// `sys/capabilities`, `-self` and `-accessor`: what a token may do on some paths.
package struct SysCapabilities: Sendable {
    private let active: @Sendable () -> ActiveCore?

    package init(active: @escaping @Sendable () -> ActiveCore?) { self.active = active }

    private static let token = Field<String>("token", "The token in question.")
    private static let accessor = Field<String>("accessor", "Accessor of the token in question.")
    private static let paths = Field<[String]>("paths", "Paths below /v1/.")
    private static let path = Field<[String]>("path", "The older name of 'paths'.")
    /// Paths in one question.
    private static let mostPaths = 1_000

    package static var routes: [Route<Self>] {
        [
            Route(
                .update, "capabilities", "What a token may do.", fields: token, paths, path, run: Self.ofToken
            ),
            Route(
                .update, "capabilities-accessor", "What the token of an accessor may do.",
                fields: accessor, paths, path, run: Self.ofAccessor),
            Route(
                .update, "capabilities-self", "What your own token may do.", fields: paths, path,
                run: Self.ofSelf),
        ]
    }

    private func ofToken(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let active = active() else { throw .sealed }
        guard let token = try request.optional(Self.token), !token.isEmpty else {
            throw .badRequest("missing token: name one, or ask sys/capabilities-self")
        }
        let bytes = Array(token.utf8)
        let found = try bytes.withRaw { (bytes: UnsafeRawBufferPointer) throws(VaultError) in
            try active.tokens.authenticate(bytes, now: request.now, &tx)
        }
        guard let entry = found else {
            throw .badRequest("1 error occurred:\n\t* invalid token\n\n")
        }
        return try answer(request, entry.client, active, &tx)
    }

    private func ofAccessor(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let active = active() else { throw .sealed }
        let accessor = try request.optional(Self.accessor) ?? ""
        if accessor.isEmpty { throw .badRequest("missing accessor") }
        guard let entry = try active.tokens.live(accessor: accessor, now: request.now, &tx) else {
            throw .badRequest("1 error occurred:\n\t* invalid accessor\n\n")
        }
        return try answer(request, entry.client, active, &tx)
    }

    private func ofSelf(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let active = active() else { throw .sealed }
        return try answer(request, request.client, active, &tx)
    }

    private func answer(
        _ request: LogicalRequest, _ client: ClientIdentity, _ active: ActiveCore, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        var paths = try request.optional(Self.paths) ?? []
        if paths.isEmpty { paths = try request.optional(Self.path) ?? [] }
        if paths.isEmpty { throw .badRequest("paths must be supplied: expected a list of paths in 'paths'") }
        if paths.count > Self.mostPaths { throw .badRequest("paths: expected at most \(Self.mostPaths)") }
        let acl = try active.acl(of: client, in: tx)
        var members: [(String, JSONValue)] = []
        for path in paths { members.append((path, .strings(acl.capabilities(path)))) }
        if paths.count == 1 { members.append(("capabilities", members[0].1)) }
        var response = LogicalResponse(data: .object(members))
        response.mirrorsData = true
        return response
    }
}
