import Base
import PluginKit

/// Decides who may pass: token, then policy. Deny by default; nothing is looked up that the caller may not
/// learn.
struct Gate {
    let active: ActiveCore
    /// What the calling thread remembers of tokens; nil on the commit thread.
    let tokens: TokenCache?
    /// The path below `/v1/`, which policies name.
    let fullPath: String
    let storagePrefix: String

    /// - Parameter execution: gets the entry of a good token and the identity behind it, whether it is
    ///   admitted or not; when this was its last use, it must be revoked with the request.
    /// - Returns: who asks.
    /// - Throws: `.missingToken`, `.permissionDenied` for a bad token, `.policyDenied` for a good one.
    func admit(
        _ request: LogicalRequest, token: [UInt8]?, _ match: RouteTable.Match, _ tx: inout Transaction,
        for execution: Execution
    ) throws(VaultError) -> ClientIdentity {
        var traits: RouteTraits = []
        var exists: ExistenceCheck?
        if case .found(let route, _) = match {
            traits = route.description.traits
            exists = route.exists
        }
        if traits.contains(.wrappingToken) { try checkWrappingToken(request, token, &tx) }
        if traits.contains(.unauthenticated) { return .anonymous }
        if case .wrongOperation = match, needsNoToken() { throw .unsupportedOperationWithoutToken }
        guard let token else {
            if traits.contains(.optionalToken) { return .anonymous }
            throw .missingToken
        }
        let found = try token.withRaw { (bytes: UnsafeRawBufferPointer) throws(VaultError) in
            try active.tokens.bearer(of: bytes, now: request.now, &tx, cache: tokens)
        }
        guard var known = found,
            !known.isBound || known.entry.isAllowed(from: request.connection.remoteAddress)
        else { throw .permissionDenied }
        execution.bearer = known
        // The token of an entity that is disabled or gone is as good as none; the audit says whose it was.
        let identity = try active.goodIdentity(of: known.entityID, tx)
        execution.identity = identity
        // Counted also when the request is refused below: a use is a use.
        if known.isLimited { known = Bearer(try active.tokens.spendUse(&tx, known.entry)) }
        execution.bearer = known
        var client = known.client
        if let identity, identity.id != client.entityID { client.entityID = identity.id }
        if traits.contains(.optionalToken) { return client }
        let acl = try active.policies.acl(for: client.policies, of: identity, in: tx)
        var operation = request.operation
        if operation == .update, !acl.isRoot, let exists {
            var scoped = tx.scoped(to: storagePrefix)
            var asking = request
            asking.client = client
            if try !exists(asking, &scoped) { operation = .create }
        }
        let decision = acl.decide(
            path: fullPath, operation: operation, parameters: request.fields, wrapTTL: request.wrapTTL,
            requiresSudo: traits.contains(.sudo))
        guard decision.isAllowed else { throw .policyDenied }
        return client
    }

    /// A wrapping token that is used up gets the answer that its bearer understands, not a bare 403: it may
    /// be the first sign that somebody else has opened what was wrapped.
    private func checkWrappingToken(
        _ request: LogicalRequest, _ token: [UInt8]?, _ tx: inout Transaction
    ) throws(VaultError) {
        let store = WrappingStore(tokens: active.tokens)
        let own = token.map { SecretBytes(copying: $0) }
        if own == nil, !request.has(WrappingStore.token) { return }
        _ = try store.subject(of: request, callerToken: own, &tx)
    }

    /// Whether the path serves another operation to everyone: then what it lacks is no secret either.
    private func needsNoToken() -> Bool {
        guard let mount = active.mounts.current.mount(for: fullPath), mount.login != nil else { return false }
        let path = String(fullPath.dropFirst(mount.apiPath.count))
        return mount.routes.routes.contains {
            $0.description.traits.contains(.unauthenticated)
                && $0.description.pattern.match(path, isList: false) != nil
        }
    }
}
