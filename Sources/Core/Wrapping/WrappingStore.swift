package import Base
package import PluginKit

/// Response wrapping: an answer rests in the cubbyhole of a token that is good for taking it out, once.
///
/// The token is an ordinary service token without a parent, with the policy `response-wrapping` and one
/// use, so that its end, its accessor and its removal are those of every token. Answer and token are
/// stored in the transaction that made the answer; whoever takes the answer out ends the token in the
/// same transaction, so that of many who try at once one succeeds.
///
///     <the token's cubbyhole>/response    {"response": "<the answer's JSON as text>"}
///
/// This is also what the oldest clients read as `cubbyhole/response`, by the cubbyhole's own rules.
package struct WrappingStore: Sendable {
    /// The body's field that names a wrapping token other than the caller's own.
    package static let token = Field<SecretBytes>(
        "token", "The wrapping token; the caller's own when it is left out.")

    private static let place = "response"
    private let tokens: TokenStore

    /// Over the store that keeps all tokens.
    package init(tokens: TokenStore) { self.tokens = tokens }

    /// Puts an answer away.
    ///
    /// - Parameters:
    ///   - answer: the whole envelope as JSON.
    ///   - path: the API path that gave the answer.
    ///   - accessor: that of the token inside, when the answer was a login.
    /// - Returns: all that the client gets instead.
    package func wrap(
        _ tx: inout Transaction, _ answer: [UInt8], ttl: Duration, path: String, accessor: String?,
        now: Timestamp
    ) throws(VaultError) -> WrapInfo {
        var entry = TokenEntry(hash: "", created: now)
        entry.policies = [BuiltInPolicies.responseWrappingName]
        entry.path = path
        entry.numberOfUses = 1
        entry.lifetime.ttl = ttl
        entry.lifetime.explicitMaxTTL = ttl
        entry.lifetime.expires = now + ttl
        let (token, made) = try tokens.issue(&tx, entry)
        var writer = JSONWriter(reserving: answer.count + answer.count / 4 + 32)
        writer.beginObject()
        writer.name(Self.place)
        answer.withUnsafeBytes { writer.string(utf8: $0) }
        writer.endObject()
        tx.put(tokens.cubbyholePrefix(made.hash) + Self.place, writer.bytes)
        var info = WrapInfo(
            token: token, accessor: made.accessor, ttl: ttl, created: now, creationPath: path)
        info.wrappedAccessor = accessor
        return info
    }

    /// The entry of the wrapping token that a request is about: the one in its body, or the caller's own.
    /// The caller's own may be in its last use, which is this request.
    ///
    /// - Throws: `.badRequest` for whatever is no wrapping token, or none any more.
    package func subject(
        of request: LogicalRequest, callerToken: SecretBytes?, _ tx: inout Transaction
    ) throws(VaultError) -> TokenEntry {
        let invalid = VaultError.badRequest("wrapping token is not valid or does not exist")
        let sent = try request.optional(Self.token).flatMap { $0.count == 0 ? nil : $0 }
        guard let token = sent ?? callerToken else { throw invalid }
        let hash = token.withBytes { tokens.hash($0) }
        guard let entry = try tokens.live(hash: hash, now: request.now, &tx), entry.isForWrapping else {
            throw invalid
        }
        if entry.isLastUseSpent, hash != request.client.storageID { throw invalid }
        return entry
    }

    /// The JSON that a token holds. It must be taken out for good: see `finish`.
    package func answer(of entry: TokenEntry, _ tx: inout Transaction) throws(VaultError) -> [UInt8] {
        let key = tokens.cubbyholePrefix(entry.hash) + Self.place
        guard let bytes = try tx.get(key) else {
            throw .badRequest("wrapping token is not valid or does not exist")
        }
        guard let answer = RawJSON(trusted: bytes)[Self.place]?.stringBytes else {
            throw .corrupted(place: key)
        }
        return answer
    }

    /// Ends a token whose answer has been taken out. The caller's own ends with its last use.
    package func finish(
        _ entry: TokenEntry, of request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) {
        if entry.hash == request.client.storageID { return }
        try tokens.revoke(&tx, hash: entry.hash, now: request.now)
    }
}

extension TokenEntry {
    /// Whether this token holds a wrapped answer.
    package var isForWrapping: Bool { policies == [BuiltInPolicies.responseWrappingName] }
}
