import Base
import Core
import Net
import PluginKit
import Synchronization

/// All that `sys/metrics` tells, gathered when it is asked for.
///
/// Names are Vault's where Vault has the metric, ours (`holdfast_…`) for the rest. Every set of labels is
/// bounded by what operators configure: types of mounts, operations, classes of status; never a path, a
/// name or an address that a client sent.
final class MetricsPage: Sendable {
    let requests: RequestMetrics
    private let core: VaultCore
    private let seals: SealSet
    private let settings: TelemetryConfiguration
    private let clock: any Clock
    private let started: Timestamp
    private let usage = Mutex<Usage?>(nil)
    private let connections = Mutex<@Sendable () -> Int>({ 0 })

    init(
        core: VaultCore, seals: SealSet, settings: TelemetryConfiguration, mountTypes: [String],
        clock: any Clock
    ) {
        self.core = core
        self.seals = seals
        self.settings = settings
        self.clock = clock
        requests = RequestMetrics(types: mountTypes)
        started = clock.now()
    }

    var vaultPrefix: String { settings.metricsPrefix.isEmpty ? "vault" : settings.metricsPrefix }

    /// Where the number of open connections comes from.
    func setConnections(_ count: @escaping @Sendable () -> Int) { connections.withLock { $0 = count } }

    /// What was counted in storage last; nil while sealed.
    func setUsage(_ fresh: Usage?) { usage.withLock { $0 = fresh } }

    /// The answer to `sys/metrics`.
    /// - Parameter format: `prometheus`, or empty or `json`.
    /// - Returns: `.badRequest` for another, or when Prometheus is switched off.
    func render(format: String) -> Result<RawAnswer, VaultError> {
        switch format {
        case "prometheus":
            guard settings.prometheusRetention > .zero else {
                return .failure(.badRequest("prometheus is not enabled"))
            }
            let page = RawAnswer(
                status: 200, contentType: PrometheusFormat.contentType,
                body: PrometheusFormat.encode(families(), vaultPrefix: vaultPrefix))
            return .success(page)
        case "", "json":
            let now = clock.now()
            let page = RawAnswer(
                status: 200, contentType: MetricsJSON.contentType,
                body: MetricsJSON.encode(
                    families(), vaultPrefix: vaultPrefix, now: now,
                    uptimeSeconds: Double((now - started).wholeNanoseconds) / 1e9))
            return .success(page)
        default: return .failure(.badRequest("metric response format '\(format.prefix(32))' unknown"))
        }
    }

    /// Everything, now.
    func families() -> [MetricFamily] {
        coreFamilies() + SealMetrics.families(seals, now: clock.now()) + requests.families + storageFamilies()
            + auditFamilies() + processFamilies()
    }

    // MARK: Groups

    private func coreFamilies() -> [MetricFamily] {
        let active = core.active
        let cluster = [("cluster", active?.cluster.name ?? "")]
        let isUnsealed: MetricFamily.Value = .gauge(active == nil ? 0 : 1)
        var families = [
            MetricFamily(.vault, "core.unsealed", "1 while unsealed.", isUnsealed, cluster),
            MetricFamily(
                .vault, "core.active", "1 while this node is active.", .gauge(core.isActive ? 1 : 0),
                cluster),
        ]
        if let standing = core.role?.standing { families += clusterFamilies(standing) }
        if let active {
            let mounts = active.mounts.current.mounts
            let kinds: [(MountKind, String)] = [(.secret, "logical"), (.auth, "auth")]
            families.append(
                MetricFamily(
                    .vault, "core.mount_table.num_entries", "Mounts in the table.",
                    kinds.map { kind, name in
                        MetricFamily.Series(
                            labels: [("type", name), ("local", "false")],
                            value: .gauge(Double(mounts.count { $0.entry.kind == kind })))
                    }))
        }
        if let usage = usage.withLock({ $0 }) {
            families += [
                MetricFamily(
                    .vault, "expire.num_leases", "Leases, as last counted.", .gauge(Double(usage.leases))),
                MetricFamily(
                    .vault, "token.count", "Service tokens, as last counted.", .gauge(Double(usage.tokens)),
                    cluster),
            ]
        }
        return families
    }

    private func clusterFamilies(_ standing: ClusterStanding) -> [MetricFamily] {
        func gauge(_ name: String, _ help: String, _ value: Double) -> MetricFamily {
            MetricFamily(.holdfast, name, help, .gauge(value))
        }
        func counter(_ name: String, _ help: String, _ counter: MetricCounter) -> MetricFamily {
            MetricFamily(.holdfast, name, help, .counter(Double(counter.value)))
        }
        return [
            gauge("cluster.term", "Terms of leaders so far.", Double(standing.term)),
            gauge("cluster.quorum", "1 while a leader is heard.", standing.hasQuorum ? 1 : 0),
            gauge("cluster.members", "Members of the cluster.", Double(standing.members.count)),
            gauge(
                "cluster.committed.index", "Newest entry that is committed.",
                Double(standing.committedIndex)),
            gauge("cluster.applied.index", "Newest entry applied here.", Double(standing.appliedIndex)),
            counter("cluster.duties", "Terms of duty begun here.", Instruments.dutiesBegun),
            counter("cluster.read_index.rounds", "Read indices asked for.", Instruments.readIndexRounds),
            counter("cluster.read_index.requests", "Requests behind them.", Instruments.confirmedReads),
            counter("cluster.forwarded", "Requests handed on.", Instruments.forwardedRequests),
        ]
    }

    private func storageFamilies() -> [MetricFamily] {
        func counter(
            _ space: MetricFamily.Namespace, _ name: String, _ help: String, _ counter: MetricCounter
        ) -> MetricFamily {
            MetricFamily(space, name, help, .counter(Double(counter.value)))
        }
        return [
            counter(.vault, "barrier.get.count", "Entries read.", Instruments.barrierGets),
            counter(.vault, "barrier.list.count", "Pages listed.", Instruments.barrierLists),
            counter(.vault, "barrier.put.count", "Entries written.", Instruments.barrierPuts),
            counter(.vault, "barrier.delete.count", "Entries deleted.", Instruments.barrierDeletes),
            MetricFamily(
                .holdfast, "commit.batch.duration", "Time of one batch of commits.",
                .histogram(Instruments.commitBatches.reading)),
            MetricFamily(
                .holdfast, "storage.commit.duration", "Time of the storage for one batch, sync included.",
                .histogram(Instruments.storageCommits.reading)),
            counter(
                .holdfast, "commit.write_sets", "Requests in all batches.", Instruments.committedWriteSets),
            counter(.holdfast, "commit.keys", "Keys in all batches.", Instruments.committedKeys),
            counter(
                .holdfast, "commit.reruns", "Handlers run again after a conflict.", Instruments.commitReruns),
            counter(
                .holdfast, "commit.failures", "Batches that the storage refused.",
                Instruments.commitFailures),
        ]
    }

    /// A device that cannot record shows here while there is still another one that can.
    private func auditFamilies() -> [MetricFamily] {
        func counter(
            _ space: MetricFamily.Namespace, _ name: String, _ help: String, _ counter: MetricCounter
        ) -> MetricFamily {
            MetricFamily(space, name, help, .counter(Double(counter.value)))
        }
        var families = [
            counter(
                .vault, "audit.log_request_failure",
                "Requests refused because no audit device recorded them.",
                Instruments.auditRequestFailures),
            counter(
                .vault, "audit.log_response_failure",
                "Answers withheld because no audit device recorded them.",
                Instruments.auditResponseFailures),
            counter(
                .holdfast, "audit.write_failures", "Failed writes of single audit devices.",
                Instruments.auditWriteFailures),
        ]
        if core.active != nil {
            let counts = core.audit.deviceCounts
            families += [
                MetricFamily(
                    .holdfast, "audit.devices", "Audit devices enabled.", .gauge(Double(counts.all))),
                MetricFamily(
                    .holdfast, "audit.devices.failing", "Audit devices that cannot record.",
                    .gauge(Double(counts.failing))),
            ]
        }
        return families
    }

    private func processFamilies() -> [MetricFamily] {
        let process = ProcessReadings()
        let open = connections.withLock { $0 }()
        func gauge(
            _ space: MetricFamily.Namespace, _ name: String, _ help: String, _ value: Double
        ) -> MetricFamily { MetricFamily(space, name, help, .gauge(value)) }
        func counter(_ name: String, _ help: String, _ counter: MetricCounter) -> MetricFamily {
            MetricFamily(.holdfast, name, help, .counter(Double(counter.value)))
        }
        return [
            gauge(.holdfast, "http.connections", "Connections open now.", Double(open)),
            counter("http.connections.accepted", "Connections taken.", Instruments.connectionsAccepted),
            counter("http.requests.refused", "Requests that could not be read.", Instruments.requestsRefused),
            counter(
                "http.tls.failed", "TLS handshakes that failed.", Instruments.tlsHandshakesFailed),
            counter(
                "http2.calmed", "HTTP/2 connections closed for too many resets.", Instruments.http2Calmed),
            gauge(.vault, "runtime.alloc_bytes", "Bytes of the heap in use.", process.heapBytes),
            gauge(.vault, "runtime.sys_bytes", "Bytes of memory resident.", process.residentBytes),
            gauge(.holdfast, "runtime.threads", "Threads.", process.threads),
            gauge(.process, "process.resident_memory_bytes", "Resident memory.", process.residentBytes),
            gauge(.process, "process.virtual_memory_bytes", "Virtual memory.", process.virtualBytes),
            gauge(.process, "process.open_fds", "Open file descriptors.", process.openDescriptors),
            gauge(.process, "process.max_fds", "Most open file descriptors.", process.mostDescriptors),
            MetricFamily(
                .process, "process.cpu_seconds_total", "Processor time.", .counter(process.cpuSeconds)),
            gauge(
                .process, "process.start_time_seconds", "When it started.", Double(started.seconds)),
            MetricFamily(
                .holdfast, "build.info", "What is running.", .gauge(1),
                [("version", Version.product), ("api", Version.api)]),
        ]
    }
}
