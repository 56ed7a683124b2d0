import Base
import Core
import PluginKit
import Synchronization
import TestKit
import Testing

/// What a node tells of itself, and what of it can be changed while it runs.
@Suite struct HostTests {
    @Test func theMachineIsDescribed() async throws {
        let server = try InProcessServer()
        let info = try await server.call(.read, "sys/host-info")
        #expect(info["data/memory/total"]?.int ?? 0 > 0)
        #expect(info["data/cpu_times"]?.elements.isEmpty == false)
        #expect(!info.text("data/host/hostname").isEmpty)
    }

    @Test func aRequestThatWaitsIsInFlight() async throws {
        let server = try InProcessServer()
        let answer = try await server.call(.read, "sys/in-flight-req")
        #expect(answer.text("data/test/request_path") == "/v1/sys/in-flight-req")
        #expect(server.core.inFlight.all.isEmpty)
    }

    @Test func aVersionIsEnteredOnce() async throws {
        let server = try InProcessServer(shares: 1, threshold: 1)
        let first = try await server.call(.list, "sys/version-history")
        #expect(first.texts("data/keys") == [Version.api])
        server.clock.advance(.seconds(60))
        server.core.seal()
        try server.seal.enter(share: SecretBytes(copying: server.keys[0].utf8))
        let second = try await server.call(.list, "sys/version-history")
        #expect(second["data"]?.bytes == first["data"]?.bytes)
    }

    @Test func tokensAreCounted() async throws {
        let server = try InProcessServer()
        for _ in 0..<3 { _ = try await server.call(.update, "auth/token/create", "{}") }
        let answer = try await server.call(.read, "sys/internal/counters/tokens")
        #expect(answer["data/counters/service_tokens/total"]?.int == 4)
    }

    @Test func theLogsLevelIsChangedAndSetBack() async throws {
        let server = try InProcessServer()
        #expect(try await server.call(.read, "sys/loggers").text("data/holdfast") == "error")
        #expect(try await server.call(.update, "sys/loggers", #"{"level":"debug"}"#).status == 204)
        #expect(server.core.log.isEnabled(.debug))
        #expect(try await server.call(.delete, "sys/loggers/holdfast").status == 204)
        #expect(!server.core.log.isEnabled(.warn))
        #expect(try await server.call(.update, "sys/loggers", #"{"level":"loud"}"#).status == 400)
        #expect(try await server.call(.read, "sys/loggers/other").status == 404)
    }

    @Test func aListenerSeesWhatTheLogItselfLeavesOut() {
        let log = Log(level: .error)
        let lines = Lines()
        let listener = log.addListener(level: .debug, format: .json) { lines.add($0) }
        log.debug("seen", ["key": "value"])
        log.trace("unseen")
        log.removeListener(listener)
        log.debug("too late")
        #expect(lines.all.count == 1)
        #expect(lines.all.first?.contains(#""@message":"seen""#) == true)
    }

    @Test func pluginsAreThoseOfTheProgram() async throws {
        let server = try InProcessServer()
        #expect(try await server.call(.read, "sys/plugins/catalog").texts("data/secret") == ["kv"])
        #expect(try await server.call(.list, "sys/plugins/catalog/secret").texts("data/keys") == ["kv"])
        let body = #"{"sha256":"\#(String(repeating: "a", count: 64))","command":"x"}"#
        #expect(try await server.call(.update, "sys/plugins/catalog/secret/x", body).status == 400)
        #expect(try await server.call(.delete, "sys/plugins/catalog/secret/kv").status == 400)
        #expect(try await server.call(.read, "sys/plugins/catalog/nonsense/kv").status == 400)
    }

    @Test func aReloadedMountKeepsItsSecretsAndGetsANewEngine() async throws {
        let server = try InProcessServer()
        _ = try await server.call(.update, "sys/mounts/kv", #"{"type":"kv"}"#)
        _ = try await server.call(.update, "kv/a", #"{"v":"1"}"#)
        let before = try #require(server.core.mounts.current.exactly("kv/"))
        let answer = try await server.call(.update, "sys/plugins/reload/backend", #"{"mounts":["kv/"]}"#)
        #expect(answer.status == 200)
        let after = try #require(server.core.mounts.current.exactly("kv/"))
        #expect(before !== after)
        #expect(try await server.call(.read, "kv/a").text("data/v") == "1")
        let unknown = try await server.call(.update, "sys/plugins/reload/backend", #"{"plugin":"none"}"#)
        #expect(unknown.status == 400)
        #expect(try await server.call(.update, "sys/plugins/reload/backend", "{}").status == 400)
    }
}

/// Lines that a log gave.
private final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }
    func add(_ line: [UInt8]) { lines.withLock { $0.append(String(decoding: line, as: UTF8.self)) } }
}
