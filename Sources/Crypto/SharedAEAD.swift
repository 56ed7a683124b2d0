package import Base
import Glibc

/// An `AEAD` for any number of threads: a few of them under the same key, each used by one thread at a
/// time and made when it is first needed, so that I/O threads do not wait for each other.
package final class SharedAEAD: Sendable {
    private static let slotBits = 2

    private let algorithm: AEADAlgorithm
    private let key: SecretBytes
    private let slots: [Guarded<Slot>]

    /// The key must have the algorithm's `keyBytes`.
    package init(_ algorithm: AEADAlgorithm, key: SecretBytes) {
        self.algorithm = algorithm
        self.key = key
        slots = (0..<1 << Self.slotBits).map { _ in Guarded(Slot()) }
    }

    /// Lends a cipher for the length of the call.
    package func use<Result>(
        _ body: (AEAD) throws(VaultError) -> Result
    ) throws(VaultError) -> Result {
        let thread = UInt(pthread_self()) &* 0x9E37_79B9_7F4A_7C15
        let slot = slots[Int(thread >> UInt(UInt.bitWidth - Self.slotBits))]
        return try slot.use { (slot) throws(VaultError) in
            let cipher = if let known = slot.cipher { known } else { try AEAD(algorithm, key: key) }
            slot.cipher = cipher
            return try body(cipher)
        }
    }

    private final class Slot {
        var cipher: AEAD?
    }
}
