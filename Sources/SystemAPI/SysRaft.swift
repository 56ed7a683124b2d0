import Base
package import PluginKit

/// `sys/storage/raft/`: who belongs to the cluster, and how a node joins it. There only with storage "raft".
package struct SysRaft: Sendable {
    private let control: any RaftControl

    /// - Parameter control: does what the endpoints ask for.
    package init(control: any RaftControl) { self.control = control }

    private static let serverID = Field<String>("server_id", "The member's node_id.")
    private static let leaderAddress = Field<String>(
        "leader_api_addr", "The API's URL of any member of the cluster.")
    private static let leaderCA = Field<String>(
        "leader_ca_cert", "PEM of the certificates to trust there; the system's by default.")
    private static let clientCertificate = Field<String>(
        "leader_client_cert", "PEM of the certificate to show there.")
    private static let clientKey = Field<SecretBytes>("leader_client_key", "PEM of its private key.")
    private static let serverName = Field<String>(
        "leader_tls_servername", "The name that the member's certificate must show.")
    private static let autoJoin = Field<String>(
        "auto_join", "Finds the members by DNS: provider=dns name=<name of a service>.")
    private static let autoJoinScheme = Field<String>(
        "auto_join_scheme", default: "https", "https or http, for what auto_join finds.")
    private static let autoJoinPort = Field<Int>(
        "auto_join_port", default: 8200, "The API's port, for what auto_join finds.")
    private static let retry = Field<Bool>(
        "retry", default: false, "Answer at once, and go on trying until it is done.")
    private static let nonVoter = Field<Bool>("non_voter", default: false, "The node shall never vote.")

    private static let answer = Field<String>("answer", "Base64 of the proof.")
    private static let challenge = Field<String>("challenge", "Base64 of the challenge that is answered.")
    private static let raftID = Field<String>("raft_id", "The node's number, 16 hexadecimal digits.")
    private static let clusterAddress = Field<String>("cluster_addr", "host:port of the node's cluster port.")
    private static let apiAddress = Field<String>("api_addr", "The URL of the node's API.")
    private static let hostName = Field<String>("host_name", "The node's host.")
    private static let version = Field<String>("version", "The version of the API that the node speaks.")

    /// Bytes of any name or address that a node tells of itself.
    private static let mostNameBytes = 255

    /// The endpoints.
    package static var routes: [Route<Self>] {
        [
            Route(
                .read, "storage/raft/configuration", "Who belongs to the cluster.", run: Self.configuration),
            Route(
                .update, "storage/raft/remove-peer", "Remove a member for good.", .handsOver,
                fields: serverID,
                runAsync: Self.remove),
            Route(
                .update, "storage/raft/join", "Join a cluster with this empty node.",
                [.unauthenticated, .whileSealed, .thisNode],
                fields: leaderAddress, leaderCA, clientCertificate, clientKey, serverName, autoJoin,
                autoJoinScheme, autoJoinPort, retry, nonVoter, runAsync: Self.join),
            Route(
                .update, "storage/raft/bootstrap", "There for scripts: the cluster exists.",
                [.unauthenticated, .hidden], run: Self.bootstrap),
            Route(
                .update, "storage/raft/bootstrap/challenge", "Ask for what a joining node must prove.",
                .unauthenticated, fields: serverID, runAsync: Self.ask),
            Route(
                .update, "storage/raft/bootstrap/answer", "Prove it, and become a member.", .unauthenticated,
                fields: serverID, answer, challenge, raftID, clusterAddress, apiAddress, hostName, version,
                nonVoter, runAsync: Self.admit),
        ]
    }

    private func configuration(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let membership = control.configuration()
        let servers: [JSONValue] = membership.servers.map(Self.describe)
        return LogicalResponse(
            data: ["config": ["servers": .array(servers), "index": .int(Int(clamping: membership.index))]])
    }

    private static func describe(_ server: RaftMembership.Server) -> JSONValue {
        [
            "node_id": .string(server.nodeID), "address": .string(server.address),
            "leader": .bool(server.isLeader), "protocol_version": "3", "voter": .bool(server.isVoter),
        ]
    }

    private func remove(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        guard let serverID = try request.optional(Self.serverID), !serverID.isEmpty else {
            throw .badRequest("server_id: expected the node_id of a member")
        }
        try await control.remove(nodeID: serverID)
        _ = try await transactions.run { (tx: inout Transaction) throws(VaultError) in
            if try tx.get(AutopilotConfiguration.nonVoters + serverID) != nil {
                tx.delete(AutopilotConfiguration.nonVoters + serverID)
            }
        }
        return .empty
    }

    // MARK: Joining

    private func join(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        var target = JoinTarget()
        target.address = try request.optional(Self.leaderAddress) ?? ""
        target.caCertificate = Array((try request.optional(Self.leaderCA) ?? "").utf8)
        target.clientCertificate = Array((try request.optional(Self.clientCertificate) ?? "").utf8)
        target.clientKey = try request.optional(Self.clientKey)
        target.serverName = try request.optional(Self.serverName) ?? ""
        if (target.clientKey?.count ?? 0 == 0) != target.clientCertificate.isEmpty {
            throw .badRequest("leader_client_cert and leader_client_key: expected both or neither")
        }
        var autoJoin: AutoJoin?
        if let text = try request.optional(Self.autoJoin), !text.isEmpty {
            guard target.address.isEmpty else {
                throw .badRequest("leader_api_addr and auto_join: expected one of them, found both")
            }
            autoJoin = try AutoJoin(
                text, scheme: try request[Self.autoJoinScheme], port: try request[Self.autoJoinPort])
        } else if !target.address.hasPrefix("http://"), !target.address.hasPrefix("https://") {
            throw .badRequest("leader_api_addr: expected a URL such as https://host:8200")
        }
        var options = JoinOptions()
        options.isNonVoter = try request[Self.nonVoter]
        options.retries = try request[Self.retry]
        target.autoJoin = autoJoin
        let isJoined = try await control.join([target], options: options)
        return .plain(["joined": .bool(isJoined)])
    }

    private func bootstrap(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    { throw .badRequest("the cluster exists already: initialising its first node has made it") }

    private func ask(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        let made = try control.challenge(serverID: try name(request, Self.serverID))
        let config = (try? RawJSON(validating: made.sealConfig)).map { JSONValue.raw($0) } ?? .null
        return LogicalResponse(data: [
            "challenge": .string(Base64.standard.encode(made.challenge)), "seal_config": config,
            "seal_record": .string(Base64.standard.encode(made.sealConfig)),
            "root_key": .string(Base64.standard.encode(made.wrappedRootKey)),
        ])
    }

    private func admit(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        var answer = JoinAnswer()
        answer.serverID = try name(request, Self.serverID)
        answer.challenge = try bytes(request, Self.challenge)
        answer.proof = try bytes(request, Self.answer)
        let digits = try name(request, Self.raftID)
        guard digits.utf8.count == 16, let raftID = UInt64(digits, radix: 16), raftID != 0 else {
            throw .badRequest("raft_id: expected 16 hexadecimal digits, not all of them 0")
        }
        answer.raftID = raftID
        answer.clusterAddress = try name(request, Self.clusterAddress)
        answer.apiAddress = try name(request, Self.apiAddress, mayBeEmpty: true)
        answer.hostName = try name(request, Self.hostName, mayBeEmpty: true)
        answer.version = try name(request, Self.version, mayBeEmpty: true)
        answer.isNonVoter = try request[Self.nonVoter]
        let reply = try await control.admit(answer, transactions)
        return LogicalResponse(data: [
            "peers": .array(reply.members.map(Self.describe)),
            "bootstrap": .string(Base64.standard.encode(reply.sealed)),
        ])
    }

    private func name(
        _ request: LogicalRequest, _ field: Field<String>, mayBeEmpty: Bool = false
    ) throws(VaultError) -> String {
        let text = try request.optional(field) ?? ""
        guard text.utf8.count <= Self.mostNameBytes, mayBeEmpty || !text.isEmpty,
            text.utf8.allSatisfy({ $0 > 32 && $0 != 127 })
        else {
            throw .badRequest(
                "\(field.name): expected 1 to \(Self.mostNameBytes) characters without blanks")
        }
        return text
    }

    private func bytes(_ request: LogicalRequest, _ field: Field<String>) throws(VaultError) -> [UInt8] {
        guard let text = try request.optional(field), text.utf8.count <= 1_024,
            let bytes = Base64.standard.decode(text), !bytes.isEmpty
        else { throw .badRequest("\(field.name): expected base64") }
        return bytes
    }
}
