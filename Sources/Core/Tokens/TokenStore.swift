package import Base
package import PluginKit

/// Where tokens are kept. The token itself never is: its name in storage is a hash under a secret key,
/// so that neither a reader of the plain entries nor a thief of the disk gets a token that works.
///
/// The hash begins with the time of the token's making (see TimePrefix), which the token itself carries.
///
///     sys/token/id/<hash>                 the entry, see TokenCodec
///     sys/token/accessor/<accessor>       the hash
///     sys/token/parent/<parent>/<hash>    empty: a child of the parent
///     sys/token/revoking/<hash>           a tombstone: see TokenRevocation
///     sys/token/roles/<name>              token roles
///
/// Invariants: an entry has exactly one accessor; a child whose parent is not empty is listed below it;
/// an entry with an end has one lease of the same end. All of these change in one transaction. A token
/// is good only while its entry decodes, its end has not come, its last use is not spent, and neither it
/// nor an ancestor has a tombstone. Everything works on a transaction over storage's root.
package struct TokenStore: Sendable {
    /// The keyed hash of a token, as text that may stand in a path.
    package typealias Hash = @Sendable (UnsafeRawBufferPointer) -> String

    let hash: Hash
    let random: any RandomSource
    let batch: BatchSealing
    let cubbyholePrefix: @Sendable (String) -> String
    package let leases: LeaseStore
    /// Who is behind tokens.
    package let identities: IdentityStore
    package let pending: PendingRevocations
    /// What `TokenCache`s ask.
    package let changes: TokenChanges
    /// Tokens, cubbyhole entries and leases that one request removes by itself; more is left to `cleanUp`.
    var entriesAtOnce = 256

    /// - Parameters:
    ///   - hash: the secret part of a token's name in storage.
    ///   - cubbyholePrefix: gives the storage prefix (with a trailing slash) of a token's own corner from its
    ///     hash.
    package init(
        hash: @escaping Hash, batch: BatchSealing, random: any RandomSource = SystemRandom(),
        leases: LeaseStore,
        pending: PendingRevocations, changes: TokenChanges = TokenChanges(startingAfter: 0),
        cubbyholePrefix: @escaping @Sendable (String) -> String
    ) {
        self.hash = { token in Self.timePrefix(of: token) + hash(token) }
        self.batch = batch
        self.random = random
        self.leases = leases
        identities = IdentityStore(random: random)
        self.pending = pending
        self.changes = changes
        self.cubbyholePrefix = cubbyholePrefix
    }

    // MARK: On every request

    /// Who a token stands for; nil when it is no good, whatever the reason.
    ///
    /// The caller still has to check `isAllowed(from:)`, and to spend a use when the entry counts them.
    package func authenticate(
        _ token: UnsafeRawBufferPointer, now: Timestamp, _ tx: inout Transaction
    ) throws(VaultError) -> TokenEntry? {
        if BatchSealing.isBatch(token) { return try openBatch(token, now: now, &tx) }
        guard let entry = try live(hash: hash(token), now: now, &tx), !entry.isLastUseSpent else {
            return nil
        }
        return entry
    }

    /// The same for the request at hand, from what the calling thread knows already where that still stands.
    package func bearer(
        of token: UnsafeRawBufferPointer, now: Timestamp, _ tx: inout Transaction, cache: TokenCache?
    ) throws(VaultError) -> Bearer? {
        if let known = cache?.bearer(of: token, in: tx.log.sequence, changes) {
            tx.log.noteRead(known.key)
            if known.lifetime.isOver(at: now) || known.isLastUseSpent { return nil }
            return try isBeingRevoked(known.entry, &tx) ? nil : known
        }
        guard let entry = try authenticate(token, now: now, &tx) else { return nil }
        let bearer = Bearer(entry)
        if entry.type == .service { cache?.insert(token, bearer, tx.log.sequence) }
        return bearer
    }

    /// The entry of that hash, when the token is good or in its last use.
    package func live(
        hash: String, now: Timestamp, _ tx: inout Transaction
    ) throws(VaultError) -> TokenEntry? {
        guard !hash.isEmpty, let entry = try entry(hash: hash, &tx), !entry.lifetime.isOver(at: now) else {
            return nil
        }
        return try isBeingRevoked(entry, &tx) ? nil : entry
    }

    /// The entry of that accessor, when the token is good or in its last use.
    package func live(
        accessor: String, now: Timestamp, _ tx: inout Transaction
    ) throws(VaultError) -> TokenEntry? {
        // An accessor becomes part of a key: only what we would have made ourselves may.
        guard (1...64).contains(accessor.utf8.count), accessor.utf8.allSatisfy(\.isLetterOrDigit),
            let bytes = try tx.get(TokenKeys.accessor + accessor)
        else { return nil }
        return try live(hash: String(decoding: bytes, as: UTF8.self), now: now, &tx)
    }

    /// What is stored for a hash, good or not.
    func entry(hash: String, _ tx: inout Transaction) throws(VaultError) -> TokenEntry? {
        let key = TokenKeys.id + hash
        guard let bytes = try tx.get(key) else { return nil }
        guard let entry = TokenCodec.decode(bytes, hash: hash), entry.type == .service else {
            throw .corrupted(place: key)
        }
        return entry
    }

    /// Whether the token or an ancestor has a tombstone. Costs nothing unless some tree is being revoked.
    private func isBeingRevoked(
        _ subject: @autoclosure () -> TokenEntry, _ tx: inout Transaction
    ) throws(VaultError) -> Bool {
        let sweeps = try pending.sweeps.inForce(&tx)
        guard pending.mayAffect(sequence: tx.log.sequence) || !sweeps.isEmpty else { return false }
        let entry = subject()
        if try tx.get(TokenKeys.revoking + entry.hash) != nil { return true }
        if sweeps.contains(where: { $0.covers(entry) }) { return true }
        var parent = entry.parent
        while !parent.isEmpty {
            if let tombstone = try tx.get(TokenKeys.revoking + parent) {
                // Where only the ancestor itself goes, the chain ends: what is below has been set free.
                return Tombstone(bytes: tombstone) != .alone
            }
            guard let above = try self.entry(hash: parent, &tx) else { return true }
            if sweeps.contains(where: { $0.covers(above) }) { return true }
            parent = above.parent
        }
        return false
    }

    // MARK: Counted uses

    /// Counts one use of a token that has a number of them; returns the entry as the handler shall see it.
    ///
    /// When it says `isLastUseSpent`, call `revoke` for it in the same transaction, behind the handler. When
    /// the handler throws, run a transaction that does only these two: a failed request is a use as well.
    package func spendUse(_ tx: inout Transaction, _ entry: TokenEntry) throws(VaultError) -> TokenEntry {
        guard entry.numberOfUses > 0 else { return entry }
        var spent = entry
        spent.numberOfUses = entry.numberOfUses == 1 ? TokenEntry.lastUseSpent : entry.numberOfUses - 1
        put(&tx, spent)
        return spent
    }

    // MARK: Making and changing

    /// Makes a service or batch token as described; its policies, end and rights have been decided.
    ///
    /// - Parameter id: the token's own text, for the few that may choose it; nil for a random one.
    package func issue(
        _ tx: inout Transaction, _ description: TokenEntry, id: SecretBytes? = nil
    ) throws(VaultError) -> (token: SecretBytes, entry: TokenEntry) {
        var entry = description
        if entry.type == .batch {
            entry.hash = ""
            entry.accessor = ""
            return (try batch.sealed(entry), entry)
        }
        let now = entry.lifetime.created
        let token = id ?? newToken(now)
        entry.hash = token.withBytes { hash($0) }
        if id != nil, try tx.get(TokenKeys.id + entry.hash) != nil {
            throw .badRequest("cannot create a token with a duplicate ID")
        }
        entry.accessor = random.timeOrdered(24, now)
        put(&tx, entry)
        tx.put(TokenKeys.accessor + entry.accessor, Array(entry.hash.utf8))
        if !entry.parent.isEmpty { tx.put(TokenKeys.child(entry.hash, of: entry.parent), []) }
        if let lease = leaseRecord(of: entry) { leases.add(&tx, lease) }
        return (token, entry)
    }

    /// The first token of a server, or one made by `generate-root`: root, an orphan, without an end.
    package func issueRoot(
        _ tx: inout Transaction, id: SecretBytes? = nil, now: Timestamp
    ) throws(VaultError) -> (token: SecretBytes, entry: TokenEntry) {
        var entry = TokenEntry(hash: "", created: now)
        entry.policies = ["root"]
        entry.path = id == nil ? "auth/token/root" : "auth/token/create"
        entry.displayName = id == nil ? "root" : "token"
        return try issue(&tx, entry, id: id)
    }

    /// Gives a token a new end: `now` plus what was asked, within its own limits, the terms and the caps.
    package func renew(
        _ tx: inout Transaction, _ entry: TokenEntry, increment: Duration, terms: RenewalTerms,
        caps: TTLCaps, now: Timestamp
    ) throws(VaultError) -> (entry: TokenEntry, warnings: [String]) {
        if entry.type == .batch { throw .badRequest("batch tokens cannot be renewed") }
        guard entry.lifetime.isRenewable, let expires = entry.lifetime.expires, expires > now else {
            throw .badRequest("lease is not renewable")
        }
        var wanted = TTLRequest(issued: entry.lifetime.created)
        wanted.increment = increment
        wanted.period = terms.period
        wanted.suggested = terms.suggested
        wanted.maxTTL = terms.maxTTL
        wanted.explicitMaxTTL = terms.explicitMaxTTL
        let (ttl, warnings) = try wanted.resolve(caps: caps, now: now)
        var renewed = entry
        renewed.lifetime.expires = now + ttl
        renewed.lifetime.renewed = now
        put(&tx, renewed)
        if let previous = leaseRecord(of: entry), let next = leaseRecord(of: renewed) {
            leases.replace(&tx, previous, with: next)
        }
        return (renewed, warnings)
    }

    /// Accessors of all tokens that have not been removed yet.
    package func accessors(_ tx: inout Transaction, after: String? = nil, limit: Int = .max)
        throws(VaultError) -> [String]
    {
        try tx.list(TokenKeys.accessor, after: after, limit: limit)
    }

    func put(_ tx: inout Transaction, _ entry: TokenEntry) {
        tx.put(TokenKeys.id + entry.hash, TokenCodec.encode(entry))
    }

    /// The lease that ends a token; nil for one without an end.
    func leaseRecord(of entry: TokenEntry) -> LeaseRecord? {
        guard let id = entry.leaseID, let expires = entry.lifetime.expires else { return nil }
        var record = LeaseRecord(
            id: id, owner: entry.hash, subject: .token, issued: entry.lifetime.created, expires: expires,
            ttl: entry.lifetime.ttl, isRenewable: entry.lifetime.isRenewable)
        record.renewed = entry.lifetime.renewed
        return record
    }

    /// Bytes of a token that the store makes: `hvs.`, the time, and 25 letters and digits of 148 random bits.
    package static let serviceTokenBytes = 36
    private static let servicePrefix = Array("hvs.".utf8)

    private func newToken(_ now: Timestamp) -> SecretBytes {
        var text = Self.servicePrefix + random.timeOrdered(Self.serviceTokenBytes - 4, now).utf8
        defer { text.wipe() }
        return SecretBytes(copying: text)
    }

    /// What a token's name in storage begins with. That depends on the token alone, whoever made it.
    private static func timePrefix(of token: UnsafeRawBufferPointer) -> String {
        let time = token.dropFirst(servicePrefix.count).prefix(TimePrefix.characters)
        guard token.count == serviceTokenBytes, token.starts(with: servicePrefix), TimePrefix.isOne(time)
        else { return TimePrefix.none }
        return String(decoding: time, as: UTF8.self)
    }
}

/// The places of `sys/token/`.
enum TokenKeys {
    static let id = "sys/token/id/"
    static let accessor = "sys/token/accessor/"
    static let revoking = "sys/token/revoking/"
    static let roles = "sys/token/roles/"

    static func children(of parent: String) -> String { "sys/token/parent/\(parent)/" }
    static func child(_ hash: String, of parent: String) -> String { "sys/token/parent/\(parent)/\(hash)" }
}

/// What becomes of a token that is being revoked. The raw values are part of the format on disk.
enum Tombstone: UInt8 {
    /// It goes with all of its descendants.
    case tree = 1
    /// It goes alone; its children become orphans.
    case alone = 2

    /// Anything that we do not know revokes most.
    init(bytes: [UInt8]) { self = bytes == [Self.alone.rawValue] ? .alone : .tree }
}

extension TokenLifetime {
    /// The smaller of two limits of which zero means none.
    static func lesser(_ a: Duration, _ b: Duration) -> Duration {
        a <= .zero ? b : b <= .zero ? a : min(a, b)
    }
}

extension TokenEntry {
    /// What an answer's `auth` tells of this token.
    /// - Parameter identity: the one behind it.
    package func issued(token: SecretBytes?, now: Timestamp, identity: Identity? = nil) -> IssuedToken {
        // Root needs no other policies, and gets none.
        let more = isRoot ? [] : identity?.policies ?? []
        var issued = IssuedToken(
            token: token, accessor: accessor,
            policies: more.isEmpty
                ? policies : TokenPolicies.sanitized(policies + more, addingDefault: false),
            tokenPolicies: policies, metadata: metadata,
            leaseDuration: lifetime.left(at: now), isRenewable: lifetime.isRenewable, entityID: entityID,
            type: type.name, isOrphan: isOrphan, numberOfUses: numberOfUses)
        issued.identityPolicies = more
        return issued
    }
}

extension UInt8 {
    fileprivate var isLetterOrDigit: Bool {
        (48...57).contains(self) || (65...90).contains(self) || (97...122).contains(self)
    }
}
