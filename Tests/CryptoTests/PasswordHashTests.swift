import Base
import Testing

@testable import Crypto

@Suite struct PasswordHashTests {
    private func hash(_ text: String) -> PasswordHash? { PasswordHash(text) }
    private func secret(_ text: String) -> SecretBytes { SecretBytes(copying: Array(text.utf8)) }

    /// RFC 7914 section 12, cut to 32 bytes: scrypt's output is PBKDF2's, block by block.
    @Test func scryptMatchesTheRFC() throws {
        let digest = try PasswordHash.scrypt(
            Array("pleaseletmein".utf8), Array("SodiumChloride".utf8), logBlocks: 14, blockSize: 8, lanes: 1)
        #expect(Hex.encode(digest) == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2")
    }

    @Test func everyByteCounts() async throws {
        let made = try await PasswordHash.make(secret("pleaseletmein"), random: SystemRandom())
        #expect(try await made.matches(secret("pleaseletmein")))
        for other in ["pleaseletmein\0", "pleaseletmein\0\0", "pleaseletmei", "", "\0"] {
            #expect(try await !made.matches(secret(other)))
        }
    }

    @Test func onlyThePasswordMatches() async throws {
        let random = SystemRandom()
        let long = String(repeating: "p", count: 100)
        let made = try await PasswordHash.make(secret(long + "a"), random: random)
        #expect(try await made.matches(secret(long + "a")))
        #expect(try await !made.matches(secret(long + "b")))
        #expect(try await made != PasswordHash.make(secret(long + "a"), random: random), "salted")
        #expect(hash(made.text) == made)
        #expect(try await !PasswordHash.unmatchable(random: random).matches(secret("")))
    }

    @Test(arguments: [
        "", "$", "$sha256-scrypt$", "$scrypt$ln=15,r=8,p=1$c2FsdHNhbHQ=$AAAA",
        "$sha256-scrypt$ln=15,r=8,p=1$$",
        "$sha256-scrypt$ln=30,r=8,p=1$c2FsdHNhbHQ=$\(String(repeating: "A", count: 43))=",
        "$sha256-scrypt$ln=15,r=8$c2FsdHNhbHQ=$\(String(repeating: "A", count: 43))=",
        "$sha256-scrypt$ln=15,r=8,p=0$c2FsdHNhbHQ=$\(String(repeating: "A", count: 43))=",
        "$sha256-scrypt$ln=15,r=8,p=1$c2FsdHNhbHQ=$AAAA",
    ])
    func whatIsNoHashIsRefused(text: String) { #expect(hash(text) == nil) }
}
