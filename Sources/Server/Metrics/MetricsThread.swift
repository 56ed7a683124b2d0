import Base
import Core
import PluginKit

/// What metrics do by themselves: counting what storage holds now and then, and sending to statsd.
final class MetricsThread: Sendable {
    private static let pause = Duration.seconds(10)

    private let wakeups = WakeFlag()

    /// Starts the thread; `stop` ends it.
    func start(
        _ page: MetricsPage, core: VaultCore, settings: TelemetryConfiguration, hostName: String, log: Log
    ) throws(VaultError) {
        wakeups.thread = try Thread(name: "metrics") { [wakeups] in
            let shown = settings.isHostnameDisabled ? "" : hostName
            var senders: [StatsdSender] = []
            for (address, transport) in [
                (settings.statsdAddress, StatsdSender.Transport.udp),
                (settings.statsiteAddress, StatsdSender.Transport.tcp),
            ] {
                let sender = StatsdSender(
                    address, transport, vaultPrefix: page.vaultPrefix, hostName: shown, log: log)
                if let sender { senders.append(sender) }
            }
            var counter = UsageCounter(core: core, period: settings.usageGaugePeriod, log: log)
            while wakeups.wait(Self.pause) {
                if let usage = counter.count(unless: { wakeups.isStopped }) { page.setUsage(usage) }
                if core.active == nil { page.setUsage(nil) }
                if senders.isEmpty { continue }
                let families = page.families()
                for sender in senders { sender.send(families) }
            }
        }
    }

    /// Ends the thread and waits for it.
    func stop() { wakeups.stop() }
}

/// Counts tokens and leases soon after each unsealing, then once a period.
private struct UsageCounter {
    let core: VaultCore
    let period: Duration
    let log: Log
    private let context: LoopContext
    private var owner: ActiveCore?
    private var last: UInt64 = 0

    init(core: VaultCore, period: Duration, log: Log) {
        self.core = core
        self.period = period
        self.log = log
        context = LoopContext(backend: core.backend)
    }

    /// Nil when it is not due, or was stopped.
    mutating func count(unless isStopped: () -> Bool) -> Usage? {
        guard let active = core.active else {
            if owner != nil { context.forget() }
            owner = nil
            return nil
        }
        let now = MetricTimer.now()
        guard period > .zero, active !== owner || now - last >= UInt64(period.wholeNanoseconds) else {
            return nil
        }
        owner = active
        last = now
        defer { context.forget() }
        do throws(VaultError) {
            return try Usage.count(active, context) { !isStopped() && core.active === active }
        } catch {
            if error != .sealed {
                log.warn("tokens and leases were not counted", ["cause": error.privateCause ?? "\(error)"])
            }
            return nil
        }
    }
}
