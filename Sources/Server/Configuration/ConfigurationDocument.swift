import Base

/// One document laid over what earlier ones said.
extension ConfigurationReader {
    private typealias Target = ServerConfiguration

    mutating func apply(
        _ document: HCLObject, to configuration: inout ServerConfiguration, knownSeals: Set<String>
    ) throws(VaultError) {
        var single: Set<String> = []
        for member in document.members {
            let canonical =
                member.key == "backend" ? "storage" : member.key == "ha_backend" ? "ha_storage" : member.key
            if ["storage", "ha_storage", "service_registration"].contains(canonical),
                !single.insert(canonical).inserted
            {
                throw member.position.fault("'\(member.key)': expected one block, found a second")
            }
            if let path = Self.stringKeys(canonical) {
                configuration[keyPath: path] = try string(member)
            } else if let path = Self.boolKeys(canonical) {
                configuration[keyPath: path] = try bool(member)
            } else if let path = Self.durationKeys(canonical) {
                configuration[keyPath: path] = try duration(member)
            } else {
                try apply(member, canonical, to: &configuration, knownSeals)
            }
        }
    }

    private mutating func apply(
        _ member: HCLMember, _ key: String, to configuration: inout ServerConfiguration,
        _ knownSeals: Set<String>
    ) throws(VaultError) {
        switch key {
        case "storage": configuration.storage = try backend(member)
        case "ha_storage": configuration.haStorage = try backend(member)
        case "service_registration": configuration.serviceRegistration = try backend(member)
        case "listener":
            for block in try member.labelledBlocks() { configuration.listeners.append(try listener(block)) }
        case "seal":
            for block in try member.labelledBlocks() {
                configuration.seals.append(try seal(block, knownSeals))
            }
        case "user_lockout": try lockouts(member, into: &configuration.lockouts)
        case "telemetry": try telemetry(member, into: &configuration.telemetry)
        case "api_addr": configuration.apiAddress = try url(member)
        case "cluster_addr": configuration.clusterAddress = try url(member)
        case "log_level":
            let text = try string(member)
            guard let level = LogLevel(name: text) else { throw Self.levelFault(member, text) }
            configuration.logLevel = level
        case "log_format":
            let text = try string(member)
            guard let format = logFormat(named: text) else { throw Self.formatFault(member, text) }
            configuration.logFormat = format
        case "cache_size": configuration.cacheEntries = max(0, try int(member))
        default:
            if !Self.unusedKeys.contains(key) { warnUnknown(member, in: "") }
        }
    }

    private func seal(_ block: HCLBlock, _ known: Set<String>) throws(VaultError) -> SealConfiguration {
        guard known.contains(block.label) else {
            let names = known.sorted().map { "'\($0)'" }.joined(separator: ", ")
            throw block.position.fault(
                "seal \"\(block.label)\": this version does not know this kind of seal, only \(names)")
        }
        var isDisabled = false
        var name = block.label
        var priority = Int.max
        for member in block.body.members {
            switch member.key {
            case "disabled": isDisabled = try bool(member)
            case "name":
                name = try string(member)
                if name.isEmpty { throw member.value.position.fault("'name': expected a name") }
            case "priority": priority = try int(member)
            default:
                if member.value.scalarText == nil {
                    throw member.value.fault(member.key, expected: "a string, a number or a boolean")
                }
            }
        }
        var options = scalars(block.body)
        for key in ["disabled", "name", "priority", "purpose"] { options[key] = nil }
        return SealConfiguration(
            kind: block.label, name: name, isDisabled: isDisabled, priority: priority, options: options,
            place: "\(source), line \(block.position.line)")
    }

    private mutating func telemetry(
        _ member: HCLMember, into telemetry: inout TelemetryConfiguration
    ) throws(VaultError) {
        for object in try member.plainBlocks() {
            for inner in object.members {
                switch inner.key {
                case "prometheus_retention_time": telemetry.prometheusRetention = try duration(inner)
                case "disable_hostname": telemetry.isHostnameDisabled = try bool(inner)
                case "metrics_prefix": telemetry.metricsPrefix = try string(inner)
                case "statsd_address": telemetry.statsdAddress = try metricsAddress(inner)
                case "statsite_address": telemetry.statsiteAddress = try metricsAddress(inner)
                case "usage_gauge_period":
                    let isOff = inner.value.string == "none"
                    telemetry.usageGaugePeriod = isOff ? .zero : try duration(inner)
                default:
                    let isForeign = ["circonus_", "stackdriver_", "dogstatsd_"]
                        .contains {
                            inner.key.hasPrefix($0)
                        }
                    if !isForeign && !Self.unusedTelemetryKeys.contains(inner.key) {
                        warnUnknown(inner, in: "telemetry")
                    }
                }
            }
        }
    }

    private func metricsAddress(_ member: HCLMember) throws(VaultError) -> String {
        let text = try string(member)
        if text.isEmpty { return text }
        guard let (host, port) = hostAndPort(text), !host.isEmpty, port > 0 else {
            throw member.value.position.fault(
                "'\(member.key)': expected host:port such as 127.0.0.1:8125, found '\(text)'")
        }
        return text
    }

    private static func levelFault(_ member: HCLMember, _ text: String) -> VaultError {
        member.value.position.fault(
            "'log_level': expected trace, debug, info, warn or error, found '\(text)'")
    }

    private static func formatFault(_ member: HCLMember, _ text: String) -> VaultError {
        member.value.position.fault("'log_format': expected standard or json, found '\(text)'")
    }

    private static func stringKeys(_ key: String) -> WritableKeyPath<Target, String>? {
        switch key {
        case "cluster_name": \.clusterName
        case "pid_file": \.pidFile
        case "plugin_directory": \.pluginDirectory
        default: nil
        }
    }

    private static func boolKeys(_ key: String) -> WritableKeyPath<Target, Bool>? {
        switch key {
        case "ui": \.isUIEnabled
        case "disable_mlock": \.isMlockDisabled
        case "disable_cache": \.isCacheDisabled
        case "disable_clustering": \.isClusteringDisabled
        case "raw_storage_endpoint": \.hasRawStorageEndpoint
        case "introspection_endpoint": \.hasIntrospectionEndpoint
        case "enable_response_header_hostname": \.sendsHostnameHeader
        case "enable_response_header_raft_node_id": \.sendsRaftNodeHeader
        default: nil
        }
    }

    private static func durationKeys(_ key: String) -> WritableKeyPath<Target, Duration>? {
        switch key {
        case "default_lease_ttl": \.defaultLeaseTTL
        case "max_lease_ttl": \.maxLeaseTTL
        case "default_max_request_duration": \.defaultMaxRequestDuration
        default: nil
        }
    }

    /// Keys of Vault's files that are right there and mean nothing here.
    private static let unusedKeys: Set<String> = [
        "administrative_namespace_path", "adaptive_overload_protection", "allow_audit_log_prefixing",
        "cluster_cipher_suites", "detect_deadlocks", "disable_indexing", "disable_performance_standby",
        "disable_printable_check", "disable_sealwrap", "disable_sentinel_trace", "enable_multiseal",
        "enable_post_unseal_trace", "entropy", "experiments", "feature_flags",
        "imprecise_lease_role_tracking",
        "initialize", "kms_library", "license_path", "log_file", "log_requests_level", "log_rotate_bytes",
        "log_rotate_duration", "log_rotate_max_files", "max_open_files", "plugin_file_permissions",
        "plugin_file_uid",
        "plugin_tmpdir", "post_unseal_trace_directory", "remove_irrevocable_lease_after", "reporting",
        "replication",
        "request_limiter", "sentinel", "shared_config",
    ]
    private static let unusedTelemetryKeys: Set<String> = [
        "add_lease_metrics_namespace_labels", "add_mount_point_rollback_metrics", "enable_hostname_label",
        "filter_default", "lease_metrics_epsilon", "maximum_gauge_cardinality", "num_lease_metrics_buckets",
        "prefix_filter", "rollback_metrics_include_mount_point",
    ]
}

/// Vault's names of the two formats, and our own for the first.
func logFormat(named name: String) -> Log.Format? {
    switch name.lowercased() {
    case "", "standard", "text": .text
    case "json": .json
    default: nil
    }
}
