package import Base

extension ServerConfiguration {
    /// The configuration as `sys/config/state/sanitized` shows it: what was written, without any setting of
    /// storage, seals or telemetry that may be a secret.
    package var sanitized: JSONValue {
        func seconds(_ span: Duration, unless usual: Duration) -> JSONValue {
            .int(span == usual ? 0 : Int(span.wholeSeconds))
        }
        let usual = ServerConfiguration()
        var members: [(String, JSONValue)] = [
            ("api_addr", .string(apiAddress)), ("cache_size", .int(cacheEntries)),
            ("cluster_addr", .string(clusterAddress)), ("cluster_cipher_suites", ""),
            ("cluster_name", .string(clusterName)),
            ("default_lease_ttl", seconds(defaultLeaseTTL, unless: usual.defaultLeaseTTL)),
            (
                "default_max_request_duration",
                seconds(defaultMaxRequestDuration, unless: usual.defaultMaxRequestDuration)
            ),
            ("disable_cache", .bool(isCacheDisabled)), ("disable_clustering", .bool(isClusteringDisabled)),
            ("disable_indexing", false), ("disable_mlock", .bool(isMlockDisabled)),
            ("disable_performance_standby", false), ("disable_printable_check", false),
            ("disable_sealwrap", false), ("disable_sentinel_trace", false),
            ("enable_response_header_hostname", .bool(sendsHostnameHeader)),
            ("enable_response_header_raft_node_id", .bool(sendsRaftNodeHeader)),
            ("enable_ui", .bool(isUIEnabled)), ("listeners", .array(listeners.map(\.sanitized))),
            ("log_format", .string(logFormat.map { $0 == .json ? "json" : "standard" } ?? "unspecified")),
            ("log_level", .string(logLevel?.name ?? "")),
            ("max_lease_ttl", seconds(maxLeaseTTL, unless: usual.maxLeaseTTL)),
            ("pid_file", .string(pidFile)), ("plugin_directory", .string(pluginDirectory)),
            ("raw_storage_endpoint", .bool(hasRawStorageEndpoint)),
            ("introspection_endpoint", .bool(hasIntrospectionEndpoint)),
            ("seals", .array(shownSeals)),
        ]
        if let storage {
            members.append(
                (
                    "storage",
                    [
                        "type": .string(storage.type), "redirect_addr": .string(apiAddress),
                        "cluster_addr": .string(clusterAddress),
                        "disable_clustering": .bool(isClusteringDisabled),
                    ]
                ))
        }
        members.append(("telemetry", telemetry.sanitized))
        return .object(members)
    }

    private var shownSeals: [JSONValue] {
        if seals.isEmpty { return [["type": "shamir", "disabled": false]] }
        return seals.map { seal in
            var members: [(String, JSONValue)] = [
                ("type", .string(seal.kind)), ("disabled", .bool(seal.isDisabled)),
            ]
            if seal.name != seal.kind { members.append(("name", .string(seal.name))) }
            return .object(members)
        }
    }
}

extension ListenerConfiguration {
    fileprivate var sanitized: JSONValue {
        var config: [(String, JSONValue)] = [("address", .string(address))]
        if kind == .tcp {
            config.append(("tls_disable", .bool(isTLSDisabled)))
            if !clusterAddress.isEmpty { config.append(("cluster_address", .string(clusterAddress))) }
            if !isTLSDisabled { config.append(("tls_min_version", .string(tlsMinVersion.rawValue))) }
        }
        return ["type": .string(kind == .tcp ? "tcp" : "unix"), "config": .object(config)]
    }
}

extension TelemetryConfiguration {
    fileprivate var sanitized: JSONValue {
        [
            "disable_hostname": .bool(isHostnameDisabled), "metrics_prefix": .string(metricsPrefix),
            "prometheus_retention_time": .int(Int(prometheusRetention.wholeNanoseconds)),
        ]
    }
}
