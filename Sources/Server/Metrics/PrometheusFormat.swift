import Base

/// Prometheus' text format, version 0.0.4.
struct PrometheusFormat {
    static let contentType = "text/plain; charset=utf-8"

    let vaultPrefix: String
    private var text = ""

    init(vaultPrefix: String) { self.vaultPrefix = vaultPrefix }

    /// The whole page.
    static func encode(_ families: [MetricFamily], vaultPrefix: String) -> [UInt8] {
        var format = PrometheusFormat(vaultPrefix: vaultPrefix)
        format.text.reserveCapacity(32 << 10)
        for family in families where !family.series.isEmpty { format.write(family) }
        return Array(format.text.utf8)
    }

    private mutating func write(_ family: MetricFamily) {
        var name = family.parts(vaultPrefix: vaultPrefix).map(Self.clean).joined(separator: "_")
        let kind: String
        switch family.series[0].value {
        case .gauge: kind = "gauge"
        case .counter:
            kind = "counter"
            if family.namespace == .holdfast { name += "_total" }
        case .summary: kind = "summary"
        case .histogram:
            kind = "histogram"
            name += "_seconds"
        }
        text += "# HELP \(name) \(family.help)\n# TYPE \(name) \(kind)\n"
        for series in family.series {
            switch series.value {
            case .gauge(let value): line(name, series.labels, metricText(value))
            case .counter(let value): line(name, series.labels, metricText(value))
            case .summary(let reading):
                line(name + "_sum", series.labels, metricText(Double(reading.sumNanoseconds) / 1e6))
                line(name + "_count", series.labels, String(reading.count))
            case .histogram(let reading): histogram(name, series.labels, reading)
            }
        }
    }

    private mutating func histogram(
        _ name: String, _ labels: [MetricFamily.Label], _ reading: MetricTimer.Reading
    ) {
        var below: UInt64 = 0
        for (bound, count) in zip(MetricTimer.bounds, reading.buckets) {
            below &+= count
            line(name + "_bucket", labels + [("le", metricText(Double(bound) / 1e9))], String(below))
        }
        line(name + "_bucket", labels + [("le", "+Inf")], String(reading.count))
        line(name + "_sum", labels, metricText(Double(reading.sumNanoseconds) / 1e9))
        line(name + "_count", labels, String(reading.count))
    }

    private mutating func line(_ name: String, _ labels: [MetricFamily.Label], _ value: String) {
        text += name
        if !labels.isEmpty {
            text += "{"
            text += labels.map { "\($0.name)=\"\(Self.escaped($0.value))\"" }.joined(separator: ",")
            text += "}"
        }
        text += " \(value)\n"
    }

    private static func escaped(_ value: String) -> String {
        var escaped = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\"": escaped += "\\\""
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }

    /// A name has letters, digits and underscores; a prefix is an operator's and may have anything.
    private static func clean(_ word: String) -> String {
        String(
            word.unicodeScalars.map {
                $0.isASCII && ($0.properties.isAlphabetic || ("0"..."9").contains($0)) ? Character($0) : "_"
            })
    }
}
