package import Base

/// `X-Vault-Index`: a commit that a client has seen, which it may ask to see again on another node.
///
/// In base64: `v1:<cluster id>:<commit>:<commit>:`, in the form that Vault's client library takes apart. It
/// is no secret, and a forged one gets its sender a refusal.
package struct CommitIndex: Sendable, Equatable {
    /// What the header is called, both ways.
    package static let headerName = "X-Vault-Index"

    /// The commit's number.
    package let sequence: UInt64

    /// The index of a commit.
    package init(_ sequence: UInt64) { self.sequence = sequence }

    /// Reads what a client has sent.
    /// - Throws: `.badRequest` when it is none.
    package init(header: String) throws(VaultError) {
        guard let bytes = Base64.standard.decode(header),
            let text = String(validating: bytes, as: UTF8.self)
        else { throw Self.malformed }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 5, parts[0] == "v1", !parts[1].isEmpty, let own = UInt64(parts[2]),
            let replicated = UInt64(parts[3])
        else { throw Self.malformed }
        sequence = max(own, replicated)
    }

    private static let malformed = VaultError.badRequest(
        "X-Vault-Index: expected the value of that header of an earlier answer")

    func header(_ cluster: ClusterIdentity) -> (name: String, value: String) {
        (
            Self.headerName,
            Base64.standard.encode(Array("v1:\(cluster.id):\(sequence):\(sequence):".utf8))
        )
    }
}
