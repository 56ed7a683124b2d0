import Base
import Core

/// What `sys/metrics` tells of the seals that unseal the server by themselves. Labels are the names and
/// kinds of the configured stanzas.
enum SealMetrics {
    static func families(_ seals: SealSet, now: Timestamp) -> [MetricFamily] {
        if seals.health.isEmpty { return [] }
        func labels(_ health: SealHealth) -> [MetricFamily.Label] {
            [("seal", health.name), ("type", health.type)]
        }
        func gauges(_ name: String, _ help: String, _ value: (SealHealth) -> Double) -> MetricFamily {
            MetricFamily(
                .holdfast, name, help,
                seals.health.map { MetricFamily.Series(labels: labels($0), value: .gauge(value($0))) })
        }
        let members = seals.members.filter { !$0.isDisabled }
        func timers(
            _ name: String, _ help: String, _ timer: KeyPath<SealSet.SealTimers, MetricTimer>
        ) -> MetricFamily {
            MetricFamily(
                .holdfast, name, help,
                members.map {
                    MetricFamily.Series(
                        labels: [("seal", $0.name), ("type", $0.type)],
                        value: .histogram($0.timers[keyPath: timer].reading))
                })
        }
        let failures = MetricFamily(
            .holdfast, "seal.failures", "Calls that a seal failed.",
            members.flatMap { member in
                [("wrap", member.timers.wrap), ("unwrap", member.timers.unwrap)].map { operation, timer in
                    MetricFamily.Series(
                        labels: [
                            ("seal", member.name), ("type", member.type), ("operation", operation),
                        ], value: .counter(Double(timer.reading.outcomes[1])))
                }
            })
        return [
            gauges("seal.healthy", "1 while the seal answers.") { $0.isHealthy ? 1 : 0 },
            gauges("seal.wrapped", "1 when the root key can be opened by the seal.") { $0.hasCopy ? 1 : 0 },
            gauges("seal.unhealthy.seconds", "Since when the seal fails.") { health in
                health.unhealthySince.map { Double((now - $0).wholeSeconds) } ?? 0
            },
            timers("seal.wrap.duration", "Time of calls that wrap.", \.wrap),
            timers("seal.unwrap.duration", "Time of calls that unwrap.", \.unwrap), failures,
        ]
    }
}
