package import Base
import CCrypto

/// What a certificate shall say, for `CertificateKey.issue`.
package struct CertificateTemplate: Sendable {
    /// What its key may be used for.
    package enum Purpose: Sendable {
        /// Signing end certificates.
        case authority
        /// Both ends of TLS.
        case tlsPeer
    }

    /// What the key may be used for.
    package var purpose: Purpose
    /// CN; cut to the 64 characters that it may have.
    package var commonName: String
    /// The only alternative name; nil for none.
    package var uri: String?
    /// When it begins to hold, in whole seconds.
    package var notBefore: Timestamp
    /// When it ends, in whole seconds.
    package var notAfter: Timestamp
    /// Up to 20 bytes, not negative.
    package var serial: [UInt8]

    /// A template with everything that it must have.
    package init(
        _ purpose: Purpose, commonName: String, uri: String? = nil, notBefore: Timestamp, notAfter: Timestamp,
        serial: [UInt8]
    ) {
        self.purpose = purpose
        self.commonName = commonName
        self.uri = uri
        self.notBefore = notBefore
        self.notAfter = notAfter
        self.serial = serial
    }
}

extension CertificateKey {
    /// A certificate over this key, signed by itself.
    /// - Throws: `.internal` when libcrypto fails.
    package func selfSigned(_ template: CertificateTemplate) throws(VaultError) -> [UInt8] {
        try Self.make(template, subject: self, issuerName: nil, signer: self)
    }

    /// A certificate over another key, signed by this one.
    /// - Parameter authority: this key's own certificate, DER.
    /// - Throws: `.internal` when libcrypto fails.
    package func issue(
        _ template: CertificateTemplate, for subject: borrowing CertificateKey, authority: [UInt8]
    ) throws(VaultError) -> [UInt8] {
        guard let issuer = Certificate(der: authority) else { throw .internal("no CA certificate") }
        return try Self.make(
            template, subject: subject, issuerName: X509_get_subject_name(issuer.raw), signer: self)
    }

    /// - Parameter issuerName: borrowed; nil for a certificate that signs itself.
    private static func make(
        _ template: CertificateTemplate, subject: borrowing CertificateKey, issuerName: OpaquePointer?,
        signer: borrowing CertificateKey
    ) throws(VaultError) -> [UInt8] {
        guard let raw = X509_new() else { throw .internal(drainOpenSSLErrors("X509_new")) }
        defer { X509_free(raw) }
        let name = X509_get_subject_name(raw)
        let common = Array(String(template.commonName.prefix(64)).utf8)
        var isGood =
            X509_set_version(raw, 2) == 1 && setSerial(raw, template.serial)
            && ASN1_TIME_set(X509_getm_notBefore(raw), Int(template.notBefore.seconds)) != nil
            && ASN1_TIME_set(X509_getm_notAfter(raw), Int(template.notAfter.seconds)) != nil
            && X509_NAME_add_entry_by_txt(
                name, "CN", hf_mbstring_utf8, common, Int32(common.count), -1, 0) == 1
            && X509_set_issuer_name(raw, issuerName ?? name) == 1
            && X509_set_pubkey(raw, subject.raw) == 1
        for (nid, value) in template.extensions {
            isGood = isGood && hf_x509_add_extension(raw, nid, value) == 1
        }
        guard isGood, X509_sign(raw, signer.raw, nil) > 0 else {
            throw .internal(drainOpenSSLErrors("certificate"))
        }
        var der: UnsafeMutablePointer<UInt8>?
        let count = i2d_X509(raw, &der)
        guard count > 0, let der else { throw .internal(drainOpenSSLErrors("i2d_X509")) }
        defer { hf_clear_free(der, Int(count)) }
        return Array(UnsafeBufferPointer(start: der, count: Int(count)))
    }

    private static func setSerial(_ raw: OpaquePointer, _ bytes: [UInt8]) -> Bool {
        guard let number = BN_bin2bn(bytes, Int32(bytes.count), nil) else { return false }
        defer { BN_free(number) }
        return BN_to_ASN1_INTEGER(number, X509_get_serialNumber(raw)) != nil
    }
}

extension CertificateTemplate {
    fileprivate var extensions: [(Int32, String)] {
        var list: [(Int32, String)]
        switch purpose {
        case .authority:
            list = [
                (NID_basic_constraints, "critical,CA:TRUE,pathlen:0"),
                (NID_key_usage, "critical,keyCertSign"),
            ]
        case .tlsPeer:
            list = [
                (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, "critical,digitalSignature"),
                (NID_ext_key_usage, "serverAuth,clientAuth"),
            ]
        }
        if let uri { list.append((NID_subject_alt_name, "URI:\(uri)")) }
        return list
    }
}
