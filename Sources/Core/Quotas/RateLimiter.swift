package import Base
import PluginKit
import Synchronization

/// Counts requests against the quotas, by client address. Asked before a request's body is looked at; while
/// there is no quota it costs one load.
///
/// Each address has a bucket of as many requests as the quota's rate, which fills evenly over the interval.
package final class RateLimiter: Sendable {
    /// Addresses that are told apart under one quota; the rest share a bucket. One is about 100 bytes.
    private static let mostClients = 65_536

    /// How a caller stands.
    package struct Verdict: Sendable, Equatable {
        package let isAllowed: Bool
        package let limit: Int
        package let remaining: Int
        /// Whole seconds until the next request is let in; at least 1 for a refusal.
        package let retryAfterSeconds: Int
        /// Whether answers tell these numbers.
        package let isShown: Bool
        /// Whether a refusal is audited.
        package let isAudited: Bool
    }

    private struct Bucket {
        var tokens: Double
        var filled: UInt64
        var blockedUntil: UInt64 = 0
    }

    private struct Rule {
        let quota: RateLimitQuota
        let isMount: Bool
        var buckets: [String: Bucket] = [:]
    }

    private struct State {
        var rules: [Rule] = []
        var config = QuotaConfig()
    }

    private let clock: any Clock
    private let hasRules = Atomic<Bool>(false)
    private let state = Mutex(State())

    package init(clock: any Clock) { self.clock = clock }

    static func concerns(_ key: String) -> Bool {
        key.hasPrefix("core/quotas/") || key == MountRegistry.recordKey
    }

    /// Takes the quotas anew; one that did not change keeps its counts.
    func reload(_ view: any StorageView, _ mounts: MountTable) throws(VaultError) {
        var tx = Transaction(view: view)
        let config = try QuotaConfig(&tx)
        let quotas = try RateLimitQuota.readAll(&tx)
        state.withLock { state in
            state.config = config
            let known = state.rules
            state.rules = quotas.map { quota in
                let isMount = mounts.exactly(quota.path) != nil
                let same = known.first { $0.quota == quota && $0.isMount == isMount }
                return same ?? Rule(quota: quota, isMount: isMount)
            }
        }
        hasRules.store(!quotas.isEmpty, ordering: .releasing)
    }

    /// Forgets all, when the server is sealed.
    func clear() {
        hasRules.store(false, ordering: .releasing)
        state.withLock { $0 = State() }
    }

    /// Counts a request.
    /// - Parameter path: below `/v1/`.
    /// - Returns: nil when no quota holds for it.
    package func judge(path: String, client: String) -> Verdict? {
        guard hasRules.load(ordering: .acquiring) else { return nil }
        let now = clock.monotonicNanoseconds()
        return state.withLock { state in
            if state.config.isExempt(path) { return nil }
            var best: (place: Int, fit: Int)?
            for (place, rule) in state.rules.enumerated() {
                guard let fit = rule.quota.fit(path, isMount: rule.isMount) else { continue }
                if fit >= (best?.fit ?? -1) { best = (place, fit) }
            }
            guard let best else { return nil }
            return Self.take(&state.rules[best.place], client, now, state.config)
        }
    }

    private static func take(
        _ rule: inout Rule, _ client: String, _ now: UInt64, _ config: QuotaConfig
    ) -> Verdict {
        let quota = rule.quota
        let most = max(1, quota.rate)
        let perNanosecond = quota.rate / Double(quota.interval.wholeNanoseconds)
        let key = place(of: client, in: &rule, most, perNanosecond, now)
        var bucket = rule.buckets[key] ?? Bucket(tokens: most, filled: now)
        bucket.tokens = min(most, bucket.tokens + Double(now &- bucket.filled) * perNanosecond)
        bucket.filled = now
        let isAllowed = bucket.tokens >= 1 && now >= bucket.blockedUntil
        var wait: Double = 0
        if isAllowed {
            bucket.tokens -= 1
        } else {
            if now >= bucket.blockedUntil, quota.blockInterval > .zero {
                bucket.blockedUntil = now &+ UInt64(quota.blockInterval.wholeNanoseconds)
            }
            let blocked = bucket.blockedUntil > now ? Double(bucket.blockedUntil - now) : 0
            wait = max(blocked, (1 - bucket.tokens) / perNanosecond)
        }
        rule.buckets[key] = bucket
        return Verdict(
            isAllowed: isAllowed, limit: Int(most), remaining: isAllowed ? Int(max(0, bucket.tokens)) : 0,
            retryAfterSeconds: isAllowed ? 0 : max(1, Int((wait / 1e9).rounded(.up))),
            isShown: config.sendsHeaders, isAudited: config.auditsRefusals)
    }

    /// The client's own bucket, or the one of all for whom there is no room.
    private static func place(
        of client: String, in rule: inout Rule, _ most: Double, _ perNanosecond: Double, _ now: UInt64
    ) -> String {
        guard rule.buckets.count >= mostClients, rule.buckets[client] == nil else { return client }
        // Whoever has been silent for long enough is as good as new.
        rule.buckets = rule.buckets.filter { _, bucket in
            bucket.blockedUntil > now
                || bucket.tokens + Double(now &- bucket.filled) * perNanosecond < most
        }
        return rule.buckets.count >= mostClients ? "" : client
    }
}
