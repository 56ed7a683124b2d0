import Base
import Consensus

/// What a cluster tells a node that it takes on, inside `JoinReply.sealed`.
struct JoinReplyRecord: Sendable {
    var clusterID: String
    /// The keyring's record: encrypted under the root key once more.
    var keyring: [UInt8]
    var members: [RaftPeer]

    init(clusterID: String, keyring: [UInt8], members: [RaftPeer]) {
        self.clusterID = clusterID
        self.keyring = keyring
        self.members = members
    }

    var encoded: [UInt8] {
        let members: [JSONValue] = self.members.map { peer in
            [
                "raft_id": .string(String(peer.raftID, radix: 16)), "node_id": .string(peer.nodeID),
                "cluster_addr": .string(peer.clusterAddress), "api_addr": .string(peer.apiAddress),
                "host_name": .string(peer.hostName), "version": .string(peer.version),
                "voter": .bool(peer.isVoter),
            ]
        }
        let json: JSONValue = [
            "cluster_id": .string(clusterID), "keyring": .string(Base64.standard.encode(keyring)),
            "members": .array(members),
        ]
        return json.encoded()
    }

    /// Nil when it is no such record.
    init?(_ bytes: [UInt8]) {
        guard let json = try? RawJSON(validating: bytes), let clusterID = json["cluster_id"]?.string,
            let keyring = json["keyring"]?.string.flatMap({ Base64.standard.decode($0) }),
            let list = json["members"], list.kind == .array
        else { return nil }
        self.clusterID = clusterID
        self.keyring = keyring
        members = []
        for member in list.elements {
            guard let digits = member["raft_id"]?.string, let raftID = UInt64(digits, radix: 16),
                let nodeID = member["node_id"]?.string
            else { return nil }
            members.append(
                RaftPeer(
                    raftID: raftID, nodeID: nodeID, clusterAddress: member["cluster_addr"]?.string ?? "",
                    apiAddress: member["api_addr"]?.string ?? "", hostName: member["host_name"]?.string ?? "",
                    version: member["version"]?.string ?? "", isVoter: member["voter"]?.bool ?? false))
        }
    }
}
