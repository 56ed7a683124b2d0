package import Base
package import PluginKit
import Synchronization

/// A world outside of the server in which `FakeLeasingEngine` makes secrets, and which can refuse or hang.
package final class FakeOutside: Sendable {
    private struct State {
        var living: [String: Duration] = [:]
        var failure: VaultError?
        var isHanging = false
        var isClosed = false
        var attempts = 0
        var made = 0
    }
    private let state = Mutex(State())

    package init() {}

    /// Names of the secrets that exist.
    package var living: Set<String> { state.withLock { Set($0.living.keys) } }
    /// How often somebody asked for a secret to be taken back.
    package var attempts: Int { state.withLock { $0.attempts } }
    /// The span that a secret was prolonged by last.
    package func span(of name: String) -> Duration? { state.withLock { $0.living[name] } }
    /// From now on revocations and renewals fail so; nil for no more.
    package func fail(_ failure: VaultError?) { state.withLock { $0.failure = failure } }
    /// From now on revocations do not come back until this is lifted.
    package func hang(_ isHanging: Bool) { state.withLock { $0.isHanging = isHanging } }

    /// Makes `slow/` wait, or lets it go on. One that is cancelled goes on by itself.
    package func close(_ isClosed: Bool) { state.withLock { $0.isClosed = isClosed } }

    fileprivate func pass() async {
        while state.withLock({ $0.isClosed }), !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(5))
        }
    }

    fileprivate func make(_ ttl: Duration) -> String {
        state.withLock { state in
            state.made += 1
            state.living["secret-\(state.made)"] = ttl
            return "secret-\(state.made)"
        }
    }

    fileprivate func prolong(_ name: String, _ span: Duration) throws(VaultError) {
        let failure = state.withLock { state in
            if state.failure == nil { state.living[name] = span }
            return state.failure
        }
        if let failure { throw failure }
    }

    fileprivate func remove(_ name: String) async throws(VaultError) {
        state.withLock { $0.attempts += 1 }
        while state.withLock({ $0.isHanging }) { try? await Task.sleep(for: .milliseconds(5)) }
        let failure = state.withLock { state in
            if state.failure == nil { state.living[name] = nil }
            return state.failure
        }
        if let failure { throw failure }
    }
}

/// A secrets engine that leases, for tests of the core: no engine of the product is needed for them.
///
/// `creds/:name` answers at once, `slow/:name` goes to the world outside first; both take `ttl` and
/// `max_ttl`. It writes down below its mount what it has leased, and can take back nothing else: so a mount
/// whose storage went too early is noticed.
package struct FakeLeasingEngine: SecretsEngine {
    package static let type = "fake-leasing"
    package static let summary = "Leases secrets of a world that a test controls."

    private static let name = Field<String>(required: "name", "Name of the role.")
    private static let ttl = Field<Duration>("ttl", default: .zero, "Usual lifetime.")
    private static let maxTTL = Field<Duration>("max_ttl", default: .zero, "Longest lifetime.")
    private let outside: FakeOutside

    package init(_ context: MountContext) throws(VaultError) { outside = FakeOutside() }

    /// An engine over a world that the test keeps.
    package init(_ context: MountContext, outside: FakeOutside) { self.outside = outside }

    package static var routes: [Route<Self>] {
        [
            Route(.read, "creds/:name", "Lease a secret.", fields: name, ttl, maxTTL, run: Self.make),
            Route(
                .read, "slow/:name", "Lease a secret, after a wait.", fields: name, ttl, maxTTL,
                runAsync: Self.makeSlowly),
        ]
    }

    @Sendable private func make(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let grant = try grant(request)
        tx.put("leased/\(grant.name)", [])
        return grant.response
    }

    @Sendable private func makeSlowly(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let grant = try grant(request)
        try await transactions.run { tx throws(VaultError) in tx.put("leased/\(grant.name)", []) }
        await outside.pass()
        return grant.response
    }

    private func grant(_ request: LogicalRequest) throws(VaultError) -> (
        name: String, response: LogicalResponse
    ) {
        let ttl = try request[Self.ttl]
        let maxTTL = try request[Self.maxTTL]
        let name = outside.make(ttl)
        var response = LogicalResponse(data: ["user": .string(name)])
        response.lease = LeaseGrant(
            ttl: ttl, maxTTL: maxTTL, isRenewable: true,
            internalData: [
                "user": .string(name), "ttl": .int(Int(ttl.wholeSeconds)),
                "max_ttl": .int(Int(maxTTL.wholeSeconds)),
            ])
        return (name, response)
    }

    package func renewLease(_ renewal: LeaseRenewal, _ transactions: any Transactions)
        async throws(VaultError) -> LeaseGrant
    {
        let data = renewal.secret.internalData
        let ttl = Duration.seconds(data["ttl"]?.int ?? 0)
        let maxTTL = Duration.seconds(data["max_ttl"]?.int ?? 0)
        try outside.prolong(data["user"]?.string ?? "", try renewal.span(ttl: ttl, maxTTL: maxTTL))
        return LeaseGrant(ttl: ttl, maxTTL: maxTTL, isRenewable: true, internalData: .raw(data))
    }

    package func revokeLease(_ secret: LeasedSecret, _ transactions: any Transactions)
        async throws(VaultError)
    {
        let name = secret.internalData["user"]?.string ?? ""
        let isKnown = try await transactions.run { tx throws(VaultError) in
            try tx.get("leased/\(name)") != nil
        }
        guard isKnown else { throw .internal("the mount's storage is gone before its lease") }
        try await outside.remove(name)
        try await transactions.run { tx throws(VaultError) in tx.delete("leased/\(name)") }
    }
}
