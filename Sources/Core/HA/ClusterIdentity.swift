package import Base
package import PluginKit

/// The name and id that a cluster keeps for life.
package struct ClusterIdentity: Sendable {
    private static let key = "core/cluster"
    /// For people.
    package let name: String
    /// A UUID.
    package let id: String

    /// A new cluster's; without a name it gets one.
    package init(name: String, random: any RandomSource) {
        let suffix = random.uuid().prefix(8)
        self.name = name.isEmpty ? "vault-cluster-\(suffix)" : name
        id = random.uuid()
    }

    private init(name: String, id: String) {
        self.name = name
        self.id = id
    }

    /// Stores it, once.
    package func write(_ tx: inout Transaction) {
        let record: JSONValue = ["name": .string(name), "id": .string(id)]
        tx.put(Self.key, record.encoded())
    }

    static func read(_ view: any StorageView) throws(VaultError) -> ClusterIdentity {
        guard let bytes = try view.get(key) else { throw .corrupted(place: key) }
        let json = RawJSON(trusted: bytes)
        guard let name = json["name"]?.string, let id = json["id"]?.string else {
            throw .corrupted(place: key)
        }
        return ClusterIdentity(name: name, id: id)
    }
}
