import Base
import Synchronization
import TestKit

@testable import Consensus

/// Clients that write and read registers through whatever node they find, and change the membership.
struct Clients {
    private static let registers = 6

    enum Outcome: Sendable {
        case wrote(register: UInt8, value: UInt64, Result<UInt64, RaftError>)
        /// The value that the register had when the answer came; nil when it must not be read.
        case read(number: UInt64, value: UInt64?)
    }
    private struct Read {
        let register: UInt8
        let start: UInt64
    }

    private var histories = (0..<registers).map { _ in History() }
    private var nextValue: UInt64 = 0
    private var nextRead: UInt64 = 0
    private var pendingReads: [UInt64: Read] = [:]
    private let outcomes = Tray<(outcome: Outcome, at: UInt64)>()
    private let changed = Tray<Void>()
    private(set) var writes = 0
    private(set) var reads = 0

    /// Changes of the membership that were acknowledged since the last call.
    func takeChanges() -> Int { changed.takeAll().count }

    /// Why what clients saw is impossible; nil when all is well.
    var fault: String? {
        for (register, history) in histories.enumerated() {
            if let fault = history.fault { return "register \(register): \(fault)" }
        }
        return nil
    }

    mutating func act(in world: World, isStormy: Bool, isBusy: Bool) {
        settle(world)
        guard isBusy else { return }
        if world.random.below(4) == 0 { write(world) }
        if world.random.below(3) == 0 { read(world) }
        if isStormy {
            if world.random.below(1_000_000) < world.weather.changesPerMillion { change(world) }
            if world.random.below(1_000_000) < world.weather.transfersPerMillion, let leader = world.leader {
                leader.inbox.put(.transfer(nil) { _ in })
            }
        }
    }

    private func node(_ world: World, prefersLeader: Bool) -> Machine? {
        if prefersLeader, world.random.below(10) > 0 { return world.leader }
        let machine = world.machines[world.random.below(world.machines.count)]
        return machine.engine == nil ? nil : machine
    }

    private mutating func write(_ world: World) {
        guard let machine = node(world, prefersLeader: true) else { return }
        nextValue += 1
        let (register, value) = (UInt8(world.random.below(Self.registers)), nextValue)
        histories[Int(register)].began(value, at: world.now)
        var payload = [register]
        for shift in stride(from: 56, through: 0, by: -8) {
            payload.append(UInt8(truncatingIfNeeded: value >> UInt64(shift)))
        }
        let (outcomes, clock) = (outcomes, world.clock)
        machine.inbox.put(
            .propose(payload) { result in
                outcomes.put(
                    (.wrote(register: register, value: value, result), clock.monotonicNanoseconds()))
            })
    }

    private mutating func read(_ world: World) {
        guard let machine = node(world, prefersLeader: false) else { return }
        nextRead += 1
        let (number, register) = (nextRead, UInt8(world.random.below(Self.registers)))
        pendingReads[number] = Read(register: register, start: world.now)
        let (outcomes, clock) = (outcomes, world.clock)
        // Everything runs on one thread here.
        nonisolated(unsafe) let store = machine.store
        machine.inbox.put(
            .read { error in
                let value = error == nil ? store.state.registers[register, default: 0] : nil
                outcomes.put((.read(number: number, value: value), clock.monotonicNanoseconds()))
            })
    }

    private mutating func settle(_ world: World) {
        for (outcome, at) in outcomes.takeAll() {
            switch outcome {
            case .wrote(let register, let value, .success):
                writes += 1
                histories[Int(register)].wrote(value, at: at)
            case .wrote(let register, let value, .failure(let error)):
                // What was on its way when leadership or the node was lost may still take effect.
                if error != .outcomeUnknown { histories[Int(register)].refused(value) }
            case .read(let number, let value):
                guard let read = pendingReads.removeValue(forKey: number), let value else { continue }
                reads += 1
                histories[Int(read.register)].read(value, from: read.start, to: at)
            }
        }
    }

    /// The spare machine joins as a learner, becomes a voter, a learner again, and so on, until it leaves for
    /// good: whoever has left is refused.
    private func change(_ world: World) {
        guard let leader = world.leader, let spare = world.machines.last, leader.id != spare.id else {
            return
        }
        let members = leader.engine?.progress.members ?? []
        let known = members.first { $0.raftID == spare.id }
        let change: MembershipChange
        if let known {
            let leaves = world.random.below(6) == 0
            change =
                leaves
                ? .remove(raftID: spare.id)
                : known.isVoter ? .demote(raftID: spare.id) : .promote(raftID: spare.id)
        } else {
            change = .addLearner(RaftPeer(raftID: spare.id, nodeID: "n\(spare.id)", isVoter: false))
        }
        let changed = changed
        leader.inbox.put(
            .change(change) { result in
                if case .success = result { changed.put(()) }
            })
    }
}
