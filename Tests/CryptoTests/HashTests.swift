import Base
import Crypto
import Testing

private func unhex(_ text: String) -> [UInt8] { Hex.decode(text.filter { $0 != " " && $0 != "\n" }) ?? [] }

@Suite struct HashTests {
    /// NIST's examples for FIPS 180-4.
    @Test func sha2MatchesNIST() {
        let abc = Array("abc".utf8)
        #expect(
            Hex.encode(SHA256.hash(abc)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )
        #expect(
            Hex.encode(SHA256.hash([])) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(
            SHA384.hash(abc)
                == unhex(
                    """
                    cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed
                    8086072ba1e7cc2358baeca134c825a7
                    """))
        #expect(
            SHA512.hash(abc)
                == unhex(
                    """
                    ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a
                    2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f
                    """))
    }

    @Test func aHashInPiecesIsTheHashOfTheWhole() {
        let message = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        for cut in [0, 1, 63, 64, 65, 999, 1000] {
            var hash = SHA256()
            hash.update(Array(message[..<cut]))
            let copy = hash
            hash.update(Array(message[cut...]))
            #expect(hash.finish() == SHA256.hash(message))
            var other = copy
            #expect(other.finish() == SHA256.hash(Array(message[..<cut])))
        }
    }

    /// RFC 4231, cases 1 to 4, 6 and 7.
    @Test(arguments: [
        (
            String(repeating: "0b", count: 20), Hex.encode(Array("Hi There".utf8)),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        ),
        (
            Hex.encode(Array("Jefe".utf8)), Hex.encode(Array("what do ya want for nothing?".utf8)),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        ),
        (
            String(repeating: "aa", count: 20), String(repeating: "dd", count: 50),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"
        ),
        (
            "0102030405060708090a0b0c0d0e0f10111213141516171819", String(repeating: "cd", count: 50),
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"
        ),
        (
            String(repeating: "aa", count: 131),
            Hex.encode(Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8)),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        ),
        (
            String(repeating: "aa", count: 131),
            Hex.encode(
                Array(
                    """
                    This is a test using a larger than block-size key and a larger than block-size data. \
                    The key needs to be hashed before being used by the HMAC algorithm.
                    """.utf8)),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"
        ),
    ])
    func hmacMatchesRFC4231(key: String, message: String, code: String) {
        #expect(HMACSHA256.code(key: unhex(key), message: unhex(message)) == unhex(code))
    }

    @Test func oneKeyedHMACServesManyMessages() {
        let key: [UInt8] = Array(0..<32)
        let keyed = HMACSHA256(key: SecretBytes(copying: key))
        for count in [0, 1, 55, 56, 64, 200] {
            let message = [UInt8](repeating: 9, count: count)
            #expect(keyed.code(message) == HMACSHA256.code(key: key, message: message))
        }
    }

    /// RFC 5869, appendices A.1 to A.3.
    @Test(arguments: [
        (
            String(repeating: "0b", count: 22), "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        ),
        (
            Hex.encode(Array(0...0x4f)), Hex.encode(Array(0x60...0xaf)), Hex.encode(Array(0xb0...0xff)),
            """
            b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09
            da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87
            """
        ),
        (
            String(repeating: "0b", count: 22), "", "",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        ),
    ])
    func hkdfMatchesRFC5869(key: String, salt: String, info: String, output: String) {
        let derived = HKDF.derive(
            from: SecretBytes(copying: unhex(key)), salt: unhex(salt), info: unhex(info),
            count: unhex(output).count)
        #expect(derived == SecretBytes(copying: unhex(output)))
    }
}

@Suite struct SipHashTests {
    /// The authors' vectors for 128 bits: key 00…0f, message 00, 01, … of the given length.
    @Test(arguments: [
        (0, "a3817f04ba25a8e66df67214c7550293"), (1, "da87c1d86b99af44347659119b22fc45"),
        (7, "a1f1ebbed8dbc153c0b84aa61ff08239"), (8, "3b62a9ba6258f5610f83e264f31497b4"),
        (15, "5493e99933b0a8117e08ec0f97cfc3d9"), (16, "6ee2a4ca67b054bbfd3315bf85230577"),
        (63, "5150d1772f50834a503e069a973fbd7c"),
    ])
    func matchesTheVectors(count: Int, code: String) {
        let hash = SipHash128(key: SecretBytes(copying: Array(0..<16)))
        let (low, high) = (0..<count).map { UInt8($0) }.withUnsafeBytes { hash.code($0) }
        let bytes = [low, high].flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } }
        #expect(Hex.encode(bytes) == code)
    }
}
