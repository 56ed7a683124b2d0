package import Base
import CSSL
import Glibc

/// What a listener would do, tried without serving: for an operator who wants to know before the start.
package enum ListenerCheck {
    /// Binds the address and lets go of it, and reads certificate and key as a start would.
    /// - Returns: the certificate's facts; nil for a listener without TLS.
    /// - Throws: `.badRequest` with the sentence that the start would end with.
    package static func run(_ configuration: ListenerConfiguration) throws(VaultError) -> CertificateFacts? {
        try ListeningSocket(configuration, loops: 1).close()
        guard let tls = configuration.tls else { return nil }
        _ = try TLSContext(tls)
        return try CertificateFacts(file: tls.certificateFile)
    }
}

/// Whom the first certificate of a PEM file is for, and when it holds.
package struct CertificateFacts: Sendable {
    /// One line, such as `/CN=vault.example`.
    package let subject: String
    package let notBefore: Timestamp
    package let notAfter: Timestamp

    /// - Throws: `.badRequest` that names the file.
    init(file: String) throws(VaultError) {
        guard let input = BIO_new_file(file, "r") else {
            throw .badRequest("cannot read certificate \(file): \(drainTLSErrors())")
        }
        defer { BIO_free(input) }
        guard let certificate = PEM_read_bio_X509(input, nil, nil, nil) else {
            throw .badRequest("cannot read certificate \(file): \(drainTLSErrors())")
        }
        defer { X509_free(certificate) }
        var name = [CChar](repeating: 0, count: 512)
        X509_NAME_oneline(X509_get_subject_name(certificate), &name, Int32(name.count))
        subject = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard let first = Self.moment(X509_get0_notBefore(certificate)),
            let last = Self.moment(X509_get0_notAfter(certificate))
        else { throw .badRequest("certificate \(file): its dates cannot be read") }
        notBefore = first
        notAfter = last
    }

    private static func moment(_ time: UnsafePointer<ASN1_TIME>?) -> Timestamp? {
        var parts = tm()
        guard let time, ASN1_TIME_to_tm(time, &parts) == 1 else { return nil }
        return Timestamp(seconds: Int64(timegm(&parts)))
    }
}
