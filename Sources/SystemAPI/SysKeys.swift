import Barrier
import Base
package import Core
package import PluginKit

/// `sys/key-status`, `sys/rotate` and `sys/rotate/config`: the barrier's encryption keys.
package struct SysKeys: Sendable {
    private let keys: KeyService

    package init(keys: KeyService) { self.keys = keys }

    private static let maxOperations = Field<Int>(
        "max_operations", "Encryptions after which the key is rotated.")
    private static let interval = Field<Duration>(
        "interval", "Age after which the key is rotated; 0 for never.")
    private static let enabled = Field<Bool>("enabled", "Whether keys are rotated by themselves.")

    package static var routes: [Route<Self>] {
        [
            Route(.read, "key-status", "The encryption key in use.", .onActive, run: Self.status),
            Route(
                .update, "rotate", "Make a new encryption key for what is written from now on.", .sudo,
                runAsync: Self.rotate),
            Route(
                .read, "rotate/config", "When keys are rotated by themselves.", .sudo, run: Self.readConfig),
            Route(
                .update, "rotate/config", "Set when keys are rotated by themselves.", .sudo,
                fields: maxOperations, interval, enabled, run: Self.writeConfig),
        ]
    }

    private func status(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let status = try keys.status()
        var response = LogicalResponse(data: [
            "term": .int(status.term), "install_time": .string(status.installed.rfc3339()),
            "encryptions": .int(status.encryptions),
        ])
        response.mirrorsData = true
        return response
    }

    private func rotate(_ request: LogicalRequest, _ transactions: any Transactions) async throws(VaultError)
        -> LogicalResponse
    {
        try await keys.rotate()
        return .empty
    }

    private func readConfig(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let config = try RotationConfig.read(&tx)
        return LogicalResponse(data: [
            "enabled": .bool(config.isEnabled), "max_operations": .int(config.maxOperations),
            "interval": config.interval == .zero ? 0 : .string(config.interval.goText),
        ])
    }

    private func writeConfig(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        var config = try RotationConfig.read(&tx)
        if let value = try request.optional(Self.maxOperations) { config.maxOperations = value }
        if let value = try request.optional(Self.interval) { config.interval = value }
        if let value = try request.optional(Self.enabled) { config.isEnabled = value }
        try config.write(&tx)
        return .empty
    }
}
