import Base
package import PluginKit

/// `sys/storage/raft/snapshot-auto/`: snapshots that are taken by themselves.
package struct SysRaftSnapshotAuto: Sendable {
    private let control: any RaftControl

    /// - Parameter control: does what the endpoints ask for.
    package init(control: any RaftControl) { self.control = control }

    private static let name = Field<String>(required: "name", "Name of the schedule.")
    private static let interval = Field<Duration>("interval", "Time between two snapshots; at least 1m.")
    private static let retain = Field<Int>("retain", default: 1, "Snapshots that are kept; the oldest go.")
    private static let path = Field<String>(
        "path_prefix", "Directory on the nodes, which must be there; an absolute path.")
    private static let filePrefix = Field<String>(
        "file_prefix", default: "holdfast-snapshot", "What the names of the files begin with.")
    private static let storageType = Field<String>(
        "storage_type", default: "local", "Where they are kept: local.")
    private static let space = Field<Int>(
        "local_max_space", default: 0, "Bytes that the schedule's files may have together; 0 for no limit.")
    private static let mostRetained = 1_000

    /// The endpoints.
    package static var routes: [Route<Self>] {
        [
            Route(
                .list, "storage/raft/snapshot-auto/config", "List the schedules.", .sudo, run: Self.list),
            Route(
                .read, "storage/raft/snapshot-auto/config/:name", "Read a schedule.", .sudo, fields: name,
                run: Self.read),
            Route(
                .update, "storage/raft/snapshot-auto/config/:name", "Make or change a schedule.", .sudo,
                fields: name, interval, retain, path, filePrefix, storageType, space, run: Self.write),
            Route(
                .delete, "storage/raft/snapshot-auto/config/:name", "Remove a schedule; its files stay.",
                .sudo, fields: name, run: Self.delete),
            // Only the active node knows.
            Route(
                .read, "storage/raft/snapshot-auto/status/:name", "How a schedule does.", .sudo, fields: name,
                runAsync: Self.status),
        ]
    }

    private func list(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    { try .keys(try tx.list(SnapshotSchedule.prefix)) }

    private func read(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let name = try request[Self.name]
        guard let record = try tx.get(SnapshotSchedule.prefix + name) else { throw .notFound }
        return LogicalResponse(data: try SnapshotSchedule(record: record, name: name).json)
    }

    private func write(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        let name = try request[Self.name]
        var schedule = SnapshotSchedule()
        if let record = try tx.get(SnapshotSchedule.prefix + name) {
            schedule = try SnapshotSchedule(record: record, name: name)
        }
        if let interval = try request.optional(Self.interval) { schedule.interval = interval }
        if request.has(Self.retain) { schedule.retain = try request[Self.retain] }
        if let path = try request.optional(Self.path) { schedule.directory = path }
        if request.has(Self.filePrefix) { schedule.filePrefix = try request[Self.filePrefix] }
        if request.has(Self.space) { schedule.mostBytes = try request[Self.space] }
        guard try request[Self.storageType] == "local" else {
            throw .badRequest("storage_type: expected local")
        }
        guard schedule.interval >= .seconds(60) else { throw .badRequest("interval: expected at least 1m") }
        guard (1...Self.mostRetained).contains(schedule.retain) else {
            throw .badRequest("retain: expected a number from 1 to \(Self.mostRetained)")
        }
        guard schedule.directory.hasPrefix("/"), schedule.directory.utf8.allSatisfy({ $0 >= 32 }) else {
            throw .badRequest("path_prefix: expected the absolute path of a directory")
        }
        let prefix = schedule.filePrefix.utf8
        guard (1...100).contains(prefix.count), prefix.first != UInt8(ascii: "."),
            prefix.allSatisfy({ $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "/") })
        else { throw .badRequest("file_prefix: expected 1 to 100 characters that a file's name may have") }
        guard schedule.mostBytes >= 0 else { throw .badRequest("local_max_space: expected 0 or more bytes") }
        tx.put(SnapshotSchedule.prefix + name, schedule.json.encoded())
        return .empty
    }

    private func delete(_ request: LogicalRequest, _ tx: inout Transaction) throws(VaultError)
        -> LogicalResponse
    {
        tx.delete(SnapshotSchedule.prefix + (try request[Self.name]))
        return .empty
    }

    private func status(
        _ request: LogicalRequest, _ transactions: any Transactions
    ) async throws(VaultError) -> LogicalResponse {
        guard let status = control.snapshotStatus(try request[Self.name]) else { throw .notFound }
        func time(_ time: Timestamp?) -> JSONValue { .optional(time?.rfc3339()) }
        return LogicalResponse(data: [
            "last_snapshot_start": time(status.lastStart), "last_snapshot_end": time(status.lastEnd),
            "last_snapshot_url": .string(status.lastPath), "last_snapshot_error": .string(status.lastError),
            "consecutive_errors": .int(status.consecutiveErrors),
            "next_snapshot_start": time(status.nextStart),
        ])
    }
}
