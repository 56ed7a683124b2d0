import Base
package import Core
package import PluginKit

/// `sys/wrapping/*`: what a wrapping token holds, and taking it out.
package struct SysWrapping: Sendable {
    private let active: @Sendable () -> ActiveCore?

    package init(active: @escaping @Sendable () -> ActiveCore?) { self.active = active }

    package static var routes: [Route<Self>] {
        [
            Route(
                .update, "wrapping/wrap", "Wrap the body: send it with the header X-Vault-Wrap-TTL.",
                run: Self.wrap),
            Route(
                .update, "wrapping/lookup", "What a wrapping token is, without using it.",
                [.unauthenticated, .wrappingToken], fields: WrappingStore.token, run: Self.lookUp),
            Route(
                .read, "wrapping/lookup", "What one's own wrapping token is, without using it.",
                [.unauthenticated, .wrappingToken], run: Self.lookUp),
            Route(
                .update, "wrapping/unwrap", "The answer that a wrapping token holds, once.", .wrappingToken,
                fields: WrappingStore.token, run: Self.unwrap),
            Route(
                .update, "wrapping/rewrap", "Move the answer of a wrapping token to a new one.",
                .wrappingToken, fields: WrappingStore.token, run: Self.rewrap),
        ]
    }

    /// The core wraps every answer that it is asked to wrap; here the answer is what was sent.
    private func wrap(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        if request.wrapTTL == nil {
            throw .badRequest(
                "endpoint requires response wrapping to be used: expected the header X-Vault-Wrap-TTL")
        }
        if let body = request.body { return LogicalResponse(data: .raw(body)) }
        let members: [(String, JSONValue)] = request.fields.map { name, value in
            switch value {
            case .text(let text): (name, .string(text))
            case .json(let json): (name, .raw(json))
            }
        }
        return LogicalResponse(data: .object(members))
    }

    private func lookUp(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let (_, entry) = try subject(request, &tx)
        return LogicalResponse(data: [
            "creation_path": .string(entry.path),
            "creation_time": .string(entry.lifetime.created.rfc3339()),
            "creation_ttl": .int(Int(entry.lifetime.ttl.wholeSeconds)),
        ])
    }

    private func unwrap(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let (store, entry) = try subject(request, &tx)
        let answer = try store.answer(of: entry, &tx)
        try store.finish(entry, of: request, &tx)
        var response = LogicalResponse()
        response.raw = RawAnswer(
            status: 200, contentType: "application/json", body: answer + [UInt8(ascii: "\n")])
        return response
    }

    /// The new token lives as long as the old one did at first, or shorter when that is asked.
    private func rewrap(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let (store, entry) = try subject(request, &tx)
        let answer = try store.answer(of: entry, &tx)
        try store.finish(entry, of: request, &tx)
        var response = LogicalResponse()
        response.wrapInfo = try store.wrap(
            &tx, answer, ttl: min(request.wrapTTL ?? entry.lifetime.ttl, entry.lifetime.ttl),
            path: entry.path, accessor: RawJSON(trusted: answer)["auth"]?["accessor"]?.string,
            now: request.now)
        return response
    }

    private func subject(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> (store: WrappingStore, entry: TokenEntry) {
        guard let active = active() else { throw .sealed }
        let store = WrappingStore(tokens: active.tokens)
        return (store, try store.subject(of: request, callerToken: request.clientToken, &tx))
    }
}
