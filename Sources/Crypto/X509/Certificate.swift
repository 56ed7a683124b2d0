import CCrypto

/// One X.509 certificate (RFC 5280), read from DER. Belongs to one thread.
package final class Certificate {
    let raw: OpaquePointer

    /// Nil when the bytes are no certificate, or more than one.
    package init?(der: [UInt8]) {
        let parsed = der.withUnsafeBytes { bytes -> OpaquePointer? in
            var cursor = bytes.octets
            guard let parsed = d2i_X509(nil, &cursor, bytes.count) else { return nil }
            guard let cursor, let start = bytes.octets, cursor - start == bytes.count else {
                X509_free(parsed)
                return nil
            }
            return parsed
        }
        ERR_clear_error()
        guard let parsed else { return nil }
        raw = parsed
    }

    deinit { X509_free(raw) }

    /// The one URI among the alternative names; nil when there is none, or more than one.
    package var onlyURI: String? {
        var text = [CChar](repeating: 0, count: 512)
        let count = hf_x509_only_uri(raw, &text, Int32(text.count))
        guard count > 0 else { return nil }
        return String(decoding: text.prefix(Int(count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Whether this certificate's signature was made by the key of that one. Says nothing of dates or uses.
    package func isSigned(by issuer: Certificate) -> Bool {
        guard let key = X509_get0_pubkey(issuer.raw) else { return false }
        defer { ERR_clear_error() }
        return X509_verify(raw, key) == 1
    }

    /// Seconds since 1970 between which it holds; nil when the dates cannot be read.
    package var validity: ClosedRange<Int64>? {
        let from = hf_asn1_seconds(X509_get0_notBefore(raw))
        let to = hf_asn1_seconds(X509_get0_notAfter(raw))
        return from <= to && from != Int64.min ? from...to : nil
    }
}
