import Base
package import Core
package import PluginKit

/// `sys/monitor`: the log of this node, as it is written.
package struct SysMonitor: Sendable {
    private let monitors: LogMonitors

    package init(monitors: LogMonitors) { self.monitors = monitors }

    private static let level = Field<String>(
        "log_level", default: "info", "Least level to show: trace, debug, info, warn or error.")
    private static let format = Field<String>("log_format", default: "standard", "standard or json.")

    package static var routes: [Route<Self>] {
        [
            Route(
                .read, "monitor", "Watch the log, until the connection ends.", .thisNode, fields: level,
                format,
                run: Self.watch)
        ]
    }

    private func watch(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let level = LogLevel(name: try request[Self.level]) else {
            throw .badRequest("log_level: expected trace, debug, info, warn or error")
        }
        let format = try request[Self.format]
        guard ["standard", "json"].contains(format) else {
            throw .badRequest("log_format: expected standard or json")
        }
        guard monitors.hasRoom else {
            throw .tooManyRequests("too many clients watch the log of this node already")
        }
        var response = LogicalResponse()
        response.stream = StreamedAnswer(
            contentType: format == "json" ? "application/json" : "text/plain; charset=utf-8"
        ) { [monitors] stream in
            monitors.begin(stream, level: level, format: format == "json" ? .json : .text)
        }
        return response
    }
}
