import Base
import Core
import Foundation
import PluginKit
import Synchronization
import TestKit
import Testing

/// `sys/audit` and what enabled devices mean for requests: nothing happens that is not recorded.
@Suite struct AuditTests {
    /// A server with a fake device at `fake/`.
    private func audited(
        _ backend: any StorageBackend = MemoryBackend(), clock: ManualClock = ManualClock()
    ) async throws -> (server: InProcessServer, target: FakeAuditTarget) {
        let target = FakeAuditTarget()
        let server = try InProcessServer(
            backend: backend, clock: clock, shares: 1, threshold: 1, auditKinds: kinds(target))
        #expect(try await server.call(.update, "sys/mounts/kv", #"{"type":"kv"}"#).status == 204)
        #expect(try await server.call(.update, "sys/audit/fake", #"{"type":"fake"}"#).status == 204)
        return (server, target)
    }

    private func kinds(_ targets: FakeAuditTarget...) -> [String: AuditBroker.Kind] {
        var kinds: [String: AuditBroker.Kind] = [:]
        for (index, target) in targets.enumerated() {
            let name = index == 0 ? "fake" : "fake\(index + 1)"
            kinds[name] = AuditBroker.Kind(["colour"]) { _ throws(VaultError) in FakeAuditDevice(target) }
        }
        return kinds
    }

    private func parsed(_ target: FakeAuditTarget) throws -> [RawJSON] {
        try target.records.map { try RawJSON(validating: Array($0.utf8)) }
    }

    /// `type operation path` of the records, without the one that tried the device.
    private func story(_ target: FakeAuditTarget) throws -> [String] {
        try parsed(target).compactMap { record in
            let path = record["request"]?["path"]?.string ?? ""
            if path == "sys/audit/test" { return nil }
            let error = record["error"]?.string == nil ? "" : " error"
            return
                "\(record["type"]?.string ?? "") \(record["request"]?["operation"]?.string ?? "") \(path)\(error)"
        }
    }

    // MARK: The endpoints

    @Test func devicesAreListedAndDisabled() async throws {
        let (server, _) = try await audited()
        let list = try await server.call(.read, "sys/audit")
        #expect(list["data"]?["fake/"]?["type"]?.string == "fake")
        #expect(list["data"]?["fake/"]?["path"]?.string == "fake/")
        #expect(try await server.call(.update, "sys/audit/fake", #"{"type":"fake"}"#).status == 400)
        #expect(try await server.call(.update, "sys/audit/fake/below", #"{"type":"fake"}"#).status == 400)
        #expect(try await server.call(.delete, "sys/audit/fake").status == 204)
        #expect(try await server.call(.delete, "sys/audit/fake").status == 204)
        #expect(try await server.call(.read, "sys/audit")["data"]?.members.isEmpty == true)
    }

    @Test(arguments: [
        ("x", "{}"), ("x", #"{"type":"nope"}"#), ("x", #"{"type":"fake","options":{"strange":"1"}}"#),
        ("x", #"{"type":"fake","options":{"log_raw":"maybe"}}"#), ("x", #"{"type":"fake","local":"maybe"}"#),
        ("x", #"{"type":"fake","options":5}"#), ("a b", #"{"type":"fake"}"#),
        (String(repeating: "x", count: 300), #"{"type":"fake"}"#),
        ("x", #"{"type":"fake","description":"\#(String(repeating: "x", count: 5_000))"}"#),
    ])
    func impossibleDevicesAreRefused(path: String, body: String) async throws {
        let (server, _) = try await audited()
        #expect(try await server.call(.update, "sys/audit/\(path)", body).status == 400)
        #expect(try await server.call(.read, "sys/audit")["data"]?.members.count == 1)
    }

    @Test func thereIsABoundOnDevices() async throws {
        let (server, _) = try await audited()
        for number in 2...16 {
            #expect(try await server.call(.update, "sys/audit/d\(number)", #"{"type":"fake"}"#).status == 204)
        }
        #expect(try await server.call(.update, "sys/audit/d17", #"{"type":"fake"}"#).status == 400)
    }

    @Test func aDeviceThatCannotRecordIsNotEnabled() async throws {
        let target = FakeAuditTarget()
        target.isFailing = true
        let server = try InProcessServer(auditKinds: kinds(target))
        let answer = try await server.call(.update, "sys/audit/fake", #"{"type":"fake"}"#)
        #expect(answer.status == 400)
        #expect(answer.texts("errors").joined().contains("no space left on device"))
        #expect(try await server.call(.read, "sys/audit")["data"]?.members.isEmpty == true)
        let untested = #"{"type":"fake","options":{"skip_test":"true"}}"#
        #expect(try await server.call(.update, "sys/audit/fake", untested).status == 503)
    }

    @Test func onlyThoseWithSudoMayTouchDevices() async throws {
        let (server, _) = try await audited()
        let token = try await server.token(
            #"path "sys/*" { capabilities = ["create", "read", "update", "delete"] }"#)
        for (operation, path) in [
            (PluginKit.Operation.read, "sys/audit"), (.update, "sys/audit/x"), (.delete, "sys/audit/fake"),
            (.read, "sys/config/auditing/request-headers"),
            (.update, "sys/config/auditing/request-headers/x"),
        ] {
            #expect(try await server.call(operation, path, token: token).status == 403)
        }
    }

    @Test func aHashFindsItsValueInTheLog() async throws {
        let (server, target) = try await audited()
        _ = try await server.call(.update, "kv/a", #"{"password":"hunter2"}"#)
        let hash = try await server.call(.update, "sys/audit-hash/fake", #"{"input":"hunter2"}"#).text(
            "data/hash")
        #expect(target.records.contains { $0.contains(hash) })
        #expect(!target.records.contains { $0.contains("hunter2") })
        #expect(try await server.call(.update, "sys/audit-hash/none", #"{"input":"x"}"#).status == 400)
        #expect(try await server.call(.update, "sys/audit-hash/fake", "{}").status == 400)
    }

    @Test func eachDeviceHasASaltOfItsOwn() async throws {
        let (server, _) = try await audited()
        _ = try await server.call(.update, "sys/audit/other", #"{"type":"fake"}"#)
        let body = #"{"input":"hunter2"}"#
        let first = try await server.call(.update, "sys/audit-hash/fake", body).text("data/hash")
        let second = try await server.call(.update, "sys/audit-hash/other", body).text("data/hash")
        #expect(first != second && first.hasPrefix("hmac-sha256:") && second.count == 12 + 64)
    }

    // MARK: What is recorded

    @Test func everyRequestLeavesTwoRecords() async throws {
        let (server, target) = try await audited()
        _ = try await server.call(.update, "kv/a", #"{"v":"1"}"#)
        _ = try await server.call(.read, "kv/a")
        _ = try await server.call(.read, "kv/a", token: "wrong")
        _ = try await server.call(.read, "kv/a", token: "")
        _ = try await server.call(.read, "nothing/here")
        _ = try await server.call(.update, "sys/rotate")
        #expect(
            try story(target) == [
                "response update sys/audit/fake",
                "request update kv/a", "response update kv/a", "request read kv/a", "response read kv/a",
                "request read kv/a", "response read kv/a error",
                "request read kv/a", "response read kv/a error",
                "request read nothing/here", "response read nothing/here error",
                "request update sys/rotate", "response update sys/rotate",
            ])
    }

    @Test func whatTellsOfTheServersStateIsNotRecorded() async throws {
        let (server, target) = try await audited()
        let before = target.records.count
        for path in ["sys/health", "sys/seal-status", "sys/leader", "sys/init"] {
            #expect(try await server.call(.read, path, token: "").status == 200)
        }
        #expect(target.records.count == before)
    }

    @Test func headersAreConfiguredOneByOne() async throws {
        let (server, _) = try await audited()
        let root = "sys/config/auditing/request-headers"
        #expect(try await server.call(.update, "\(root)/X-Test", #"{"hmac":true}"#).status == 204)
        #expect(try await server.call(.update, "\(root)/X-Other").status == 204)
        #expect(server.core.audit.headerNames == ["x-other", "x-test"])
        let one = try await server.call(.read, "\(root)/x-TEST")
        #expect(one["data"]?["x-test"]?["hmac"]?.bool == true)
        #expect(try await server.call(.read, root)["data"]?["headers"]?.members.count == 2)
        #expect(try await server.call(.delete, "\(root)/X-Test").status == 204)
        #expect(server.core.audit.headerNames == ["x-other"])
        for name in ["X-Vault-Token", "authorization", "Cookie", "a b", "a:b"] {
            #expect(try await server.call(.update, "\(root)/\(name)").status == 400, "\(name)")
        }
        #expect(try await server.call(.update, "\(root)/x", #"{"hmac":"q"}"#).status == 400)
    }

    // MARK: Failing closed

    @Test func withoutADeviceThatRecordsNothingHappens() async throws {
        let (server, target) = try await audited()
        _ = try await server.call(.update, "kv/a", #"{"v":"old"}"#)
        target.isFailing = true
        for (operation, path, body) in [
            (PluginKit.Operation.update, "kv/a", #"{"v":"new"}"#), (.read, "kv/a", ""), (.delete, "kv/a", ""),
            (.update, "sys/rotate", ""), (.read, "nothing", ""), (.update, "auth/token/create", "{}"),
        ] {
            let answer = try await server.call(operation, path, body)
            #expect(answer.status == 503, "\(operation) \(path)")
            #expect(answer["data"] == nil && answer["auth"] == nil)
        }
        let health = try await server.call(.read, "sys/health", token: "")
        #expect(health.status == 200 && health["audit_available"]?.bool == false)
        target.isFailing = false
        #expect(try await server.call(.read, "kv/a").text("data/v") == "old")
        #expect(try await server.call(.read, "sys/health", token: "")["audit_available"] == nil)
        let accessors = try await server.call(.list, "auth/token/accessors")
        #expect(accessors["data"]?["keys"]?.elements.count == 1)
    }

    @Test func oneDeviceThatRecordsIsEnough() async throws {
        let (first, second) = (FakeAuditTarget(), FakeAuditTarget())
        let server = try InProcessServer(auditKinds: kinds(first, second))
        _ = try await server.call(.update, "sys/mounts/kv", #"{"type":"kv"}"#)
        _ = try await server.call(.update, "sys/audit/one", #"{"type":"fake"}"#)
        _ = try await server.call(.update, "sys/audit/two", #"{"type":"fake2"}"#)
        first.isFailing = true
        #expect(try await server.call(.update, "kv/a", #"{"v":"1"}"#).status == 204)
        #expect(try await server.call(.read, "kv/a").text("data/v") == "1")
        second.isFailing = true
        #expect(try await server.call(.read, "kv/a").status == 503)
        first.isFailing = false
        #expect(try await server.call(.read, "kv/a").status == 200)
    }

    @Test func aDeviceThatHangsIsGivenUpAndComesBack() async throws {
        let clock = ManualClock()
        let (server, target) = try await audited(clock: clock)
        _ = try await server.call(.update, "kv/a", #"{"v":"old"}"#)
        target.isHanging = true
        let answered = Flag()
        async let waiting = {
            let answer = try await server.call(.update, "kv/a", #"{"v":"new"}"#)
            answered.raise()
            return answer
        }()
        // The clock moves only when nothing else can end the wait.
        while !answered.isRaised {
            clock.advance(.seconds(6))
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(try await waiting.status == 503)
        #expect(try await server.call(.read, "kv/a").status == 503)
        target.isHanging = false
        while try await server.call(.read, "kv/a").status == 503 {
            try await Task.sleep(for: .milliseconds(5))
        }
        #expect(try await server.call(.read, "kv/a").text("data/v") == "old")
    }

    @Test func aCommitThatFailsIsRecordedAsAFailure() async throws {
        let backend = FailingBackend()
        let (server, target) = try await audited(backend)
        backend.fail(after: 0)
        #expect(try await server.call(.update, "kv/a", #"{"v":"1"}"#).status == 503)
        backend.recover()
        #expect(
            try story(target).suffix(3) == [
                "request update kv/a", "response update kv/a", "response update kv/a error",
            ])
    }

    @Test func whatIsRunAgainIsRecordedAgain() async throws {
        let (server, target) = try await audited()
        let token = try await server.token(#"path "kv/*" { capabilities = ["create", "update", "read"] }"#)
        // Each of them reads and writes the same token's count of uses.
        let limited = try await server.call(
            .update, "auth/token/create", #"{"policies":["limited"],"num_uses":50}"#
        ).text("auth/client_token")
        _ = token
        try await withThrowingTaskGroup(of: Int.self) { group in
            for number in 0..<40 {
                group.addTask {
                    try await server.call(.update, "kv/k\(number)", #"{"v":"1"}"#, token: limited).status
                }
            }
            for try await status in group { #expect(status == 204) }
        }
        for number in 0..<40 {
            let mine = try story(target).filter { $0.hasSuffix("update kv/k\(number)") }
            #expect(mine.first == "request update kv/k\(number)")
            #expect(mine.dropFirst().allSatisfy { $0 == "response update kv/k\(number)" } && mine.count >= 2)
        }
    }

    @Test func devicesAndSaltsSurviveSealing() async throws {
        let (server, target) = try await audited()
        let body = #"{"input":"hunter2"}"#
        let before = try await server.call(.update, "sys/audit-hash/fake", body).text("data/hash")
        #expect(try await server.call(.update, "sys/seal").status == 204)
        #expect(!server.core.audit.isEnabled)
        #expect(try story(target).last == "request update sys/seal")
        try server.seal.enter(share: SecretBytes(copying: server.keys[0].utf8))
        #expect(server.core.audit.isEnabled)
        #expect(try await server.call(.update, "sys/audit-hash/fake", body).text("data/hash") == before)
    }

    @Test func manyRequestsShareOneWrite() async throws {
        let (server, target) = try await audited()
        target.isHanging = true
        try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<50 { group.addTask { try await server.call(.read, "sys/audit").status } }
            try await Task.sleep(for: .milliseconds(200))
            target.isHanging = false
            for try await status in group { #expect(status == 200) }
        }
        #expect(target.groups.contains { $0 > 1 })
    }

    @Test func reopeningReachesTheDevice() async throws {
        let (server, target) = try await audited()
        server.core.audit.reopen()
        _ = try await server.call(.read, "sys/audit")
        #expect(target.reopenings == 1)
    }

    private final class Flag: Sendable {
        private let value = Mutex(false)
        var isRaised: Bool { value.withLock { $0 } }
        func raise() { value.withLock { $0 = true } }
    }
}
