import Base
import Synchronization
import TestKit

@testable import Consensus

/// What is wrong with a run; the seed reproduces it.
struct Violation: Error, CustomStringConvertible {
    let description: String
}

/// A clock that the world moves.
final class WorldClock: Clock {
    private let time = Atomic<UInt64>(1_000_000_000)
    func now() -> Timestamp { Timestamp(nanoseconds: Int64(monotonicNanoseconds())) }
    func monotonicNanoseconds() -> UInt64 { time.load(ordering: .relaxed) }
    func advance(_ nanoseconds: UInt64) { time.wrappingAdd(nanoseconds, ordering: .relaxed) }
}

/// A list that closures of any thread may append to. Here there is one thread.
final class Tray<Element: Sendable>: Sendable {
    private let elements = Mutex<[Element]>([])
    func put(_ element: Element) { elements.withLock { $0.append(element) } }
    func takeAll() -> [Element] {
        elements.withLock { elements in
            defer { elements = [] }
            return elements
        }
    }
}

/// What a node wants to send; the world delivers it, or does not.
final class WorldTransport: RaftTransport {
    enum Parcel: Sendable {
        case frame(OutboundMessage)
        case state(
            to: UInt64, message: [UInt8], file: SnapshotFile, done: @Sendable (Bool) -> Void)
    }
    let tray = Tray<Parcel>()

    func send(_ messages: [OutboundMessage]) { for message in messages { tray.put(.frame(message)) } }
    func sendSnapshot(
        to peer: UInt64, message: [UInt8], file: SnapshotFile, done: @escaping @Sendable (Bool) -> Void
    ) {
        tray.put(.state(to: peer, message: message, file: file, done: done))
    }
    func updatePeers(_ peers: [RaftPeer], removed: [UInt64]) {}
}

/// One simulated machine: what survives a crash, and the engine while it runs.
final class Machine {
    let id: UInt64
    let disk: SimulatedDisk
    let store: ModelStore
    let transport = WorldTransport()
    let inbox = Tray<RaftCommand>()
    var engine: RaftEngine?
    /// Nothing runs until then, though the machine is up.
    var pausedUntil: UInt64 = 0
    var startsAt: UInt64 = 0

    init(_ id: UInt64, shelf: Shelf, random: SeededRandom) {
        self.id = id
        disk = SimulatedDisk(random: random)
        store = ModelStore("n\(id)", shelf: shelf, random: random)
    }
}

/// How bad the world is, drawn from the seed.
struct Weather {
    var dropsPercent: Int
    var duplicatesPercent: Int
    var delayMicroseconds: Int
    var crashesPerMillion: Int
    var partitionsPerMillion: Int
    var pausesPerMillion: Int
    var diskFaultsPerMillion: Int
    var changesPerMillion: Int
    var transfersPerMillion: Int

    init(_ random: SeededRandom) {
        dropsPercent = [0, 1, 5, 20][random.below(4)]
        duplicatesPercent = [0, 1, 5][random.below(3)]
        delayMicroseconds = [300, 3_000, 40_000][random.below(3)]
        crashesPerMillion = [0, 300, 1_500][random.below(3)]
        partitionsPerMillion = [0, 200, 1_000][random.below(3)]
        pausesPerMillion = [0, 200, 600][random.below(3)]
        diskFaultsPerMillion = [0, 150, 500][random.below(3)]
        changesPerMillion = [0, 0, 2_000][random.below(3)]
        transfersPerMillion = [0, 300][random.below(2)]
    }
}

/// A few machines, a network and some clients, all of it drawn from one seed: the same seed gives the same
/// bytes. The consensus core, the log and the engine are the real ones; clock, network, disk and store are
/// simulated.
final class World {
    let seed: UInt64
    let random: SeededRandom
    let clock = WorldClock()
    let shelf = Shelf()
    let size: Int
    var weather: Weather
    var machines: [Machine] = []
    var trace: UInt64 = 0xCBF2_9CE4_8422_2325

    private struct Flight {
        let at: UInt64
        let order: UInt64
        let from: UInt64
        let parcel: WorldTransport.Parcel
    }
    private var flights: [Flight] = []
    private var flightCount: UInt64 = 0
    /// Pairs whose messages do not arrive, by their direction.
    private var cuts: Set<[UInt64]> = []
    private var healsAt: UInt64 = 0

    private var leaders: [UInt64: UInt64] = [:]
    private var log: [UInt64: (term: UInt64, payload: [UInt8])] = [:]
    private(set) var clients: Clients
    private(set) var statistics = Statistics()
    var violation: String?

    struct Statistics {
        var terms = 0
        var entries = 0
        var writes = 0
        var reads = 0
        var crashes = 0
        var states = 0
        var changes = 0
    }

    static let spare = 1

    init(seed: UInt64) {
        self.seed = seed
        random = SeededRandom(seed: seed)
        size = random.below(2) == 0 ? 3 : 5
        weather = Weather(random)
        clients = Clients()
        let ids = (1...UInt64(size)).map { $0 }
        let members = ids.map { RaftPeer(raftID: $0, nodeID: "n\($0)") }
        let first = RaftProgress(
            index: 1, term: 1, configuration: RaftCore.configuration(voters: ids), members: members)
        for id in ids + [UInt64(size + Self.spare)] {
            let machine = Machine(id, shelf: shelf, random: random)
            machine.store.isSynchronous = random.below(2) == 0
            machine.store.seen = { [unowned self] in apply($0) }
            if id <= size { machine.store.begin(first) }
            machines.append(machine)
        }
    }

    var now: UInt64 { clock.monotonicNanoseconds() }
    private func chance(_ perMillion: Int) -> Bool { random.below(1_000_000) < perMillion }

    // MARK: - The run

    /// Runs through bad weather, then good weather, and looks whether all came to the same.
    func run(milliseconds: Int) throws(Violation) {
        for _ in 0..<milliseconds { try step(isStormy: true, isBusy: true) }
        cuts = []
        weather.dropsPercent = 0
        weather.duplicatesPercent = 0
        for machine in machines {
            machine.pausedUntil = 0
            machine.startsAt = 0
            machine.disk.capacity = .max
            machine.disk.operationsLeft = nil
            machine.disk.failsNextSync = false
            machine.store.callsLeft = nil
        }
        var calm = 0
        while calm < 30_000 {
            // Then the clients rest: with new writes all the time the nodes are never equal.
            try step(isStormy: false, isBusy: calm < 1_000)
            calm += 1
            if calm > 1_000, calm % 100 == 0, hasConverged { break }
        }
        guard hasConverged else {
            throw Violation(description: "seed \(seed): the nodes do not agree after \(calm) ms: \(picture)")
        }
        if let fault = clients.fault { throw Violation(description: "seed \(seed): \(fault)") }
        statistics.terms = leaders.count
        statistics.entries = log.count
        (statistics.writes, statistics.reads) = (clients.writes, clients.reads)
        statistics.changes = clients.takeChanges()
        for machine in machines { machine.engine = nil }
    }

    private func step(isStormy: Bool, isBusy: Bool) throws(Violation) {
        clock.advance(1_000_000)
        if isStormy { storm() }
        for machine in machines where machine.engine == nil && now >= machine.startsAt { start(machine) }
        deliver()
        clients.act(in: self, isStormy: isStormy, isBusy: isBusy)
        for machine in machines { turn(machine) }
        if let violation { throw Violation(description: "seed \(seed): \(violation)") }
    }

    private func turn(_ machine: Machine) {
        guard let engine = machine.engine, now >= machine.pausedUntil else { return }
        var commands = machine.inbox.takeAll()
        // A turn that has yielded something is followed by another; more than a few in a row would only
        // mean that the clock stands still.
        for _ in 0..<8 where !commands.isEmpty || engine.deadline <= now {
            do throws(VaultError) { try engine.turn(commands) } catch {
                for command in engine.untaken { command.refuse() }
                return crash(machine)
            }
            noteLeader(machine, engine)
            collect(machine)
            commands = machine.inbox.takeAll()
        }
        for command in commands { machine.inbox.put(command) }
        if !machine.store.isSynchronous, random.below(20) == 0 { machine.store.sync() }
    }

    private func start(_ machine: Machine) {
        let identity = RaftPeer(raftID: machine.id, nodeID: "n\(machine.id)")
        var configuration = RaftConfiguration(identity: identity, logIdentity: machine.id * 1_000)
        configuration.trailingEntries = 20
        configuration.compactionEntries = 10
        configuration.segmentBytes = 4 << 10
        configuration.stepBytes = 1 << 10
        configuration.seed = random.next() | 1
        let inbox = machine.inbox
        _ = inbox.takeAll()
        do throws(VaultError) {
            let engine = try RaftEngine(
                configuration, disk: machine.disk, machine: machine.store, clock: clock, random: random,
                log: Log(level: .error), post: { inbox.put($0) })
            engine.transport = machine.transport
            machine.engine = engine
        } catch {
            // Only an injected fault may stop a start: a crash damages nothing.
            if machine.disk.operationsLeft == nil, machine.disk.capacity == .max,
                !"\(error)".contains("the simulated ")
            {
                violation = "node \(machine.id) does not start: \(error)"
            }
            crash(machine)
        }
    }

    private func crash(_ machine: Machine) {
        statistics.crashes += 1
        machine.engine?.stop()
        machine.engine = nil
        // A killed process leaves its writes in memory; only a loss of power tears them.
        if random.below(2) == 0 { machine.disk.crash() } else { machine.disk.kill() }
        machine.disk.capacity = .max
        machine.store.crash()
        for command in machine.inbox.takeAll() { command.refuse() }
        // What was handed to the network before the crash may well arrive.
        collect(machine)
        machine.startsAt = now + UInt64(random.below(2_000)) * 1_000_000
    }

    // MARK: - Faults

    private func storm() {
        for machine in machines where machine.engine != nil {
            if chance(weather.crashesPerMillion) {
                switch random.below(3) {
                case 0: crash(machine)
                case 1: machine.disk.operationsLeft = random.below(30)
                default: machine.store.callsLeft = random.below(5)
                }
            }
            if chance(weather.pausesPerMillion) {
                machine.pausedUntil = now + UInt64(random.below(3_000)) * 1_000_000
            }
            if chance(weather.diskFaultsPerMillion) {
                if random.below(2) == 0 {
                    machine.disk.failsNextSync = true
                } else {
                    machine.disk.capacity = machine.disk.usedBytes + random.below(3_000)
                }
            }
        }
        if chance(weather.partitionsPerMillion) { cut() }
        if !cuts.isEmpty, now >= healsAt { cuts = [] }
    }

    private func cut() {
        cuts = []
        healsAt = now + UInt64(random.below(3_000)) * 1_000_000
        let ids = machines.map(\.id)
        switch random.below(3) {
        case 0:
            // Two sides.
            let side = Set(ids.filter { _ in random.below(2) == 0 })
            for a in ids { for b in ids where side.contains(a) != side.contains(b) { cuts.insert([a, b]) } }
        case 1:
            // One node is alone.
            let alone = ids[random.below(ids.count)]
            for other in ids where other != alone { cuts.formUnion([[alone, other], [other, alone]]) }
        default:
            // One node hears nothing, or is not heard.
            let deaf = ids[random.below(ids.count)]
            let hears = random.below(2) == 0
            for other in ids where other != deaf { cuts.insert(hears ? [deaf, other] : [other, deaf]) }
        }
    }

    // MARK: - The network

    private func collect(_ machine: Machine) {
        for parcel in machine.transport.tray.takeAll() {
            if random.below(100) < weather.dropsPercent {
                if case .state(_, _, _, let done) = parcel { done(false) }
                continue
            }
            fly(parcel, from: machine.id)
            if case .frame = parcel, random.below(100) < weather.duplicatesPercent {
                fly(parcel, from: machine.id)
            }
        }
    }

    private func fly(_ parcel: WorldTransport.Parcel, from: UInt64) {
        var delay = random.below(weather.delayMicroseconds)
        if random.below(50) == 0 { delay *= 20 }
        flightCount += 1
        flights.append(
            Flight(at: now + UInt64(delay) * 1_000, order: flightCount, from: from, parcel: parcel))
    }

    private func deliver() {
        let due = flights.filter { $0.at <= now }.sorted { ($0.at, $0.order) < ($1.at, $1.order) }
        flights.removeAll { $0.at <= now }
        for flight in due {
            switch flight.parcel {
            case .frame(let message):
                guard let machine = reachable(message.to, from: flight.from) else { continue }
                mix(message.to)
                mix(message.bytes)
                machine.inbox.put(.receive(message.bytes, from: flight.from))
            case .state(let to, let message, let file, let done):
                guard let machine = reachable(to, from: flight.from), machine.engine != nil,
                    let (state, progress) = shelf.get(file.path)
                else {
                    done(false)
                    continue
                }
                mix(message)
                statistics.states += 1
                let path = "\(file.path)@\(to)"
                shelf.put(path, state, progress)
                machine.inbox.put(
                    .receiveSnapshot(
                        message: message, path: path, progress: progress, from: flight.from,
                        done: { done($0) }))
            }
        }
    }

    private func reachable(_ to: UInt64, from: UInt64) -> Machine? {
        cuts.contains([from, to]) ? nil : machines.first { $0.id == to && $0.engine != nil }
    }

    // MARK: - What must hold

    private func noteLeader(_ machine: Machine, _ engine: RaftEngine) {
        guard engine.state.isLeader else { return }
        if let other = leaders[engine.state.term], other != machine.id {
            violation = "nodes \(other) and \(machine.id) both lead in term \(engine.state.term)"
        }
        leaders[engine.state.term] = machine.id
    }

    private func apply(_ entry: CommittedEntry) {
        if let known = log[entry.index] {
            if known != (entry.term, entry.payload) {
                violation = "entry \(entry.index) was applied with two contents"
            }
        } else {
            log[entry.index] = (entry.term, entry.payload)
        }
        mix(entry.index)
    }

    var leader: Machine? { machines.first { $0.engine?.state.isLeader == true } }

    private var hasConverged: Bool {
        guard let ids = leader?.engine?.progress.members.map(\.raftID) else { return false }
        let members = machines.filter { ids.contains($0.id) }
        guard let first = members.first, let last = log.keys.max() else { return false }
        return members.allSatisfy {
            $0.engine != nil && $0.store.appliedIndex >= last && $0.store.state == first.store.state
        }
    }

    private var picture: String {
        machines.map { machine in
            let state = machine.engine?.state
            return "n\(machine.id) "
                + (state.map { "\($0.role) term \($0.term) last \($0.lastIndex) commit \($0.committed)" }
                    ?? "down") + " applied \(machine.store.appliedIndex)"
        }.joined(separator: "; ")
    }

    private func mix(_ value: UInt64) {
        trace = (trace ^ value) &* 0x100_0000_01B3
        trace ^= trace >> 29
    }
    private func mix(_ bytes: [UInt8]) { mix(UInt64(CRC32C.of(bytes))) }
}
