import Base
import PluginKit
import Synchronization
import TestKit
import Testing

@testable import Core

/// What a server does when its storage has no room.
@Suite struct FullStorageTests {
    @Test func aWriteThatDoesNotFitFailsAloneWhenItIsCommittedWithOthers() async throws {
        let backend = FailingBackend()
        let server = try InProcessServer(backend: backend, shares: 1, threshold: 1)
        _ = try await server.call(.update, "sys/mounts/kv", #"{"type":"kv"}"#)
        backend.room.store(20_000, ordering: .relaxed)
        let long = #"{"v":""# + String(repeating: "x", count: 30_000) + #""}"#
        let statuses = try await withThrowingTaskGroup(of: (isLong: Bool, status: Int).self) { group in
            for number in 0..<120 {
                let isLong = number % 10 == 5
                group.addTask {
                    let body = isLong ? long : #"{"v":"1"}"#
                    return (isLong, try await server.call(.update, "kv/k\(number)", body).status)
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(statuses.filter(\.isLong).allSatisfy { $0.status == 503 })
        #expect(statuses.filter { !$0.isLong }.allSatisfy { $0.status == 204 })
        let listed = try await server.call(.list, "kv")
        #expect(listed.texts("data/keys").count == 108)
    }
}
