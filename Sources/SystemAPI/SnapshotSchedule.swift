package import Base

/// When a snapshot is taken by itself, and where it is kept (Vault API: `sys/storage/raft/snapshot-auto`).
package struct SnapshotSchedule: Sendable, Equatable {
    /// Where schedules stand behind the barrier, by name.
    package static let prefix = "core/raft/snapshot-auto/"

    /// Time between two snapshots.
    package var interval = Duration.zero
    /// Files that are kept.
    package var retain = 1
    /// A directory on the active node.
    package var directory = ""
    /// What the names of its files begin with.
    package var filePrefix = "holdfast-snapshot"
    /// Bytes that all files of the schedule may have; 0 for no limit.
    package var mostBytes = 0

    /// A schedule that is not complete yet.
    package init() {}

    /// - Throws: `.corrupted` when this is no such record.
    package init(record: [UInt8], name: String) throws(VaultError) {
        guard let json = try? RawJSON(validating: record), let seconds = json["interval"]?.int, seconds > 0,
            let retain = json["retain"]?.int, let directory = json["path_prefix"]?.string,
            let filePrefix = json["file_prefix"]?.string, let mostBytes = json["local_max_space"]?.int
        else { throw .corrupted(place: Self.prefix + name) }
        interval = .seconds(seconds)
        self.retain = retain
        self.directory = directory
        self.filePrefix = filePrefix
        self.mostBytes = mostBytes
    }

    /// As it is stored and shown.
    package var json: JSONValue {
        [
            "interval": .int(Int(interval.wholeSeconds)), "retain": .int(retain),
            "path_prefix": .string(directory), "file_prefix": .string(filePrefix), "storage_type": "local",
            "local_max_space": .int(mostBytes),
        ]
    }
}

/// How a schedule does, on the active node since it became that.
package struct SnapshotScheduleStatus: Sendable {
    /// When the last attempt began; nil when there was none.
    package var lastStart: Timestamp?
    /// When the last attempt ended, well or not.
    package var lastEnd: Timestamp?
    /// The newest file.
    package var lastPath = ""
    /// Why the last attempt failed; empty when it did not.
    package var lastError = ""
    /// Attempts that have failed since the last good one.
    package var consecutiveErrors = 0
    /// When the next one is due.
    package var nextStart: Timestamp?
    /// Before the first attempt.
    package init() {}
}
