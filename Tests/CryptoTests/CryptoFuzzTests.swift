import Base
import Crypto
import TestKit
import Testing

/// What operators hand in as keys, and what storage holds as hashes.
@Suite struct CryptoFuzzTests {
    /// librnp reads these keys: it must refuse what is none, and never bring the process down.
    @Test func brokenPublicKeysAreRefused() throws {
        let whole = try #require(Base64.standard.decode(PGPFixture.publicKey))
        let fuzz = Fuzz(
            "PGP keys", corpus: [whole, whole, Array(PGPFixture.publicKey.utf8)],
            pieces: [
                [0x99, 0x01, 0x0D], [0xC6], [0xB4], [0x89], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF], [0x04], [0x16],
                [0x00],
                Array("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n".utf8), Array("=njUN\n".utf8),
            ], inputs: 1_000)
        let secret = SecretBytes(copying: Array(repeating: UInt8(7), count: 33))
        var accepted = 0
        for input in fuzz {
            do throws(VaultError) {
                let made = try PGP.encrypt(secret, toPublicKey: input.bytes)
                accepted += 1
                guard [32, 40, 64].contains(made.fingerprint.utf8.count), made.ciphertext.count > secret.count
                else {
                    Issue.record("a message that is none: \(input)")
                    return
                }
            } catch {
                if error.status != 400 {
                    Issue.record("\(error): \(input)")
                    return
                }
            }
        }
        #expect(!fuzz.isWhole || accepted > 0)
    }

    /// What is read is written as it was, but for the spelling of its numbers.
    @Test func hashesReadBackAsTheyPrint() throws {
        let random = SeededRandom(seed: 1)
        let fuzz = Fuzz(
            "password hashes",
            texts: [
                PasswordHash.unmatchable(random: random).text, PasswordHash.unmatchable(random: random).text,
            ],
            pieces: ["$", ",", "=", "ln=", "r=1", "p=16", "-", "+", "AAAA", "==", "\u{0}", "é"])
        var accepted = 0
        for input in fuzz {
            guard let hash = PasswordHash(input.text) else { continue }
            accepted += 1
            guard PasswordHash(hash.text) == hash else {
                Issue.record("\(hash.text): \(input)")
                return
            }
        }
        #expect(!fuzz.isWhole || accepted > fuzz.tried / 50)
    }
}
