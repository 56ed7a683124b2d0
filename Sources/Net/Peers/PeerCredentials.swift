package import Base
import CSSL

/// What a member of a cluster proves itself with, and whom it believes: all in memory, none of it in files.
package struct PeerCredentials: Sendable {
    /// The member's own certificate, DER.
    package let certificate: [UInt8]
    /// Its private key, PKCS #8 DER.
    package let key: SecretBytes
    /// The only certificate that others' must be signed by, DER.
    package let authority: [UInt8]

    /// Credentials of these parts, which must belong together.
    package init(certificate: [UInt8], key: SecretBytes, authority: [UInt8]) {
        self.certificate = certificate
        self.key = key
        self.authority = authority
    }
}

/// Credentials made ready for connections of both directions.
struct PeerContexts: Sendable {
    let accepting: TLSContext
    let connecting: TLSContext

    /// - Parameter protocols: what the port speaks, the dearest first.
    /// - Throws: `.internal` when libssl does not take them.
    init(_ credentials: PeerCredentials, protocols: [String]) throws(VaultError) {
        accepting = try TLSContext(credentials, protocols: protocols)
        connecting = try TLSContext(credentials, protocols: nil)
    }
}

extension TLSContext {
    /// - Parameter protocols: names to choose from, for accepting; nil for connecting.
    fileprivate convenience init(
        _ credentials: PeerCredentials, protocols: [String]?
    ) throws(VaultError) {
        ERR_clear_error()
        guard let raw = SSL_CTX_new(protocols == nil ? TLS_client_method() : TLS_server_method()) else {
            throw .internal("SSL_CTX_new: \(drainTLSErrors())")
        }
        let certificate = credentials.certificate
        let isReady =
            hf_ctx_peer_defaults(raw) == 1
            && hf_ctx_trust_only(raw, credentials.authority, credentials.authority.count) == 1
            && SSL_CTX_use_certificate_ASN1(raw, Int32(certificate.count), certificate) == 1
            && credentials.key.withBytes { key in
                var cursor = key.bindMemory(to: UInt8.self).baseAddress
                guard let parsed = d2i_AutoPrivateKey(nil, &cursor, key.count) else { return false }
                defer { EVP_PKEY_free(parsed) }
                return SSL_CTX_use_PrivateKey(raw, parsed) == 1
            }
            && SSL_CTX_check_private_key(raw) == 1
        guard isReady else {
            let cause = drainTLSErrors()
            SSL_CTX_free(raw)
            throw .internal("credentials between members: \(cause)")
        }
        let names = protocols.map { PeerProtocols.encoded($0) } ?? []
        var list: UnsafeMutableBufferPointer<UInt8>?
        if protocols != nil {
            let made = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 2 + names.count)
            _ = made.initialize(from: [UInt8(names.count >> 8), UInt8(names.count & 0xFF)] + names)
            hf_ctx_alpn_listed(raw, made.baseAddress)
            list = made
        }
        self.init(adopting: raw, protocols: list)
    }
}

/// Names of protocols as ALPN has them on the wire (RFC 7301 §3.1).
enum PeerProtocols {
    /// Each behind a byte of its length.
    static func encoded(_ names: [String]) -> [UInt8] {
        names.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
    }
}
