import Base

/// One metric with all its series, whatever form it is shown in.
struct MetricFamily: Sendable {
    typealias Label = (name: String, value: String)

    /// Whose name it is: operators' dashboards know Vault's, the rest are ours or the convention's.
    enum Namespace {
        /// Carries `metrics_prefix`, which is `vault` by default.
        case vault
        case holdfast
        /// `process_…`, as Prometheus clients in all languages name it.
        case process
    }
    enum Value {
        case gauge(Double)
        case counter(Double)
        /// Milliseconds; a summary of sum and count, as Vault's timers are.
        case summary(MetricTimer.Reading)
        /// Seconds, with buckets.
        case histogram(MetricTimer.Reading)
    }
    struct Series {
        var labels: [Label] = []
        var value: Value
    }

    let namespace: Namespace
    /// With dots: `core.unsealed`.
    let name: String
    let help: String
    var series: [Series]

    init(_ namespace: Namespace, _ name: String, _ help: String, _ series: [Series]) {
        self.namespace = namespace
        self.name = name
        self.help = help
        self.series = series
    }

    /// A metric with one series.
    init(
        _ namespace: Namespace, _ name: String, _ help: String, _ value: Value, _ labels: [Label] = []
    ) {
        self.init(namespace, name, help, [Series(labels: labels, value: value)])
    }

    /// The parts of the full name.
    func parts(vaultPrefix: String) -> [String] {
        let words = name.split(separator: ".").map(String.init)
        switch namespace {
        case .vault: return (vaultPrefix.isEmpty ? [] : [vaultPrefix]) + words
        case .holdfast: return ["holdfast"] + words
        case .process: return words
        }
    }
}

/// A number in the shortest form that gives it back; JSON and Prometheus both read it.
func metricText(_ value: Double) -> String {
    if value == value.rounded(), abs(value) < 9e15 { return String(Int64(value)) }
    return value.isFinite ? "\(value)" : "0"
}
