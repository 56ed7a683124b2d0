import Base

/// The JSON form of `sys/metrics`, in the shape of Vault's: what was counted since the start.
enum MetricsJSON {
    static let contentType = "application/json"

    static func encode(
        _ families: [MetricFamily], vaultPrefix: String, now: Timestamp, uptimeSeconds: Double
    ) -> [UInt8] {
        var gauges: [JSONValue] = []
        var counters: [JSONValue] = []
        var samples: [JSONValue] = []
        for family in families {
            let name = family.parts(vaultPrefix: vaultPrefix).joined(separator: ".")
            for series in family.series {
                let labels = JSONValue.map(
                    Dictionary(series.labels.map { ($0.name, $0.value) }) { first, _ in first })
                switch series.value {
                case .gauge(let value):
                    gauges.append(["Name": .string(name), "Value": number(value), "Labels": labels])
                case .counter(let count):
                    let one = Aggregate(
                        count: UInt64(count), sum: count, least: 1, most: 1, squares: count)
                    counters.append(one.json(name, labels, uptimeSeconds))
                case .summary(let reading), .histogram(let reading):
                    samples.append(Aggregate(reading).json(name, labels, uptimeSeconds))
                }
            }
        }
        let time = now.rfc3339(fraction: 0).replacing("T", with: " ").replacing("Z", with: " +0000 UTC")
        let page: JSONValue = [
            "Timestamp": .string(time), "Gauges": .array(gauges), "Points": [], "Counters": .array(counters),
            "Samples": .array(samples),
        ]
        return page.encoded()
    }

    private static func number(_ value: Double) -> JSONValue { .number(metricText(value)) }

    /// What Vault's in-memory sink tells of a counter or a timer; times in milliseconds.
    private struct Aggregate {
        let count: UInt64
        let sum: Double
        let least: Double
        let most: Double
        let squares: Double

        init(count: UInt64, sum: Double, least: Double, most: Double, squares: Double) {
            self.count = count
            self.sum = sum
            self.least = least
            self.most = most
            self.squares = squares
        }

        init(_ reading: MetricTimer.Reading) {
            count = reading.count
            sum = Double(reading.sumNanoseconds) / 1e6
            least = count == 0 ? 0 : Double(reading.shortestNanoseconds) / 1e6
            most = Double(reading.longestNanoseconds) / 1e6
            squares = Double(reading.squareMicroseconds) / 1e6
        }

        func json(_ name: String, _ labels: JSONValue, _ uptimeSeconds: Double) -> JSONValue {
            let n = Double(count)
            let mean = n > 0 ? sum / n : 0
            let variance = n > 1 ? max(0, (squares - sum * mean) / (n - 1)) : 0
            return [
                "Name": .string(name), "Count": .int(Int(clamping: count)),
                "Rate": number(uptimeSeconds > 0 ? sum / uptimeSeconds : 0), "Sum": number(sum),
                "Min": number(n > 0 ? least : 0), "Max": number(n > 0 ? most : 0), "Mean": number(mean),
                "Stddev": number(variance.squareRoot()), "Labels": labels,
            ]
        }
    }
}
