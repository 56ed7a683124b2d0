package import Base

/// A request as engines see it: verb, path below the mount, typed inputs, and who asks.
///
/// What the client sent is held by reference: a request is copied several times on its way, and each copy
/// would count references for every field.
package struct LogicalRequest: Sendable {
    private var sent: Sent
    /// The mount that serves it, with a trailing slash and without `/v1/`: `secret/`, `auth/token/`.
    package var mountPath: String
    /// The path below the mount: `data/db`. A list has a trailing slash unless it is empty.
    package var path: String
    /// Values captured by the route's pattern.
    package var parameters: [(name: String, value: String)] = []
    package var client: ClientIdentity
    /// The token that the request came with, for `auth/token/`, which echoes it to its owner, and for
    /// `sys/wrapping/`, where it may be what the request is about. No other mount sees it.
    package var clientToken: SecretBytes?

    package init(
        id: String, operation: Operation, mountPath: String = "", path: String,
        client: ClientIdentity = .anonymous,
        connection: ConnectionInfo = ConnectionInfo(), now: Timestamp
    ) {
        sent = Sent(id: id, operation: operation, connection: connection, now: now)
        self.mountPath = mountPath
        self.path = path
        self.client = client
    }

    /// The request's id (a UUID), also in the answer, the log and the audit records.
    package var id: String {
        get { sent.id }
        set { own().id = newValue }
    }
    package var operation: Operation {
        get { sent.operation }
        set { own().operation = newValue }
    }
    /// The body's members, form fields, or query parameters of a request without a body.
    package var fields: [(name: String, value: FieldInput)] {
        get { sent.fields }
        set { own().fields = newValue }
    }
    /// The whole body, when there was one and it was a JSON object.
    package var body: RawJSON? {
        get { sent.body }
        set { own().body = newValue }
    }
    /// Bytes of the body as sent, for the few routes that take no JSON.
    package var rawBody: [UInt8] {
        get { sent.rawBody }
        set { own().rawBody = newValue }
    }
    /// Request headers that the mount asked for (`passthrough_request_headers`), names in lower case.
    package var headers: [(name: String, value: String)] {
        get { sent.headers }
        set { own().headers = newValue }
    }
    /// Request headers that the audit records, names in lower case, with all values that each had.
    package var auditedHeaders: [(name: String, values: [String])] {
        get { sent.auditedHeaders }
        set { own().auditedHeaders = newValue }
    }
    package var contentType: String? {
        get { sent.contentType }
        set { own().contentType = newValue }
    }
    package var connection: ConnectionInfo {
        get { sent.connection }
        set { own().connection = newValue }
    }
    /// The time at which this request is judged; one value for all of it.
    package var now: Timestamp {
        get { sent.now }
        set { own().now = newValue }
    }
    /// How long the answer may take. A handler that waits is cancelled behind it; nil for no limit.
    package var timeLimit: Duration? {
        get { sent.timeLimit }
        set { own().timeLimit = newValue }
    }
    /// What the client asked of response wrapping; nil for none.
    package var wrapTTL: Duration? {
        get { sent.wrapTTL }
        set { own().wrapTTL = newValue }
    }

    /// What the client asked of the cluster; nil for nothing.
    package var cluster: ClusterOptions? {
        get { sent.cluster }
        set { own().cluster = newValue }
    }

    /// What is written to: this copy's alone.
    private mutating func own() -> Sent {
        if !isKnownUniquelyReferenced(&sent) { sent = Sent(copying: sent) }
        return sent
    }

    // SAFETY: written only while one `LogicalRequest` holds it (`own`).
    private final class Sent: @unchecked Sendable {
        var id: String
        var operation: Operation
        var fields: [(name: String, value: FieldInput)] = []
        var body: RawJSON?
        var rawBody: [UInt8] = []
        var headers: [(name: String, value: String)] = []
        var auditedHeaders: [(name: String, values: [String])] = []
        var contentType: String?
        var connection: ConnectionInfo
        var now: Timestamp
        var wrapTTL: Duration?
        var cluster: ClusterOptions?
        var timeLimit: Duration?

        init(id: String, operation: Operation, connection: ConnectionInfo, now: Timestamp) {
            self.id = id
            self.operation = operation
            self.connection = connection
            self.now = now
        }

        init(copying other: Sent) {
            id = other.id
            operation = other.operation
            fields = other.fields
            body = other.body
            rawBody = other.rawBody
            headers = other.headers
            auditedHeaders = other.auditedHeaders
            contentType = other.contentType
            connection = other.connection
            now = other.now
            wrapTTL = other.wrapTTL
            cluster = other.cluster
            timeLimit = other.timeLimit
        }
    }
}

extension LogicalRequest {
    /// What was sent for a name, path first, or nil when it was left out or null.
    package func input(_ name: String) -> FieldInput? {
        if let parameter = parameters.first(where: { $0.name == name }) { return .text(parameter.value) }
        guard let field = fields.last(where: { $0.name == name }) else { return nil }
        if case .json(let json) = field.value, json.isNull { return nil }
        return field.value
    }

    /// Whether the client sent this field (a null counts as not sent).
    package func has<Value>(_ field: Field<Value>) -> Bool { input(field.name) != nil }

    /// The field's value, its default, or an error that names it.
    package subscript<Value>(field: Field<Value>) -> Value {
        get throws(VaultError) {
            if let value = try optional(field) { return value }
            throw .badRequest("missing \(field.name)")
        }
    }

    /// The field's value or its default; nil when neither is there.
    /// - Throws: `.badRequest` when what was sent is not of the field's type.
    package func optional<Value>(_ field: Field<Value>) throws(VaultError) -> Value? {
        guard let input = input(field.name) else { return field.defaultValue }
        guard let value = Value.parse(input) else {
            throw .badRequest("field '\(field.name)': expected \(Value.typeName.withArticle)")
        }
        return value
    }
}

/// Who asks. Nothing here is secret. Held by reference, as each of a token's requests has the same.
package struct ClientIdentity: Sendable, Equatable {
    private var facts: Facts

    package init(
        displayName: String, accessor: String, policies: [String], entityID: String = "", storageID: String,
        isRoot: Bool
    ) {
        facts = Facts()
        facts.displayName = displayName
        facts.accessor = accessor
        facts.policies = policies
        facts.entityID = entityID
        facts.storageID = storageID
        facts.isRoot = isRoot
    }

    package static let anonymous = ClientIdentity(
        displayName: "", accessor: "", policies: [], storageID: "", isRoot: false)

    package var displayName: String {
        get { facts.displayName }
        set { own().displayName = newValue }
    }
    package var accessor: String {
        get { facts.accessor }
        set { own().accessor = newValue }
    }
    package var policies: [String] {
        get { facts.policies }
        set { own().policies = newValue }
    }
    package var entityID: String {
        get { facts.entityID }
        set { own().entityID = newValue }
    }
    /// Names this token's own corner of storage (cubbyhole) without giving the token away.
    package var storageID: String {
        get { facts.storageID }
        set { own().storageID = newValue }
    }
    package var isRoot: Bool {
        get { facts.isRoot }
        set { own().isRoot = newValue }
    }
    /// The token that leases end with, named as in `storageID`: this one, or the parent of a batch token.
    package var leaseOwnerID: String {
        get { facts.leaseOwnerID }
        set { own().leaseOwnerID = newValue }
    }
    /// When the token ends; nil for never.
    package var expires: Timestamp? {
        get { facts.expires }
        set { own().expires = newValue }
    }
    /// Whether this request is the last that the token is good for.
    package var isInLastUse: Bool {
        get { facts.isInLastUse }
        set { own().isInLastUse = newValue }
    }

    /// Whether all that is known of both is the same.
    package static func == (a: ClientIdentity, b: ClientIdentity) -> Bool {
        a.displayName == b.displayName && a.accessor == b.accessor && a.policies == b.policies
            && a.entityID == b.entityID && a.storageID == b.storageID && a.isRoot == b.isRoot
            && a.leaseOwnerID == b.leaseOwnerID && a.expires == b.expires && a.isInLastUse == b.isInLastUse
    }

    private mutating func own() -> Facts {
        if !isKnownUniquelyReferenced(&facts) { facts = Facts(copying: facts) }
        return facts
    }

    // SAFETY: written only while one `ClientIdentity` holds it (`own`).
    private final class Facts: @unchecked Sendable {
        var displayName = ""
        var accessor = ""
        var policies: [String] = []
        var entityID = ""
        var storageID = ""
        var isRoot = false
        var leaseOwnerID = ""
        var expires: Timestamp?
        var isInLastUse = false

        init() {}

        init(copying other: Facts) {
            displayName = other.displayName
            accessor = other.accessor
            policies = other.policies
            entityID = other.entityID
            storageID = other.storageID
            isRoot = other.isRoot
            leaseOwnerID = other.leaseOwnerID
            expires = other.expires
            isInLastUse = other.isInLastUse
        }
    }
}

/// Where a request came from.
package struct ConnectionInfo: Sendable, Equatable {
    /// The client's address without its port.
    package var remoteAddress: String
    package var remotePort: Int
    /// The client's verified certificate chain in DER, leaf first; empty without one.
    package var peerCertificates: [[UInt8]]

    package init(remoteAddress: String = "", remotePort: Int = 0, peerCertificates: [[UInt8]] = []) {
        self.remoteAddress = remoteAddress
        self.remotePort = remotePort
        self.peerCertificates = peerCertificates
    }
}

extension String {
    fileprivate var withArticle: String { (first.map { "aeio".contains($0) } ?? false ? "an " : "a ") + self }
}
