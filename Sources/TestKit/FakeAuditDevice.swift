package import Base
import PluginKit
import Synchronization

/// What a `FakeAuditDevice` was given, and how it shall behave. One for all devices that are made with it.
package final class FakeAuditTarget: Sendable {
    private struct State {
        var records: [String] = []
        var groups: [Int] = []
        var isFailing = false
        var isHanging = false
        var reopenings = 0
    }
    private let state = Mutex(State())

    package init() {}

    /// Every record, without its line feed, in the order written.
    package var records: [String] { state.withLock { $0.records } }
    /// How many appended elements each call wrote together.
    package var groups: [Int] { state.withLock { $0.groups } }
    package var reopenings: Int { state.withLock { $0.reopenings } }
    /// Whether writes fail, as on a full disk.
    package var isFailing: Bool {
        get { state.withLock { $0.isFailing } }
        set { state.withLock { $0.isFailing = newValue } }
    }
    /// Whether writes do not return, as on a network file system that is gone.
    package var isHanging: Bool {
        get { state.withLock { $0.isHanging } }
        set { state.withLock { $0.isHanging = newValue } }
    }

    fileprivate func append(_ records: [[UInt8]]) throws(VaultError) {
        // The fake stands for a system call that cannot be interrupted.
        while isHanging { waitBriefly() }
        if isFailing { throw .unavailable("no space left on device", retryAfterSeconds: 1) }
        state.withLock { state in
            state.groups.append(records.count)
            for element in records {
                for line in element.split(separator: 10) {
                    state.records.append(String(decoding: line, as: UTF8.self))
                }
            }
        }
    }

    fileprivate func noteReopening() { state.withLock { $0.reopenings += 1 } }
}

/// An audit device that keeps records in memory and fails on command. For tests only.
package final class FakeAuditDevice: AuditDevice {
    package static let type = "fake"
    package static let options: [String] = []

    private let target: FakeAuditTarget

    package init(options: [String: String]) throws(VaultError) { target = FakeAuditTarget() }

    package init(_ target: FakeAuditTarget) { self.target = target }

    /// See `AuditDevice.append`.
    package func append(_ records: [[UInt8]]) throws(VaultError) { try target.append(records) }

    /// See `AuditDevice.reopen`.
    package func reopen() { target.noteReopening() }

    /// See `AuditDevice.close`.
    package func close() {}
}
