import Base
import PluginKit
import TestKit
import Testing

@testable import Barrier

/// What an attacker with the disk can put there, and what operators type.
@Suite struct BarrierFuzzTests {
    @Test func changedEntriesNeverOpen() throws {
        let fixture = try Fixture()
        try fixture.put("k")
        let original = fixture.backend.contents(.entries)[0].value
        let fuzz = Fuzz("barrier entries", corpus: [original], pieces: [[0], [1], [0, 0, 0, 2], [0xFF]])
        let cipher = EntryCipher(try fixture.barrier.current(), random: fixture.random)
        let key = Array("k".utf8)
        for input in fuzz where input.bytes != original {
            let opened: [UInt8]? = input.bytes.withUnsafeBytes { entry in
                key.withUnsafeBytes { key in try? cipher.open(entry, at: key) }
            }
            if opened != nil {
                Issue.record("opened: \(input.bytes) \(input)")
                return
            }
        }
    }

    @Test func changedKeyringsAndRootKeysAreDamageOrWrongKeys() throws {
        let random = SeededRandom(seed: 3)
        let (rootKey, sealKey) = (SecretBytes.random(32, from: random), SecretBytes.random(32, from: random))
        let keyring = Keyring(rootKey: rootKey, now: Timestamp(seconds: 1), random: random)
        let records = [
            try keyring.record(random: random),
            try keyring.rotated(now: Timestamp(seconds: 2), random: random).record(random: random),
            try SealEnvelope.wrapRootKey(rootKey, under: sealKey, random: random),
        ]
        let fuzz = Fuzz("keyrings", corpus: records, pieces: [[0], [1], [2], [0xFF]])
        for input in fuzz where !records.contains(input.bytes) {
            do throws(VaultError) {
                _ = try Keyring(record: input.bytes, rootKey: rootKey)
                Issue.record("a keyring of \(input.bytes): \(input)")
                return
            } catch {}
            do throws(VaultError) {
                _ = try SealEnvelope.unwrapRootKey(input.bytes, under: sealKey)
                Issue.record("a root key of \(input.bytes): \(input)")
                return
            } catch {}
        }
    }

    /// Shares are cut out of the input by its own first bytes.
    @Test func sharesCombineOrAreRefused() throws {
        let random = SeededRandom(seed: 7)
        let made = try Shamir.split(.random(4, from: random), parts: 5, threshold: 3, random: random)
        let all = made.flatMap { share in share.withBytes { Array($0) } }
        let fuzz = Fuzz(
            "Shamir shares", corpus: [[5, 5] + all, [3, 5] + all, [2, 1, 9, 8], [255, 2] + all],
            pieces: [[0], [0xFF], [5], [1, 1]])
        var combined = 0
        for input in fuzz {
            guard input.bytes.count > 2 else { continue }
            var rest = input.bytes.dropFirst(2)
            var shares: [SecretBytes] = []
            while shares.count < Int(input.bytes[0]), !rest.isEmpty {
                shares.append(SecretBytes(copying: Array(rest.prefix(Int(input.bytes[1] % 8)))))
                rest = rest.dropFirst(max(1, Int(input.bytes[1] % 8)))
            }
            do throws(VaultError) {
                let secret = try Shamir.combine(shares)
                combined += 1
                if secret.count != shares[0].count - 1 {
                    Issue.record("\(secret.count): \(input)")
                    return
                }
            } catch {
                if error.status != 400 {
                    Issue.record("\(error): \(input)")
                    return
                }
            }
        }
        #expect(!fuzz.isWhole || combined > fuzz.tried / 20)
    }
}
