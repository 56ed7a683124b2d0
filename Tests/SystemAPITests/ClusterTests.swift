import Base
import Core
import PluginKit
import Synchronization
import Testing
import TestKit

/// Active and standby nodes over a cluster in memory (docs/decisions/010).
@Suite struct ClusterTests {
    private static let forwarded = InProcessServer.Answer.forwarded

    private static func mounted(_ nodes: Int = 3) async throws -> ClusterServers {
        let servers = try await ClusterServers(nodes: nodes)
        _ = try await servers.ask(0, .update, "sys/mounts/kv", #"{"type":"kv"}"#)
        return servers
    }

    // MARK: Reads and writes

    @Test func everyNodeReadsWhatTheActiveOneWrote() async throws {
        let servers = try await Self.mounted()
        #expect(try await servers.ask(0, .update, "kv/a", #"{"v":"1"}"#).status == 204)
        for node in 0..<3 {
            let answer = try await servers.ask(node, .read, "kv/a")
            #expect(answer.status == 200)
            #expect(answer.text("data/v") == "1")
        }
        #expect(try await servers.ask(2, .list, "kv").texts("data/keys") == ["a"])
        #expect(try await servers.ask(1, .read, "kv/none").status == 404)
    }

    @Test func standbyForwardsWrites() async throws {
        let servers = try await Self.mounted()
        for (operation, path) in [
            (PluginKit.Operation.update, "kv/a"), (.delete, "kv/a"), (.patch, "kv/a"),
            (.update, "sys/mounts/other"), (.update, "auth/token/create"),
        ] {
            #expect(try await servers.ask(1, operation, path, "{}").status == Self.forwarded)
        }
        #expect(try await servers.call(2, .update, "kv/b", #"{"v":"2"}"#).status == 204)
        #expect(try await servers.ask(1, .read, "kv/b").text("data/v") == "2")
    }

    @Test func readThatWantsAWriteIsForwardedAndDoneOnce() async throws {
        let servers = try await Self.mounted()
        _ = try await servers.ask(0, .update, "kv/a", #"{"v":"1"}"#)
        let made = try await servers.ask(
            0, .update, "auth/token/create", #"{"policies":["root"],"num_uses":2}"#)
        let token = made.text("auth/client_token")
        #expect(try await servers.ask(1, .read, "kv/a", token: token).status == Self.forwarded)
        #expect(try await servers.ask(1, .read, "kv/a", token: token).status == Self.forwarded)
        #expect(try await servers.call(1, .read, "kv/a", token: token).status == 200)
        #expect(try await servers.call(2, .read, "kv/a", token: token).status == 200)
        #expect(try await servers.call(1, .read, "kv/a", token: token).status == 403)
    }

    @Test func readOnActiveNodeWaitsForItsIndex() async throws {
        let servers = try await Self.mounted(1)
        let before = servers.cluster.confirmations
        _ = try await servers.ask(0, .read, "kv/none")
        #expect(servers.cluster.confirmations == before + 1)
        _ = try await servers.ask(0, .update, "kv/a", #"{"v":"1"}"#)
        #expect(servers.cluster.confirmations == before + 1, "a commit confirms itself")
        _ = try await servers.ask(0, .update, "kv/a", "{}", token: "nobody's")
        #expect(servers.cluster.confirmations == before + 2, "a refusal is an answer, too")
    }

    @Test func oneIndexServesAllReadsOfATurn() async throws {
        let servers = try await Self.mounted(1)
        let loop = try FakeLoop(servers.servers[0])
        defer { loop.stop() }
        let before = servers.cluster.confirmations
        let statuses = await loop.turn(reads: 50, path: "kv/none", token: servers.rootToken)
        #expect(statuses == Array(repeating: 404, count: 50))
        #expect(servers.cluster.confirmations == before + 1)
        _ = await loop.turn(reads: 1, path: "kv/none", token: servers.rootToken)
        #expect(servers.cluster.confirmations == before + 2)
    }

    // MARK: Changes of leader

    @Test func anotherNodeTakesOverWithoutUnsealing() async throws {
        let servers = try await Self.mounted()
        _ = try await servers.ask(0, .update, "kv/a", #"{"v":"1"}"#)
        try await servers.fail(over: 2)
        try await servers.wait("the old one is a standby") { servers.servers[0].core.active?.duty == nil }
        #expect(try await servers.ask(0, .update, "kv/a", #"{"v":"2"}"#).status == Self.forwarded)
        #expect(try await servers.call(0, .update, "kv/a", #"{"v":"2"}"#).status == 204)
        for node in 0..<3 {
            #expect(try await servers.ask(node, .read, "kv/a").text("data/v") == "2")
        }
        try await servers.fail(over: 0)
        #expect(try await servers.ask(0, .update, "kv/a", #"{"v":"3"}"#).status == 204)
        #expect(try await servers.ask(1, .read, "kv/a").text("data/v") == "3")
    }

    @Test func deposedLeaderThatDoesNotKnowAnswersNothing() async throws {
        let servers = try await Self.mounted()
        _ = try await servers.ask(0, .update, "kv/a", #"{"v":"old"}"#)
        servers.cluster.cut(0)
        try await servers.fail(over: 1)
        _ = try await servers.ask(1, .update, "kv/a", #"{"v":"new"}"#)
        let stale = servers.servers[0]
        #expect(stale.core.active?.duty != nil, "it still believes in itself")
        #expect(!stale.core.isActive, "and says nothing of it")
        #expect(try await servers.ask(0, .read, "kv/a").status == 503)
        #expect(try await servers.ask(0, .update, "kv/a", #"{"v":"lost"}"#).status == 503)
        // A refusal would tell what the token was, once.
        #expect(try await servers.ask(0, .update, "kv/a", "{}", token: "nobody's").status == 503)
        servers.cluster.heal(0)
        try await servers.wait("it follows") { stale.core.active?.duty == nil }
        #expect(try await servers.ask(0, .read, "kv/a").text("data/v") == "new")
    }

    @Test func deposedLeaderTakesNoSecretBack() async throws {
        let outside = FakeOutside()
        let servers = try await ClusterServers(engines: [
            "leasing": { context throws(VaultError) in
                MountRegistry.parts(of: FakeLeasingEngine(context, outside: outside))
            }
        ])
        _ = try await servers.ask(0, .update, "sys/mounts/lease", #"{"type":"leasing"}"#)
        let leased = try await servers.ask(0, .read, "lease/creds/app", #"{"ttl":"1h"}"#)
        let id = leased.text("lease_id")
        #expect(!id.isEmpty)
        let duty = try #require(servers.servers[0].core.active?.duty)
        servers.cluster.cut(0)
        try await servers.fail(over: 1)
        // The one that is active now may have renewed it.
        await #expect(throws: VaultError.self) { try await duty.revoker.revoke(id) }
        #expect(outside.attempts == 0)
        #expect(outside.living.count == 1)
        try await servers.servers[1].core.active?.onDuty().revoker.revoke(id)
        #expect(outside.living.isEmpty)
    }

    @Test func standbyCutOffRefusesSoon() async throws {
        let servers = try await Self.mounted()
        servers.cluster.cut(2)
        // That it takes two seconds at most is measured by ha_test; beside other tests it only must end.
        let answer = try await servers.ask(2, .read, "kv/a")
        #expect(answer.status == 503)
        #expect(try await servers.ask(2, .read, "sys/health").status == 474)
    }

    @Test func readWaitsForTheNextLeader() async throws {
        let servers = try await Self.mounted()
        _ = try await servers.ask(0, .update, "kv/a", #"{"v":"1"}"#)
        let began = ContinuousClock.now
        servers.cluster.depose()
        async let answer = servers.ask(1, .read, "kv/a")
        try await Task.sleep(for: .milliseconds(50))
        servers.cluster.elect(2)
        let status = try await answer.status
        // It waits for two seconds, which a busy machine may take for the lines above.
        #expect(status == 200 || ContinuousClock.now - began > .seconds(2))
    }

    @Test func queueOfASteppingNodeGoesToItsSuccessor() async throws {
        let servers = try await Self.mounted()
        servers.cluster.holdCommits(true)
        let writes = (0..<20).map { number in
            Task { try await servers.call(0, .update, "kv/k\(number)", #"{"v":"x"}"#).status }
        }
        try await Task.sleep(for: .milliseconds(50))
        let stepDown = Task { try await servers.ask(0, .update, "sys/step-down").status }
        try await Task.sleep(for: .milliseconds(20))
        servers.cluster.holdCommits(false)
        #expect(try await stepDown.value == 204)
        #expect(servers.cluster.leader != 0)
        for write in writes { #expect(try await write.value == 204) }
        #expect(try await servers.ask(0, .list, "kv").texts("data/keys").count == 20)
    }

    @Test func writeOfUnknownOutcomeIsNotDoneAgain() async throws {
        let servers = try await Self.mounted(1)
        servers.cluster.holdCommits(true)
        let before = servers.cluster.commits
        let writes = (0..<8).map { number in
            Task { try await servers.ask(0, .update, "kv/k\(number)", #"{"v":"x"}"#).status }
        }
        try await Task.sleep(for: .milliseconds(50))
        servers.cluster.loseAnswers(true)
        servers.cluster.holdCommits(false)
        for write in writes { #expect(try await write.value == 503) }
        let made = servers.cluster.commits - before
        #expect((1...8).contains(made), "each batch once: \(made)")
        servers.cluster.loseAnswers(false)
        // All of them took effect: a client that looks finds what it wrote, once.
        #expect(try await servers.ask(0, .list, "kv").texts("data/keys").count == 8)
        #expect(try await servers.ask(0, .update, "kv/k0", #"{"v":"y"}"#).status == 204)
        #expect(try await servers.ask(0, .read, "kv/k0").text("data/v") == "y")
    }

    @Test func stepDownOfAStandbyDoesNothing() async throws {
        let servers = try await Self.mounted()
        #expect(try await servers.ask(1, .update, "sys/step-down").status == 204)
        #expect(servers.cluster.leader == 0)
        #expect(try await servers.ask(1, .update, "sys/step-down", token: "nobody's").status == 403)
    }

    @Test func nodeWithNobodyToTakeOverGoesOn() async throws {
        let servers = try await Self.mounted()
        for node in 1...2 { servers.cluster.cut(node) }
        #expect(try await servers.ask(0, .update, "sys/step-down").status == 503)
        for node in 1...2 { servers.cluster.heal(node) }
        #expect(try await servers.ask(0, .update, "kv/a", #"{"v":"1"}"#).status == 204)
    }

    @Test func sealingTheActiveNodeHandsOver() async throws {
        let servers = try await Self.mounted()
        #expect(try await servers.ask(0, .update, "sys/seal").status == 204)
        #expect(servers.cluster.leader != 0)
        #expect(servers.servers[0].core.active == nil)
        #expect(try await servers.ask(0, .read, "kv/a").status == 503)
        try servers.servers[0].seal.enter(share: SecretBytes(copying: servers.keys[0].utf8))
        #expect(try await servers.ask(0, .read, "kv/a").status == 404)
    }

    @Test func standbySealsItselfAndNoOther() async throws {
        let servers = try await Self.mounted()
        #expect(try await servers.ask(1, .update, "sys/seal").status == 204)
        #expect(servers.servers[1].core.active == nil)
        #expect(servers.servers[0].core.isActive)
    }
}

/// A loop as `Net` has it: one thread, and work that comes behind what the thread has at hand.
final class FakeLoop: Sendable {
    private let queue = BlockingQueue<@Sendable (LoopContext) -> Void>(limit: 10_000)
    private let thread: Thread
    private let server: InProcessServer

    init(_ server: InProcessServer) throws {
        self.server = server
        let queue = self.queue
        let backend = server.backend
        thread = try Thread(name: "loop") {
            let context = LoopContext(backend: backend)
            context.post = { _ = queue.push($0) }
            while true {
                let work = queue.take(most: 1)
                if work.isEmpty { return }
                for body in work { body(context) }
            }
        }
    }

    /// Statuses of so many reads that come in one turn.
    func turn(reads count: Int, path: String, token: String) async -> [Int] {
        let statuses = Statuses()
        return await withCheckedContinuation { continuation in
            _ = queue.push { [server] context in
                for _ in 0..<count {
                    let request = LogicalRequest(
                        id: "read", operation: .read, path: path, now: server.clock.now())
                    server.dispatcher.dispatch(request, token: Array(token.utf8), context: context) {
                        outcome, _ in
                        let all = statuses.add(outcome)
                        if all.count == count { continuation.resume(returning: all) }
                    }
                }
            }
        }
    }

    private final class Statuses: Sendable {
        private let all = Mutex<[Int]>([])

        func add(_ outcome: Outcome) -> [Int] {
            let status =
                switch outcome {
                case .success: 200
                case .failure(let error): error.status
                case .forward: 0
                }
            return all.withLock { all in
                all.append(status)
                return all
            }
        }
    }

    func stop() {
        queue.close()
        thread.join()
    }
}
