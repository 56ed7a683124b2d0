import Base
import Crypto
import Foundation
import Testing

private func unhex(_ text: String) -> [UInt8] { Hex.decode(text.filter { $0 != " " && $0 != "\n" }) ?? [] }

/// AES-128-GCM and ChaCha20-Poly1305, and ciphers shared by threads.
@Suite struct AEADTests {
    struct Vector: Sendable {
        var algorithm: AEADAlgorithm
        var key, nonce, plain, aad, sealed: String
    }

    static let vectors = [
        // RFC 8439 §2.8.2.
        Vector(
            algorithm: .chaCha20Poly1305,
            key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
            nonce: "070000004041424344454647",
            plain: Hex.encode(
                Array(
                    ("Ladies and Gentlemen of the class of '99: If I could offer you only one "
                        + "tip for the future, sunscreen would be it.").utf8)),
            aad: "50515253c0c1c2c3c4c5c6c7",
            sealed: """
                d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b
                1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
                3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691
                """),
        // Test case 4 of the GCM submission.
        Vector(
            algorithm: .aes128GCM, key: "feffe9928665731c6d6a8f9467308308", nonce: "cafebabefacedbaddecaf888",
            plain: AESGCMTests.plain60, aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            sealed: """
                42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa05
                1ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47
                """),
    ]

    @Test(arguments: vectors)
    func matchesTheVectors(vector: Vector) throws {
        let cipher = try AEAD(vector.algorithm, key: SecretBytes(copying: unhex(vector.key)))
        let (nonce, aad) = (unhex(vector.nonce), unhex(vector.aad))
        for _ in 0..<3 {  // the contexts are used again
            let sealed = try cipher.seal(unhex(vector.plain), nonce: nonce, aad: aad)
            #expect(sealed == unhex(vector.sealed))
            #expect(cipher.open(sealed, nonce: nonce, aad: aad) == unhex(vector.plain))
        }
        var bad = unhex(vector.sealed)
        for bit in 0..<bad.count * 8 {
            bad[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(cipher.open(bad, nonce: nonce, aad: aad) == nil)
            bad[bit / 8] ^= 1 << UInt8(bit % 8)
        }
        for bit in 0..<aad.count * 8 {
            var other = aad
            other[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(cipher.open(bad, nonce: nonce, aad: other) == nil)
        }
        for count in 0..<bad.count {
            #expect(cipher.open(Array(bad.prefix(count)), nonce: nonce, aad: aad) == nil)
        }
        for count in [0, 8, 11, 13, 16] {  // nonces of other lengths
            #expect(cipher.open(bad, nonce: Array(repeating: 0, count: count), aad: aad) == nil)
        }
    }

    /// SHA-256 of ciphertext and tag as Python's `cryptography` makes them, at the edges of blocks. Key,
    /// nonce, associated data and text are hashes of a letter and the length.
    @Test(arguments: [
        (0, "97988e58e5195ec0255417a1ce84df40ce0200d3abdd90f2ce353dff94d708ba"),
        (1, "8d430679f3b8ee3ab67d0c8abf6b77349e29c16cf1a156a99378fd8f9e579a52"),
        (16, "313bfdde1e0377e33eed90982898cd6ef5309abd0e93a5858af0679f3ec97c11"),
        (17, "80657ce2431039968b1adf43906c15e87f0b46366be69b981221fbd5e75ca855"),
        (63, "4cb73894d3f561743b03f5b3e054232eac96d15166f090b97ca812cf9e91bb65"),
        (64, "2a99f35f56bd797bb49a5a2cad8d975e200bdc9dd1cf151f36258838558fc5ad"),
        (65, "12fd874a61ecaa8a60c979838682b867d00edc1f7c5afad891a100bfbd76af55"),
        (127, "d72ee082d9dcd49d5cb800ff376d4825d06b95a353c0ea533a13c3aba16c460a"),
        (128, "382862863dc649784e2968d2f937429f10b3624478f7186dc8f38aeeb5c3aa18"),
        (129, "c53f3330391bb5359f451156238e8a67991eb8966387295eefdd8e1c827a074e"),
        (255, "35236582947ab93f4f6935b6df0fa37d6dba39a5c99fbd39005298f3ab96a198"),
    ])
    func chaChaAgreesAtEveryLength(length: Int, sum: String) throws {
        func hash(_ letter: String) -> [UInt8] { SHA256.hash(Array("\(letter)\(length)".utf8)) }
        let cipher = try AEAD(.chaCha20Poly1305, key: SecretBytes(copying: hash("k")))
        let text = SHA512.hash(Array("p\(length)".utf8))
        let plain = Array((0..<8).flatMap { _ in text }.prefix(length))
        let (nonce, aad) = (Array(hash("n").prefix(12)), Array(hash("a").prefix(length % 21)))
        let sealed = try cipher.seal(plain, nonce: nonce, aad: aad)
        #expect(Hex.encode(SHA256.hash(sealed)) == sum)
        #expect(cipher.open(sealed, nonce: nonce, aad: aad) == plain)
    }

    @Test func manyThreadsShareOneKey() throws {
        for algorithm in AEADAlgorithm.allCases {
            let key = SecretBytes.random(algorithm.keyBytes)
            let shared = SharedAEAD(algorithm, key: key)
            let lone = try AEAD(algorithm, key: key)
            let expected = try (0..<64).map {
                try lone.seal([UInt8($0)], nonce: Array(repeating: UInt8($0), count: 12))
            }
            DispatchQueue.concurrentPerform(iterations: 8) { thread in
                for round in 0..<500 {
                    let number = (thread * 7 + round) % 64
                    let sealed = try? shared.use { (cipher) throws(VaultError) in
                        try cipher.seal([UInt8(number)], nonce: Array(repeating: UInt8(number), count: 12))
                    }
                    #expect(sealed == expected[number])
                }
            }
        }
    }
}
