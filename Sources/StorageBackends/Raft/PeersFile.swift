import Base
internal import Consensus

/// Vault's `peers.json`: an array of `{"id", "address", "non_voter"}`, one for each survivor. `id` is the
/// `node_id`, `address` the `host:port` of the cluster port.
struct PeersFile {
    static let name = "peers.json"
    private struct Entry {
        let nodeID: String
        let address: String
        let isVoter: Bool
    }
    private let path: String
    private var entries: [Entry] = []

    /// - Throws: `.badRequest` that names the file and what was expected.
    init(_ path: String) throws(VaultError) {
        self.path = path
        guard let json = try? RawJSON(validating: try SmallFile.read(path)), json.kind == .array else {
            throw .badRequest(
                "\(path): expected an array such as [{\"id\": \"node-1\", \"address\": \"10.0.0.1:8201\"}]")
        }
        for (place, element) in json.elements.enumerated() {
            guard let id = element["id"]?.string, !id.isEmpty else {
                throw .badRequest("\(path): entry \(place + 1): 'id': expected the node_id of a member")
            }
            guard let address = element["address"]?.string, Self.isHostAndPort(address) else {
                throw .badRequest(
                    "\(path): entry \(place + 1): 'address': expected the host:port of its cluster port")
            }
            guard !entries.contains(where: { $0.nodeID == id }) else {
                throw .badRequest("\(path): '\(id)' stands there twice")
            }
            entries.append(
                Entry(nodeID: id, address: address, isVoter: element["non_voter"]?.bool != true))
        }
    }

    private static func isHostAndPort(_ address: String) -> Bool {
        guard let colon = address.lastIndex(of: ":"), colon > address.startIndex,
            let port = UInt16(address[address.index(after: colon)...])
        else { return false }
        return port > 0
    }

    /// The members that go on.
    /// - Throws: `.badRequest` when the file names none, a stranger, or not this node.
    func survivors(of members: [RaftPeer], ownID: UInt64) throws(VaultError) -> [RaftPeer] {
        var survivors: [RaftPeer] = []
        for entry in entries {
            guard var peer = members.first(where: { $0.nodeID == entry.nodeID }) else {
                throw .badRequest(
                    "\(path): this node knows no member '\(entry.nodeID)'. Leave it out, empty its data "
                        + "directory and let it join again")
            }
            peer.clusterAddress = entry.address
            peer.isVoter = entry.isVoter
            survivors.append(peer)
        }
        guard survivors.contains(where: { $0.raftID == ownID }) else {
            throw .badRequest(
                "\(path) does not name this node: a node that shall not go on must not be started with its "
                    + "data")
        }
        guard survivors.contains(where: \.isVoter) else {
            throw .badRequest("\(path): expected at least one entry without non_voter")
        }
        return survivors
    }
}
