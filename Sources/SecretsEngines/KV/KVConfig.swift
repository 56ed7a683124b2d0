import Base
import PluginKit

/// A version 2 mount's settings, and what they mean together with a secret's own.
struct KVConfig {
    /// Versions that are kept where nobody says how many.
    static let defaultVersions = 10
    /// What one metadata record (25 bytes a version) and one transaction can carry.
    static let mostVersions = 100_000

    var maxVersions = 0
    var casRequired = false
    /// Negative switches self-deletion off for the whole mount.
    var deleteVersionAfter = Duration.zero

    init(_ tx: inout Transaction) throws(VaultError) {
        guard let bytes = try tx.get(KVEngine.Key.config) else { return }
        var reader = FrameReader(bytes, place: KVEngine.Key.config)
        guard try reader.byte() == 1 else { throw .corrupted(place: "kv config") }
        maxVersions = try reader.int()
        casRequired = try reader.flag()
        deleteVersionAfter = .nanoseconds(try reader.int64())
        try reader.expectEnd()
    }

    func save(_ tx: inout Transaction) {
        var writer = FrameWriter(reserving: 18)
        writer.byte(1)
        writer.int(maxVersions)
        writer.flag(casRequired)
        writer.int64(deleteVersionAfter.wholeNanoseconds)
        tx.put(KVEngine.Key.config, writer.bytes)
    }

    /// How many versions of a secret are kept: the larger of the two settings, as in Vault.
    func limit(for record: SecretRecord) -> Int {
        let limit = max(maxVersions, record.maxVersions)
        return limit > 0 ? limit : Self.defaultVersions
    }

    /// When a version that is written now deletes itself: after the shorter of the two spans.
    func deletion(of record: SecretRecord, writtenAt now: Timestamp) -> Timestamp? {
        if deleteVersionAfter < .zero { return nil }
        let spans = [deleteVersionAfter, record.deleteVersionAfter].filter { $0 > .zero }
        return spans.min().map { now + $0 }
    }

    /// Reads `max_versions` within its bounds; nil when it was not sent.
    static func sentMaxVersions(_ request: LogicalRequest) throws(VaultError) -> Int? {
        guard let count = try request.optional(KVEngine.maxVersions) else { return nil }
        guard (0...mostVersions).contains(count) else {
            throw .badRequest("field 'max_versions': expected a number from 0 to \(mostVersions)")
        }
        return count
    }
}

extension KVEngine {
    @Sendable func readConfig(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let config = try KVConfig(&tx)
        return LogicalResponse(data: [
            "cas_required": .bool(config.casRequired),
            "delete_version_after": .string(config.deleteVersionAfter.goText),
            "max_versions": .int(config.maxVersions),
        ])
    }

    @Sendable func writeConfig(
        _ request: LogicalRequest, _ tx: inout Transaction
    ) throws(VaultError) -> LogicalResponse {
        let maxVersions = try KVConfig.sentMaxVersions(request)
        let casRequired = try request.optional(Self.casRequired)
        let deleteVersionAfter = try request.optional(Self.deleteVersionAfter)
        var config = try KVConfig(&tx)
        if let maxVersions { config.maxVersions = maxVersions }
        if let casRequired { config.casRequired = casRequired }
        if let deleteVersionAfter { config.deleteVersionAfter = deleteVersionAfter }
        config.save(&tx)
        return .empty
    }
}
