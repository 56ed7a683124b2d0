import Base
import PluginKit

/// Requests by the type of their mount, what they wanted, and how they ended: a fixed table, so that
/// nothing that a client sends makes a new series, and no lock is taken.
final class RequestMetrics: Sendable {
    /// The classes of status, as outcomes of a timer.
    private static let classes = ["2xx", "3xx", "4xx", "5xx"]
    /// Requests that no mount served: sealed, malformed, unknown.
    static let noMount = "none"
    private static let operations = Operation.allCases

    private let types: [String]
    /// For each type one timer per operation.
    private let timers: [[MetricTimer]]
    /// Requests that have begun, for the number of those in flight.
    private let begun = MetricCounter()
    let logins = MetricTimer()

    /// - Parameter types: of mounts; others are counted as `noMount`.
    init(types: [String]) {
        let all = Array(Set(types + [Self.noMount])).sorted()
        self.types = all
        timers = all.map { _ in Self.operations.map { _ in MetricTimer() } }
    }

    /// Notes that a request begins.
    /// - Returns: when.
    func begin() -> UInt64 {
        begun.add()
        return MetricTimer.now()
    }

    /// Notes how a request ended.
    func end(
        _ start: UInt64, type: String, _ operation: Operation, status: Int, isLogin: Bool = false
    ) {
        let nanoseconds = MetricTimer.now() &- start
        let row = types.firstIndex(of: type) ?? types.firstIndex(of: Self.noMount) ?? 0
        let column = Self.operations.firstIndex(of: operation) ?? 0
        let outcome = min(max(status / 100 - 2, 0), Self.classes.count - 1)
        timers[row][column].record(nanoseconds: nanoseconds, outcome: outcome)
        if isLogin { logins.record(nanoseconds: nanoseconds, outcome: outcome) }
    }

    /// The metrics, series that never counted left out.
    var families: [MetricFamily] {
        var total = MetricTimer.Reading()
        var durations: [MetricFamily.Series] = []
        var outcomes: [MetricFamily.Series] = []
        for (type, row) in zip(types, timers) {
            for (operation, timer) in zip(Self.operations, row) {
                let reading = timer.reading
                if reading.count == 0 { continue }
                total = total + reading
                let labels = [("mount_type", type), ("operation", operation.rawValue)]
                durations.append(MetricFamily.Series(labels: labels, value: .histogram(reading)))
                for (name, count) in zip(Self.classes, reading.outcomes) where count > 0 {
                    outcomes.append(
                        MetricFamily.Series(
                            labels: labels + [("status", name)], value: .counter(Double(count))))
                }
            }
        }
        let inFlight = Double(begun.value) - Double(total.count)
        return [
            MetricFamily(
                .vault, "core.handle_request", "Time of requests in milliseconds.", .summary(total)),
            MetricFamily(
                .vault, "core.handle_login_request", "Time of logins in milliseconds.",
                .summary(logins.reading)),
            MetricFamily(
                .vault, "core.in_flight_requests", "Requests that are being worked on.",
                .gauge(max(0, inFlight))),
            MetricFamily(
                .holdfast, "request.duration", "Time of requests by type of mount and operation.", durations),
            MetricFamily(
                .holdfast, "requests", "Requests by type of mount, operation and class of status.", outcomes),
        ]
    }
}
