import Foundation
import Testing

@testable import CLI

/// `operator raft …` and `operator members`.
@Suite struct RaftCommandTests {
    private static let configuration = """
        {"request_id":"r","lease_id":"","renewable":false,"lease_duration":0,"data":{"config":{"servers":[\
        {"node_id":"n0","address":"127.0.0.1:1","leader":true,"protocol_version":"3","voter":true},\
        {"node_id":"node-1","address":"127.0.0.1:2","leader":false,"protocol_version":"3","voter":false}],\
        "index":7}},"wrap_info":null,"warnings":null,"auth":null}
        """

    @Test func membersAreShownInColumns() {
        let server = FakeServer { _ in .init(body: Self.configuration) }.start()
        let ran = run("operator raft list-peers", on: server)
        #expect(ran.code == 0)
        #expect(
            ran.out == """
                Node      Address        State       Voter
                ----      -------        -----       -----
                n0        127.0.0.1:1    leader      true
                node-1    127.0.0.1:2    follower    false

                """)
        #expect(server.requests.map(\.target) == ["/v1/sys/storage/raft/configuration"])
        #expect(
            run("operator raft list-peers -format=json", on: server).out.contains(
                "\"protocol_version\": \"3\""))
    }

    @Test func joiningSendsWhatWasGiven() {
        let server = FakeServer { _ in .init(body: "{\"joined\":true}") }.start()
        let ran = run("operator raft join -non-voter -leader-tls-servername=v http://leader:8200", on: server)
        #expect(ran.code == 0)
        #expect(ran.out == "Key       Value\n---       -----\nJoined    true\n")
        let body = server.requests[0].body
        #expect(server.requests[0].target == "/v1/sys/storage/raft/join")
        #expect(body.contains("\"leader_api_addr\":\"http://leader:8200\""))
        #expect(body.contains("\"non_voter\":true") && body.contains("\"leader_tls_servername\":\"v\""))
    }

    @Test func joiningByNameSendsTheNamesSource() {
        let server = FakeServer { _ in .init(body: "{\"joined\":false}") }.start()
        let ran = run(
            ["operator", "raft", "join", "-auto-join-port=8210", "provider=dns name=x"],
            environment: ["VAULT_ADDR": server.address, "VAULT_TOKEN": "root", "HOME": "/nonexistent"])
        #expect(ran.code == 0)
        let body = server.requests[0].body
        #expect(
            body.contains("\"auto_join\":\"provider=dns name=x\"") && body.contains("\"auto_join_port\":8210")
        )
    }

    @Test func joiningNeedsAnAddress() {
        #expect(run("operator raft join", on: FakeServer { _ in .init() }.start()).code == 1)
    }

    @Test func removingNamesTheMember() {
        let server = FakeServer { _ in .init(status: 204) }.start()
        let ran = run("operator raft remove-peer n2", on: server)
        #expect(ran.code == 0 && ran.out == "Peer removed successfully!\n")
        #expect(server.requests[0].body == "{\"server_id\":\"n2\"}")
        #expect(run("operator raft remove-peer", on: server).code == 1)
    }

    private static let autopilot = """
        {"data":{"cleanup_dead_servers":false,"dead_server_last_contact_threshold":"24h0m0s",\
        "last_contact_threshold":"10s","max_trailing_logs":1000,"min_quorum":0,\
        "server_stabilization_time":"10s"}}
        """

    @Test func autopilotsConfigurationIsShownInItsOrder() {
        let server = FakeServer { _ in .init(body: Self.autopilot) }.start()
        let ran = run("operator raft autopilot get-config", on: server)
        #expect(ran.code == 0)
        #expect(
            ran.out.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") } == [
                "Key Value", "--- -----", "Cleanup Dead Servers false", "Last Contact Threshold 10s",
                "Dead Server Last Contact Threshold 24h0m0s", "Server Stabilization Time 10s", "Min Quorum 0",
                "Max Trailing Logs 1000",
            ])
    }

    @Test func autopilotIsToldOnlyWhatWasGiven() {
        let server = FakeServer { _ in .init(status: 204) }.start()
        let ran = run(
            "operator raft autopilot set-config -max-trailing-logs=900 -last-contact-threshold=5s", on: server
        )
        #expect(ran.code == 0 && ran.out.isEmpty)
        #expect(server.requests[0].body == "{\"last_contact_threshold\":\"5s\",\"max_trailing_logs\":900}")
        #expect(run("operator raft autopilot set-config", on: server).code == 1)
    }

    @Test func autopilotsStateIsShown() {
        let server = FakeServer { _ in
            .init(
                body: """
                    {"data":{"failure_tolerance":1,"healthy":true,"leader":"n0","voters":["n0"],\
                    "servers":{"n0":{"id":"n0","name":"n0","address":"a:1","node_status":"alive",\
                    "last_contact":"0s",\
                    "last_term":3,"last_index":9,"healthy":true,"status":"leader","version":"1"}}}}
                    """)
        }.start()
        let ran = run("operator raft autopilot state", on: server)
        #expect(ran.code == 0)
        for line in ["Healthy:                         true", "   n0", "      Node Status:       alive"] {
            #expect(ran.out.contains(line + "\n"), "\(ran.out)")
        }
    }

    @Test func nodesAreShown() {
        let server = FakeServer { _ in
            .init(
                body: """
                    {"data":{"nodes":[{"hostname":"h","api_address":"http://h:1",\
                    "cluster_address":"https://h:2","active_node":true,"last_echo":null,"version":"1.8"}]}}
                    """)
        }.start()
        let ran = run("operator members", on: server)
        #expect(ran.code == 0)
        #expect(
            ran.out.contains(
                "Host Name    API Address    Cluster Address    Active Node    Version    Last Echo"))
        #expect(
            ran.out.contains("h            http://h:1     https://h:2        true           1.8        n/a"))
    }

    @Test func aSnapshotThatIsNoneIsNotKept() throws {
        let server = FakeServer { _ in .init(body: "{}") }.start()
        let path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
        let ran = run("operator raft snapshot save \(path)", on: server)
        #expect(ran.code == 2)
        #expect(!FileManager.default.fileExists(atPath: path))
        #expect(run("operator raft snapshot restore \(path)", on: server).code == 2)
        try Data("no archive".utf8).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(run("operator raft snapshot restore \(path)", on: server).code == 2)
        #expect(run("operator raft snapshot inspect \(path)", on: server).code == 2)
        #expect(server.requests.map(\.method) == ["GET"])
    }
}
