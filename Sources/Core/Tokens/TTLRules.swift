package import Base
import PluginKit

/// The lifetimes that a mount and the system allow.
package struct TTLCaps: Sendable {
    package var defaultTTL: Duration
    package var maxTTL: Duration

    package init(defaultTTL: Duration, maxTTL: Duration) {
        self.defaultTTL = defaultTTL
        self.maxTTL = maxTTL
    }
}

/// How long something may live, from what was asked, what was granted before, and the caps.
package struct TTLRequest: Sendable {
    /// What the client asks for; zero for nothing.
    package var increment: Duration = .zero
    /// What a periodic token gets whatever is asked; zero for none.
    package var period: Duration = .zero
    /// What the engine or the earlier grant suggests; zero for nothing.
    package var suggested: Duration = .zero
    /// The engine's own cap, counted from `issued`; zero for none.
    package var maxTTL: Duration = .zero
    /// Counted from `issued`; binds periodic tokens too. Zero for none.
    package var explicitMaxTTL: Duration = .zero
    package var issued: Timestamp

    package init(issued: Timestamp) { self.issued = issued }

    /// The span from now, and what the client should know about how it came about.
    /// - Throws: `.badRequest` when the last allowed moment has passed.
    package func resolve(caps: TTLCaps, now: Timestamp) throws(VaultError) -> (
        ttl: Duration, warnings: [String]
    ) {
        var warnings: [String] = []
        var most = caps.maxTTL
        if maxTTL > .zero, maxTTL < most { most = maxTTL }
        var ttl: Duration
        if period > .zero {
            ttl = period
            if ttl > caps.maxTTL {
                warnings.append(
                    "period of \"\(period.goText)\" exceeded the effective max_ttl of \"\(caps.maxTTL.goText)\"; "
                        + "period value is capped accordingly")
                ttl = caps.maxTTL
            }
        } else {
            ttl = increment > .zero ? increment : suggested > .zero ? suggested : caps.defaultTTL
        }
        if explicitMaxTTL > .zero { most = period > .zero ? explicitMaxTTL : min(most, explicitMaxTTL) }
        // A periodic token without an explicit end may be renewed for ever.
        if period > .zero, explicitMaxTTL <= .zero { return (ttl, warnings) }
        let left = issued + most - now
        if left < .zero { throw .badRequest("past the max TTL, cannot renew") }
        if ttl > left {
            warnings.append(
                "TTL of \"\(ttl.goText)\" exceeded the effective max_ttl of \"\(wholeSeconds(left).goText)\"; "
                    + "TTL value is capped accordingly")
            ttl = left
        }
        return (ttl, warnings)
    }

    private func wholeSeconds(_ span: Duration) -> Duration { .seconds(span.wholeSeconds) }
}

/// What limits a renewal besides the caps. Zero spans mean none.
package struct RenewalTerms: Sendable {
    package var period: Duration
    /// What is given when nothing is asked.
    package var suggested: Duration
    /// Counted from the token's creation; not for periodic tokens.
    package var maxTTL: Duration = .zero
    /// Counted from the token's creation; for periodic tokens too.
    package var explicitMaxTTL: Duration

    /// The token's own, cut to those of the role that made it, as the role is now.
    init(_ entry: TokenEntry, role: TokenRole? = nil) {
        period = TokenLifetime.lesser(entry.lifetime.period, role?.period ?? .zero)
        suggested = entry.lifetime.lastGranted
        explicitMaxTTL = TokenLifetime.lesser(entry.lifetime.explicitMaxTTL, role?.explicitMaxTTL ?? .zero)
    }

    /// Those of the auth method that granted the token, as they are now.
    init(_ entry: TokenEntry, login terms: LoginTerms) {
        period = terms.period
        suggested = terms.ttl
        maxTTL = terms.maxTTL
        explicitMaxTTL = entry.lifetime.explicitMaxTTL
    }
}
