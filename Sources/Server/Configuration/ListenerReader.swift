import Base

/// One `listener` block to its values.
extension ConfigurationReader {
    private typealias Target = ListenerConfiguration

    mutating func listener(_ block: HCLBlock) throws(VaultError) -> ListenerConfiguration {
        let name = "listener \"\(block.label)\""
        var listener: ListenerConfiguration
        switch block.label {
        case "tcp": listener = ListenerConfiguration(kind: .tcp, address: "127.0.0.1:8200")
        case "unix": listener = ListenerConfiguration(kind: .unix, address: "")
        default: throw block.position.fault("\(name): expected the type 'tcp' or 'unix'")
        }
        for member in block.body.members { try read(member, name, into: &listener) }
        try check(listener, name, block)
        return listener
    }

    private mutating func read(
        _ member: HCLMember, _ block: String, into listener: inout ListenerConfiguration
    ) throws(VaultError) {
        if let path = Self.stringKeys(member.key) {
            listener[keyPath: path] = try string(member)
        } else if let path = Self.boolKeys(member.key) {
            listener[keyPath: path] = try bool(member)
        } else if let path = Self.durationKeys(member.key) {
            listener[keyPath: path] = try duration(member)
        } else if let path = Self.intKeys(member.key) {
            listener[keyPath: path] = try int(member)
        } else {
            try readSpecial(member, block, into: &listener)
        }
    }

    private mutating func readSpecial(
        _ member: HCLMember, _ block: String, into listener: inout ListenerConfiguration
    ) throws(VaultError) {
        switch member.key {
        case "tls_min_version": listener.tlsMinVersion = try tlsVersion(member, raisesOld: true)
        case "tls_max_version": listener.tlsMaxVersion = try tlsVersion(member, raisesOld: false)
        case "tls_cipher_suites": listener.tlsCipherSuites = try strings(member)
        case "x_forwarded_for_authorized_addrs": listener.forwardedForNetworks = try networks(member)
        case "proxy_protocol_authorized_addrs": listener.proxyProtocolNetworks = try networks(member)
        case "proxy_protocol_behavior":
            let text = try string(member)
            guard let behavior = ListenerConfiguration.ProxyProtocolBehavior(rawValue: text) else {
                throw member.value.position.fault(
                    "'\(member.key)': expected 'use_always', 'allow_authorized' or 'deny_unauthorized', "
                        + "found '\(text)'")
            }
            listener.proxyProtocol = behavior
        case "x_forwarded_for_hop_skips":
            listener.forwardedForHopSkips = try int(member)
            if listener.forwardedForHopSkips < 0 {
                throw member.value.position.fault("'\(member.key)': expected 0 or more")
            }
        case "telemetry":
            listener.hasUnauthenticatedMetrics = try flag("unauthenticated_metrics_access", member, block)
        case "profiling":
            listener.hasUnauthenticatedProfiling = try flag("unauthenticated_pprof_access", member, block)
        case "custom_response_headers": listener.customResponseHeaders = try headers(member)
        case "purpose", "role", "agent_api", "proxy_api", "inflight_requests_logging",
            "tls_prefer_server_cipher_suites",
            "chroot_namespace",
            "redact_addresses", "redact_cluster_name", "redact_version",
            "disable_replication_status_endpoints",
            "disable_request_limiter", "max_token_header_size":
            break
        default: warnUnknown(member, in: block)
        }
    }

    private func check(_ listener: ListenerConfiguration, _ name: String, _ block: HCLBlock)
        throws(VaultError)
    {
        func fault(_ key: String, _ message: String) -> VaultError {
            (block.body[key]?.position ?? block.position).fault("\(name): \(message)")
        }
        if let behavior = listener.proxyProtocol, behavior != .useAlways,
            listener.proxyProtocolNetworks.isEmpty
        {
            throw fault(
                "proxy_protocol_behavior",
                "'proxy_protocol_behavior' \(behavior.rawValue) needs 'proxy_protocol_authorized_addrs'")
        }
        if listener.kind == .unix {
            if listener.address.isEmpty {
                throw fault("address", "expected 'address' with the socket's path")
            }
            let mode = listener.socketMode
            if !mode.isEmpty && (Int(mode, radix: 8).map { $0 > 0o777 } ?? true) {
                throw fault(
                    "socket_mode", "'socket_mode': expected an octal mode such as \"0600\", found '\(mode)'")
            }
            return
        }
        for (key, address) in [("address", listener.address), ("cluster_address", listener.clusterAddress)]
        where !(key == "cluster_address" && address.isEmpty) && hostAndPort(address) == nil {
            throw fault(key, "'\(key)': expected host:port such as 0.0.0.0:8200, found '\(address)'")
        }
        if listener.isTLSDisabled { return }
        if listener.tlsCertificateFile.isEmpty || listener.tlsKeyFile.isEmpty {
            throw fault(
                "tls_cert_file",
                "expected 'tls_cert_file' and 'tls_key_file', or 'tls_disable = true' for plain HTTP")
        }
        if listener.requiresClientCertificate && listener.ignoresClientCertificates {
            throw fault(
                "tls_disable_client_certs",
                "'tls_disable_client_certs' and 'tls_require_and_verify_client_cert' exclude each other")
        }
        if listener.tlsMinVersion == .tls13 && listener.tlsMaxVersion == .tls12 {
            throw fault("tls_max_version", "'tls_max_version' is below 'tls_min_version'")
        }
    }

    private mutating func tlsVersion(
        _ member: HCLMember, raisesOld: Bool
    ) throws(VaultError) -> ListenerConfiguration.TLSVersion {
        let text = try string(member)
        if let version = ListenerConfiguration.TLSVersion(rawValue: text) { return version }
        guard raisesOld, text == "tls10" || text == "tls11" else {
            throw member.value.position.fault("'\(member.key)': expected 'tls12' or 'tls13', found '\(text)'")
        }
        warn(member.position, "'\(member.key)': \(text) is not offered any more, tls12 is the least")
        return .tls12
    }

    /// The one flag of a nested block.
    private mutating func flag(_ key: String, _ member: HCLMember, _ block: String) throws(VaultError) -> Bool
    {
        var result = false
        for object in try member.plainBlocks() {
            for inner in object.members {
                if inner.key == key {
                    result = try bool(inner)
                } else if !["unauthenticated_in_flight_request_access", "add_mount_point_rollback_metrics"]
                    .contains(inner.key)
                {
                    warnUnknown(inner, in: "\(member.key) of \(block)")
                }
            }
        }
        return result
    }

    /// Networks and addresses: a list, or one text with commas.
    private func networks(_ member: HCLMember) throws(VaultError) -> [CIDRBlock] {
        var found: [CIDRBlock] = []
        for text in try strings(member) {
            guard let network = CIDRBlock(text) else {
                throw member.value.position.fault(
                    "'\(member.key)': expected addresses or networks such as 10.0.0.0/8, found '\(text)'")
            }
            found.append(network)
        }
        return found
    }

    private mutating func headers(_ member: HCLMember) throws(VaultError) -> [String: [(
        name: String, value: String
    )]] {
        var found: [String: [(name: String, value: String)]] = [:]
        for object in try member.plainBlocks() {
            for status in object.members {
                guard ResponseHeaders.isStatusKey(status.key) else {
                    throw status.position.fault(
                        "'custom_response_headers': expected 'default', a class such as '4xx' or a status "
                            + "such as '404', found '\(status.key)'")
                }
                for headers in try status.plainBlocks() {
                    for header in headers.members {
                        guard ResponseHeaders.mayBeSet(header.key) else {
                            warn(header.position, "'\(header.key)': this header is the server's own; not set")
                            continue
                        }
                        let value = try values(of: header).joined(separator: "; ")
                        found[status.key, default: []].append((header.key, value))
                    }
                }
            }
        }
        return found
    }

    /// One string or a list of them; a comma is part of a header's value.
    private func values(of header: HCLMember) throws(VaultError) -> [String] {
        let found = if let text = header.value.string { [text] } else { try strings(header) }
        let isClean = found.allSatisfy { $0.utf8.allSatisfy { $0 >= 32 && $0 != 127 || $0 == 9 } }
        if !isClean {
            throw header.position.fault("'\(header.key)': expected a header value without line breaks")
        }
        return found
    }

    private static func stringKeys(_ key: String) -> WritableKeyPath<Target, String>? {
        switch key {
        case "address": \.address
        case "cluster_address": \.clusterAddress
        case "tls_cert_file": \.tlsCertificateFile
        case "tls_key_file": \.tlsKeyFile
        case "tls_client_ca_file": \.tlsClientCAFile
        case "socket_mode": \.socketMode
        case "socket_user": \.socketUser
        case "socket_group": \.socketGroup
        default: nil
        }
    }

    private static func boolKeys(_ key: String) -> WritableKeyPath<Target, Bool>? {
        switch key {
        case "tls_disable": \.isTLSDisabled
        case "tls_require_and_verify_client_cert": \.requiresClientCertificate
        case "tls_disable_client_certs": \.ignoresClientCertificates
        case "x_forwarded_for_reject_not_authorized": \.rejectsForwardedForUnauthorized
        case "x_forwarded_for_reject_not_present": \.rejectsForwardedForAbsent
        case "require_request_header": \.requiresRequestHeader
        default: nil
        }
    }

    private static func durationKeys(_ key: String) -> WritableKeyPath<Target, Duration?>? {
        switch key {
        case "max_request_duration": \.maxRequestDuration
        case "http_read_timeout": \.readTimeout
        case "http_read_header_timeout": \.readHeaderTimeout
        case "http_write_timeout": \.writeTimeout
        case "http_idle_timeout": \.idleTimeout
        default: nil
        }
    }

    private static func intKeys(_ key: String) -> WritableKeyPath<Target, Int?>? {
        switch key {
        case "max_request_size": \.maxRequestBytes
        case "max_json_depth": \.maxJSONDepth
        case "max_json_string_value_length": \.maxJSONStringBytes
        case "max_json_object_entry_count": \.maxJSONObjectEntries
        case "max_json_array_element_count": \.maxJSONArrayElements
        default: nil
        }
    }
}
