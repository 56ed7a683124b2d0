internal import APIClient
internal import Base

/// `operator raft join`, `list-peers` and `remove-peer`.
enum OperatorRaftJoinCommand: CommandDefinition {
    static let name = "operator raft join"
    static let synopsis = "Makes an empty node a member of a cluster"
    static let operands = "[LEADER-API-ADDR]"
    static let details = """
        The node that is asked (VAULT_ADDR) joins the cluster of the node whose API address is given. With
        key shares it then waits to be unsealed with those of the cluster; with a seal that unseals by
        itself it needs nobody. A cluster that is not ready yet is tried again until it is.

            $ holdfast operator raft join http://vault-0.vault-internal:8200

        Instead of an address it takes what finds the nodes by DNS:

            $ holdfast operator raft join "provider=dns name=vault-internal"
        """
    static let count: ClosedRange<Int>? = 0...1
    static let leaderCA = Flag<String>(
        "leader-ca-cert", "PEM of the certificates to trust at the leader; @FILE reads a file.")
    static let clientCertificate = Flag<String>(
        "leader-client-cert", "PEM of the certificate to show to the leader; @FILE reads a file.")
    static let clientKey = Flag<String>(
        "leader-client-key", "PEM of that certificate's key; @FILE reads a file.")
    static let serverName = Flag<String>(
        "leader-tls-servername", "Name that the leader's certificate must show.")
    static let scheme = Flag<String>(
        "auto-join-scheme", default: "https", "https or http, for addresses that DNS gives.")
    static let port = Flag<Int>("auto-join-port", default: 8200, "Port, for addresses that DNS gives.")
    static let retry = Flag<Bool>(switch: "retry", "Do not wait: the node goes on trying by itself.")
    static let nonVoter = Flag<Bool>(switch: "non-voter", "The node shall never vote.")
    static let flags: [any AnyFlag] = [
        leaderCA, clientCertificate, clientKey, serverName, scheme, port, retry, nonVoter,
    ]

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let given = String((call.arguments.first ?? "").trimmed)
        guard !given.isEmpty else {
            throw .usage("Expected the API address of a member, or \"provider=dns name=NAME\"")
        }
        var body: [(String, JSONValue)] = []
        if given.contains("="), !given.contains("://") {
            body += [
                ("auto_join", .string(given)), ("auto_join_scheme", .string(call[scheme])),
                ("auto_join_port", .int(call[port])),
            ]
        } else {
            body.append(("leader_api_addr", .string(given)))
        }
        for (name, flag) in [
            ("leader_ca_cert", leaderCA), ("leader_client_cert", clientCertificate),
            ("leader_client_key", clientKey),
        ] {
            let text = try text(call[flag])
            if !text.isEmpty { body.append((name, .string(text))) }
        }
        if !call[serverName].isEmpty { body.append(("leader_tls_servername", .string(call[serverName]))) }
        body += [("retry", .bool(call[retry])), ("non_voter", .bool(call[nonVoter]))]
        let answer = try call.api("Error joining the node to the Raft cluster") { (client) throws(APIError) in
            try client.call("POST", "sys/storage/raft/join", body: body.asObject.encoded())
        }
        let joined = answer?["joined"]?.bool ?? false
        if !call.output.isTable { return call.output.data([("joined", .bool(joined))].asObject) }
        call.console.out(Table.text([["Key", "Value"], ["Joined", joined ? "true" : "false"]]))
        if !joined {
            call.console.prompt("The cluster is not ready yet; the node goes on trying by itself.\n")
        }
        return 0
    }

    private static func text(_ value: String) throws(CommandFailure) -> String {
        guard value.hasPrefix("@") else { return value }
        switch FileText.read(path: String(value.dropFirst())) {
        case .success(let bytes): return String(decoding: bytes, as: UTF8.self)
        case .failure(let error): throw .usage("Failed to parse flag file: \(error.message)")
        }
    }
}

enum OperatorRaftListPeersCommand: CommandDefinition {
    static let name = "operator raft list-peers"
    static let synopsis = "Shows the members of the Raft cluster"

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let found = try call.api("Error reading the raft cluster configuration") {
            (client) throws(APIError) in
            try client.read("sys/storage/raft/configuration")
        }
        guard let secret = found else { throw .failed("No raft cluster configuration found") }
        if !call.output.isTable { return call.output.secret(secret) }
        let servers = secret.data?["config"]?["servers"]?.elements ?? []
        let rows = servers.map { server in
            [
                server["node_id"]?.string ?? "", server["address"]?.string ?? "",
                server["leader"]?.bool == true ? "leader" : "follower",
                server["voter"]?.bool == true ? "true" : "false",
            ]
        }
        call.console.out(Table.text([["Node", "Address", "State", "Voter"]] + rows))
        return 0
    }
}

enum OperatorRaftRemovePeerCommand: CommandDefinition {
    static let name = "operator raft remove-peer"
    static let synopsis = "Removes a member from the Raft cluster"
    static let operands = "NODE-ID"
    static let details = """
        The member is named by its node_id, as list-peers shows it. It takes no part any more; to take it on
        again, empty its data directory and let it join.
        """
    static let count: ClosedRange<Int>? = 1...1

    static func run(_ call: Invocation) throws(CommandFailure) -> Int32 {
        let body: JSONValue = ["server_id": .string(call.arguments[0])]
        _ = try call.api("Error removing the peer from raft cluster") { (client) throws(APIError) in
            try client.write("sys/storage/raft/remove-peer", body)
        }
        call.output.say("Peer removed successfully!")
        return 0
    }
}
