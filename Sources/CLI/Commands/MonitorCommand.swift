internal import APIClient
internal import Base

enum MonitorCommand: CommandDefinition {
    static let name = "monitor"
    static let synopsis = "Stream log messages from a server"
    static let details = """
        Shows what the server logs, from now on, until Ctrl-C.

            $ holdfast monitor -log-level=debug
        """
    static let shared = SharedFlags.http
    static let level = Flag<String>(
        "log-level", default: "info", "Least level to show: trace, debug, info, warn or error.")
    static let logFormat = Flag<String>("log-format", default: "standard", "standard or json.")
    static let flags: [any AnyFlag] = [level, logFormat]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let query = try query(level: call[level], format: call[logFormat])
        let console = call.console
        try call.api("Error starting monitor") { (client) throws(APIError) in
            try client.stream("sys/monitor", query: query, for: nil) { console.write(Array($0)) }
        }
        return 0
    }

    /// Checked here, so that a wrong level is told at once and not by the end of a stream.
    static func query(level: String, format: String) throws(CommandFailure) -> [(String, String)] {
        let level = level.trimmed.lowercased()
        guard ["trace", "debug", "info", "warn", "error"].contains(level) else {
            throw .usage("\(level) is an unknown log level (expected trace, debug, info, warn or error)")
        }
        guard ["standard", "json"].contains(format) else {
            throw .usage("\(format) is an unknown log format (expected standard or json)")
        }
        return [("log_level", level), ("log_format", format)]
    }
}
