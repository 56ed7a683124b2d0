import Base
import PluginKit
import TestKit
import Testing

@testable import Net
@testable import Server

/// From the bytes of a request to what the core sees of it.
@Suite struct RequestFuzzTests {
    /// A path that gets through is clean, whatever it was written like.
    @Test func whatReachesTheCoreIsClean() {
        let body = "\r\n\r\n{\"a\":[\"b\",{\"c\":1}]}"
        let fuzz = Fuzz(
            "requests",
            texts: [
                "GET /v1/secret/data/a?list=true&x=1 HTTP/1.1\r\nHost: a\r\nX-Vault-Token: hvs.abc\r\n\r\n",
                "POST /v1/auth/userpass/login/%C3%A9 HTTP/1.1\r\nHost: a\r\nX-Vault-Wrap-TTL: 5m" + body,
                "PUT /v1/sys/policies/acl/x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json" + body,
                "PUT /v1/x HTTP/1.1\r\nHost: \r\nContent-Type:application/x-www-form-urlencoded\r\n\r\na=%20",
                "LIST /v1/secret/metadata HTTP/1.1\r\nHost: a\r\nX-Vault-Namespace: root/\r\n\r\n",
                "PATCH /v1/kv/data/a HTTP/1.1\r\nHost: a\r\nContent-Type: application/merge-patch+json"
                    + body,
                "DELETE /v1/sys/generate-root/attempt HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer hvs.x"
                    + body,
            ],
            pieces: [
                "%2e%2e", "/../", "//", "/./", "%2f", "%00", "%", "?", "&", "=", "list=", "help=1", ";", "\\",
                "X-Vault-Namespace: ns1\r\n", "X-Vault-Wrap-TTL: -1\r\n", "X-Forwarded-For: ::1\r\n", "{",
                "}", "\"",
                "\\u0000", "e\u{301}", "\u{202E}", "+",
            ])
        let client = ConnectionInfo(remoteAddress: "127.0.0.1")
        let parser = HTTPHeadParser(limits: .standard)
        var passed = 0
        for input in fuzz {
            guard let request = parser.request(in: input.bytes) else { continue }
            _ = (RequestDecoder.token(request)?.count, RequestDecoder.headers(request, ["host"]).count)
            do throws(RequestRefusal) {
                let logical = try RequestDecoder.decode(
                    request, from: client, limits: .standard, id: "x", now: Timestamp(seconds: 1))
                passed += 1
                let segments = logical.path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
                let isClean =
                    !segments.contains("") && !logical.path.utf8.contains { $0 < 32 || $0 == 127 }
                    && !logical.path.split(separator: "/").contains { $0 == "." || $0 == ".." }
                if !isClean {
                    Issue.record("\(logical.path.debugDescription): \(input)")
                    return
                }
            } catch {
                if !(300..<500).contains(error.status) {
                    Issue.record("\(error.status): \(input)")
                    return
                }
            }
        }
        #expect(!fuzz.isWhole || passed > fuzz.tried / 20)
    }

    @Test func forwardedAddressesAreAddressesOrRefused() throws {
        let fuzz = Fuzz(
            "forwarded addresses",
            texts: [
                "192.0.2.1", "1.1.1.1, 192.0.2.1 ,10.0.0.3", "[2001:db8::1]:443, ::1", "2001:db8::1",
                "192.0.2.1:443", "unknown",
            ], pieces: [",", ", ", ":", "::", "[", "]", ".", "%", "_", "\t", ";for=", "\"", "ffff", "256"],
            inputs: 20_000)
        var rules = [ListenerRules]()
        for skips in 0...2 {
            var configuration = Server.ListenerConfiguration(kind: .tcp, address: "127.0.0.1:1")
            configuration.forwardedForNetworks = ["10.0.0.0/8"].compactMap { CIDRBlock($0) }
            configuration.forwardedForHopSkips = skips
            rules.append(ListenerRules(configuration, limits: .standard))
        }
        var admitted = 0
        for input in fuzz {
            let head = "GET /v1/a HTTP/1.1\nHost: a\nX-Forwarded-For: \(input.text)"
            guard let request = try? request(head) else { continue }
            for one in rules {
                do throws(VaultError) {
                    let client = try one.admit(request)
                    admitted += 1
                    if !CIDRBlock.isAddress(client.remoteAddress) {
                        Issue.record("\(client.remoteAddress): \(input)")
                        return
                    }
                } catch {
                    if error.status != 400 {
                        Issue.record("\(error): \(input)")
                        return
                    }
                }
            }
        }
        #expect(!fuzz.isWhole || admitted > fuzz.tried / 20)
    }

    @Test func configurationsAreReadOrRefusedByPlace() {
        let fuzz = Fuzz(
            "configurations",
            texts: [
                """
                storage "file" { path = "/x" }
                listener "tcp" { address = "127.0.0.1:1" tls_disable = true max_request_size = 1000 }
                telemetry { statsite_address = "a:1" prometheus_retention_time = "30s" }
                default_lease_ttl = "5m"
                log_level = "debug"
                """,
                """
                listener "unix" { address = "/s" socket_mode = "0660" }
                listener "tcp" {
                  address = "[::1]:1"
                  tls_cert_file = "/c"
                  x_forwarded_for_authorized_addrs = ["10.0.0.0/8"]
                  custom_response_headers { "default" = { "X-A" = ["b"] } "4xx" = { "X-B" = ["c"] } }
                }
                user_lockout "all" { lockout_threshold = 5 }
                seal "shamir" {}
                """, #"{"storage": {"inmem": {}}, "listener": [{"tcp": {"address": "a:1"}}], "ui": true}"#,
            ],
            pieces: [
                "{", "}", "[", "]", "\"", "=", ",", "\n", "true", "-1", "\"5m\"", "0660", "999999999999",
                "tcp", "é",
                "\u{0}", "10.0.0.0/8", "address", "listener",
            ], inputs: 20_000)
        var accepted = 0
        for input in fuzz {
            var configuration = ServerConfiguration()
            do throws(VaultError) {
                _ = try configuration.apply(input.bytes, from: "x.hcl")
                accepted += 1
            } catch {
                if error.status != 400 {
                    Issue.record("\(error): \(input)")
                    return
                }
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 20)
    }
}
