import Base
import Core
import PluginKit
import Testing

@testable import Net
@testable import Server

@Suite struct ForwardedForTests {
    private func client(
        _ headers: String, from address: String = "10.0.0.9",
        _ adjust: (inout Server.ListenerConfiguration) -> Void
    ) throws -> String {
        var configuration = Server.ListenerConfiguration(kind: .tcp, address: "127.0.0.1:1")
        configuration.forwardedForNetworks = ["10.0.0.0/8"].compactMap { CIDRBlock($0) }
        adjust(&configuration)
        let rules = ListenerRules(configuration, limits: .standard)
        return try rules.admit(request("GET /v1/a HTTP/1.1\nHost: a\(headers)", from: address)).remoteAddress
    }

    @Test(arguments: [
        ("192.0.2.1", 0, "192.0.2.1"), ("1.1.1.1, 192.0.2.1", 0, "192.0.2.1"),
        ("1.1.1.1, 192.0.2.1 ,10.0.0.3", 1, "192.0.2.1"), ("2001:db8::1", 0, "2001:db8::1"),
        ("192.0.2.1:443", 0, "192.0.2.1"), ("[2001:db8::1]:443", 0, "2001:db8::1"),
        ("[2001:db8::1]", 0, "2001:db8::1"),
    ])
    func theAddressBehindTheHopsCounts(_ value: String, _ skips: Int, _ expected: String) throws {
        let found = try client("\nX-Forwarded-For: \(value)") { $0.forwardedForHopSkips = skips }
        #expect(found == expected)
    }

    @Test func severalFieldsAreOneList() throws {
        let headers = "\nx-forwarded-for: 1.1.1.1\nX-Other: 5.5.5.5\nX-FORWARDED-FOR: 2.2.2.2, 3.3.3.3"
        #expect(try client(headers) { $0.forwardedForHopSkips = 0 } == "3.3.3.3")
        #expect(try client(headers) { $0.forwardedForHopSkips = 2 } == "1.1.1.1")
        #expect(throws: VaultError.self) { try client(headers) { $0.forwardedForHopSkips = 3 } }
    }

    @Test(arguments: ["", "unknown", "1.1.1", "1.1.1.1 2.2.2.2", "evil\u{e9}", "1.1.1.1,", "::1]", "_hidden"])
    func whatIsNoAddressIsRefused(_ value: String) {
        #expect(throws: VaultError.self) { try client("\nX-Forwarded-For: \(value)") { _ in } }
    }

    @Test func absentAndUnauthorizedAsConfigured() throws {
        let missing = VaultError.badRequest(
            "missing x-forwarded-for header and configured to reject when not present")
        #expect(throws: missing) { try client("") { _ in } }
        #expect(try client("") { $0.rejectsForwardedForAbsent = false } == "10.0.0.9")
        let header = "\nX-Forwarded-For: 1.1.1.1"
        #expect(throws: VaultError.self) { try client(header, from: "11.0.0.1") { _ in } }
        #expect(throws: VaultError.self) { try client(header, from: "") { _ in } }
        let kept = try client(header, from: "11.0.0.1") { $0.rejectsForwardedForUnauthorized = false }
        #expect(kept == "11.0.0.1")
    }

    @Test func withoutNetworksTheHeaderMeansNothing() throws {
        #expect(try client("\nX-Forwarded-For: 1.1.1.1") { $0.forwardedForNetworks = [] } == "10.0.0.9")
    }

    @Test func theRequestHeaderMayBeRequired() throws {
        #expect(throws: VaultError.self) {
            try client("") {
                $0.forwardedForNetworks = []
                $0.requiresRequestHeader = true
            }
        }
        let admitted = try client("\nX-Vault-Request: true") {
            $0.forwardedForNetworks = []
            $0.requiresRequestHeader = true
        }
        #expect(admitted == "10.0.0.9")
    }
}

@Suite struct ResponseHeaderTests {
    private func value(_ headers: ResponseHeaders, _ status: Int, _ name: String) -> String? {
        headers.of(status).first { $0.name.lowercased() == name.lowercased() }?.value
    }

    @Test func theParticularWinsOverTheGeneral() {
        let headers = ResponseHeaders(
            [
                "default": [("X-A", "all"), ("Cache-Control", "private")],
                "4xx": [("X-A", "class"), ("X-B", "4")],
                "404": [("x-a", "status")],
            ], isTLS: true, more: [("X-Vault-Hostname", "h")])
        #expect(value(headers, 200, "X-A") == "all")
        #expect(value(headers, 400, "X-A") == "class")
        #expect(value(headers, 404, "X-A") == "status")
        #expect(value(headers, 404, "X-B") == "4")
        #expect(value(headers, 200, "X-B") == nil)
        #expect(value(headers, 404, "Cache-Control") == "private")
        #expect(value(headers, 503, "X-Content-Type-Options") == "nosniff")
        #expect(value(headers, 503, "X-Vault-Hostname") == "h")
        #expect(value(headers, 200, "Strict-Transport-Security") == "max-age=31536000; includeSubDomains")
        #expect(headers.of(404).count { $0.name.lowercased() == "x-a" } == 1)
        #expect(headers.of(404, with: [("X-A", "own")]).first { $0.name == "X-A" }?.value == "own")
    }

    @Test func keysAndNamesAreChecked() {
        for key in ["default", "1xx", "5xx", "404", "599"] { #expect(ResponseHeaders.isStatusKey(key)) }
        for key in ["", "6xx", "0xx", "4x", "4xxx", "x04", "4 4", "Default"] {
            #expect(!ResponseHeaders.isStatusKey(key))
        }
        #expect(ResponseHeaders.mayBeSet("Content-Security-Policy"))
        for name in [
            "", "X-Vault-Token", "x-vault-a", "Content-Length", "transfer-encoding", "a b", "a:", "é",
        ] {
            #expect(!ResponseHeaders.mayBeSet(name))
        }
    }
}

@Suite struct CORSTests {
    private let config: CORSConfig

    init() throws {
        config = try CORSConfig(origins: ["http://a.example"], headers: ["X-One", "X-Two"])
    }

    private func decide(_ head: String, _ config: CORSConfig? = nil) throws -> CORSDecision {
        CORSDecision.decide(try request(head), config ?? self.config)
    }

    @Test func requestsWithoutAnOriginPass() throws {
        guard case .proceed(let headers) = try decide("GET /v1/a HTTP/1.1\nHost: a") else {
            Issue.record("refused")
            return
        }
        #expect(headers.isEmpty)
    }

    @Test func allowedOriginsAreTold() throws {
        guard case .proceed(let headers) = try decide("GET /v1/a HTTP/1.1\nHost: a\nOrigin: http://a.example")
        else {
            Issue.record("refused")
            return
        }
        #expect(headers.map(\.name) == ["Access-Control-Allow-Origin", "Vary"])
        #expect(headers.map(\.value) == ["http://a.example", "Origin"])
    }

    @Test(arguments: ["http://A.example", "http://a.example.evil", "null", "http://a.example:80", "*"])
    func otherOriginsAreRefused(_ origin: String) throws {
        guard case .refused(let error) = try decide("GET /v1/a HTTP/1.1\nHost: a\nOrigin: \(origin)") else {
            Issue.record("let through")
            return
        }
        #expect(error.status == 403)
    }

    @Test func aStarAllowsAll() throws {
        let all = try CORSConfig(origins: ["*"], headers: [])
        guard case .proceed(let headers) = try decide("GET /v1/a HTTP/1.1\nHost: a\nOrigin: http://x", all)
        else {
            Issue.record("refused")
            return
        }
        #expect(headers.first?.value == "http://x")
    }

    @Test func preflightsAreAnswered() throws {
        let head =
            "OPTIONS /v1/a HTTP/1.1\nHost: a\nOrigin: http://a.example\nAccess-Control-Request-Method: "
        guard case .preflight(let headers) = try decide(head + "LIST") else {
            Issue.record("no preflight")
            return
        }
        let fields = Dictionary(headers.map { ($0.name, $0.value) }) { first, _ in first }
        #expect(fields["Access-Control-Allow-Headers"]?.hasSuffix(",X-Vault-Token,X-One,X-Two") == true)
        #expect(fields["Access-Control-Max-Age"] == "300")
        #expect(fields["Access-Control-Allow-Methods"]?.contains("LIST") == true)
        guard case .refused(let error) = try decide(head + "TRACE") else {
            Issue.record("let through")
            return
        }
        #expect(error.status == 405)
    }
}
