import Base
import Crypto
import Net

/// The root of trust between the members of one cluster, and what makes their certificates.
///
/// The authority's key is derived from the barrier, so every member has it as soon as its barrier is open,
/// however old its store is, and nobody else ever has. Nothing is stored, nothing has to be distributed. A
/// member proves itself by a certificate that it has issued to itself: a fresh key, in memory only, replaced
/// twice a day. The certificate names the cluster and the member's raft id and nothing else that counts.
struct ClusterAuthority: Sendable {
    /// What the barrier's key is derived for.
    static let purpose = "cluster-authority"
    /// How long a certificate holds. Long enough that members with wrong clocks still understand each other.
    private static let lifetime = Duration.seconds(72 * 3600)
    private static let tolerance = Duration.seconds(24 * 3600)
    /// After which a certificate is replaced.
    static let rotation = Duration.seconds(12 * 3600)
    private static let scheme = "holdfast"

    let clusterID: String
    private let seed: SecretBytes
    private let certificate: [UInt8]

    /// - Parameter seed: the 32 bytes that the barrier derives for `purpose`.
    init(seed: SecretBytes, clusterID: String) throws(VaultError) {
        self.seed = seed
        self.clusterID = clusterID
        // Always the same bytes: members compare nothing, but each makes it for itself.
        certificate = try CertificateKey(seed: seed).selfSigned(
            CertificateTemplate(
                .authority, commonName: "Holdfast cluster", notBefore: Timestamp(seconds: 1_577_836_800),
                notAfter: Timestamp(seconds: 9_000_000_000), serial: [1]))
    }

    /// Fresh credentials for one member.
    func issue(
        raftID: UInt64, nodeID: String, now: Timestamp, random: any RandomSource
    ) throws(VaultError) -> PeerCredentials {
        let key = try CertificateKey(random: random)
        var serial = random.bytes(16)
        serial[0] &= 0x7F
        let leaf = try CertificateKey(seed: seed).issue(
            CertificateTemplate(
                .tlsPeer, commonName: nodeID, uri: uri(raftID), notBefore: now - Self.tolerance,
                notAfter: now + Self.lifetime, serial: serial), for: key, authority: certificate)
        return PeerCredentials(
            certificate: leaf, key: try key.privateKeyDER(), authority: certificate)
    }

    /// Whose certificate this is; nil when it is none of this cluster's. Its signature has been checked.
    func member(of certificate: [UInt8]) -> UInt64? {
        guard let uri = Certificate(der: certificate)?.onlyURI else { return nil }
        let prefix = "\(Self.scheme)://\(clusterID)/"
        guard uri.hasPrefix(prefix) else { return nil }
        let digits = uri.dropFirst(prefix.count)
        guard digits.utf8.count == 16, let raftID = UInt64(digits, radix: 16), raftID != 0,
            self.uri(raftID) == uri
        else { return nil }
        return raftID
    }

    private func uri(_ raftID: UInt64) -> String {
        let digits = String(raftID, radix: 16)
        return "\(Self.scheme)://\(clusterID)/" + String(repeating: "0", count: 16 - digits.count) + digits
    }
}
