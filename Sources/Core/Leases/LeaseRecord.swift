package import Base
import PluginKit

/// Something that ends: a token, or a secret that its engine must take back.
package struct LeaseRecord: Sendable {
    package enum Subject: Sendable {
        /// The token whose hash is the record's `owner`: ending the lease revokes it with its descendants.
        case token
        /// A secret of the mount with this UUID. The data is what its engine needs to renew or revoke it.
        case secret(mount: String, internalData: RawJSON)
    }

    /// As clients know it: `database/creds/app/…`, `auth/token/create/h…`.
    package var id: String
    /// The hash of the token that the lease belongs to.
    package var owner: String
    package var subject: Subject
    package var issued: Timestamp
    package var expires: Timestamp
    package var renewed: Timestamp?
    /// The span that the engine gave at first; what a renewal without an increment gets.
    package var ttl: Duration
    /// Zero for the mount's.
    package var maxTTL: Duration = .zero
    package var isRenewable: Bool
    /// Failed attempts at revocation, and why the last one failed. A lease with any stays until one succeeds.
    package var failures = 0
    package var lastFailure = ""

    package init(
        id: String, owner: String, subject: Subject, issued: Timestamp, expires: Timestamp, ttl: Duration,
        isRenewable: Bool
    ) {
        self.id = id
        self.owner = owner
        self.subject = subject
        self.issued = issued
        self.expires = expires
        self.ttl = ttl
        self.isRenewable = isRenewable
    }

    /// What tells leases apart that end at the same moment: the last segment of the id.
    var shortID: Substring { Self.shortID(id) }

    static func shortID(_ id: String) -> Substring {
        id.utf8.lastIndex(of: UInt8(ascii: "/")).map { id[id.utf8.index(after: $0)...] } ?? id[...]
    }

    /// Failed attempts after which a lease is shown as irrevocable. It is still tried again.
    package static let attemptsToIrrevocable = 6

    /// Whether an operator has to look at it.
    package var isIrrevocable: Bool { failures >= Self.attemptsToIrrevocable }

    /// The UUID of the mount whose secret this is; nil for a token.
    package var mount: String? { if case .secret(let mount, _) = subject { mount } else { nil } }

    /// What its engine gets to see; nil for a token.
    func leased(now: Timestamp) -> LeasedSecret? {
        guard case .secret(_, let data) = subject else { return nil }
        return LeasedSecret(
            leaseID: id, internalData: data, issued: issued, expires: expires, now: now)
    }

    /// A secret is only done with when its engine has taken it back.
    package var isToken: Bool { if case .token = subject { true } else { false } }

    // MARK: As bytes

    func encoded() -> [UInt8] {
        var writer = JSONWriter(reserving: 320)
        writer.beginObject()
        writer.field("v", 1)
        writer.field("owner", owner)
        writer.field("issued", Int(issued.nanoseconds))
        writer.field("expires", Int(expires.nanoseconds))
        if let renewed { writer.field("renewed", Int(renewed.nanoseconds)) }
        writer.field("ttl", Int(ttl.wholeNanoseconds))
        if maxTTL > .zero { writer.field("max_ttl", Int(maxTTL.wholeNanoseconds)) }
        writer.field("renewable", isRenewable)
        if failures > 0 {
            writer.field("failures", failures)
            writer.field("last_failure", lastFailure)
        }
        if case .secret(let mount, let data) = subject {
            writer.field("mount", mount)
            writer.field("data", data)
        }
        writer.endObject()
        return writer.bytes
    }

    /// The record in `bytes`, or nil when they are none.
    static func decode(_ bytes: [UInt8], id: String) -> LeaseRecord? {
        guard let json = try? RawJSON(validating: bytes) else { return nil }
        var fields = Fields()
        json.forEachMember { fields.take($0, $1) }
        guard fields.version == 1, let owner = fields.owner, let issued = fields.issued,
            let expires = fields.expires, let ttl = fields.ttl, let isRenewable = fields.isRenewable
        else { return nil }
        var subject = Subject.token
        if let mount = fields.mount {
            guard let data = fields.data else { return nil }
            subject = .secret(mount: mount, internalData: data)
        }
        var record = LeaseRecord(
            id: id, owner: owner, subject: subject, issued: issued, expires: expires, ttl: .nanoseconds(ttl),
            isRenewable: isRenewable)
        record.renewed = fields.renewed
        record.maxTTL = .nanoseconds(fields.maxTTL ?? 0)
        record.failures = fields.failures ?? 0
        record.lastFailure = fields.lastFailure ?? ""
        return record
    }

    /// What a stored record may hold: one pass over its members, for expiry reads very many.
    private struct Fields {
        var version: Int?
        var owner: String?
        var issued: Timestamp?
        var expires: Timestamp?
        var renewed: Timestamp?
        var ttl: Int?
        var maxTTL: Int?
        var isRenewable: Bool?
        var failures: Int?
        var lastFailure: String?
        var mount: String?
        var data: RawJSON?

        mutating func take(_ name: String, _ value: RawJSON) {
            switch name {
            case "v": version = value.int
            case "owner": owner = value.string
            case "issued": issued = Self.moment(value)
            case "expires": expires = Self.moment(value)
            case "renewed": renewed = Self.moment(value)
            case "ttl": ttl = value.int
            case "max_ttl": maxTTL = value.int
            case "renewable": isRenewable = value.bool
            case "failures": failures = value.int
            case "last_failure": lastFailure = value.string
            case "mount": mount = value.string
            case "data": data = value
            default: break
            }
        }

        private static func moment(_ value: RawJSON) -> Timestamp? {
            value.int.map { Timestamp(nanoseconds: Int64($0)) }
        }
    }
}
