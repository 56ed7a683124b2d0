import Base
import PluginKit

/// What the core adds to a handler's answer, in the same transaction: the token that a login grants, the
/// lease of a secret, the wrapping token that the client asked for.
struct Completion {
    let active: ActiveCore
    let mount: Mount
    /// The path below `/v1/`.
    let fullPath: String
    let request: LogicalRequest

    /// Whether `apply` would have anything to do.
    static func isNeeded(_ response: LogicalResponse, for request: LogicalRequest) -> Bool {
        isLogin(response) || isLeased(response) || isWrapped(response, request) || !response.headers.isEmpty
    }

    private static func isLogin(_ response: LogicalResponse) -> Bool {
        response.auth != nil && response.auth?.issued == nil
    }

    private static func isLeased(_ response: LogicalResponse) -> Bool {
        response.lease != nil && response.leaseID.isEmpty
    }

    /// Errors, answers without content and those that are no envelope are never wrapped.
    private static func isWrapped(_ response: LogicalResponse, _ request: LogicalRequest) -> Bool {
        request.wrapTTL != nil && response.raw == nil && response.wrapInfo == nil
            && (response.status ?? 200) < 400 && !Envelope.isEmpty(response)
    }

    /// - Parameter tx: over storage's root.
    func apply(_ response: LogicalResponse, _ tx: inout Transaction) throws(VaultError) -> LogicalResponse {
        var response = response
        let allowed = mount.entry.config.allowedResponseHeaders ?? []
        response.headers.removeAll { header in
            !allowed.contains { $0.lowercased() == header.name.lowercased() }
                || !HeaderText.isName(header.name) || !HeaderText.isValue(header.value)
        }
        if let grant = response.auth, grant.issued == nil {
            let (issued, warnings) = try active.tokens.issueLogin(
                &tx, grant, path: fullPath, mount: LoginMount(mount, in: active.mounts), now: request.now)
            response.auth = issued
            response.warnings += warnings
        }
        if let grant = response.lease, Self.isLeased(response) {
            try attach(grant, to: &response, &tx)
        }
        if let ttl = request.wrapTTL, Self.isWrapped(response, request) {
            return try wrap(response, ttl, &tx)
        }
        return response
    }

    // MARK: Leases

    private func attach(
        _ grant: LeaseGrant, to response: inout LogicalResponse, _ tx: inout Transaction
    ) throws(VaultError) {
        let client = request.client
        if client == .anonymous { throw .internal("\(fullPath): a lease for a request without a token") }
        if client.isInLastUse {
            throw .badRequest(
                "Secret cannot be returned; token had one use left, so leased credentials were "
                    + "immediately revoked."
            )
        }
        var wanted = TTLRequest(issued: request.now)
        wanted.suggested = grant.ttl
        wanted.maxTTL = grant.maxTTL
        let span = active.mounts.ttl(of: mount.entry)
        var (ttl, warnings) = try wanted.resolve(
            caps: TTLCaps(defaultTTL: span.default, maxTTL: span.max), now: request.now)
        // A service token takes its leases with it; nothing would tell that a batch token has ended.
        if client.storageID.isEmpty, let end = client.expires { ttl = min(ttl, end - request.now) }
        let leases = active.tokens.leases
        var record = LeaseRecord(
            id: leases.newID(path: leasePath, now: request.now), owner: client.leaseOwnerID,
            subject: subject(of: grant), issued: request.now, expires: request.now + ttl, ttl: ttl,
            isRenewable: grant.isRenewable)
        record.maxTTL = grant.maxTTL
        leases.add(&tx, record)
        response.lease?.ttl = ttl
        response.leaseID = record.id
        response.warnings += warnings
    }

    private func subject(of grant: LeaseGrant) -> LeaseRecord.Subject {
        .secret(
            mount: mount.entry.uuid, internalData: RawJSON(trusted: grant.internalData.encoded()))
    }

    private var leasePath: String { fullPath.hasSuffix("/") ? String(fullPath.dropLast()) : fullPath }

    // MARK: Wrapping

    private func wrap(
        _ response: LogicalResponse, _ ttl: Duration, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        var inner = response
        inner.mirrorsData = false
        guard var answer = Envelope.encode(inner, id: request.id, mountType: mount.entry.type) else {
            return response
        }
        answer.removeLast()  // the line's end
        var outer = LogicalResponse()
        outer.wrapInfo = try WrappingStore(tokens: active.tokens).wrap(
            &tx, answer, ttl: ttl, path: fullPath, accessor: response.auth?.issued?.accessor,
            now: request.now)
        answer.wipe()
        return outer
    }

    // MARK: Handlers that waited

    /// The same for a handler that has waited for the outside: what it relied on may be gone by now.
    ///
    /// A secret that it made and that cannot be leased is given back, also when the server stops at once.
    func apply(_ response: LogicalResponse) async throws(VaultError) -> LogicalResponse {
        guard Self.isNeeded(response, for: request) else { return response }
        do throws(VaultError) {
            return try await active.transactions.run { tx throws(VaultError) in
                try checkGround(response, &tx)
                return try apply(response, &tx)
            }
        } catch {
            if let grant = response.lease, Self.isLeased(response) { await giveBack(grant) }
            throw error
        }
    }

    /// For an answer that nobody will get: a secret that the handler made is taken back.
    func discard(_ response: LogicalResponse) async {
        if let grant = response.lease, Self.isLeased(response) { await giveBack(grant) }
    }

    /// The mount is still there, and so is the token that a lease would belong to.
    private func checkGround(_ response: LogicalResponse, _ tx: inout Transaction) throws(VaultError) {
        guard Self.isLogin(response) || Self.isLeased(response) else { return }
        guard active.mounts.current.exactly(mount.apiPath)?.entry.uuid == mount.entry.uuid else {
            throw .noHandler(path: fullPath)
        }
        let owner = request.client.leaseOwnerID
        guard Self.isLeased(response), !owner.isEmpty, !request.client.isInLastUse else { return }
        if try active.tokens.live(hash: owner, now: request.now, &tx) == nil { throw .permissionDenied }
    }

    /// The lease is stored as one that is over: so the secret is taken back, as often as it takes.
    private func giveBack(_ grant: LeaseGrant) async {
        let leases = active.tokens.leases
        let record = LeaseRecord(
            id: leases.newID(path: leasePath, now: request.now), owner: "", subject: subject(of: grant),
            issued: request.now, expires: request.now, ttl: .zero, isRenewable: false)
        do throws(VaultError) {
            try await active.transactions.run { tx throws(VaultError) in leases.add(&tx, record) }
        } catch {
            guard let hooks = mount.leases, let secret = record.leased(now: request.now) else { return }
            try? await hooks.revoke(secret, active.transactions.scoped(to: mount.storagePrefix))
        }
    }
}
