package import Base
package import PluginKit
import Synchronization

/// Gives every request to all audit devices, and lets none pass that no device has recorded.
///
/// The table of devices is one record in storage, `core/audit`; each device's salt stands beside it. When
/// a commit changes either, the commit thread calls `reload` before the client gets its answer. Records are
/// made on the thread that has the request; only hashes wait in queues. Without a device all of this costs
/// one atomic load.
package final class AuditBroker: Sendable {
    package static let tableKey = "core/audit"
    private static let saltPrefix = "core/audit-salt/"
    private static let saltBytes = 32
    /// Each device costs a thread, and every request its records.
    private static let mostDevices = 16
    /// How often hung devices are looked for.
    private static let watchPause = Duration.seconds(1)

    /// A kind of device as the catalog gives it.
    package struct Kind: Sendable {
        let options: [String]
        let make: @Sendable ([String: String]) throws(VaultError) -> any AuditDevice

        package init<Device: AuditDevice>(_ type: Device.Type) {
            self.init(type.options) { (options: [String: String]) throws(VaultError) in
                try Device(options: options)
            }
        }

        /// - Parameters:
        ///   - options: names of the device's own options.
        ///   - make: checks them and touches nothing outside of the process.
        package init(
            _ options: [String],
            make: @escaping @Sendable ([String: String]) throws(VaultError) -> any AuditDevice
        ) {
            self.options = options
            self.make = make
        }
    }

    /// A device in service.
    private struct Device: Sendable {
        let entry: AuditEntry
        let formatter: AuditFormatter
        let writer: AuditWriter
    }
    private struct Table: Sendable {
        var devices: [Device] = []
        var headers: [String: Bool] = [:]
    }

    private let kinds: [String: Kind]
    private let clock: any Clock
    private let random: any RandomSource
    private let log: Log
    private let table = Mutex(Table())
    private let deviceCount = Atomic<Int>(0)
    private let headerCount = Atomic<Int>(0)
    private let watch = Mutex<WakeFlag?>(nil)

    package init(kinds: [String: Kind], clock: any Clock, random: any RandomSource, log: Log) {
        self.kinds = kinds
        self.clock = clock
        self.random = random
        self.log = log
    }

    /// Whether there is a device.
    package var isEnabled: Bool { deviceCount.load(ordering: .acquiring) > 0 }

    /// How many devices there are, and how many of them could not record when they last had to.
    package var deviceCounts: (all: Int, failing: Int) {
        let devices = table.withLock { $0.devices }
        return (devices.count, devices.count { $0.writer.failure != nil })
    }

    /// Whether the latest records went to none of the devices, so that requests are refused.
    package var isFailing: Bool {
        guard isEnabled else { return false }
        let counts = deviceCounts
        return counts.failing == counts.all
    }

    /// The headers of requests that are recorded, in lower case; empty while there is no device.
    package var headerNames: [String] {
        guard isEnabled, headerCount.load(ordering: .acquiring) > 0 else { return [] }
        return table.withLock { $0.headers.keys.sorted() }
    }

    // MARK: Recording

    /// Makes the records of a stage and gives them to every device. `then` is called once, here or on
    /// another thread: with nil when one device has written them, with the refusal when none could.
    package func record(
        _ stage: AuditStage, of call: AuditedCall, then: @escaping @Sendable (VaultError?) -> Void
    ) {
        let devices = table.withLock { $0.devices }
        if devices.isEmpty { return then(nil) }
        let now = clock.now()
        var isRequest = true
        if case .response = stage { isRequest = false }
        let ticket = Ticket(devices.count, isRequest: isRequest, then)
        for device in devices {
            let records = device.formatter.records(stage, of: call, at: now)
            device.writer.append(records) { ticket.settle($0) }
        }
    }

    /// The same for threads that may wait.
    /// - Returns: the refusal, or nil when the records are written.
    package func recordBlocking(_ stage: AuditStage, of call: AuditedCall) -> VaultError? {
        let answers = BlockingQueue<VaultError?>(limit: 1)
        record(stage, of: call) { _ = answers.push($0) }
        return answers.take(most: 1).first ?? Self.refusal
    }

    /// What a client gets when no device could record its request.
    static let refusal = VaultError.unavailable(
        "no audit device can record the request, so it is refused; the server's log names the cause",
        retryAfterSeconds: 1)

    /// Waits for the first device that has written, or for all of them to have failed.
    private final class Ticket: Sendable {
        private let left: Atomic<Int>
        private let isSettled = Atomic<Bool>(false)
        private let then: @Sendable (VaultError?) -> Void
        private let isRequest: Bool

        init(_ count: Int, isRequest: Bool, _ then: @escaping @Sendable (VaultError?) -> Void) {
            left = Atomic(count)
            self.isRequest = isRequest
            self.then = then
        }

        func settle(_ isWritten: Bool) {
            if isWritten {
                if !isSettled.exchange(true, ordering: .acquiringAndReleasing) { then(nil) }
            } else if left.subtract(1, ordering: .acquiringAndReleasing).newValue == 0,
                !isSettled.exchange(true, ordering: .acquiringAndReleasing)
            {
                (isRequest ? Instruments.auditRequestFailures : Instruments.auditResponseFailures).add()
                then(AuditBroker.refusal)
            }
        }
    }

    /// `hmac-sha256:…`, as the device at `path` (with its slash) hashes a value. Nil when there is none.
    package func hash(_ value: SecretBytes, asAt path: String) -> String? {
        let device = table.withLock { $0.devices.first { $0.entry.path == path } }
        return device.map { device in value.withBytes { device.formatter.mask.hash(of: $0) } }
    }

    // MARK: Changing the table

    /// The rows of the table, in the order in which they were enabled.
    package func readEntries(_ tx: inout Transaction) throws(VaultError) -> [AuditEntry] {
        guard let bytes = try tx.get(Self.tableKey) else { return [] }
        return try Self.parse(bytes)
    }

    private static func parse(_ bytes: [UInt8]) throws(VaultError) -> [AuditEntry] {
        var entries: [AuditEntry] = []
        for record in RawJSON(trusted: bytes).elements { entries.append(try AuditEntry(record: record)) }
        return entries
    }

    private static func write(_ entries: [AuditEntry], _ tx: inout Transaction) {
        tx.put(tableKey, JSONValue.array(entries.map(\.record)).encoded())
    }

    /// Checks all that can be checked of a new device without touching anything.
    /// - Throws: `.badRequest` that names what is wrong.
    package func check(_ entry: AuditEntry) throws(VaultError) {
        guard let kind = kinds[entry.type] else {
            let known = kinds.keys.sorted().joined(separator: ", ")
            throw .badRequest("type: unknown audit device \"\(entry.type)\"; expected one of \(known)")
        }
        let known = kind.options + AuditOptions.names
        if let strange = entry.options.keys.sorted().first(where: { !known.contains($0) }) {
            throw .badRequest(
                "options: unknown option \"\(strange)\"; this device knows \(known.joined(separator: ", "))")
        }
        _ = try AuditOptions(entry.options)
        _ = try kind.make(entry.options)
    }

    /// - Throws: `.badRequest` when the path is taken or there are too many devices.
    package func checkRoom(for entry: AuditEntry, among entries: [AuditEntry]) throws(VaultError) {
        if let taken = entries.first(where: {
            $0.path.hasPrefix(entry.path) || entry.path.hasPrefix($0.path)
        }) {
            throw .badRequest("path already in use by the audit device at \(taken.path)")
        }
        if entries.count >= Self.mostDevices {
            throw .badRequest("expected at most \(Self.mostDevices) audit devices")
        }
    }

    /// Writes a record to a device that is to be enabled. Blocks.
    /// - Throws: `.badRequest` with the cause when it cannot be written.
    package func test(_ entry: AuditEntry) throws(VaultError) {
        let device = try makeDevice(entry, salt: SecretBytes.random(Self.saltBytes, from: random), [:])
        if device.formatter.options.skipsTest { return }
        defer { device.writer.close() }
        let answers = BlockingQueue<Bool>(limit: 2)
        let record = device.formatter.testRecord(at: clock.now(), id: random.uuid())
        device.writer.append(record) { _ = answers.push($0) }
        let watch = try startWatch([device.writer])
        defer { watch.stop() }
        if answers.take(most: 1).first == true { return }
        let cause = device.writer.failure?.messages.joined(separator: "; ") ?? "it does not take records"
        throw .badRequest("the audit device cannot be written to: \(cause)")
    }

    /// Adds a row that `check` and `test` have passed.
    package func enable(_ entry: AuditEntry, _ tx: inout Transaction) throws(VaultError) {
        var entries = try readEntries(&tx)
        try checkRoom(for: entry, among: entries)
        entries.append(entry)
        Self.write(entries, &tx)
        tx.put(Self.saltPrefix + entry.uuid, random.bytes(Self.saltBytes))
    }

    /// Removes the row at `path`, if there is one.
    package func disable(_ path: String, _ tx: inout Transaction) throws(VaultError) {
        var entries = try readEntries(&tx)
        guard let index = entries.firstIndex(where: { $0.path == path }) else { return }
        tx.delete(Self.saltPrefix + entries[index].uuid)
        entries.remove(at: index)
        Self.write(entries, &tx)
    }

    // MARK: Following the table

    /// Whether a commit of this key concerns the broker.
    package static func concerns(_ key: String) -> Bool {
        key == tableKey || key == AuditedHeaders.recordKey
    }

    /// Takes the devices of storage into service: at unsealing, and after each commit that `concerns` it.
    package func reload(_ view: any StorageView) throws(VaultError) {
        let headers = try AuditedHeaders.read(view)
        let known = table.withLock { $0 }
        var devices: [Device] = []
        for entry in try view.get(Self.tableKey).map(Self.parse) ?? [] {
            if let same = known.devices.first(where: { $0.entry == entry }), known.headers == headers {
                devices.append(same)
                continue
            }
            guard var salt = try view.get(Self.saltPrefix + entry.uuid), salt.count == Self.saltBytes else {
                throw .corrupted(place: "the salt of audit device \(entry.path)")
            }
            defer { salt.wipe() }
            let writer = known.devices.first { $0.entry == entry }?.writer
            devices.append(try makeDevice(entry, salt: SecretBytes(copying: salt), headers, writer))
        }
        replace(Table(devices: devices, headers: headers))
        try keepWatch()
    }

    /// Lets go of all devices, and of the keys that hash for them, when the server is sealed.
    package func clear() {
        replace(Table())
        watch.withLock { watch in
            watch?.stop()
            watch = nil
        }
    }

    /// Makes every device open its target anew (SIGHUP).
    package func reopen() {
        for device in table.withLock({ $0.devices }) { device.writer.reopen() }
    }

    private func replace(_ fresh: Table) {
        let gone = table.withLock { table -> [Device] in
            defer { table = fresh }
            return table.devices.filter { old in !fresh.devices.contains { $0.writer === old.writer } }
        }
        deviceCount.store(fresh.devices.count, ordering: .releasing)
        headerCount.store(fresh.headers.count, ordering: .releasing)
        for device in gone { device.writer.close() }
    }

    private func makeDevice(
        _ entry: AuditEntry, salt: SecretBytes, _ headers: [String: Bool], _ writer: AuditWriter? = nil
    ) throws(VaultError) -> Device {
        let make: AuditWriter.MakeDevice = { [kinds] () throws(VaultError) in
            guard let kind = kinds[entry.type] else {
                throw .unavailable("there is no audit device \"\(entry.type)\"", retryAfterSeconds: 1)
            }
            return try kind.make(entry.options)
        }
        return Device(
            entry: entry,
            formatter: AuditFormatter(
                options: try AuditOptions(entry.options), salt: salt, headers: headers),
            writer: writer ?? AuditWriter(name: entry.path, clock: clock, log: log, make: make))
    }

    // MARK: Watching

    private func keepWatch() throws(VaultError) {
        guard isEnabled, watch.withLock({ $0 == nil }) else { return }
        let flag = try startWatch(nil)
        watch.withLock { $0 = flag }
    }

    /// A thread that gives up on hung devices: on `writers`, or on all that are in service.
    private func startWatch(_ writers: [AuditWriter]?) throws(VaultError) -> WakeFlag {
        let flag = WakeFlag()
        flag.thread = try Thread(name: "audit-watch") { [self] in
            while flag.wait(Self.watchPause) {
                let now = clock.monotonicNanoseconds()
                for writer in writers ?? table.withLock({ $0.devices.map(\.writer) }) {
                    writer.expire(now: now)
                }
            }
        }
        return flag
    }
}
