import Barrier
import Base
import Core
import Glibc
import PluginKit
import Synchronization
import SystemAPI

/// Takes snapshots by themselves while this node is active, as the schedules behind the barrier say.
///
/// When one is due is told by the names of the files that are there: a new active node goes on where the last
/// one stopped, if they share the directory. Old files go only when a new one is whole.
final class ScheduledSnapshots: Sendable {
    private static let readPause = Duration.seconds(5)
    private static let ending = ".snap"

    private struct State {
        var schedules: [String: SnapshotSchedule] = [:]
        var status: [String: SnapshotScheduleStatus] = [:]
        var readAt: UInt64 = 0
        var isRunning = false
    }
    private let core: VaultCore
    private let archives: SnapshotArchives
    private let state = Mutex(State())

    init(core: VaultCore, archives: SnapshotArchives) {
        self.core = core
        self.archives = archives
    }

    /// How a schedule does; nil when there is none, or this node is not active.
    func status(_ name: String) -> SnapshotScheduleStatus? { state.withLock { $0.status[name] } }

    /// Looks whether one is due. Never waits.
    func tick() {
        guard let active = core.active, active.duty != nil else {
            return state.withLock { state in
                state.schedules = [:]
                state.status = [:]
                state.readAt = 0
            }
        }
        let clock = core.clock.monotonicNanoseconds()
        let mustRead = state.withLock { state in
            let isDue = state.readAt == 0 || clock - state.readAt > UInt64(Self.readPause.wholeNanoseconds)
            if isDue { state.readAt = clock }
            return isDue
        }
        guard mustRead else { return }
        do throws(VaultError) { try readSchedules(active) } catch {
            if error == .sealed { return }
            core.log.warn(
                "the schedules of snapshots cannot be read", ["cause": error.privateCause ?? "\(error)"])
        }
        let now = core.clock.now()
        let due: (String, SnapshotSchedule)? = state.withLock { state in
            if state.isRunning { return nil }
            let due = state.schedules.first { (state.status[$0.key]?.nextStart ?? now) <= now }
            guard let due else { return nil }
            state.isRunning = true
            state.status[due.key, default: SnapshotScheduleStatus()].lastStart = now
            return (due.key, due.value)
        }
        guard let (name, schedule) = due else { return }
        do throws(VaultError) {
            _ = try Thread(name: "snapshot-auto") { [self] in run(name, schedule) }
        } catch { finish(name, schedule, .failure(error)) }
    }

    private func readSchedules(_ active: ActiveCore) throws(VaultError) {
        let view = try active.barrier.makeView(reader: try core.backend.makeReader())
        try view.refresh()
        defer { view.release() }
        var found: [String: SnapshotSchedule] = [:]
        for name in try view.list(SnapshotSchedule.prefix, after: nil, limit: 100) {
            guard let record = try view.get(SnapshotSchedule.prefix + name) else { continue }
            found[name] = try SnapshotSchedule(record: record, name: name)
        }
        let known = state.withLock { $0.schedules }
        var fresh: [String: SnapshotScheduleStatus] = [:]
        for (name, schedule) in found where known[name] != schedule {
            var status = state.withLock { $0.status[name] } ?? SnapshotScheduleStatus()
            let newest = files(of: schedule).last
            status.lastPath = newest?.path ?? status.lastPath
            status.nextStart = newest.map { $0.made + schedule.interval } ?? core.clock.now()
            fresh[name] = status
        }
        state.withLock { state in
            state.schedules = found
            state.status = state.status.filter { found[$0.key] != nil }.merging(fresh) { $1 }
        }
    }

    // MARK: One snapshot

    private func run(_ name: String, _ schedule: SnapshotSchedule) {
        let stamp = String(core.clock.now().rfc3339(fraction: 0).map { $0 == ":" ? "-" : $0 })
        let path = "\(schedule.directory)/\(schedule.filePrefix)-\(stamp)\(Self.ending)"
        do throws(VaultError) {
            try archives.save(to: path)
            try prune(schedule)
            finish(name, schedule, .success(path))
        } catch { finish(name, schedule, .failure(error)) }
    }

    private func finish(_ name: String, _ schedule: SnapshotSchedule, _ result: Result<String, VaultError>) {
        let now = core.clock.now()
        state.withLock { state in
            state.isRunning = false
            guard state.schedules[name] != nil else { return }
            var status = state.status[name] ?? SnapshotScheduleStatus()
            status.lastEnd = now
            switch result {
            case .success(let path):
                status.lastPath = path
                status.lastError = ""
                status.consecutiveErrors = 0
                status.nextStart = now + schedule.interval
            case .failure(let error):
                status.lastError = error.messages.joined(separator: "; ")
                status.consecutiveErrors += 1
                // Soon again: a full disk may be emptied, a directory be mounted.
                status.nextStart = now + min(schedule.interval, .seconds(60))
            }
            state.status[name] = status
        }
        switch result {
        case .success(let path): core.log.info("a scheduled snapshot was saved", ["path": path])
        case .failure(let error):
            core.log.error(
                "a scheduled snapshot was not saved",
                ["schedule": name, "reason": error.privateCause ?? error.messages.joined(separator: "; ")])
        }
    }

    private struct Kept {
        let path: String
        let made: Timestamp
        let sizeBytes: Int
    }

    /// The schedule's files, the oldest first.
    private func files(of schedule: SnapshotSchedule) -> [Kept] {
        guard let directory = opendir(schedule.directory) else { return [] }
        defer { closedir(directory) }
        var found: [Kept] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            let start = schedule.filePrefix + "-"
            guard name.hasPrefix(start), name.hasSuffix(Self.ending) else { continue }
            let stamp = Array(name.dropFirst(start.count).dropLast(Self.ending.count))
            guard stamp.count == 20 else { continue }
            let text = String(stamp[..<13]) + ":" + String(stamp[14...15]) + ":" + String(stamp[17...])
            var info = stat()
            let path = "\(schedule.directory)/\(name)"
            guard let made = Timestamp(rfc3339: text), stat(path, &info) == 0 else { continue }
            found.append(Kept(path: path, made: made, sizeBytes: Int(info.st_size)))
        }
        return found.sorted { $0.made < $1.made }
    }

    private func prune(_ schedule: SnapshotSchedule) throws(VaultError) {
        var files = files(of: schedule)
        func isTooMuch() -> Bool {
            files.count > schedule.retain
                || schedule.mostBytes > 0 && files.reduce(0) { $0 + $1.sizeBytes } > schedule.mostBytes
        }
        // The newest stays in any case.
        while files.count > 1, isTooMuch() {
            let oldest = files.removeFirst()
            guard unlink(oldest.path) == 0 || errno == ENOENT else {
                throw .unavailable(
                    "\(oldest.path) cannot be removed: \(String(cString: strerror(errno)))",
                    retryAfterSeconds: 60)
            }
        }
    }
}
