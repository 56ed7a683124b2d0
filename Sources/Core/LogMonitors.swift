package import Base
package import PluginKit
import Synchronization

/// Clients that watch the log (Vault API: `sys/monitor`). Sealing ends all of them.
package final class LogMonitors: Sendable {
    /// Each costs a connection, and a copy of every line.
    private static let most = 16

    private final class Monitor: Sendable {
        let stream: any ByteStream
        let listener = Mutex<UInt64?>(nil)
        init(_ stream: any ByteStream) { self.stream = stream }
    }

    private let log: Log
    private let open = Mutex<[Monitor]>([])

    init(log: Log) { self.log = log }

    /// How many there are.
    package var count: Int { open.withLock { $0.count } }

    /// Whether another one may come.
    package var hasRoom: Bool {
        for monitor in open.withLock({ $0 }) where !monitor.stream.isOpen { end(monitor) }
        return count < Self.most
    }

    /// Sends what is logged from now on.
    package func begin(_ stream: any ByteStream, level: LogLevel, format: Log.Format) {
        let monitor = Monitor(stream)
        let isTaken = open.withLock { open in
            guard open.count < Self.most else { return false }
            open.append(monitor)
            return true
        }
        guard isTaken else { return stream.end() }
        let id = log.addListener(level: level, format: format) { [weak self, weak monitor] line in
            guard let monitor, !monitor.stream.send(line) else { return }
            self?.end(monitor)
        }
        monitor.listener.withLock { $0 = id }
        // It may have ended before it had a number.
        if !open.withLock({ $0.contains { $0 === monitor } }) { log.removeListener(id) }
    }

    /// Ends all of them.
    package func endAll() { for monitor in open.withLock({ $0 }) { end(monitor) } }

    private func end(_ monitor: Monitor) {
        open.withLock { $0.removeAll { $0 === monitor } }
        if let id = monitor.listener.withLock({ $0 }) { log.removeListener(id) }
        monitor.stream.end()
    }
}
