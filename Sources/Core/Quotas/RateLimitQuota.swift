package import Base
package import PluginKit

/// A limit on how many requests one client address may send (Vault API: `sys/quotas/rate-limit`).
package struct RateLimitQuota: Sendable, Equatable {
    static let prefix = "core/quotas/rate-limit/"
    private static let mostQuotas = 1_000
    private static let mostRate = 1e9

    package let name: String
    /// Empty for all requests; a mount's path; a path below one, which ends in `*` to mean all that begin so.
    package let path: String
    /// Requests in one interval.
    package let rate: Double
    package let interval: Duration
    /// For how long an address that was refused is refused.
    package let blockInterval: Duration

    /// - Throws: `.badRequest` that names what cannot be.
    package init(
        name: String, path: String, rate: Double, interval: Duration, blockInterval: Duration
    ) throws(VaultError) {
        guard rate.isFinite, rate > 0, rate <= Self.mostRate else {
            throw .badRequest("rate: expected a number greater than 0")
        }
        guard interval >= .seconds(1), interval.wholeSeconds <= 1 << 31 else {
            throw .badRequest("interval: expected at least 1s")
        }
        guard blockInterval >= .zero, blockInterval.wholeSeconds <= 1 << 31 else {
            throw .badRequest("block_interval: expected a duration, or 0")
        }
        self.name = name
        self.path = path
        self.rate = rate
        self.interval = interval
        self.blockInterval = blockInterval
    }

    /// How well this quota fits a path below `/v1/`: nil when it does not; more is better.
    func fit(_ path: String, isMount: Bool) -> Int? {
        if self.path.isEmpty { return 0 }
        if self.path.hasSuffix("*") {
            return path.utf8.starts(with: self.path.utf8.dropLast()) ? self.path.utf8.count : nil
        }
        let fits = isMount ? path.utf8.starts(with: self.path.utf8) : path == self.path
        return fits ? self.path.utf8.count : nil
    }

    // MARK: Records

    /// The quota of this name; nil without one.
    /// - Throws: `.corrupted`.
    package static func read(_ name: String, _ tx: inout Transaction) throws(VaultError) -> RateLimitQuota? {
        guard let bytes = try tx.get(prefix + name) else { return nil }
        let json = RawJSON(trusted: bytes)
        guard let path = json["path"]?.string, let rate = json["rate"]?.numberText.flatMap({ Double($0) }),
            let interval = json["interval"]?.int, let block = json["block_interval"]?.int
        else { throw .corrupted(place: prefix + name) }
        return try RateLimitQuota(
            name: name, path: path, rate: rate, interval: .seconds(interval), blockInterval: .seconds(block))
    }

    /// All, by name.
    package static func readAll(_ tx: inout Transaction) throws(VaultError) -> [RateLimitQuota] {
        var all: [RateLimitQuota] = []
        for name in try tx.list(prefix) {
            if let quota = try read(name, &tx) { all.append(quota) }
        }
        return all
    }

    /// Stores the quota in place of one of its name.
    /// - Throws: `.badRequest` when another one has its path.
    package func write(_ tx: inout Transaction) throws(VaultError) {
        let others = try Self.readAll(&tx).filter { $0.name != name }
        if let other = others.first(where: { $0.path == path }) {
            throw .badRequest("path: the quota \(other.name) has it already")
        }
        guard others.count < Self.mostQuotas else {
            throw .badRequest("expected at most \(Self.mostQuotas) quotas")
        }
        let record: JSONValue = [
            "path": .string(path), "rate": shownRate, "interval": .int(Int(interval.wholeSeconds)),
            "block_interval": .int(Int(blockInterval.wholeSeconds)),
        ]
        tx.put(Self.prefix + name, record.encoded())
    }

    /// Removes the quota of this name, if there is one.
    package static func delete(_ name: String, _ tx: inout Transaction) { tx.delete(prefix + name) }

    /// A whole number without a fraction.
    package var shownRate: JSONValue {
        rate == rate.rounded() ? .int(Int(rate)) : .number("\(rate)")
    }
}

/// What holds for all quotas (Vault API: `sys/quotas/config`).
package struct QuotaConfig: Sendable, Equatable {
    static let key = "core/quotas/config"

    /// Whether refusals are audited.
    package var auditsRefusals = false
    /// Whether answers tell how the caller stands.
    package var sendsHeaders = false
    /// Paths with `/v1/` that no quota holds for; one that ends in `*` means all that begin so.
    package var exemptPaths = [
        "/v1/sys/generate-recovery-token/attempt", "/v1/sys/generate-recovery-token/update",
        "/v1/sys/generate-root/attempt", "/v1/sys/generate-root/update", "/v1/sys/health",
        "/v1/sys/seal-status", "/v1/sys/unseal",
    ]

    package init() {}

    package init(_ tx: inout Transaction) throws(VaultError) {
        guard let bytes = try tx.get(Self.key) else { return }
        let json = RawJSON(trusted: bytes)
        auditsRefusals = json["audit"]?.bool ?? false
        sendsHeaders = json["headers"]?.bool ?? false
        exemptPaths = json["exempt"].flatMap { [String].parse(.json($0)) } ?? []
    }

    /// Stores this in place of what was set before.
    package func write(_ tx: inout Transaction) {
        let record: JSONValue = [
            "audit": .bool(auditsRefusals), "headers": .bool(sendsHeaders), "exempt": .strings(exemptPaths),
        ]
        tx.put(Self.key, record.encoded())
    }

    func isExempt(_ path: String) -> Bool {
        exemptPaths.contains { exempt in
            let own = exempt.utf8.dropFirst("/v1/".utf8.count)
            return exempt.hasSuffix("*")
                ? path.utf8.starts(with: own.dropLast()) : path.utf8.elementsEqual(own)
        }
    }
}
