import Base
import Core
import PluginKit
import TestKit
import Testing

/// Help and the OpenAPI document.
@Suite struct DescriptionTests {
    @Test func aMountsHelpNamesItsPaths() async throws {
        let server = try InProcessServer()
        _ = try await server.call(.update, "sys/mounts/kv", #"{"type":"kv-v2"}"#)
        let help = try await server.call(.help, "kv/")
        #expect(help.text("help").contains("data/*path"))
        #expect(!help.text("help").contains("No such path"))
        #expect(help["openapi/paths"]?.members.contains { $0.name == "/kv/data/{path}" } == true)
    }

    @Test func aPathsHelpNamesItsParameters() async throws {
        let server = try InProcessServer()
        let help = try await server.call(.help, "sys/rotate/config")
        #expect(help.text("help").contains("max_operations"))
        #expect(help["openapi/paths"]?.members.map(\.name) == ["/sys/rotate/config"])
        #expect(try await server.call(.help, "sys/no/such/path").status == 404)
        #expect(try await server.call(.help, "nowhere/").status == 404)
    }

    @Test func helpNeedsATokenAndNothingMore() async throws {
        let server = try InProcessServer()
        let limited = try await server.token("")
        #expect(try await server.call(.help, "sys/rotate", token: limited).status == 200)
        #expect(try await server.call(.help, "sys/rotate", token: "").status == 400)
        #expect(try await server.call(.help, "sys/rotate", token: "hvs.none").status == 403)
    }

    @Test func theDocumentHoldsOnlyMountsThatTheCallerMayUse() async throws {
        let server = try InProcessServer()
        _ = try await server.call(.update, "sys/mounts/mine", #"{"type":"kv"}"#)
        _ = try await server.call(.update, "sys/mounts/theirs", #"{"type":"kv"}"#)
        let limited = try await server.token(#"path "mine/*" { capabilities = ["read"] }"#)
        func paths(_ token: String?, _ body: String = "") async throws -> [String] {
            let answer = try await server.call(.read, "sys/internal/specs/openapi", body, token: token)
            return answer["paths"]?.members.map(\.name) ?? []
        }
        #expect(try await paths(nil).contains { $0.hasPrefix("/theirs/") })
        #expect(try await paths(limited).contains { $0.hasPrefix("/mine/") })
        #expect(try await !paths(limited).contains { $0.hasPrefix("/theirs/") })
        #expect(try await paths("").isEmpty)
        let generic = try await paths(nil, #"{"generic_mount_paths":true}"#)
        #expect(generic.contains { $0.hasPrefix("/{kv_mount_path}/") })
        #expect(!generic.contains { $0.hasPrefix("/mine/") })
    }
}
