package import Base
package import PluginKit

/// Every lease, and the order in which they end, in storage alone: nothing is read at unseal, and ten
/// million leases cost disk, not memory.
///
///     sys/expire/id/<lease id>                        the record
///     sys/expire/time/<expiry, 16 hex digits>/<short> the lease id, in the order of time
///     sys/expire/token/<owner's hash>/<short>         the lease id of a secret, to revoke it with its token
///     sys/expire/irrevocable/<short>                  the lease id of a secret that would not be revoked
///
/// The invariant: a record has exactly one time entry, at its `expires`; a secret's has one owner entry, and
/// one more after too many failed revocations. All change in one transaction. A lease leaves only when what
/// it stands for is gone.
///
/// Looking for due leases lists the time index, which every new lease changes: so look with `due` in a
/// transaction of its own that writes nothing, then act on what it found in another
/// (`TokenStore.expire`).
package struct LeaseStore: Sendable {
    static let records = "sys/expire/id/"
    private static let times = "sys/expire/time/"
    private static let owners = "sys/expire/token/"
    private static let irrevocables = "sys/expire/irrevocable/"

    private let random: any RandomSource

    package init(random: any RandomSource = SystemRandom()) { self.random = random }

    /// An id for a new lease of a secret at an API path (`database/creds/app`).
    package func newID(path: String, now: Timestamp) -> String { "\(path)/\(random.timeOrdered(24, now))" }

    /// The lease of that id; nil when there is none.
    package func get(_ tx: inout Transaction, id: String) throws(VaultError) -> LeaseRecord? {
        guard let bytes = try tx.get(Self.records + id) else { return nil }
        guard let record = LeaseRecord.decode(bytes, id: id) else {
            throw .corrupted(place: Self.records + id)
        }
        return record
    }

    /// The lease of that id, for work on many, which one damaged record must not hold up; nil for such.
    func readable(_ tx: inout Transaction, id: String) throws(VaultError) -> LeaseRecord? {
        do throws(VaultError) { return try get(&tx, id: id) } catch {
            if case .corrupted = error { return nil }
            throw error
        }
    }

    /// Stores a new lease.
    package func add(_ tx: inout Transaction, _ record: LeaseRecord) {
        tx.put(Self.records + record.id, record.encoded())
        tx.put(Self.timeKey(record.expires, record.shortID), Array(record.id.utf8))
        if Self.hasOwnerKey(record) { tx.put(Self.ownerKey(record), Array(record.id.utf8)) }
        if record.isIrrevocable { tx.put(Self.irrevocableKey(record), Array(record.id.utf8)) }
    }

    /// Stores a lease that changed since it stood at `previous`.
    package func replace(_ tx: inout Transaction, _ previous: LeaseRecord, with record: LeaseRecord) {
        if previous.expires != record.expires { tx.delete(Self.timeKey(previous.expires, previous.shortID)) }
        if previous.isIrrevocable, !record.isIrrevocable { tx.delete(Self.irrevocableKey(previous)) }
        add(&tx, record)
    }

    /// Removes a lease whose subject is gone.
    package func remove(_ tx: inout Transaction, _ record: LeaseRecord) {
        for key in Self.keys(of: record) { tx.delete(key) }
    }

    /// The span that a renewal gives a secret's lease.
    /// - Parameters:
    ///   - ttl: what the engine would give when the client asks for nothing; zero for what it gave at first.
    ///   - maxTTL: the engine's own cap; zero for none.
    /// - Throws: `.badRequest` for a lease that cannot be renewed, or no more.
    package func renewal(
        of record: LeaseRecord, increment: Duration, ttl: Duration, maxTTL: Duration, caps: TTLCaps,
        now: Timestamp
    ) throws(VaultError) -> (ttl: Duration, warnings: [String]) {
        guard record.isRenewable else { throw .badRequest("lease is not renewable") }
        if record.expires <= now { throw .badRequest("lease expired") }
        var wanted = TTLRequest(issued: record.issued)
        wanted.increment = increment
        wanted.suggested = ttl > .zero ? ttl : record.ttl
        wanted.maxTTL = maxTTL
        return try wanted.resolve(caps: caps, now: now)
    }

    /// Gives a lease of a secret a new end, within the caps. The engine has agreed already.
    package func renew(
        _ tx: inout Transaction, _ record: LeaseRecord, increment: Duration, caps: TTLCaps, now: Timestamp
    ) throws(VaultError) -> (record: LeaseRecord, warnings: [String]) {
        let (ttl, warnings) = try renewal(
            of: record, increment: increment, ttl: record.ttl, maxTTL: record.maxTTL, caps: caps, now: now)
        var renewed = record
        renewed.expires = now + ttl
        renewed.renewed = now
        replace(&tx, record, with: renewed)
        return (renewed, warnings)
    }

    /// Makes a secret's lease due at once, so that the background work revokes it next.
    package func end(_ tx: inout Transaction, _ record: LeaseRecord, now: Timestamp) {
        var due = record
        due.expires = min(record.expires, now)
        replace(&tx, record, with: due)
    }

    /// Lets a due lease wait, whose engine has more to do than it can.
    func delay(_ tx: inout Transaction, _ record: LeaseRecord, until moment: Timestamp) {
        var later = record
        later.expires = moment
        replace(&tx, record, with: later)
    }

    /// Cuts a secret's lease off its token, which is being revoked, and makes it due at once, so that the
    /// background work revokes it next.
    package func release(_ tx: inout Transaction, _ record: LeaseRecord, now: Timestamp) {
        var due = record
        due.owner = ""
        due.expires = min(record.expires, now)
        for key in Self.keys(of: record) { tx.delete(key) }
        add(&tx, due)
    }

    /// Puts a lease whose revocation failed back into the order of time: after 10 seconds, then twice as
    /// long each time, up to an hour. It stays visible with its reason and holds up no other.
    package func postpone(_ tx: inout Transaction, _ record: LeaseRecord, failure: String, now: Timestamp) {
        var later = record
        later.failures += 1
        later.lastFailure = String(failure.prefix(512))
        later.expires = now + .seconds(min(3_600, 10 << min(later.failures - 1, 9)))
        replace(&tx, record, with: later)
    }

    // MARK: Looking around

    /// Ids directly below a path (with a trailing slash), as `sys/leases/lookup/<path>` lists them.
    package func list(
        _ tx: inout Transaction, _ path: String, limit: Int = .max
    ) throws(VaultError) -> [String] {
        try tx.list(Self.records + path, limit: limit)
    }

    /// Ids of secrets that would not be revoked, in no order that means anything.
    package func irrevocable(
        _ tx: inout Transaction, after: String? = nil, limit: Int
    ) throws(VaultError) -> (ids: [String], last: String?) {
        let names = try tx.list(Self.irrevocables, after: after, limit: limit)
        var ids: [String] = []
        for name in names {
            if let id = try tx.get(Self.irrevocables + name) {
                ids.append(String(decoding: id, as: UTF8.self))
            }
        }
        return (ids, names.count < limit ? nil : names.last)
    }

    /// Whole ids below a path at any depth, in order.
    package func ids(
        _ tx: inout Transaction, below path: String, after: String? = nil, limit: Int
    ) throws(VaultError) -> [String] {
        let keys = try tx.scan(Self.records + path, after: after.map { Self.records + $0 }, limit: limit)
        return keys.map { String($0.dropFirst(Self.records.count)) }
    }

    /// Ids of the secrets that a token leased.
    package func ids(_ tx: inout Transaction, ownedBy hash: String, limit: Int) throws(VaultError) -> [String]
    {
        var found: [String] = []
        for name in try tx.list("\(Self.owners)\(hash)/", limit: limit) {
            if let bytes = try tx.get("\(Self.owners)\(hash)/\(name)") {
                found.append(String(decoding: bytes, as: UTF8.self))
            }
        }
        return found
    }

    /// The first of the tokens that lease secrets, by its hash; nil when there is none.
    package func firstOwner(_ tx: inout Transaction) throws(VaultError) -> String? {
        try tx.list(Self.owners, limit: 1).first.map { String($0.dropLast()) }
    }

    /// Ids of secrets whose owners' hashes come behind a text.
    package func ids(
        _ tx: inout Transaction, ownedFrom start: String, limit: Int
    ) throws(VaultError) -> [String] {
        var found: [String] = []
        for key in try tx.scan(Self.owners, after: Self.owners + start, limit: limit) {
            if let bytes = try tx.get(key) { found.append(String(decoding: bytes, as: UTF8.self)) }
        }
        return found
    }

    /// Leases that have ended, the earliest first. See the note on transactions above.
    /// - Parameter after: the last one of the page before.
    package func due(
        _ tx: inout Transaction, now: Timestamp, after: DueLease? = nil, limit: Int
    ) throws(VaultError) -> [DueLease] {
        var found: [DueLease] = []
        for key in try tx.scan(Self.times, after: after.map(Self.timeKey), limit: limit) {
            guard let moment = Self.moment(ofTimeKey: key) else { throw .corrupted(place: key) }
            if moment > now { break }
            if let id = try tx.get(key) {
                found.append(DueLease(id: String(decoding: id, as: UTF8.self), expires: moment))
            }
        }
        return found
    }

    /// Moves a time entry whose record cannot be read an hour on, so that it holds up no other.
    package func setAside(_ tx: inout Transaction, _ due: DueLease, now: Timestamp) {
        removeTime(&tx, of: due)
        tx.put(Self.timeKey(now + .seconds(3_600), LeaseRecord.shortID(due.id)), Array(due.id.utf8))
    }

    /// Removes a time entry whose record is gone.
    func removeTime(_ tx: inout Transaction, of due: DueLease) { tx.delete(Self.timeKey(due)) }

    /// When the next lease ends; nil when there is none. See the note on transactions above.
    package func nextDue(_ tx: inout Transaction) throws(VaultError) -> Timestamp? {
        guard let key = try tx.scan(Self.times, limit: 1).first else { return nil }
        guard let moment = Self.moment(ofTimeKey: key) else { throw .corrupted(place: key) }
        return moment
    }

    // MARK: Keys

    static func keys(of record: LeaseRecord) -> [String] {
        var own = [records + record.id, timeKey(record.expires, record.shortID)]
        if hasOwnerKey(record) { own.append(ownerKey(record)) }
        if record.isIrrevocable { own.append(irrevocableKey(record)) }
        return own
    }

    private static func hasOwnerKey(_ record: LeaseRecord) -> Bool {
        !record.isToken && !record.owner.isEmpty
    }

    /// The keys of a token's lease, which the token's own entry tells: no read is needed to remove it.
    static func keys(ofTokenLease id: String, expires: Timestamp, hash: String) -> [String] {
        [records + id, timeKey(expires, "h\(hash)")]
    }

    private static func irrevocableKey(_ record: LeaseRecord) -> String { irrevocables + record.shortID }

    /// Whether a key is that of a lease in the order of time that has ended already.
    static func isDue(key: String, now: Timestamp) -> Bool {
        key.utf8.starts(with: times.utf8) && moment(ofTimeKey: key).map { $0 <= now } ?? false
    }

    private static func ownerKey(_ record: LeaseRecord) -> String {
        "\(owners)\(record.owner)/\(record.shortID)"
    }

    private static func timeKey(_ expires: Timestamp, _ shortID: some StringProtocol) -> String {
        let digits = String(UInt64(max(0, expires.nanoseconds)), radix: 16)
        return "\(times)\(String(repeating: "0", count: 16 - digits.count))\(digits)/\(shortID)"
    }

    private static func timeKey(_ due: DueLease) -> String {
        timeKey(due.expires, LeaseRecord.shortID(due.id))
    }

    private static func moment(ofTimeKey key: String) -> Timestamp? {
        let digits = key.dropFirst(times.count).prefix(16)
        return Int64(digits, radix: 16).map { Timestamp(nanoseconds: $0) }
    }
}

/// A lease whose end has come: its id and its place in the order of time.
package struct DueLease: Sendable {
    package let id: String
    let expires: Timestamp
}
