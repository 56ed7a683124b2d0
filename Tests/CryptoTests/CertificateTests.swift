import Base
import Crypto
import Testing

@Suite struct CertificateTests {
    private let from = Timestamp(seconds: 1_700_000_000)
    private let to = Timestamp(seconds: 1_800_000_000)

    private func seed(_ byte: UInt8) -> SecretBytes {
        SecretBytes(copying: [UInt8](repeating: byte, count: CertificateKey.seedBytes))
    }

    private func authority(_ byte: UInt8) throws -> [UInt8] {
        try CertificateKey(seed: seed(byte)).selfSigned(
            CertificateTemplate(.authority, commonName: "CA", notBefore: from, notAfter: to, serial: [1]))
    }

    @Test func aSeedAlwaysGivesTheSameAuthority() throws {
        #expect(try authority(7) == authority(7))
        #expect(try authority(7) != authority(8))
        // RFC 8032 §7.1, test 1.
        let known = try #require(
            Hex.decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
        let key = try CertificateKey(seed: SecretBytes(copying: known))
        #expect(
            Hex.encode(try key.publicKey())
                == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    }

    @Test func aLeafNamesOneURIAndItsSigner() throws {
        let ca = try authority(1)
        let template = CertificateTemplate(
            .tlsPeer, commonName: String(repeating: "n", count: 100), uri: "holdfast://c/01", notBefore: from,
            notAfter: to, serial: [0x7F, 0x01])
        let der = try CertificateKey(seed: seed(1)).issue(template, for: CertificateKey(), authority: ca)
        let leaf = try #require(Certificate(der: der))
        #expect(leaf.onlyURI == "holdfast://c/01")
        #expect(leaf.validity == from.seconds...to.seconds)
        let isOurs = try leaf.isSigned(by: #require(Certificate(der: ca)))
        #expect(isOurs)
        let isOthers = try leaf.isSigned(by: #require(Certificate(der: authority(2))))
        #expect(!isOthers)
    }

    @Test func aCertificateWithoutAURIHasNone() throws {
        let certificate = try #require(Certificate(der: authority(1)))
        #expect(certificate.onlyURI == nil)
    }

    @Test func whatIsNoCertificateIsRefused() throws {
        let ca = try authority(1)
        #expect(Certificate(der: []) == nil)
        #expect(Certificate(der: Array(ca.dropLast())) == nil)
        #expect(Certificate(der: ca + [0]) == nil)
    }

    @Test func aPrivateKeyLeavesAsPKCS8() throws {
        let der = try CertificateKey(seed: seed(9)).privateKeyDER()
        // RFC 8410 §7: a fixed head, then the seed.
        #expect(der.count == 48)
        der.withBytes { #expect(Array($0.suffix(32)) == [UInt8](repeating: 9, count: 32)) }
    }
}
