package import Base
package import PluginKit

/// `sys/loggers`: the log's level, changed while the server runs. There is one log, for all parts.
package struct SysLoggers: Sendable {
    private static let loggerName = "holdfast"

    private let log: Log

    package init(log: Log) { self.log = log }

    private static let level = Field<String>("level", "trace, debug, info, warn or error.")
    private static let name = Field<String>(required: "name", "Name of the logger: holdfast.")

    package static var routes: [Route<Self>] {
        [
            Route(.read, "loggers", "The level of each logger.", .thisNode, run: Self.read),
            Route(
                .update, "loggers", "Set the level of all loggers.", .thisNode, fields: level, run: Self.write
            ),
            Route(
                .delete, "loggers", "Set all loggers back to the configured level.", .thisNode,
                run: Self.reset),
            Route(
                .read, "loggers/:name", "The level of a logger.", .thisNode, fields: name,
                run: Self.readOne),
            Route(
                .update, "loggers/:name", "Set the level of a logger.", .thisNode, fields: name, level,
                run: Self.writeOne),
            Route(
                .delete, "loggers/:name", "Set a logger back to the configured level.", .thisNode,
                fields: name,
                run: Self.resetOne),
        ]
    }

    private func read(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    { LogicalResponse(data: .object([(Self.loggerName, .string(log.level.name))])) }

    private func write(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        guard let level = try request.optional(Self.level).flatMap({ LogLevel(name: $0) }) else {
            throw .badRequest("level: expected trace, debug, info, warn or error")
        }
        log.level = level
        return .empty
    }

    private func reset(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        log.resetLevel()
        return .empty
    }

    private func readOne(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try check(request)
        return try read(request, &tx)
    }

    private func writeOne(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try check(request)
        return try write(request, &tx)
    }

    private func resetOne(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        try check(request)
        return try reset(request, &tx)
    }

    private func check(_ request: LogicalRequest) throws(VaultError) {
        guard try request[Self.name] == Self.loggerName else {
            throw .notFoundBecause("name: there is one logger, \(Self.loggerName)")
        }
    }
}
