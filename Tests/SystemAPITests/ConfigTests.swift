import Base
import Core
import PluginKit
import SystemAPI
import TestKit
import Testing

/// `sys/config/*`.
@Suite struct ConfigTests {
    @Test func corsIsSwitchedOnReadAndOff() async throws {
        let server = try InProcessServer()
        #expect(server.core.active?.httpConfig.cors.isEnabled == false)
        let body = #"{"allowed_origins":["https://a.example","https://b.example"],"allowed_headers":"X-Own"}"#
        #expect(try await server.call(.update, "sys/config/cors", body).status == 204)
        let answer = try await server.call(.read, "sys/config/cors")
        #expect(answer["data/enabled"]?.bool == true)
        #expect(answer.texts("allowed_origins") == ["https://a.example", "https://b.example"])
        let cors = try #require(server.core.active?.httpConfig.cors)
        #expect(cors.allows("https://a.example"))
        #expect(!cors.allows("https://evil.example"))
        #expect(cors.allowedHeaders.contains("X-Own"))
        #expect(try await server.call(.delete, "sys/config/cors").status == 204)
        #expect(server.core.active?.httpConfig.cors.isEnabled == false)
        #expect(server.core.active?.httpConfig.cors.allows("https://a.example") == false)
    }

    @Test func httpSettingsSurviveSealing() async throws {
        let server = try InProcessServer(shares: 1, threshold: 1)
        _ = try await server.call(.update, "sys/config/cors", #"{"allowed_origins":"*"}"#)
        _ = try await server.call(.update, "sys/config/ui/headers/x-own", #"{"values":["a","b"]}"#)
        let before = server.core.active?.httpConfig
        server.core.seal()
        try server.seal.enter(share: SecretBytes(copying: server.keys[0].utf8))
        #expect(server.core.active?.httpConfig == before)
        #expect(server.core.active?.httpConfig.uiHeaders.map(\.name) == ["X-Own"])
    }

    @Test(arguments: [
        "{}", #"{"allowed_origins":[]}"#, #"{"allowed_origins":"*,https://a.example"}"#,
        #"{"allowed_origins":["https://a.example\r\nX-Evil: 1"]}"#,
        #"{"allowed_origins":"*","allowed_headers":["X Y"]}"#, #"{"allowed_origins":{"a":1}}"#,
    ])
    func impossibleOriginsAreRefused(body: String) async throws {
        let server = try InProcessServer()
        #expect(try await server.call(.update, "sys/config/cors", body).status == 400)
        #expect(server.core.active?.httpConfig.cors.isEnabled == false)
    }

    @Test(arguments: [
        "X-Vault-Token", "x-vault-own", "Content-Length", "transfer-encoding", "Bad Name", "X:Y",
    ])
    func headersThatAreTheServersAreRefused(name: String) async throws {
        let server = try InProcessServer()
        let path = "sys/config/ui/headers/\(name)"
        #expect(try await server.call(.update, path, #"{"values":["a"]}"#).status == 400)
    }

    @Test func valuesThatWouldEndAHeaderAreRefused() async throws {
        let server = try InProcessServer()
        let path = "sys/config/ui/headers/X-Own"
        #expect(try await server.call(.update, path, #"{"values":["a\r\nX-Evil: 1"]}"#).status == 400)
        #expect(try await server.call(.update, path, #"{"values":[]}"#).status == 400)
        #expect(try await server.call(.list, "sys/config/ui/headers").status == 404)
    }

    @Test func settingsNeedSudo() async throws {
        let server = try InProcessServer()
        let token = try await server.token(#"path "sys/config/*" { capabilities = ["read", "update"] }"#)
        #expect(try await server.call(.read, "sys/config/cors", token: token).status == 403)
        let body = #"{"allowed_origins":"*"}"#
        #expect(try await server.call(.update, "sys/config/cors", body, token: token).status == 403)
    }

    @Test func theConfigurationIsShownAsTheServerGivesIt() async throws {
        var facts = ServerFacts()
        facts.sanitizedConfiguration = { ["log_level": "info"] }
        let server = try InProcessServer(facts: facts)
        let answer = try await server.call(.read, "sys/config/state/sanitized")
        #expect(answer.text("data/log_level") == "info")
        #expect(try await server.call(.read, "sys/config/state/sanitized", token: "").status == 400)
    }
}
