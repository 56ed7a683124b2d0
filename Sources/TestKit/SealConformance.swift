package import Base
package import PluginKit

/// What every seal must do, whatever its KMS. Each check returns what is wrong, or nothing.
package enum SealConformance {
    /// Keys come back as they were, two wrappings of one differ, and the key shows in neither.
    package static func roundTrips(_ seal: any Seal) throws(VaultError) -> [String] {
        var faults: [String] = []
        let key = SecretBytes.random(32)
        let first = try seal.wrap(key)
        let second = try seal.wrap(key)
        if try seal.unwrap(first) != key { faults.append("another key came back") }
        if first.keyID.isEmpty { faults.append("the wrapped key does not say what wrapped it") }
        if first.keyID != second.keyID { faults.append("the id changes without a rotation") }
        if first.ciphertext == second.ciphertext { faults.append("two wrappings of one key are equal") }
        let plain = key.withBytes { Array($0) }
        for start in first.ciphertext.indices where first.ciphertext[start...].starts(with: plain) {
            faults.append("the key stands in its wrapping")
        }
        return faults
    }

    /// A wrapping that was changed in any byte gives an error, never another key without a word; so does one
    /// that was cut, or emptied.
    package static func noticesDamage(_ seal: any Seal, step: Int = 1) throws(VaultError) -> [String] {
        var faults: [String] = []
        let key = SecretBytes.random(32)
        let good = try seal.wrap(key)
        func check(_ ciphertext: [UInt8], _ what: String) {
            let bad = WrappedKey(keyID: good.keyID, ciphertext: ciphertext)
            if (try? seal.unwrap(bad)) != nil { faults.append("\(what) was not noticed") }
        }
        for at in stride(from: 0, to: good.ciphertext.count, by: step) {
            var bytes = good.ciphertext
            bytes[at] ^= 1
            check(bytes, "a change of byte \(at)")
        }
        check(Array(good.ciphertext.dropLast()), "a missing byte")
        check([], "an empty wrapping")
        return faults
    }
}
