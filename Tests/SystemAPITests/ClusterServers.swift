import Base
import Core
import PluginKit
import Testing
import TestKit

/// Several whole cores over a cluster in memory; what one forwards is asked of the leader, as the API front
/// does.
final class ClusterServers: Sendable {
    let cluster: FakeCluster
    let servers: [InProcessServer]
    /// Which node gets a share of the unseal key in whatever order the test likes.
    let keys: [String]
    let rootToken: String

    /// All nodes initialised, unsealed and following the first, which is active.
    init(
        nodes count: Int = 3, engines: [String: MountRegistry.Factory] = [:],
        auditKinds: (Int) -> [String: AuditBroker.Kind] = { _ in [:] }
    ) async throws {
        let cluster = FakeCluster(nodes: count)
        func server(_ index: Int, shares: Int) throws -> InProcessServer {
            let node = cluster.nodes[index]
            return try InProcessServer(
                backend: node, shares: shares, threshold: 1, engines: engines, auditKinds: auditKinds(index),
                role: node, takesPart: ({ node.join() }, { node.leave() }))
        }
        let first = try server(0, shares: 1)
        var servers = [first]
        for index in 1..<count {
            cluster.nodes[index].catchUp()
            let next = try server(index, shares: 0)
            try next.seal.enter(share: SecretBytes(copying: first.keys[0].utf8))
            servers.append(next)
        }
        self.cluster = cluster
        self.servers = servers
        keys = first.keys
        rootToken = first.rootToken
        try await wait("the first node is active") { first.core.isActive }
    }

    /// One request to a node, answered by that very node; `Answer.forwarded` when it must be forwarded.
    func ask(
        _ node: Int, _ operation: PluginKit.Operation, _ path: String, _ body: String = "",
        token: String? = nil, cluster: ClusterOptions? = nil
    ) async throws -> InProcessServer.Answer {
        try await servers[node].call(operation, path, body, token: token ?? rootToken, cluster: cluster)
    }

    /// The same, handed to the leader when the node says so.
    func call(
        _ node: Int, _ operation: PluginKit.Operation, _ path: String, _ body: String = "",
        token: String? = nil
    ) async throws -> InProcessServer.Answer {
        var node = node
        for _ in 0..<2_000 {
            let answer = try await ask(node, operation, path, body, token: token)
            guard answer.status == InProcessServer.Answer.forwarded else { return answer }
            node = cluster.leader ?? node
            // The next leader has yet to take up its duty.
            if servers[node].core.active?.duty == nil { try await Task.sleep(for: .milliseconds(5)) }
        }
        throw VaultError.standby
    }

    /// Makes another node the active one.
    func fail(over node: Int) async throws {
        cluster.elect(node)
        try await wait("node \(node) is active") { self.servers[node].core.isActive }
    }

    /// Waits for a condition that must come to hold.
    func wait(_ what: String, _ condition: @Sendable () throws -> Bool) async throws {
        let came = try await Patience.awaits(condition)
        #expect(came, "never came: \(what)")
    }
}
