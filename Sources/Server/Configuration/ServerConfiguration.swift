package import Base
package import Core

/// What an operator wrote for the server, typed and checked: one value out of files, directories and
/// environment (`Vault docs: configuration`).
///
/// Configuration/ holds: this type with its blocks, `ListenerConfiguration`, `ConfigurationReader`
/// (one document to values), `ConfigurationFiles` (bytes from disk) and `ServerConfiguration.load`.
/// A key that nobody knows is a warning with file and line, for a typo must not go unseen and must
/// not keep a server down after an upgrade; a value that cannot be meant is an error that stops the start.
/// Keys of Vault that have no meaning here are accepted without a word.
package struct ServerConfiguration: Sendable {
    /// `storage`, or `backend`.
    package var storage: BackendConfiguration?
    /// `ha_storage`, or `ha_backend`.
    package var haStorage: BackendConfiguration?
    /// In the order written.
    package var listeners: [ListenerConfiguration] = []
    /// In the order written; none means Shamir.
    package var seals: [SealConfiguration] = []
    /// `service_registration`.
    package var serviceRegistration: BackendConfiguration?
    /// `telemetry`.
    package var telemetry: TelemetryConfiguration = TelemetryConfiguration()
    /// `user_lockout`, by label: `all`, or a type of auth method.
    package var lockouts: [String: LockoutSettings] = [:]

    /// URL that clients and other nodes reach this one at; empty when not given.
    package var apiAddress = ""
    /// URL of the port between nodes; empty when not given.
    package var clusterAddress = ""
    /// `cluster_name`; empty to make one up.
    package var clusterName = ""
    /// `pid_file`; empty for none.
    package var pidFile = ""
    /// `plugin_directory`.
    package var pluginDirectory = ""

    /// `ui`.
    package var isUIEnabled = false
    /// `disable_mlock`.
    package var isMlockDisabled = false
    /// `disable_cache`.
    package var isCacheDisabled = false
    /// `disable_clustering`.
    package var isClusteringDisabled = false
    /// `raw_storage_endpoint`.
    package var hasRawStorageEndpoint = false
    /// `introspection_endpoint`.
    package var hasIntrospectionEndpoint = false
    /// `enable_response_header_hostname`.
    package var sendsHostnameHeader = false
    /// `enable_response_header_raft_node_id`.
    package var sendsRaftNodeHeader = false

    /// Nil when neither file nor environment says anything.
    package var logLevel: LogLevel?
    /// Nil when neither file nor environment says anything.
    package var logFormat: Log.Format?

    /// `default_lease_ttl`, at most `maxLeaseTTL`.
    package var defaultLeaseTTL: Duration = .seconds(768 * 3600)
    /// `max_lease_ttl`.
    package var maxLeaseTTL: Duration = .seconds(768 * 3600)
    /// `default_max_request_duration`.
    package var defaultMaxRequestDuration: Duration = .seconds(90)
    /// Entries of the read cache; zero for the default.
    package var cacheEntries = 0

    /// The defaults.
    package init() {}
}

/// `storage "file" { … }` and its like: a type and what its plug-in reads for itself.
package struct BackendConfiguration: Sendable {
    /// The plug-in's type: the block's label.
    package var type: String
    /// Strings, numbers and booleans as text.
    package var options: [String: String]
    /// Everything, nested blocks (`retry_join`) included, with places.
    package let body: HCLObject
    /// Where the block begins.
    package let position: HCLPosition
}

/// `seal "kind" { … }`, kept as written for the seal's own plug-in.
package struct SealConfiguration: Sendable {
    /// The block's label.
    package let kind: String
    /// `name`, by which its stored copy is found again; the kind when there is none.
    package let name: String
    /// `disabled`: what the server shall leave.
    package let isDisabled: Bool
    /// `priority`: lower ones are tried first, those without one last.
    package let priority: Int
    /// Strings, numbers and booleans as text; without those above.
    package let options: [String: String]
    /// File and line, for messages.
    package let place: String
}

/// `telemetry { … }`.
package struct TelemetryConfiguration: Sendable {
    /// `prometheus_retention_time`.
    package var prometheusRetention: Duration = .seconds(24 * 3600)
    /// `disable_hostname`.
    package var isHostnameDisabled = false
    /// `metrics_prefix`; empty for the default.
    package var metricsPrefix = ""
    /// `statsd_address`: `host:port` of a statsd, over UDP; empty for none.
    package var statsdAddress = ""
    /// `statsite_address`: `host:port` of a statsite, over TCP; empty for none.
    package var statsiteAddress = ""
    /// `usage_gauge_period`: how often tokens and leases are counted; zero for never.
    package var usageGaugePeriod: Duration = .seconds(600)

    /// The defaults.
    package init() {}
}
