import Base
import Crypto
import Testing

@Suite struct EncodingTests {
    /// RFC 4648 §10.
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ])
    func base64MatchesRFC4648(plain: String, text: String) {
        let bytes = Array(plain.utf8)
        let bare = String(text.prefix { $0 != "=" })
        #expect(Base64.standard.encode(bytes) == text)
        #expect(Base64.standardUnpadded.encode(bytes) == bare)
        #expect(Base64.url.encode(bytes) == bare)
        #expect(Base64.standard.decode(text) == bytes)
        #expect(Base64.url.decode(bare) == bytes)
        if bare != text {
            #expect(Base64.standard.decode(bare) == nil)
            #expect(Base64.url.decode(text) == nil)
        }
    }

    @Test func everyByteValueSurvivesBothAlphabets() {
        for shift in 0..<3 {
            let bytes = (0..<256 + shift).map { UInt8(truncatingIfNeeded: $0) }
            for kind in [Base64.standard, .standardUnpadded, .url, .urlPadded] {
                #expect(kind.decode(kind.encode(bytes)) == bytes)
            }
            #expect(Hex.decode(Hex.encode(bytes)) == bytes)
        }
        let alphabet = Base64.standard.encode(
            (0..<48).map { i in
                let digits = (0..<4).map { UInt32(i / 3 * 4 + $0) }
                let group = digits[0] << 18 | digits[1] << 12 | digits[2] << 6 | digits[3]
                return UInt8(truncatingIfNeeded: group >> UInt32(16 - 8 * (i % 3)))
            })
        #expect(alphabet == "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
        #expect(Base64.urlPadded.encode([0xFB, 0xFF]) == "-_8=")
    }

    @Test(arguments: [
        "Zg=", "Zg", "Z", "Zg===", "=", "====", "Zg==Zg==", "Z g=", "Zm9v\n", "Zh==", "Zm9=", "Zm-v", "Zm_v",
        "Zm9é",
        "Zm\09",
    ])
    func base64RefusesWhatIsNotExact(text: String) {
        #expect(Base64.standard.decode(text) == nil)
    }

    @Test func onlyTheSixtyFourCharactersDecode() {
        let alphabet = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        for byte in 0...255 as ClosedRange<UInt8> where byte != UInt8(ascii: "=") {
            let text: [UInt8] = [byte, 65, 65, 65]
            #expect((text.withUnsafeBytes { Base64.standard.decode($0) } != nil) == alphabet.contains(byte))
        }
    }

    @Test func hexIsStrictAboutDigitsAndLength() {
        #expect(Hex.encode([0x00, 0x9A, 0xFF]) == "009aff")
        #expect(Hex.decode("009aFF") == [0x00, 0x9A, 0xFF])
        let digits = Set("0123456789abcdefABCDEF".utf8)
        for byte in 0...255 as ClosedRange<UInt8> {
            let text: [UInt8] = [UInt8(ascii: "0"), byte]
            #expect((text.withUnsafeBytes { Hex.decode($0) } != nil) == digits.contains(byte))
        }
        #expect(Hex.decode("abc") == nil)
    }

    @Test func secretsEncodeAsOrdinaryBytesDo() {
        let secret = SecretBytes(copying: [1, 2, 3, 250])
        Base64.standard.encode(secret).withBytes { #expect(Array($0) == Array("AQID+g==".utf8)) }
        Hex.encode(secret).withBytes { #expect(Array($0) == Array("010203fa".utf8)) }
        #expect(Array("AQID+g==".utf8).withUnsafeBytes { Base64.standard.decodeSecret($0) } == secret)
        #expect(Array("010203fa".utf8).withUnsafeBytes { Hex.decodeSecret($0) } == secret)
        #expect(Array("010203f".utf8).withUnsafeBytes { Hex.decodeSecret($0) } == nil)
    }

    @Test func bufferedRandomnessNeverRepeats() {
        var seen: Set<[UInt8]> = []
        for count in 0..<20_000 {
            let bytes = BufferedRandom.shared.bytes(12 + count % 50)
            #expect(seen.insert(Array(bytes.prefix(12))).inserted)
        }
        #expect(BufferedRandom.shared.bytes(0).isEmpty)
        #expect(Set(BufferedRandom.shared.bytes(100_000)).count == 256)
    }

    @Test func bufferedRandomnessServesManyThreads() async {
        let all = await withTaskGroup(of: [[UInt8]].self) { group in
            for _ in 0..<8 { group.addTask { (0..<2_000).map { _ in BufferedRandom.shared.bytes(16) } } }
            return await group.reduce(into: []) { $0 += $1 }
        }
        #expect(Set(all).count == 16_000)
    }
}
