import Barrier
package import Base
package import PluginKit

/// When the barrier's key is rotated without being asked.
package struct RotationConfig: Sendable, Equatable {
    private static let key = "core/rotate-config"
    /// AES-GCM with random nonces is good for 2^32 encryptions under one key (NIST SP 800-38D §8.3); this
    /// stays well below.
    package static let mostOperations = 3_865_470_566
    private static let leastOperations = 1_000_000
    private static let leastInterval = Duration.seconds(86_400)

    package var isEnabled = true
    package var maxOperations = Self.mostOperations
    /// Zero for never by age.
    package var interval = Duration.zero

    /// What is configured, or else the defaults.
    package static func read(_ tx: inout Transaction) throws(VaultError) -> RotationConfig {
        guard let bytes = try tx.get(key) else { return RotationConfig() }
        let json = RawJSON(trusted: bytes)
        var config = RotationConfig()
        config.isEnabled = json["enabled"]?.bool ?? true
        config.maxOperations = json["max_operations"]?.int ?? mostOperations
        config.interval = .seconds(json["interval"]?.int ?? 0)
        return config
    }

    /// Whether a key has been used often enough, or for long enough.
    func isDue(_ key: UnsealedBarrier.KeyStatus, at now: Timestamp) -> Bool {
        isEnabled
            && (key.encryptions >= maxOperations || interval > .zero && now - key.installed >= interval)
    }

    /// - Throws: `.badRequest` when a value is out of its range.
    package func write(_ tx: inout Transaction) throws(VaultError) {
        guard (Self.leastOperations...Self.mostOperations).contains(maxOperations) else {
            throw .badRequest("max_operations: expected \(Self.leastOperations) to \(Self.mostOperations)")
        }
        guard interval == .zero || interval >= Self.leastInterval else {
            throw .badRequest("interval: expected 0 or at least 24h")
        }
        let record: JSONValue = [
            "enabled": .bool(isEnabled), "max_operations": .int(maxOperations),
            "interval": .int(Int(interval.wholeSeconds)),
        ]
        tx.put(Self.key, record.encoded())
    }
}
