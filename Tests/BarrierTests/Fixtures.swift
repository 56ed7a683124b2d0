import Base
import Crypto
import PluginKit
import TestKit

@testable import Barrier

/// A fresh barrier over storage in memory, with one view and one writer.
final class Fixture {
    let backend = MemoryBackend()
    let random: SeededRandom
    let clock = ManualClock()
    let rootKey: SecretBytes
    let barrier: UnsealedBarrier
    let view: BarrierView
    let writer: BarrierWriter

    static let config = Array(#"{"type":"shamir","shares":5,"threshold":3}"#.utf8)

    init(seed: UInt64 = 1) throws {
        random = SeededRandom(seed: seed)
        rootKey = .random(32, from: random)
        try BarrierBootstrap.initialize(
            backend, sealConfig: Self.config, wrappedRootKey: [1, 2, 3], rootKey: rootKey, clock: clock,
            random: random)
        barrier = try BarrierBootstrap.unseal(backend, rootKey: rootKey, clock: clock, random: random)
        view = try barrier.makeView(reader: backend.makeReader())
        writer = try barrier.makeWriter(reader: backend.makeReader())
        try view.refresh()
    }

    func commit(_ transactions: [String: [UInt8]?]...) throws {
        _ = try backend.commit(writer.encode(transactions))
        try view.refresh()
    }

    func put(_ keys: String...) throws {
        try commit(Dictionary(uniqueKeysWithValues: keys.map { ($0, Array($0.utf8)) }))
    }

    func rotate() throws {
        let rotation = try barrier.rotate()
        _ = try backend.commit(rotation.batch)
        barrier.activate(rotation)
        try view.refresh()
    }

    func tamper(_ table: StorageTable, _ key: [UInt8], _ value: [UInt8]?) throws {
        backend.tamper(table, key, value)
        try view.refresh()
    }
}

/// What was thrown, or nil.
func failure<R>(_ body: () throws -> R) -> VaultError? {
    do {
        _ = try body()
        return nil
    } catch { return error as? VaultError }
}

func isCorruption<R>(_ body: () throws -> R) -> Bool {
    if case .corrupted = failure(body) { true } else { false }
}
