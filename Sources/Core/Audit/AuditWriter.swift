import Base
import PluginKit
import Synchronization

/// One device's thread and the records that wait for it.
///
/// What waits is written together, with one call of the device (group write). Nobody blocks here: who
/// appends gets a call back, from this thread, or from `expire` when the device hangs. A device that has
/// failed is tried again with the next records; one that hangs refuses everything until it returns.
final class AuditWriter: Sendable {
    typealias Done = @Sendable (_ isWritten: Bool) -> Void
    typealias MakeDevice = @Sendable () throws(VaultError) -> any AuditDevice

    /// Bytes that may wait; beyond it records are refused, so that a slow disk does not fill the memory.
    private static let mostWaitingBytes = 128 << 20
    /// Bytes written with one call, so that the first of a group does not wait for the last too long.
    private static let mostGroupBytes = 4 << 20
    /// How long one write may take before the device counts as hung.
    static let patience = Duration.seconds(10)

    private struct Entry: Sendable {
        let records: [UInt8]
        let done: Done
    }

    private struct State {
        var waiting: [Entry] = []
        var waitingBytes = 0
        var inFlight: [Entry] = []
        /// When the write that runs was begun, by the monotonic clock.
        var writingSince: UInt64?
        var isHung = false
        var isSleeping = false
        var wantsReopening = false
        var isClosed = false
        var thread: Thread?
    }

    private let state = Mutex(State())
    private let wakeups = WakeFlag()
    private let name: String
    private let make: MakeDevice
    private let clock: any Clock
    private let log: Log
    /// The cause of the last failure; for the operator who enables a device.
    private let lastFailure = Mutex<VaultError?>(nil)

    init(name: String, clock: any Clock, log: Log, make: @escaping MakeDevice) {
        self.name = name
        self.clock = clock
        self.log = log
        self.make = make
    }

    var failure: VaultError? { lastFailure.withLock { $0 } }

    /// Hands records over, each with its line feed. `done` is called once.
    func append(_ records: [UInt8], _ done: @escaping Done) {
        let (isTaken, needsWaking) = state.withLock { state -> (Bool, Bool) in
            let isFull =
                !state.waiting.isEmpty && state.waitingBytes + records.count > Self.mostWaitingBytes
            if state.isClosed || state.isHung || isFull || !start(&state) { return (false, false) }
            state.waiting.append(Entry(records: records, done: done))
            state.waitingBytes += records.count
            defer { state.isSleeping = false }
            return (true, state.isSleeping)
        }
        if needsWaking { wakeups.wake() }
        if !isTaken { done(false) }
    }

    /// Makes the device open its target anew before the next record.
    func reopen() {
        state.withLock {
            $0.wantsReopening = true
            _ = start(&$0)
        }
        wakeups.wake()
    }

    /// Writes what waits, then ends the thread. Does not wait for a device that hangs.
    func close() {
        let thread = state.withLock { state -> Thread? in
            state.isClosed = true
            return state.isHung ? nil : state.thread
        }
        wakeups.wake()
        thread?.join()
    }

    /// Refuses what waits for a device that has been writing for too long.
    func expire(now: UInt64) {
        let given = state.withLock { state -> [Entry] in
            guard let since = state.writingSince, now > since,
                now - since > UInt64(Self.patience.wholeNanoseconds)
            else { return [] }
            state.isHung = true
            defer {
                state.inFlight = []
                state.waiting = []
                state.waitingBytes = 0
            }
            return state.inFlight + state.waiting
        }
        if given.isEmpty { return }
        note(.unavailable("the device has not answered for \(Self.patience)", retryAfterSeconds: 1))
        for entry in given { entry.done(false) }
    }

    // MARK: The thread

    /// The thread starts with the first record. False when the system gives none.
    private func start(_ state: inout State) -> Bool {
        if state.thread != nil { return true }
        if state.isClosed { return false }
        state.thread = try? Thread(name: "audit") { [self] in run() }
        return state.thread != nil
    }

    private func run() {
        var device: (any AuditDevice)?
        while true {
            let (group, wantsReopening, isClosed) = take()
            if wantsReopening { device?.reopen() }
            if group.isEmpty {
                if isClosed { break }
                _ = wakeups.wait(.seconds(60))
                continue
            }
            let isWritten = write(group, &device)
            let entries = state.withLock { state -> [Entry] in
                defer { state.inFlight = [] }
                state.writingSince = nil
                state.isHung = false
                return state.inFlight
            }
            for entry in entries { entry.done(isWritten) }
        }
        device?.close()
    }

    private func take() -> (group: [Entry], wantsReopening: Bool, isClosed: Bool) {
        state.withLock { state in
            var count = 0
            var bytes = 0
            while count < state.waiting.count, bytes < Self.mostGroupBytes {
                bytes += state.waiting[count].records.count
                count += 1
            }
            let group = Array(state.waiting.prefix(count))
            state.waiting.removeFirst(count)
            state.waitingBytes -= bytes
            state.inFlight = group
            state.isSleeping = group.isEmpty
            if !group.isEmpty { state.writingSince = clock.monotonicNanoseconds() }
            defer { state.wantsReopening = false }
            return (group, state.wantsReopening, state.isClosed)
        }
    }

    private func write(_ group: [Entry], _ device: inout (any AuditDevice)?) -> Bool {
        do throws(VaultError) {
            let open: any AuditDevice
            if let device { open = device } else { open = try make() }
            device = open
            try open.append(group.map(\.records))
            note(nil)
            return true
        } catch {
            note(error)
            return false
        }
    }

    /// Says in the log when a device begins to fail and when it is well again.
    private func note(_ failure: VaultError?) {
        if failure != nil { Instruments.auditWriteFailures.add() }
        let last = lastFailure.withLock { last in
            defer { last = failure }
            return last
        }
        guard last != failure else { return }
        if let failure {
            log.error(
                "an audit device cannot record; requests are refused unless another one can",
                ["device": name, "cause": failure.privateCause ?? failure.messages.joined(separator: "; ")])
        } else {
            log.info("an audit device records again", ["device": name])
        }
    }
}
