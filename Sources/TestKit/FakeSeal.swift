package import Base
package import PluginKit
import Synchronization

/// A KMS in memory that tests can take away, rotate, deny and damage. Several seals may share one.
package final class FakeKMS: Sendable {
    private struct State {
        var version = 1
        var failure: VaultError?
        var lost: Set<Int> = []
        var calls = 0
    }
    private let state = Mutex(State())

    /// See `Seal.init`.
    package init() {}

    /// Every call fails so, until nil.
    package func fail(_ failure: VaultError?) { state.withLock { $0.failure = failure } }
    /// Wraps by another version from now on.
    package func rotate() { state.withLock { $0.version += 1 } }
    /// Unwraps nothing more of this version.
    package func lose(version: Int) { state.withLock { _ = $0.lost.insert(version) } }
    /// Calls that came, failed ones too.
    package var calls: Int { state.withLock { $0.calls } }

    fileprivate func version() throws(VaultError) -> Int {
        let (failure, version) = state.withLock { state in
            state.calls += 1
            return (state.failure, state.version)
        }
        if let failure { throw failure }
        return version
    }

    fileprivate func check(_ version: Int) throws(VaultError) {
        _ = try self.version()
        if state.withLock({ $0.lost.contains(version) }) {
            throw .badRequest("version \(version) was destroyed")
        }
    }
}

/// A seal over a `FakeKMS`.
package struct FakeSeal: Seal {
    /// See `Seal.type`.
    package static let type = "fake"
    /// See `Seal.settings`.
    package static let settings: [SealSetting] = []
    private let kms: FakeKMS

    /// See `Seal.init`.
    package init(_ context: SealContext) { kms = FakeKMS() }
    /// See `Seal.init`.
    package init(_ kms: FakeKMS) { self.kms = kms }

    /// See `Seal.facts`.
    package var facts: [(name: String, value: String)] { [("Fake", "in memory")] }

    /// What it wraps is covered by its version: enough to tell versions apart.
    package func wrap(_ key: SecretBytes) throws(VaultError) -> WrappedKey {
        let version = try kms.version()
        let covered = key.withBytes { $0.map { $0 ^ UInt8(truncatingIfNeeded: version &* 91) } }
        return WrappedKey(keyID: "v\(version)", ciphertext: covered)
    }

    /// See `Seal.unwrap`.
    package func unwrap(_ wrapped: WrappedKey) throws(VaultError) -> SecretBytes {
        guard let version = Int(wrapped.keyID.dropFirst()) else { throw .badRequest("no such version") }
        try kms.check(version)
        return SecretBytes(
            copying: wrapped.ciphertext.map { $0 ^ UInt8(truncatingIfNeeded: version &* 91) })
    }
}
