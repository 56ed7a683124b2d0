import Barrier
import Base
import PluginKit
import TestKit
import Testing

@testable import Server

@Suite struct MigrationTests {
    /// An initialised store with `count` entries behind its barrier's back: a migration sees ciphertext only.
    private func source(_ count: Int) throws -> MemoryBackend {
        let backend = MemoryBackend()
        try BarrierBootstrap.initialize(
            backend, sealConfig: Array("{}".utf8), wrappedRootKey: [1, 2, 3],
            rootKey: SecretBytes(count: 32) { _ in }, clock: ManualClock(), random: SeededRandom(seed: 1))
        for number in 0..<count {
            let key = Array("k/\(10_000 + number)".utf8)
            backend.tamper(.entries, key, Array("value \(number)".utf8))
            backend.tamper(.links, key, [UInt8(truncatingIfNeeded: number)])
        }
        return backend
    }

    private func records(_ backend: any StorageBackend) throws -> [String] {
        let reader = try backend.makeReader()
        try reader.refresh()
        defer { reader.release() }
        var found: [String] = []
        let empty = UnsafeRawBufferPointer(start: nil, count: 0)
        for table in StorageTable.allCases {
            var pair = try reader.first(table, from: empty)
            while let here = pair {
                found.append("\(table) \(Array(here.key)) \(Array(here.value))")
                pair = try reader.next(table)
            }
        }
        return found
    }

    private func migrate(
        _ source: MemoryBackend, _ target: any StorageBackend, start: String? = nil
    ) throws -> Int {
        try StorageMigration(from: source, to: target) { _, _ in }.run(start: start)
    }

    @Test func theCopyIsTheSourceRecordByRecord() throws {
        let source = try source(5_000)
        let target = MemoryBackend()
        let count = try migrate(source, target)
        let copied = try records(target)
        #expect(copied == (try records(source)))
        #expect(copied.count == count)
        #expect(try BarrierBootstrap.isInitialized(target))
    }

    @Test func aSourceThatIsNewHasNothingToCopy() throws {
        #expect(throws: VaultError.self) { try migrate(MemoryBackend(), MemoryBackend()) }
    }

    @Test func aDestinationWithDataIsLeftAlone() throws {
        let source = try source(3)
        let target = MemoryBackend()
        target.tamper(.entries, [1], [2])
        let before = try records(target)
        #expect(throws: VaultError.self) { try migrate(source, target) }
        #expect(throws: VaultError.self) { try StorageMigration.reset(target) }
        #expect(try records(target) == before)
    }

    /// A destination in which the copying stopped after `keys`.
    private func interrupted(_ keys: ClosedRange<Int>) -> MemoryBackend {
        let target = MemoryBackend()
        target.tamper(.bootstrap, StorageMigration.mark, [1])
        for number in keys {
            target.tamper(.entries, Array("k/\(10_000 + number)".utf8), Array("value \(number)".utf8))
        }
        return target
    }

    @Test func noServerStartsOnHalfACopy() throws {
        #expect(throws: VaultError.self) { try BarrierBootstrap.isInitialized(interrupted(0...4)) }
    }

    @Test func anInterruptedMigrationIsCopiedAnewOrGoesOn() throws {
        let source = try source(10)
        let anew = interrupted(0...4)
        // What is not in the source must not stay.
        anew.tamper(.entries, Array("k/99999".utf8), [9])
        _ = try migrate(source, anew)
        #expect(try records(anew) == (try records(source)))
        let resumed = interrupted(0...4)
        _ = try migrate(source, resumed, start: "k/10004")
        #expect(try records(resumed) == (try records(source)))
    }

    @Test func aStartBehindAGapIsFoundOut() throws {
        let target = interrupted(0...2)
        #expect(throws: VaultError.self) { try migrate(try source(10), target, start: "k/10005") }
        // It still carries its mark, so that it can be copied anew.
        #expect(try StorageMigration.state(of: target) == .marked)
        #expect(throws: VaultError.self) { try migrate(try source(1), MemoryBackend(), start: "k") }
    }

    @Test func resetEmptiesWhatCarriesTheMark() throws {
        let target = interrupted(0...4)
        try StorageMigration.reset(target)
        #expect(try records(target).isEmpty)
    }
}
