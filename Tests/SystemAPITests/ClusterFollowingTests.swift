import Base
import Core
import PluginKit
import Testing
import TestKit

/// What an unsealed standby takes over from the active node: caches, keys, seal, and what it says of itself.
@Suite struct ClusterFollowingTests {
    private static let forwarded = InProcessServer.Answer.forwarded

    @Test func cachesFollowTheActiveNode() async throws {
        let servers = try await ClusterServers()
        #expect(try await servers.ask(1, .read, "kv/a").status == 404)
        _ = try await servers.ask(0, .update, "sys/mounts/kv", #"{"type":"kv"}"#)
        _ = try await servers.ask(0, .update, "kv/a", #"{"v":"1"}"#)
        let policy = #"{"policy":"path \"kv/a\" { capabilities = [\"read\"] }"}"#
        _ = try await servers.ask(0, .update, "sys/policies/acl/reader", policy)
        let made = try await servers.ask(0, .update, "auth/token/create", #"{"policies":["reader"]}"#)
        let token = made.text("auth/client_token")
        for node in 0..<3 { #expect(try await servers.ask(node, .read, "kv/a", token: token).status == 200) }
        let none = #"{"policy":"path \"kv/b\" { capabilities = [\"read\"] }"}"#
        _ = try await servers.ask(0, .update, "sys/policies/acl/reader", none)
        for node in 0..<3 { #expect(try await servers.ask(node, .read, "kv/a", token: token).status == 403) }
        _ = try await servers.ask(0, .update, "sys/policies/acl/reader", policy)
        for node in 0..<3 { #expect(try await servers.ask(node, .read, "kv/a", token: token).status == 200) }
        _ = try await servers.ask(0, .update, "auth/token/revoke", #"{"token":"\#(token)"}"#)
        for node in 0..<3 { #expect(try await servers.ask(node, .read, "kv/a", token: token).status == 403) }
        _ = try await servers.ask(0, .delete, "sys/mounts/kv")
        for node in 0..<3 { #expect(try await servers.ask(node, .read, "kv/a").status == 404) }
    }

    @Test func revokedTreeIsDeadOnEveryNode() async throws {
        let servers = try await ClusterServers()
        let parent = try await servers.ask(0, .update, "auth/token/create", #"{"policies":["root"]}"#)
            .text("auth/client_token")
        let child = try await servers.ask(0, .update, "auth/token/create", "{}", token: parent)
            .text("auth/client_token")
        for node in 0..<3 {
            #expect(try await servers.ask(node, .read, "auth/token/lookup-self", token: child).status == 200)
        }
        _ = try await servers.ask(0, .update, "auth/token/revoke", #"{"token":"\#(parent)"}"#)
        for node in 0..<3 {
            #expect(try await servers.ask(node, .read, "auth/token/lookup-self", token: child).status == 403)
        }
    }

    @Test func standbysFollowARotatedKey() async throws {
        let servers = try await ClusterServers()
        _ = try await servers.ask(0, .update, "sys/mounts/kv", #"{"type":"kv"}"#)
        #expect(try await servers.ask(0, .update, "sys/rotate").status == 204)
        _ = try await servers.ask(0, .update, "kv/a", #"{"v":"new term"}"#)
        for node in 0..<3 {
            #expect(try await servers.ask(node, .read, "kv/a").text("data/v") == "new term")
        }
        try await servers.fail(over: 1)
        #expect(try await servers.ask(1, .read, "sys/key-status")["data/term"]?.int == 2)
        #expect(try await servers.ask(2, .read, "sys/key-status").status == Self.forwarded)
    }

    @Test func standbysFollowANewRootKey() async throws {
        let servers = try await ClusterServers()
        let begun = try await servers.ask(
            0, .update, "sys/rekey/init", #"{"secret_shares":1,"secret_threshold":1}"#)
        let nonce = begun.text("nonce")
        let done = try await servers.ask(
            0, .update, "sys/rekey/update", #"{"key":"\#(servers.keys[0])","nonce":"\#(nonce)"}"#)
        let key = try #require(done.texts("keys").first)
        #expect(try await servers.ask(0, .update, "sys/rotate").status == 204)
        try await servers.fail(over: 2)
        #expect(try await servers.ask(2, .update, "sys/rotate").status == 204)
        // The old share opens nothing more, the new one every node.
        let server = servers.servers[1]
        server.core.seal()
        #expect(throws: VaultError.self) {
            try server.seal.enter(share: SecretBytes(copying: servers.keys[0].utf8))
        }
        try server.seal.enter(share: SecretBytes(copying: key.utf8))
        #expect(try await servers.ask(1, .read, "sys/mounts").status == 200)
    }

    @Test func operationsInMemoryEndWithTheDuty() async throws {
        let servers = try await ClusterServers()
        _ = try await servers.ask(0, .update, "sys/generate-root/attempt")
        #expect(try await servers.ask(0, .read, "sys/generate-root/attempt")["started"]?.bool == true)
        #expect(try await servers.ask(1, .read, "sys/generate-root/attempt").status == Self.forwarded)
        try await servers.fail(over: 1)
        try await servers.wait("the first one follows") { servers.servers[0].core.active?.duty == nil }
        try await servers.fail(over: 0)
        #expect(try await servers.ask(0, .read, "sys/generate-root/attempt")["started"]?.bool == false)
    }

    @Test func backgroundWorkIsTheActiveNodesAlone() async throws {
        let servers = try await ClusterServers()
        let token = try await servers.ask(
            0, .update, "auth/token/create", #"{"policies":["default"],"ttl":"1m"}"#
        ).text("auth/client_token")
        for server in servers.servers { server.clock.advance(.seconds(61)) }
        for node in 0..<3 {
            #expect(try await servers.ask(node, .read, "auth/token/lookup-self", token: token).status == 403)
        }
        try await servers.fail(over: 1)
        for node in 0..<3 {
            #expect(try await servers.ask(node, .read, "auth/token/lookup-self", token: token).status == 403)
        }
    }

    // MARK: What a node says of itself

    @Test func healthTellsTheRole() async throws {
        let servers = try await ClusterServers()
        let active = try await servers.ask(0, .read, "sys/health")
        #expect(active.status == 200)
        #expect(active["standby"]?.bool == false)
        let standby = try await servers.ask(1, .read, "sys/health")
        #expect(standby.status == 429)
        #expect(standby["standby"]?.bool == true)
        #expect(standby["sealed"]?.bool == false)
        #expect(standby.text("cluster_id") == active.text("cluster_id"))
    }

    @Test func leaderNamesTheActiveNode() async throws {
        let servers = try await ClusterServers()
        let active = try await servers.ask(0, .read, "sys/leader")
        #expect(active["is_self"]?.bool == true)
        #expect(active["ha_enabled"]?.bool == true)
        #expect(!active.text("active_time").hasPrefix("0001-"))
        let standby = try await servers.ask(2, .read, "sys/leader")
        #expect(standby["is_self"]?.bool == false)
        #expect(standby.text("leader_address") == "http://n0:8200")
        #expect(standby.text("leader_cluster_address") == "https://n0:8201")
        #expect(standby.text("active_time").hasPrefix("0001-"))
        servers.servers[2].core.seal()
        #expect(try await servers.ask(2, .read, "sys/leader").status == 503)
    }

    @Test func haStatusListsTheNodes() async throws {
        let servers = try await ClusterServers()
        #expect(try await servers.ask(1, .read, "sys/ha-status").status == Self.forwarded)
        let nodes = try #require(try await servers.ask(0, .read, "sys/ha-status")["data/nodes"]?.elements)
        #expect(nodes.count == 3)
        #expect(nodes.map { $0["active_node"]?.bool } == [true, false, false])
    }

    // MARK: Headers

    @Test func writesTellTheirIndexAndReadsWaitForIt() async throws {
        let servers = try await ClusterServers()
        let written = try await servers.ask(0, .update, "sys/mounts/kv", #"{"type":"kv"}"#)
        let index = try CommitIndex(header: try #require(written.headers[CommitIndex.headerName]))
        #expect(index.sequence > 0)
        var options = ClusterOptions()
        options.requiredSequence = index.sequence
        #expect(try await servers.ask(1, .read, "sys/mounts", cluster: options).status == 200)
        options.requiredSequence = index.sequence + 1_000
        #expect(try await servers.ask(1, .read, "sys/mounts", cluster: options).status == 412)
        options.forwardsWhenBehind = true
        #expect(try await servers.ask(1, .read, "sys/mounts", cluster: options).status == Self.forwarded)
        #expect(try await servers.ask(0, .read, "sys/mounts", cluster: options).status == 412)
    }

    @Test func clientMayAskForTheActiveNode() async throws {
        let servers = try await ClusterServers()
        var options = ClusterOptions()
        options.wantsActiveNode = true
        #expect(try await servers.ask(1, .read, "sys/mounts", cluster: options).status == Self.forwarded)
        #expect(try await servers.ask(0, .read, "sys/mounts", cluster: options).status == 200)
        #expect(try await servers.ask(1, .read, "sys/seal-status", cluster: options).status == 200)
    }

    @Test(arguments: ["", "not base64", "djE6YTpi", "djI6YTowOjA6", "djE6YTp4OjA6"])
    func malformedIndexIsRefused(_ text: String) {
        #expect(throws: VaultError.self) { try CommitIndex(header: text) }
    }

    // MARK: Audit

    @Test func readsOfAStandbyAreRecordedThere() async throws {
        let targets = (0..<3).map { _ in FakeAuditTarget() }
        let servers = try await ClusterServers { node in
            ["fake": AuditBroker.Kind([]) { _ throws(VaultError) in FakeAuditDevice(targets[node]) }]
        }
        #expect(try await servers.ask(0, .update, "sys/audit/a", #"{"type":"fake"}"#).status == 204)
        func records(_ node: Int) -> Int { targets[node].records.count { $0.contains("sys/mounts") } }
        #expect(try await servers.ask(1, .read, "sys/mounts").status == 200)
        #expect([records(0), records(1), records(2)] == [0, 2, 0])
        #expect(try await servers.call(1, .update, "sys/mounts/kv", #"{"type":"kv"}"#).status == 204)
        #expect([records(0), records(1), records(2)] == [2, 2, 0], "what is forwarded is recorded once")
        targets[2].isFailing = true
        #expect(try await servers.ask(2, .read, "sys/mounts").status == 503)
    }
}
