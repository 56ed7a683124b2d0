import Base
import Crypto
import Testing

private func unhex(_ text: String) -> [UInt8] { Hex.decode(text.filter { $0 != " " && $0 != "\n" }) ?? [] }

/// The 256-bit cases of the GCM submission (McGrew and Viega), which NIST's validation takes up.
@Suite struct AESGCMTests {
    struct Vector: Sendable {
        var key, nonce, plain, aad, sealed: String
    }
    static let plain60 = """
        d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525
        b16aedf5aa0de657ba637b39
        """
    static let key = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
    static let zeroKey = String(repeating: "00", count: 32)
    static let zeroNonce = String(repeating: "00", count: 12)
    static let vectors = [
        Vector(
            key: zeroKey, nonce: zeroNonce, plain: "", aad: "", sealed: "530f8afbc74536b9a963b4f1c4cb738b"),
        Vector(
            key: zeroKey, nonce: zeroNonce, plain: String(repeating: "00", count: 16), aad: "",
            sealed: "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
        Vector(
            key: key, nonce: "cafebabefacedbaddecaf888", plain: plain60,
            aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            sealed: """
                522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838
                c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b
                """),
    ]

    @Test(arguments: vectors)
    func matchesTheVectors(vector: Vector) throws {
        let cipher = try AESGCM(key: SecretBytes(copying: unhex(vector.key)))
        for _ in 0..<3 {  // the contexts are used again
            let sealed = try cipher.seal(
                unhex(vector.plain), nonce: unhex(vector.nonce), aad: unhex(vector.aad))
            #expect(sealed == unhex(vector.sealed))
            #expect(
                cipher.open(sealed, nonce: unhex(vector.nonce), aad: unhex(vector.aad)) == unhex(vector.plain)
            )
        }
    }

    @Test func everyFlippedBitIsRefused() throws {
        let cipher = try AESGCM(key: SecretBytes(copying: unhex(Self.key)))
        let nonce: [UInt8] = Array(1...12)
        let aad: [UInt8] = Array("path/to/secret".utf8)
        let sealed = try cipher.seal(Array("attack at dawn".utf8), nonce: nonce, aad: aad)
        func flips(_ bytes: [UInt8]) -> [[UInt8]] {
            (0..<bytes.count * 8).map { bit in
                var bytes = bytes
                bytes[bit / 8] ^= 1 << (bit % 8)
                return bytes
            }
        }
        for bad in flips(sealed) { #expect(cipher.open(bad, nonce: nonce, aad: aad) == nil) }
        for bad in flips(nonce) { #expect(cipher.open(sealed, nonce: bad, aad: aad) == nil) }
        for bad in flips(aad) { #expect(cipher.open(sealed, nonce: nonce, aad: bad) == nil) }
        for count in 0..<sealed.count {
            #expect(cipher.open(Array(sealed.prefix(count)), nonce: nonce, aad: aad) == nil)
        }
        #expect(cipher.open(sealed, nonce: Array(nonce.dropLast()), aad: aad) == nil)
        let other = try AESGCM(key: SecretBytes(copying: unhex(Self.zeroKey)))
        #expect(other.open(sealed, nonce: nonce, aad: aad) == nil)
        #expect(cipher.open(sealed, nonce: nonce, aad: aad) == Array("attack at dawn".utf8))
    }

    @Test func associatedDataInTwoPiecesIsTheirJoin() throws {
        let cipher = try AESGCM(key: SecretBytes(copying: unhex(Self.key)))
        let nonce: [UInt8] = Array(1...12)
        let joined = try cipher.seal([1, 2, 3], nonce: nonce, aad: [4, 5, 6, 7])
        let opened = joined.withUnsafeBytes { sealed in
            nonce.withUnsafeBytes { nonce in
                [UInt8]([4]).withUnsafeBytes { first in
                    [UInt8]([5, 6, 7]).withUnsafeBytes { cipher.open(sealed, nonce: nonce, aad: first, $0) }
                }
            }
        }
        #expect(opened == [1, 2, 3])
    }
}
