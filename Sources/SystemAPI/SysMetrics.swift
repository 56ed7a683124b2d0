package import Base
package import PluginKit

/// `sys/metrics`: what the server counts of itself, for Prometheus or as JSON.
package struct SysMetrics: Sendable {
    private let render: @Sendable (_ format: String) -> Result<RawAnswer, VaultError>

    /// - Parameter render: makes the page in a format: `prometheus`, or empty or `json`.
    package init(render: @escaping @Sendable (_ format: String) -> Result<RawAnswer, VaultError>) {
        self.render = render
    }

    private static let format = Field<String>(
        "format", default: "", "'prometheus' for its text format; JSON otherwise.")

    package static var routes: [Route<Self>] {
        [Route(.read, "metrics", "Metrics of this server.", .thisNode, fields: format, run: Self.read)]
    }

    private func read(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        var response = LogicalResponse()
        response.raw = try render(try request[Self.format]).get()
        return response
    }
}
