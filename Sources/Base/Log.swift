internal import Glibc
import Synchronization

/// How much a log line matters, in Vault's words.
package enum LogLevel: Int, Sendable, Comparable, CaseIterable {
    case trace, debug, info, warn, error

    package static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }

    /// Reads `trace`, `debug`, `info`, `warn` (or `warning`) and `error` (or `err`), in any case.
    package init?(name: String) {
        switch name.lowercased() {
        case "trace": self = .trace
        case "debug": self = .debug
        case "info", "notice": self = .info
        case "warn", "warning": self = .warn
        case "error", "err": self = .error
        default: return nil
        }
    }

    /// In lower case, as configurations have it.
    package var name: String { label.lowercased() }

    var label: String {
        switch self {
        case .trace: "TRACE"
        case .debug: "DEBUG"
        case .info: "INFO"
        case .warn: "WARN"
        case .error: "ERROR"
        }
    }
}

/// The server's log: one line per event on standard error, as text or as JSON.
///
/// A line is written with one `write`, so that lines of several threads never mix. Values are
/// escaped: nothing that a client sends can start a line of its own.
package final class Log: Sendable {
    package enum Format: Sendable { case text, json }

    /// Gets each line, with its newline. Called by whoever logs: it must not wait, nor log.
    package typealias Listener = @Sendable ([UInt8]) -> Void

    private struct Settings {
        /// As configured, and as it is now.
        var configured: LogLevel
        var level: LogLevel
        var format: Format
        var listeners: [(id: UInt64, level: LogLevel, format: Format, take: Listener)] = []
        var nextListener: UInt64 = 0

        init(_ level: LogLevel, _ format: Format) {
            configured = level
            self.level = level
            self.format = format
        }

        /// The least level that anybody wants to see.
        var least: LogLevel { listeners.reduce(level) { min($0, $1.level) } }
    }
    private let settings: Mutex<Settings>
    private let descriptor: Int32
    private let clock: any Clock

    package init(
        level: LogLevel = .info, format: Format = .text, descriptor: Int32 = 2,
        clock: any Clock = SystemClock()
    ) {
        settings = Mutex(Settings(level, format))
        self.descriptor = descriptor
        self.clock = clock
    }

    /// Changes level and format while running (SIGHUP).
    package func configure(level: LogLevel, format: Format) {
        settings.withLock { settings in
            settings.configured = level
            settings.level = level
            settings.format = format
        }
    }

    /// What is written now. Setting it holds until the next `configure` or `resetLevel` (`sys/loggers`).
    package var level: LogLevel {
        get { settings.withLock { $0.level } }
        set { settings.withLock { $0.level = newValue } }
    }

    /// Goes back to the configured level.
    package func resetLevel() { settings.withLock { $0.level = $0.configured } }

    package func isEnabled(_ level: LogLevel) -> Bool { settings.withLock { level >= $0.least } }

    /// Gives a copy of what is logged from `level` on, whatever is written itself (`sys/monitor`).
    /// - Returns: what `removeListener` takes.
    package func addListener(level: LogLevel, format: Format, _ listener: @escaping Listener) -> UInt64 {
        settings.withLock { settings in
            settings.nextListener += 1
            settings.listeners.append((settings.nextListener, level, format, listener))
            return settings.nextListener
        }
    }

    /// Ends what `addListener` began.
    package func removeListener(_ id: UInt64) {
        settings.withLock { $0.listeners.removeAll { $0.id == id } }
    }

    package func trace(
        _ message: @autoclosure () -> String, _ fields: KeyValuePairs<StaticString, String> = [:]
    ) {
        emit(.trace, message, fields)
    }
    package func debug(
        _ message: @autoclosure () -> String, _ fields: KeyValuePairs<StaticString, String> = [:]
    ) {
        emit(.debug, message, fields)
    }
    package func info(
        _ message: @autoclosure () -> String, _ fields: KeyValuePairs<StaticString, String> = [:]
    ) {
        emit(.info, message, fields)
    }
    package func warn(
        _ message: @autoclosure () -> String, _ fields: KeyValuePairs<StaticString, String> = [:]
    ) {
        emit(.warn, message, fields)
    }
    package func error(
        _ message: @autoclosure () -> String, _ fields: KeyValuePairs<StaticString, String> = [:]
    ) {
        emit(.error, message, fields)
    }

    private func emit(
        _ level: LogLevel, _ message: () -> String, _ fields: KeyValuePairs<StaticString, String>
    ) {
        let (format, listeners) = settings.withLock { settings in
            (
                level >= settings.level ? settings.format : nil,
                settings.listeners.isEmpty ? [] : settings.listeners.filter { level >= $0.level }
            )
        }
        if format == nil, listeners.isEmpty { return }
        let message = message()
        if let format {
            line(format, level, message, fields).withUnsafeBytes { bytes in
                // A log that cannot be written must not stop the server.
                _ = Glibc.write(descriptor, bytes.baseAddress, bytes.count)
            }
        }
        for listener in listeners { listener.take(line(listener.format, level, message, fields)) }
    }

    private func line(
        _ format: Format, _ level: LogLevel, _ message: String,
        _ fields: KeyValuePairs<StaticString, String>
    ) -> [UInt8] {
        let line = format == .json ? jsonLine(level, message, fields) : textLine(level, message, fields)
        return line + [UInt8(ascii: "\n")]
    }

    private func textLine(_ level: LogLevel, _ message: String, _ fields: KeyValuePairs<StaticString, String>)
        -> [UInt8]
    {
        var line = Array("\(clock.now().rfc3339(fraction: 3)) [\(level.label)] ".utf8)
        line.append(contentsOf: escapeControls(message))
        for (key, value) in fields {
            line.append(contentsOf: " \(key)=".utf8)
            let plain = value.utf8.allSatisfy {
                $0 > 32 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "=") && $0 != 127
            }
            if plain && !value.isEmpty {
                line.append(contentsOf: value.utf8)
            } else {
                JSONWriter.appendString(value, to: &line)
            }
        }
        return line
    }

    private func jsonLine(_ level: LogLevel, _ message: String, _ fields: KeyValuePairs<StaticString, String>)
        -> [UInt8]
    {
        var writer = JSONWriter()
        writer.beginObject()
        writer.field("@timestamp", clock.now().rfc3339(fraction: 6))
        writer.field("@level", level.label.lowercased())
        writer.field("@message", message)
        for (key, value) in fields { writer.field("\(key)", value) }
        writer.endObject()
        return writer.bytes
    }

    private func escapeControls(_ text: String) -> [UInt8] {
        text.utf8.flatMap {
            $0 < 32 || $0 == 127 ? Array("\\x\($0 < 16 ? "0" : "")\(String($0, radix: 16))".utf8) : [$0]
        }
    }
}
