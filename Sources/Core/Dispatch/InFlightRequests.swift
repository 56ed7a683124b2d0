package import Base
package import PluginKit
import Synchronization

/// The requests that wait for something: a commit, a computation, the outside world. One that is answered
/// by the thread that read it is never here, and costs nothing.
package final class InFlightRequests: Sendable {
    /// What is known of a request; nothing of it is secret.
    package struct Entry: Sendable {
        package let id: String
        package let operation: Operation
        /// Below `/v1/`.
        package let path: String
        package let remoteAddress: String
        package let started: Timestamp
    }

    private struct State {
        var entries: [UInt64: Entry] = [:]
        var next: UInt64 = 0
    }
    private let state = Mutex(State())

    package init() {}

    /// All of them, the oldest first.
    package var all: [Entry] {
        state.withLock { $0.entries.sorted { $0.key < $1.key }.map(\.value) }
    }

    /// Enters a request. `end` takes what this returns.
    func begin(_ request: LogicalRequest) -> UInt64 {
        let entry = Entry(
            id: request.id, operation: request.operation, path: request.path,
            remoteAddress: request.connection.remoteAddress, started: request.now)
        return state.withLock { state in
            state.next += 1
            state.entries[state.next] = entry
            return state.next
        }
    }

    func end(_ ticket: UInt64) { state.withLock { _ = $0.entries.removeValue(forKey: ticket) } }
}
