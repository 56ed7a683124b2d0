import Base
import PluginKit

/// The record by which an unsealed node follows when another one has replaced the root key: the new key,
/// wrapped under the one before it. It stands in the table `bootstrap` for a few minutes.
enum Succession {
    static let key = "core/root-key-succession"

    static func put(
        _ next: SecretBytes, under last: SecretBytes, random: any RandomSource, _ batch: inout CommitBatch
    ) throws(VaultError) {
        let wrapped = try next.withBytes { (plain) throws(VaultError) in
            try SealEnvelope.seal(plain, under: last, name: key, random: random)
        }
        batch.put(.bootstrap, Array(key.utf8), wrapped)
    }

    /// The root key that has followed `last`; `last` itself when none is known to have.
    static func rootKey(
        after last: SecretBytes, _ reader: any StorageReader
    ) throws(VaultError) -> SecretBytes {
        guard let wrapped = try BarrierBootstrap.read(key, reader) else { return last }
        do throws(VaultError) { return try SealEnvelope.open(wrapped, under: last, name: key) } catch {
            if case .badRequest = error { return last }
            throw error
        }
    }

    static func removal(_ backend: any StorageBackend) throws(VaultError) -> CommitBatch? {
        let found = try BarrierBootstrap.reading(backend) { (reader) throws(VaultError) in
            try BarrierBootstrap.read(key, reader) != nil
        }
        guard found else { return nil }
        var batch = CommitBatch()
        batch.delete(.bootstrap, Array(key.utf8))
        return batch
    }
}
