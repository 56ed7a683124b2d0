import Base
import Core
import Foundation
import TestKit
import Testing

@testable import Server

@Suite struct ConfigurationTests {
    private func load(
        _ text: String, environment: [String: String] = [:]
    ) throws -> (configuration: ServerConfiguration, warnings: [String]) {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try Data(text.utf8).write(to: directory.appendingPathComponent("server.hcl"))
        return try ServerConfiguration.load(paths: [directory.path], environment: { environment[$0] })
    }

    private func fault(_ text: String, _ environment: [String: String] = [:]) -> String? {
        do {
            _ = try load(text, environment: environment)
            return nil
        } catch {
            let message = (error as? VaultError)?.messages.first ?? "\(error)"
            return message.components(separatedBy: "server.hcl, ").last
        }
    }

    @Test func lockoutsAreReadByTheirLabel() throws {
        let (configuration, warnings) = try load(
            """
            user_lockout "all" {
              lockout_duration = "10m"
              lockout_counter_reset = 60
              typo = 1
            }
            user_lockout "userpass" {
              lockout_threshold = "25"
              disable_lockout = true
            }
            """)
        #expect(configuration.lockouts["all"]?.duration == .seconds(600))
        #expect(configuration.lockouts["all"]?.counterReset == .seconds(60))
        #expect(configuration.lockouts["all"]?.threshold == nil)
        #expect(configuration.lockouts["userpass"]?.threshold == 25)
        #expect(configuration.lockouts["userpass"]?.isDisabled == true)
        #expect(warnings.count == 1)
        for wrong in [
            #"user_lockout "kv" { lockout_threshold = 1 }"#, #"user_lockout "all" { lockout_threshold = 0 }"#,
            #"user_lockout "all" { lockout_duration = "0" }"#,
            #"user_lockout "all" { disable_lockout = "x" }"#,
        ] {
            #expect(fault(wrong)?.hasPrefix("line 1") == true, "\(wrong)")
        }
    }

    @Test func configurationsOfTheTestToolsLoadWithoutWarnings() throws {
        let conformance = """
            storage "raft" {
              path = "/tmp/d/data"
              node_id = "n0"
            }
            listener "tcp" {
              address = "127.0.0.1:18200"
              cluster_address = "127.0.0.1:18201"
              tls_cert_file = "/f/server.pem"
              tls_key_file = "/f/server.key"
            }
            api_addr = "https://127.0.0.1:18200"
            cluster_addr = "https://127.0.0.1:18201"
            disable_mlock = true
            """
        let faults = """

            storage "file" { path = "/tmp/data" }
            listener "tcp" {
              address = "127.0.0.1:8200"
              tls_disable = true
            }
            disable_mlock = true
            api_addr = "http://127.0.0.1:8200"
            """
        let first = try load(conformance)
        #expect(first.warnings == [])
        #expect(first.configuration.storage?.type == "raft")
        #expect(first.configuration.storage?.options == ["path": "/tmp/d/data", "node_id": "n0"])
        #expect(first.configuration.listeners.first?.tlsKeyFile == "/f/server.key")
        #expect(first.configuration.clusterAddress == "https://127.0.0.1:18201")
        let second = try load(faults)
        #expect(second.warnings == [])
        #expect(second.configuration.isMlockDisabled)
        #expect(second.configuration.listeners.map(\.isTLSDisabled) == [true])
        try second.configuration.checkServes()
        #expect(try load("storage \"inmem\" {}").configuration.storage?.type == "inmem")
    }

    @Test func jsonMeansTheSame() throws {
        let (configuration, warnings) = try load(
            """
            {"backend": {"file": {"path": "/d"}},
             "listener": [{"tcp": {"address": "0.0.0.0:8200", "tls_disable": "1"}},
                          {"unix": {"address": "/s", "socket_mode": "0660"}}],
             "ui": true, "default_lease_ttl": "10h", "max_lease_ttl": 36000, "seal": {"shamir": {}}}
            """)
        #expect(warnings == [])
        #expect(configuration.storage?.options["path"] == "/d")
        #expect(configuration.listeners.map(\.address) == ["0.0.0.0:8200", "/s"])
        #expect(configuration.listeners.map(\.kind) == [.tcp, .unix])
        #expect(configuration.isUIEnabled)
        #expect(configuration.maxLeaseTTL == .seconds(36_000))
        #expect(configuration.seals.map(\.kind) == ["shamir"])
    }

    @Test func everyListenerKeyIsRead() throws {
        let (configuration, warnings) = try load(
            """
            storage "raft" {
              path = "/d"
              performance_multiplier = 1
              retry_join { leader_api_addr = "http://a:8200" }
              retry_join { leader_api_addr = "http://b:8200" }
            }
            listener "tcp" {
              address = "[::]:8200"
              cluster_address = ":8201"
              tls_cert_file = "c"
              tls_key_file = "k"
              tls_client_ca_file = "ca"
              tls_min_version = "tls13"
              tls_cipher_suites = "A,B"
              tls_require_and_verify_client_cert = "true"
              max_request_size = 1024
              max_request_duration = "10s"
              http_read_timeout = 5
              http_read_header_timeout = "2s"
              http_idle_timeout = "1m"
              max_json_depth = 0
              x_forwarded_for_authorized_addrs = ["10.0.0.0/8", "::1"]
              x_forwarded_for_hop_skips = 1
              x_forwarded_for_reject_not_present = false
              proxy_protocol_behavior = "allow_authorized"
              proxy_protocol_authorized_addrs = "10.1.0.0/16,10.2.0.1"
              telemetry { unauthenticated_metrics_access = true }
              custom_response_headers { "default" = { "X-A" = ["b, c", "d"] } }
            }
            telemetry { prometheus_retention_time = "30s" disable_hostname = true statsd_address = "127.0.0.1:8125" usage_gauge_period = "none" }
            service_registration "kubernetes" {}
            log_level = "debug"
            log_format = "json"
            license_path = "/l"
            """)
        #expect(warnings == [])
        let listener = try #require(configuration.listeners.first)
        #expect(listener.limits.bodyBytes == 1024)
        #expect(listener.limits.requestSeconds == 10)
        #expect(listener.limits.headerTimeoutSeconds == 2)
        #expect(listener.limits.idleTimeoutSeconds == 60)
        #expect(listener.limits.jsonDepth == .max)
        #expect(listener.tlsMinVersion == .tls13)
        #expect(listener.tlsCipherSuites == ["A", "B"])
        #expect(listener.requiresClientCertificate)
        #expect(listener.forwardedForNetworks.map(\.description) == ["10.0.0.0/8", "::1"])
        #expect(!listener.rejectsForwardedForAbsent)
        #expect(listener.proxyProtocol == .allowAuthorized)
        #expect(listener.proxyProtocolNetworks.map(\.description) == ["10.1.0.0/16", "10.2.0.1"])
        #expect(listener.hasUnauthenticatedMetrics)
        #expect(listener.customResponseHeaders["default"]?.first?.value == "b, c; d")
        #expect(configuration.storage?.body.members.count { $0.key == "retry_join" } == 2)
        #expect(configuration.storage?.options["performance_multiplier"] == "1")
        #expect(configuration.telemetry.prometheusRetention == .seconds(30))
        #expect(configuration.telemetry.statsdAddress == "127.0.0.1:8125")
        #expect(configuration.telemetry.usageGaugePeriod == .zero)
        #expect(configuration.logLevel == .debug)
        #expect(configuration.logFormat == .json)
    }

    @Test func unknownKeysWarnWithFileAndLine() throws {
        let (_, warnings) = try load(
            """
            ui = true
            uii = true
            listener "tcp" {
              tls_disable = 1
              adress = "x"
            }
            telemetry { x = 1 }
            """
        )
        #expect(
            warnings.map { $0.components(separatedBy: "/server.hcl").last } == [
                ", line 2: unknown key 'uii'", ", line 5: unknown key 'adress' in listener \"tcp\"",
                ", line 7: unknown key 'x' in telemetry",
            ])
    }

    @Test(arguments: [
        ("ui = \"maybe\"", "line 1, column 6: 'ui': expected true or false, found 'maybe'"),
        ("ui = [true]", "line 1, column 6: 'ui': expected true or false, found a list"),
        (
            "\nmax_lease_ttl = \"long\"",
            "line 2, column 17: 'max_lease_ttl': expected a duration such as 90 or \"90s\", found 'long'"
        ),
        (
            "api_addr = \"127.0.0.1:8200\"",
            "line 1, column 12: 'api_addr': expected a URL such as https://host:8200, found '127.0.0.1:8200'"
        ),
        ("cluster_name = 5", "line 1, column 16: 'cluster_name': expected a string, found a number"),
        (
            "log_level = \"loud\"",
            "line 1, column 13: 'log_level': expected trace, debug, info, warn or error, found 'loud'"
        ),
        ("log_format = \"xml\"", "line 1, column 14: 'log_format': expected standard or json, found 'xml'"),
        (
            "storage \"file\" {}\nstorage \"inmem\" {}",
            "line 2, column 1: 'storage': expected one block, found a second"
        ),
        (
            "storage = \"file\"",
            "line 1, column 11: 'storage': expected an object or a list of objects, found a string"
        ),
        ("listener \"udp\" {}", "line 1, column 1: listener \"udp\": expected the type 'tcp' or 'unix'"),
        (
            "listener \"tcp\" {}",
            "line 1, column 1: listener \"tcp\": expected 'tls_cert_file' and 'tls_key_file', "
                + "or 'tls_disable = true' for plain HTTP"
        ),
        (
            "listener \"tcp\" {\n address = \"localhost\"\n tls_disable = true }",
            "line 2, column 12: listener \"tcp\": 'address': "
                + "expected host:port such as 0.0.0.0:8200, found 'localhost'"
        ),
        (
            "listener \"unix\" {}",
            "line 1, column 1: listener \"unix\": expected 'address' with the socket's path"
        ),
        (
            "listener \"tcp\" { tls_max_version = \"tls10\" }",
            "line 1, column 36: 'tls_max_version': expected 'tls12' or 'tls13', found 'tls10'"
        ),
        (
            "listener \"tcp\" { max_request_size = \"big\" }",
            "line 1, column 37: 'max_request_size': expected a whole number, found 'big'"
        ),
        (
            "listener \"tcp\" {\n x_forwarded_for_authorized_addrs = \"10.0.0.0/33\" }",
            "line 2, column 37: 'x_forwarded_for_authorized_addrs': expected addresses or networks such as "
                + "10.0.0.0/8, found '10.0.0.0/33'"
        ),
        (
            "listener \"tcp\" {\n tls_disable = true\n proxy_protocol_behavior = \"deny_unauthorized\" }",
            "line 3, column 28: listener \"tcp\": 'proxy_protocol_behavior' deny_unauthorized needs "
                + "'proxy_protocol_authorized_addrs'"
        ),
        (
            "listener \"tcp\" { custom_response_headers { \"6xx\" = { \"A\" = [\"b\"] } } }",
            "line 1, column 44: 'custom_response_headers': expected 'default', a class such as '4xx' or a "
                + "status such as '404', found '6xx'"
        ),
        (
            "seal \"awskms\" {}",
            "line 1, column 1: seal \"awskms\": this version does not know this kind of seal, only 'shamir'"
        ),
        ("ui = true\nlistener {", "line 2, column 11: expected a key or '}', found the end of the text"),
        (
            "default_lease_ttl = \"2h\"\nmax_lease_ttl = \"1h\"",
            "configuration: 'default_lease_ttl' (2h0m0s) is above 'max_lease_ttl' (1h0m0s)"
        ),
    ])
    func wrongValuesStopTheStart(_ text: String, _ message: String) {
        #expect(fault(text) == message)
    }

    @Test func ourOwnPrefixNamesTheSameVariables() {
        setenv("HOLDFAST_TEST_PREFIX", "ours", 1)
        #expect(ConfigurationFiles.environmentValue("VAULT_TEST_PREFIX") == "ours")
        setenv("VAULT_TEST_PREFIX", "vault's", 1)
        #expect(ConfigurationFiles.environmentValue("VAULT_TEST_PREFIX") == "vault's")
        unsetenv("VAULT_TEST_PREFIX")
        unsetenv("HOLDFAST_TEST_PREFIX")
        #expect(ConfigurationFiles.environmentValue("VAULT_TEST_PREFIX") == nil)
    }

    @Test func environmentWins() throws {
        let text =
            """
            ui = false
            log_level = "info"
            storage "raft" { node_id = "a" api_addr = "http://old:1" }
            """
        let (configuration, _) = try load(
            text,
            environment: [
                "VAULT_UI": "true", "VAULT_LOG_LEVEL": "trace", "VAULT_LOG_FORMAT": "json",
                "VAULT_RAFT_NODE_ID": "pod-0",
                "VAULT_CLUSTER_ADDR": "https://pod-0:8201", "VAULT_DISABLE_MLOCK": "1",
            ])
        #expect(configuration.isUIEnabled)
        #expect(configuration.isMlockDisabled)
        #expect(configuration.logLevel == .trace)
        #expect(configuration.logFormat == .json)
        #expect(configuration.storage?.options["node_id"] == "pod-0")
        #expect(configuration.clusterAddress == "https://pod-0:8201")
        #expect(configuration.apiAddress == "http://old:1")
        #expect(fault(text, ["VAULT_UI": "x"]) == "VAULT_UI: expected true or false, found 'x'")
        #expect(
            fault(text, ["VAULT_API_ADDR": "pod:1"])
                == "VAULT_API_ADDR: expected a URL such as https://host:8200, found 'pod:1'")
    }

    @Test func filesAreMergedInTheOrderOfTheirNames() throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        func write(_ name: String, _ text: String) throws {
            try Data(text.utf8).write(to: directory.appendingPathComponent(name))
        }
        try write(
            "20-b.json",
            #"{"ui": true, "cluster_name": "b", "listener": {"tcp": {"address": "b:2", "tls_disable": 1}}}"#)
        try write(
            "10-a.hcl",
            """
            cluster_name = "a"
            storage "file" { path = "/a" }
            listener "tcp" { address = "a:1" tls_disable = 1 }
            """
        )
        try write("30.txt", "not read")
        try write(".hidden.hcl", "not read")
        let (configuration, warnings) = try ServerConfiguration.load(
            paths: [directory.path], environment: { _ in nil })
        #expect(warnings == [])
        #expect(configuration.clusterName == "b")
        #expect(configuration.storage?.options["path"] == "/a")
        #expect(configuration.listeners.map(\.address) == ["a:1", "b:2"])
        let file = directory.appendingPathComponent("10-a.hcl").path
        let extra = try ServerConfiguration.load(paths: [directory.path, file], environment: { _ in nil })
            .configuration
        #expect(extra.clusterName == "a")
        #expect(extra.listeners.count == 3)
        try write("40.hcl", String(repeating: "#", count: (1 << 20) + 1))
        #expect(throws: VaultError.self) {
            try ServerConfiguration.load(paths: [directory.path], environment: { _ in nil })
        }
        #expect(throws: VaultError.self) {
            try ServerConfiguration.load(paths: ["/nonexistent.hcl"], environment: { _ in nil })
        }
    }

    @Test func emptyConfigurationsDoNotServe() throws {
        let (configuration, _) = try ServerConfiguration.load(paths: [], environment: { _ in nil })
        #expect(throws: VaultError.badRequest("configuration: expected a 'storage' block, found none")) {
            try configuration.checkServes()
        }
    }

    @Test(arguments: [
        ("a:1", "a", 1), ("[::1]:80", "::1", 80), (":8200", "", 8200),
        ("127.0.0.1:65535", "127.0.0.1", 65_535),
    ])
    func addressesAreSplit(_ text: String, _ host: String, _ port: Int) {
        let found = hostAndPort(text)
        #expect(found?.host == host)
        #expect(found?.port == port)
    }

    @Test(arguments: [
        "", "a", "a:", "a:x", "a:65536", "::1:80", "[a]:1", "[::1]", "a b:1", "a:-1", "http://a:1",
    ])
    func badAddressesAreRefused(_ text: String) { #expect(hostAndPort(text) == nil) }
}
