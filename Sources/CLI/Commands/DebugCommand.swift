internal import APIClient
internal import Base
internal import Glibc
internal import Synchronization

/// Gathers what helps to understand a server, over some time, into one archive that may be handed on:
/// no secret, no token, no key is in it.
enum DebugCommand: CommandDefinition {
    static let name = "debug"
    static let synopsis = "Gathers information about a server into an archive"
    static let details = """
        Asks the server again and again, for -duration, and follows its log. The archive holds a file for
        each target, with the time of each answer, and index.json, which tells what was gathered and what
        could not be. Ctrl-C ends it early and keeps what is there.

            $ holdfast debug -duration=1m -interval=10s
        """
    static let duration = Flag<Duration?>("duration", "How long to gather; 2m by default.")
    static let interval = Flag<Duration?>("interval", "Time between two answers; 30s by default.")
    static let metricsInterval = Flag<Duration?>(
        "metrics-interval", "Time between two answers with metrics; 10s by default.")
    static let output = Flag<String>(
        "output", "File to write; by default holdfast-debug- and the time, in this directory.")
    static let compress = Flag<Bool>(switch: "compress", default: true, "Compress the archive with gzip.")
    static let targets = Flag<[String]>(
        list: "target", "What to gather: \(DebugTarget.names). Repeatable; all by default.")
    static let logFormat = Flag<String>("log-format", default: "standard", "standard or json.")
    static let flags: [any AnyFlag] = [
        duration, interval, metricsInterval, output, compress, targets, logFormat,
    ]
    static let shared = SharedFlags.http

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let plan = try plan(call)
        let started = SystemClock().now()
        let stamp = started.rfc3339(fraction: 0).replacing(":", with: "-")
        let folder = "holdfast-debug-\(stamp)"
        let ending = call[compress] ? ".tar.gz" : ".tar"
        let path = call[output].isEmpty ? folder + ending : call[output]
        if access(path, F_OK) == 0 { throw .usage("Output file already exists: \(path)") }
        let address = try call.client().address
        call.console.prompt("Gathering from \(address) for \(plan.duration.goText) …\n")
        let capture = try DebugCapture(call, plan)
        capture.run()
        try write(
            try capture.archive(folder, started: started, address: address), to: path,
            call)
        call.output.say("Success! Bundle written to: \(path)")
        return 0
    }

    private static func plan(_ call: Invocation) throws(CommandFailure) -> DebugPlan {
        var plan = DebugPlan()
        plan.duration = call[duration] ?? .seconds(120)
        plan.interval = call[interval] ?? .seconds(30)
        plan.metricsInterval = call[metricsInterval] ?? .seconds(10)
        for (span, flag) in [
            (plan.duration, "duration"), (plan.interval, "interval"),
            (plan.metricsInterval, "metrics-interval"),
        ] where span < .seconds(1) {
            throw .usage("-\(flag): expected at least 1s, got \(span.goText)")
        }
        if plan.duration > .seconds(24 * 3_600) { throw .usage("-duration: expected at most 24h") }
        plan.logQuery = try MonitorCommand.query(level: "trace", format: call[logFormat])
        let given = call[targets].flatMap { $0.split(separator: ",").map { String($0.trimmed) } }
        if !given.isEmpty { plan.targets = [] }
        for name in given {
            guard let target = DebugTarget(rawValue: name) else {
                throw .usage("Unknown target \"\(name)\" (expected \(DebugTarget.names))")
            }
            plan.targets.append(target)
        }
        return plan
    }

    private static func write(_ archive: [UInt8], to path: String, _ call: Invocation) throws(CommandFailure)
    {
        let plain = call[compress] ? "\(path).\(getpid()).tar" : path
        if case .failure(let error) = FileText.replace(path: plain, with: archive, mode: 0o600) {
            throw .failed("Error writing the bundle: \(error.message)")
        }
        guard call[compress] else { return }
        defer { unlink(plain) }
        try Gzip.compress(plain, into: path)
    }
}

/// What can be gathered.
enum DebugTarget: String, CaseIterable {
    case config, host, log, metrics, requests
    case replication = "replication-status"
    case server = "server-status"

    static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }

    /// The endpoints asked, and the file that keeps their answers; none for the log, which is followed.
    var paths: [String] {
        switch self {
        case .config: ["sys/config/state/sanitized"]
        case .host: ["sys/host-info"]
        case .log: []
        case .metrics: ["sys/metrics"]
        case .requests: ["sys/in-flight-req"]
        case .replication: ["sys/leader", "sys/ha-status"]
        case .server: ["sys/health", "sys/seal-status"]
        }
    }
    var file: String {
        switch self {
        case .log: "holdfast.log"
        case .host: "host_info.json"
        default: rawValue.replacing("-", with: "_") + ".json"
        }
    }
}

struct DebugPlan {
    var duration: Duration = .zero
    var interval: Duration = .zero
    var metricsInterval: Duration = .zero
    var targets = DebugTarget.allCases
    var logQuery: [(String, String)] = []

    func interval(of target: DebugTarget) -> Duration? {
        switch target {
        case .config, .log: nil
        case .metrics: metricsInterval
        default: interval
        }
    }
}

/// One run: the answers so far, and the log that a thread of its own follows.
private final class DebugCapture {
    /// Bytes of log that are kept.
    private static let mostLogBytes = 64 << 20

    private let plan: DebugPlan
    private let client: Client
    private let logClient: Client
    private let console: Console
    private let clock = SystemClock()
    private var answers: [DebugTarget: [JSONValue]] = [:]
    private var failures: [JSONValue] = []
    /// Endpoints whose failure is told: once is enough.
    private var failed: Set<String> = []
    private let log = Log()

    private final class Log: Sendable {
        let state = Mutex<(bytes: [UInt8], failure: String?)>(([], nil))
    }

    init(_ call: Invocation, _ plan: DebugPlan) throws(CommandFailure) {
        self.plan = plan
        console = call.console
        client = try call.client()
        do throws(APIError) { logClient = try Client(client.configuration) } catch {
            throw call.failure("Error starting the capture", error)
        }
        if client.configuration.shows != nil {
            throw .usage("debug sends many requests: -output-curl-string and -output-policy do not fit it")
        }
    }

    func run() {
        // Ctrl-C ends the waiting, not the program: the other threads inherit the mask.
        var signals = sigset_t()
        var before = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGINT)
        sigaddset(&signals, SIGTERM)
        pthread_sigmask(SIG_BLOCK, &signals, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        let follower = plan.targets.contains(.log) ? followLog() : nil
        if gather(until: signals) { follower?.join() }
    }

    /// - Returns: false when a signal ended it early.
    private func gather(until signals: sigset_t) -> Bool {
        let start = clock.monotonicNanoseconds()
        let end = start + UInt64(plan.duration.wholeNanoseconds)
        var due = Dictionary(uniqueKeysWithValues: plan.targets.filter { $0 != .log }.map { ($0, start) })
        while true {
            let now = clock.monotonicNanoseconds()
            for (target, time) in due.sorted(by: { $0.key.rawValue < $1.key.rawValue }) where time <= now {
                ask(target)
                due[target] = plan.interval(of: target).map { time + UInt64($0.wholeNanoseconds) }
            }
            let next = min(due.values.min() ?? end, end)
            let after = clock.monotonicNanoseconds()
            if after >= end { return true }
            let wait = next > after ? next - after : 0
            var signals = signals
            var span = timespec(tv_sec: Int(wait / 1_000_000_000), tv_nsec: Int(wait % 1_000_000_000))
            if sigtimedwait(&signals, nil, &span) > 0 { return false }
        }
    }

    private func ask(_ target: DebugTarget) {
        for path in target.paths {
            // A sealed or standby server says so by its status, which is no failure here.
            let codes = ["standbyok", "perfstandbyok"].map { ($0, "true") }
            let others = ["sealedcode", "uninitcode", "drsecondarycode"].map { ($0, "200") }
            do throws(APIError) {
                let body = try client.call("GET", path, query: path == "sys/health" ? codes + others : [])
                let entry: JSONValue = [
                    "timestamp": .string(clock.now().rfc3339(fraction: 3)), "path": .string(path),
                    "answer": body.map { .raw($0) } ?? .null,
                ]
                answers[target, default: []].append(entry)
            } catch {
                if failed.insert(path).inserted {
                    failures.append(failure(target.rawValue, path, error.message))
                }
            }
        }
    }

    private func failure(_ target: String, _ path: String, _ text: String) -> JSONValue {
        [
            "timestamp": .string(clock.now().rfc3339(fraction: 3)), "target": .string(target),
            "path": .string(path),
            "error": .string(text),
        ]
    }

    private func followLog() -> Base.Thread? {
        let log = log
        // SAFETY: only the new thread uses this client from here on.
        nonisolated(unsafe) let client = logClient
        let plan = plan
        let most = Self.mostLogBytes
        do throws(VaultError) {
            return try Thread(name: "debug-log") {
                do throws(APIError) {
                    try client.stream("sys/monitor", query: plan.logQuery, for: plan.duration) { piece in
                        log.state.withLock { state in
                            state.bytes.append(contentsOf: piece.prefix(most - state.bytes.count))
                            return state.bytes.count < most
                        }
                    }
                } catch { log.state.withLock { $0.failure = error.message } }
            }
        } catch {
            log.state.withLock { $0.failure = error.messages.joined() }
            return nil
        }
    }

    func archive(_ folder: String, started: Timestamp, address: String) throws(CommandFailure) -> [UInt8] {
        let ended = clock.now()
        var archive = TarArchive(time: ended)
        let (lines, logFailure) = log.state.withLock { $0 }
        if let logFailure { failures.append(failure("log", "sys/monitor", logFailure)) }
        var files: [String] = []
        for target in plan.targets where target != .log {
            guard let entries = answers[target] else { continue }
            files.append(target.file)
            archive.add("\(folder)/\(target.file)", Array((JSONValue.array(entries).prettyText + "\n").utf8))
        }
        if !lines.isEmpty {
            files.append(DebugTarget.log.file)
            archive.add("\(folder)/\(DebugTarget.log.file)", Redaction.tokens(in: lines))
        }
        if files.isEmpty {
            let first = failures.first?["error"]?.goText ?? "no target"
            throw .failed("Error gathering: nothing could be had. \(first)")
        }
        let index: JSONValue = [
            "version": 1, "program": .string(ProductVersion.line), "server_address": .string(address),
            "started": .string(started.rfc3339(fraction: 3)), "ended": .string(ended.rfc3339(fraction: 3)),
            "duration": .string(plan.duration.goText), "interval": .string(plan.interval.goText),
            "metrics_interval": .string(plan.metricsInterval.goText),
            "targets": .strings(plan.targets.map(\.rawValue)), "files": .strings(files),
            "errors": .array(failures),
        ]
        archive.add("\(folder)/index.json", Array((index.prettyText + "\n").utf8))
        return archive.finished()
    }
}
