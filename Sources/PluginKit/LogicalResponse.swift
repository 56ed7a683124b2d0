package import Base

/// What a handler answers. The core turns it into Vault's envelope.
///
/// What few answers have is held by reference: an answer is handed on several times.
package struct LogicalResponse: Sendable {
    /// The `data` of the envelope; nil and nothing else set gives 204.
    package var data: JSONValue?
    /// What the client should know although it worked.
    package var warnings: [String] = []
    /// Further HTTP headers; the client gets those that the mount's `allowed_response_headers` name.
    package var headers: [(name: String, value: String)] = []
    /// Nil while it would hold nothing but defaults.
    private var special: Special?

    package init(data: JSONValue? = nil, warnings: [String] = []) {
        self.data = data
        self.warnings = warnings
    }

    /// A token that the core shall make and return as `auth`.
    package var auth: AuthGrant? {
        get { special?.facts.auth }
        set { if special != nil || newValue != nil { change { $0.auth = newValue } } }
    }
    /// The lease that the core shall attach to `data`; nil for none.
    package var lease: LeaseGrant? {
        get { special?.facts.lease }
        set { if special != nil || newValue != nil { change { $0.lease = newValue } } }
    }
    /// The id of the lease that the core attached; empty for none.
    package var leaseID: String {
        get { special?.facts.leaseID ?? "" }
        set { change { $0.leaseID = newValue } }
    }
    /// Set by the core: the answer was put into a wrapping token, and this is all that the client gets.
    package var wrapInfo: WrapInfo? {
        get { special?.facts.wrapInfo }
        set { if special != nil || newValue != nil { change { $0.wrapInfo = newValue } } }
    }
    /// `lease_duration` of an answer without a lease (KV version 1).
    package var leaseDuration: Duration {
        get { special?.facts.leaseDuration ?? .zero }
        set { change { $0.leaseDuration = newValue } }
    }
    /// An answer that is no envelope: health, metrics, certificates, redirects.
    package var raw: RawAnswer? {
        get { special?.facts.raw }
        set { if special != nil || newValue != nil { change { $0.raw = newValue } } }
    }
    /// An answer that comes bit by bit instead.
    package var stream: StreamedAnswer? {
        get { special?.facts.stream }
        set { if special != nil || newValue != nil { change { $0.stream = newValue } } }
    }
    /// Repeats the members of `data` beside it, as the oldest `sys/` endpoints do for their oldest clients.
    package var mirrorsData: Bool {
        get { special?.facts.mirrorsData ?? false }
        set { change { $0.mirrorsData = newValue } }
    }
    /// A status other than 200 or 204 for an envelope: KV's 404 with metadata.
    package var status: Int? {
        get { special?.facts.status }
        set { if special != nil || newValue != nil { change { $0.status = newValue } } }
    }

    /// False for an answer of `data`, warnings and headers alone, as most are.
    package var isSpecial: Bool { special != nil }

    private mutating func change(_ body: (inout Special.Facts) -> Void) {
        var facts = special?.facts ?? Special.Facts()
        body(&facts)
        special = Special(facts)
    }

    private final class Special: Sendable {
        struct Facts: Sendable {
            var auth: AuthGrant?
            var lease: LeaseGrant?
            var leaseID = ""
            var wrapInfo: WrapInfo?
            var leaseDuration: Duration = .zero
            var raw: RawAnswer?
            var stream: StreamedAnswer?
            var mirrorsData = false
            var status: Int?
        }
        let facts: Facts

        init(_ facts: Facts) { self.facts = facts }
    }

    /// 204.
    package static var empty: LogicalResponse { LogicalResponse() }

    /// The answer to a list; 404 when there is nothing.
    package static func keys(_ keys: [String]) throws(VaultError) -> LogicalResponse {
        if keys.isEmpty { throw .notFound }
        return LogicalResponse(data: .object([("keys", .encodedStrings(keys))]))
    }

    /// A JSON object that is sent as it is, without the envelope.
    package static func plain(_ value: JSONValue, status: Int = 200) -> LogicalResponse {
        var response = LogicalResponse()
        response.raw = RawAnswer(status: status, contentType: "application/json", body: value.encoded())
        return response
    }
}

/// An answer whose body comes bit by bit, until its source ends it or its client goes.
package struct StreamedAnswer: Sendable {
    package let contentType: String
    /// Called once, on an I/O thread, with the way to the client; it must not wait.
    package let start: @Sendable (any ByteStream) -> Void

    package init(contentType: String, start: @escaping @Sendable (any ByteStream) -> Void) {
        self.contentType = contentType
        self.start = start
    }
}

/// The way to a client for an answer that comes bit by bit.
package protocol ByteStream: Sendable {
    /// Sends bytes behind those before.
    /// - Returns: false when nothing more gets through.
    func send(_ bytes: [UInt8]) -> Bool
    /// Tells how many bytes the client has not taken yet, for a source that must not run ahead of it.
    /// - Parameter done: called once, on another thread; with nil when nothing more gets through.
    func untaken(_ done: @escaping @Sendable (Int?) -> Void)
    /// False when the client has gone, or the answer has ended.
    var isOpen: Bool { get }
    /// Ends the answer.
    func end()
}

/// Bytes that are sent as they are.
package struct RawAnswer: Sendable {
    package var status: Int
    package var contentType: String
    package var headers: [(name: String, value: String)] = []
    package var body: [UInt8]

    package init(status: Int, contentType: String, body: [UInt8]) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }
}

/// A token that exists. `token` is the secret itself: it goes into the answer and nowhere else.
package struct IssuedToken: Sendable {
    package var token: SecretBytes?
    package var accessor: String
    package var policies: [String]
    package var tokenPolicies: [String]
    /// What entity and groups add at the moment; among `policies` too.
    package var identityPolicies: [String] = []
    package var metadata: [String: String]?
    package var leaseDuration: Duration
    package var isRenewable: Bool
    package var entityID: String
    package var type: String
    package var isOrphan: Bool
    package var numberOfUses: Int

    package init(
        token: SecretBytes?, accessor: String, policies: [String], tokenPolicies: [String],
        metadata: [String: String]?,
        leaseDuration: Duration, isRenewable: Bool, entityID: String, type: String, isOrphan: Bool,
        numberOfUses: Int
    ) {
        self.token = token
        self.accessor = accessor
        self.policies = policies
        self.tokenPolicies = tokenPolicies
        self.metadata = metadata
        self.leaseDuration = leaseDuration
        self.isRenewable = isRenewable
        self.entityID = entityID
        self.type = type
        self.isOrphan = isOrphan
        self.numberOfUses = numberOfUses
    }
}

/// A token that holds an answer until it is unwrapped, once.
package struct WrapInfo: Sendable {
    package var token: SecretBytes
    package var accessor: String
    package var ttl: Duration
    package var created: Timestamp
    /// The path whose answer is inside.
    package var creationPath: String
    /// The accessor of the token inside, when the answer was a login.
    package var wrappedAccessor: String?

    package init(
        token: SecretBytes, accessor: String, ttl: Duration, created: Timestamp, creationPath: String
    ) {
        self.token = token
        self.accessor = accessor
        self.ttl = ttl
        self.created = created
        self.creationPath = creationPath
    }
}

/// A lease on a secret that its engine can revoke.
package struct LeaseGrant: Sendable {
    package var ttl: Duration
    package var maxTTL: Duration
    package var isRenewable: Bool
    /// What the engine needs to revoke or renew; stored behind the barrier, never shown.
    package var internalData: JSONValue

    package init(ttl: Duration, maxTTL: Duration = .zero, isRenewable: Bool, internalData: JSONValue) {
        self.ttl = ttl
        self.maxTTL = maxTTL
        self.isRenewable = isRenewable
        self.internalData = internalData
    }
}
