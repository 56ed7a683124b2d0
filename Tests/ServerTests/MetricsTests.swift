import Base
import Glibc
import PluginKit
import Testing

@testable import Server

@Suite struct MetricsTests {
    @Test func countersAndTimersAddUpAcrossThreads() throws {
        let counter = MetricCounter()
        let timer = MetricTimer()
        let threads = try (0..<6).map { index in
            try Thread(name: "count") {
                for round in 0..<10_000 {
                    counter.add(2)
                    timer.record(nanoseconds: UInt64(1_000 * (index + 1)), outcome: round % 2)
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(counter.value == 120_000)
        let reading = timer.reading
        #expect(reading.count == 60_000)
        #expect(reading.buckets[0] == 60_000)
        #expect(Array(reading.outcomes.prefix(3)) == [30_000, 30_000, 0])
        #expect(reading.sumNanoseconds == 10_000 * 21_000)
        #expect(reading.longestNanoseconds == 6_000)
        #expect(reading.shortestNanoseconds == 1_000)
    }

    @Test func durationsFallIntoTheirBuckets() {
        let timer = MetricTimer()
        for bound in MetricTimer.bounds {
            timer.record(nanoseconds: bound)
            timer.record(nanoseconds: bound + 1)
        }
        #expect(timer.reading.buckets.first == 1)
        #expect(timer.reading.buckets.last == 1)
        #expect(timer.reading.buckets.dropFirst().dropLast().allSatisfy { $0 == 2 })
    }

    private var families: [MetricFamily] {
        let timer = MetricTimer()
        timer.record(nanoseconds: 40_000)
        timer.record(nanoseconds: 2_000_000_000)
        return [
            MetricFamily(.vault, "core.unsealed", "Help.", .gauge(1), [("cluster", "a\"b\\c\nd")]),
            MetricFamily(.holdfast, "commit.keys", "Help.", .counter(7)),
            MetricFamily(.vault, "core.handle_request", "Help.", .summary(timer.reading)),
            MetricFamily(.holdfast, "request.duration", "Help.", .histogram(timer.reading), [("op", "read")]),
        ]
    }

    @Test func prometheusReadsThePage() {
        let bytes = PrometheusFormat.encode(families, vaultPrefix: "my-vault")
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        for expected in [
            "# TYPE my_vault_core_unsealed gauge", #"my_vault_core_unsealed{cluster="a\"b\\c\nd"} 1"#,
            "# TYPE holdfast_commit_keys_total counter", "holdfast_commit_keys_total 7",
            "# TYPE my_vault_core_handle_request summary", "my_vault_core_handle_request_sum 2000.04",
            "my_vault_core_handle_request_count 2", "# TYPE holdfast_request_duration_seconds histogram",
            #"holdfast_request_duration_seconds_bucket{op="read",le="5e-05"} 1"#,
            #"holdfast_request_duration_seconds_bucket{op="read",le="2.5"} 2"#,
            #"holdfast_request_duration_seconds_bucket{op="read",le="+Inf"} 2"#,
            #"holdfast_request_duration_seconds_count{op="read"} 2"#,
        ] {
            #expect(lines.contains { $0 == expected }, "\(expected)")
        }
    }

    @Test func jsonHasTheShapeOfVaults() throws {
        let bytes = MetricsJSON.encode(
            families, vaultPrefix: "vault", now: Timestamp(seconds: 1_700_000_000), uptimeSeconds: 10)
        let page = try RawJSON(validating: bytes)
        #expect(page.members.map(\.name) == ["Timestamp", "Gauges", "Points", "Counters", "Samples"])
        #expect(page["Timestamp"]?.string == "2023-11-14 22:13:20 +0000 UTC")
        #expect(page["Gauges"]?.elements.first?["Name"]?.string == "vault.core.unsealed")
        #expect(page["Counters"]?.elements.first?["Sum"]?.int == 7)
        let sample = try #require(page["Samples"]?.elements.first)
        #expect(sample["Name"]?.string == "vault.core.handle_request")
        #expect(sample["Count"]?.int == 2)
        #expect(sample["Max"]?.int == 2000)
        #expect(sample["Mean"]?.numberText == "1000.02")
        #expect(sample["Labels"]?.kind == .object)
    }

    @Test func seriesDoNotGrowWithWhatClientsSend() {
        let metrics = RequestMetrics(types: ["kv", "system"])
        for index in 0..<1_000 {
            metrics.end(metrics.begin(), type: "made-up-\(index)", .read, status: 400 + index % 200)
        }
        metrics.end(metrics.begin(), type: "kv", .update, status: 204)
        metrics.end(metrics.begin(), type: "token", .update, status: 99, isLogin: true)
        _ = metrics.begin()
        let series = metrics.families.flatMap(\.series)
        #expect(series.count < 12)
        guard
            case .gauge(let inFlight)? = metrics.families.first(where: {
                $0.name == "core.in_flight_requests"
            })?
            .series.first?.value
        else {
            Issue.record("no such gauge")
            return
        }
        #expect(inFlight == 1)
        #expect(metrics.logins.reading.count == 1)
    }

    @Test func statsdGetsWhatIsNew() throws {
        let sender = try #require(
            StatsdSender(
                "127.0.0.1:1", .udp, vaultPrefix: "vault", hostName: "my.host", log: Log(level: .error)))
        let first = families.flatMap(sender.lines)
        #expect(first.contains("vault.my_host.core.unsealed.a_b_c_d:1|g"))
        #expect(first.contains("holdfast.commit.keys:7|c"))
        #expect(first.contains("vault.core.handle_request:1000.02|ms|@0.5"))
        let second = [MetricFamily(.holdfast, "commit.keys", "", .counter(9))].flatMap(sender.lines)
        #expect(second == ["holdfast.commit.keys:2|c"])
        let third = [MetricFamily(.holdfast, "commit.keys", "", .counter(9))].flatMap(sender.lines)
        #expect(third.isEmpty)
    }

    @Test func theProcessKnowsItself() {
        let readings = ProcessReadings()
        #expect(readings.residentBytes > 1_000_000)
        #expect(readings.openDescriptors >= 3)
        #expect(readings.threads >= 1)
        #expect(readings.heapBytes > 0)
        #expect(readings.mostDescriptors >= readings.openDescriptors)
    }
}
