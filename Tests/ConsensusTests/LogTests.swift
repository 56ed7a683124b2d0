import Base
import TestKit
import Testing

@testable import Consensus

@Suite struct ChecksumTests {
    /// RFC 3720 B.4.
    @Test func knownVectors() {
        #expect(CRC32C.of([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(CRC32C.of([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(CRC32C.of(Array(0..<32)) == 0x46DD_794E)
        #expect(CRC32C.of(Array("123456789".utf8)) == 0xE306_9283)
    }

    @Test func aCodeGoesOnWhereTheLastEnded() {
        let bytes = SeededRandom(seed: 4).bytes(1000)
        for cut in [0, 1, 7, 8, 500, 1000] {
            let first = CRC32C.of(Array(bytes[..<cut]))
            let whole = Array(bytes[cut...]).withUnsafeBytes { CRC32C.of($0, after: first) }
            #expect(whole == CRC32C.of(bytes))
        }
    }
}

@Suite struct LogTests {
    private static let identity: UInt64 = 77

    private func open(
        _ disk: SimulatedDisk, segment: Int = 4096, identity: UInt64 = identity
    ) throws -> (WriteAheadLog, WriteAheadLog.Contents) {
        try WriteAheadLog.open(disk, identity: identity, segmentBytes: segment, stepBytes: 512)
    }

    private func entry(_ index: UInt64, _ term: UInt64 = 1, _ size: Int = 10) -> LogEntry {
        LogEntry(
            index: index, term: term, kind: 0,
            data: [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: size))
    }

    @Test func aNewLogIsEmpty() throws {
        let (_, found) = try open(SimulatedDisk(random: SeededRandom(seed: 1)))
        #expect(found.isNew)
        #expect(found.entries.isEmpty)
        #expect(found.base == LogPosition())
    }

    @Test func whatWasSyncedIsFoundAgain() throws {
        let disk = SimulatedDisk(random: SeededRandom(seed: 1))
        let (log, _) = try open(disk)
        for index in UInt64(1)...100 {
            log.append(entry(index))
            log.append(HardState(term: 1, vote: 3, commit: index - 1))
            try log.flush(sync: true)
        }
        disk.crash()
        let (_, found) = try open(disk)
        #expect(found.entries == (1...100).map { entry($0) })
        #expect(found.hard == HardState(term: 1, vote: 3, commit: 99))
        #expect(!found.isNew)
        #expect(try disk.names().count > 3, "several segments were expected")
    }

    @Test func anEntryReplacesThoseBehindIt() throws {
        let disk = SimulatedDisk(random: SeededRandom(seed: 1))
        let (log, _) = try open(disk)
        for index in UInt64(1)...10 { log.append(entry(index)) }
        try log.flush(sync: true)
        log.append(entry(4, 2))
        try log.flush(sync: true)
        let (_, found) = try open(disk)
        #expect(found.entries == [entry(1), entry(2), entry(3), entry(4, 2)])
    }

    @Test func compactionRemovesSegmentsAndKeepsWhatIsBehind() throws {
        let disk = SimulatedDisk(random: SeededRandom(seed: 1))
        let (log, _) = try open(disk)
        for index in UInt64(1)...200 {
            log.append(entry(index, 1, 100))
            try log.flush(sync: true)
        }
        let before = try disk.names().count
        try log.compact(to: LogPosition(index: 150, term: 1))
        #expect(try disk.names().count <= before - 5)
        disk.crash()
        let (again, found) = try open(disk)
        #expect(found.base == LogPosition(index: 150, term: 1))
        #expect(found.entries == (151...200).map { entry($0, 1, 100) })
        again.append(entry(201, 1, 100))
        try again.flush(sync: true)
        let (_, last) = try open(disk)
        #expect(last.entries.count == 51)
        #expect(last.base == found.base)
    }

    @Test func aSnapshotTakesThePlaceOfAllEntries() throws {
        let disk = SimulatedDisk(random: SeededRandom(seed: 1))
        let (log, _) = try open(disk)
        for index in UInt64(1)...10 { log.append(entry(index)) }
        try log.flush(sync: true)
        log.reset(to: LogPosition(index: 50, term: 3))
        log.append(entry(51, 3))
        try log.flush(sync: true)
        let (_, found) = try open(disk)
        #expect(found.base == LogPosition(index: 50, term: 3))
        #expect(found.entries == [entry(51, 3)])
    }

    /// Whatever a crash does to writes that were not synced: what was synced is there, and the rest is cut.
    @Test(arguments: 0..<300)
    func aTornTailIsCut(seed: Int) throws {
        let random = SeededRandom(seed: UInt64(seed))
        let disk = SimulatedDisk(random: random)
        var synced: [LogEntry] = []
        for _ in 0..<6 {
            let (log, found) = try open(disk, segment: 1500)
            #expect(Array(found.entries.prefix(synced.count)) == synced)
            synced = found.entries
            var all = synced
            disk.operationsLeft = random.below(60)
            do {
                for _ in 0..<12 {
                    for _ in 0..<1 + random.below(4) {
                        let next = entry(UInt64(all.count + 1), 1, random.below(700))
                        all.append(next)
                        log.append(next)
                    }
                    let syncs = random.below(3) > 0
                    try log.flush(sync: syncs)
                    if syncs { synced = all }
                }
            } catch { #expect(disk.operationsLeft == 0) }
            disk.crash()
        }
    }

    /// One changed bit in anything that was synced is found, or is in what no longer matters.
    @Test(arguments: 0..<200)
    func damageIsNeverTakenForATornTail(seed: Int) throws {
        let random = SeededRandom(seed: UInt64(seed))
        let disk = SimulatedDisk(random: random)
        let (log, _) = try open(disk, segment: 2048)
        for index in UInt64(1)...40 {
            log.append(entry(index, 1, random.below(300)))
            log.append(HardState(term: 1, vote: 1, commit: index))
            try log.flush(sync: true)
        }
        let (_, whole) = try open(disk, segment: 2048)
        let names = try disk.names().filter { $0.hasSuffix(".log") }
        let name = names[random.below(names.count)]
        let size = try #require(disk.contents(of: name)).count
        #expect(disk.flipBit(in: name, at: random.below(size)))
        do {
            let (_, found) = try open(disk, segment: 2048)
            #expect(found == whole)
        } catch let error as VaultError {
            #expect(error.privateCause?.contains("must not vote") == true)
        }
    }

    @Test func manyStartsLeaveFewSegments() throws {
        let disk = SimulatedDisk(random: SeededRandom(seed: 1))
        var expected: [LogEntry] = []
        for index in UInt64(1)...100 {
            let (log, found) = try open(disk)
            #expect(found.entries == expected)
            log.append(entry(index))
            log.append(HardState(term: index, vote: 1, commit: index - 1))
            try log.flush(sync: true)
            expected.append(entry(index))
            #expect(try disk.names().count <= 19)
            if index % 7 == 0 { disk.crash() }
        }
        let (_, found) = try open(disk)
        #expect(found.hard == HardState(term: 100, vote: 1, commit: 99))
    }

    @Test func aMissingSegmentIsFound() throws {
        for victim in 0..<3 {
            let disk = SimulatedDisk(random: SeededRandom(seed: 1))
            let (log, _) = try open(disk)
            for index in UInt64(1)...100 {
                log.append(entry(index, 1, 100))
                try log.flush(sync: true)
            }
            let names = try disk.names().filter { $0.hasSuffix(".log") }
            #expect(names.count == 4)
            try disk.remove(names[victim + 1])
            let error = #expect(throws: VaultError.self) { try open(disk) }
            #expect(error?.privateCause?.contains(".log") == true)
        }
    }

    @Test func theLogOfAnotherNodeIsRefused() throws {
        let disk = SimulatedDisk(random: SeededRandom(seed: 1))
        let (log, _) = try open(disk)
        log.append(entry(1))
        try log.flush(sync: true)
        let error = #expect(throws: VaultError.self) { try open(disk, identity: 78) }
        #expect(error?.privateCause?.contains("another node") == true)
    }

    @Test func nothingIsWrittenAfterAFailedSync() throws {
        let disk = SimulatedDisk(random: SeededRandom(seed: 1))
        let (log, _) = try open(disk)
        log.append(entry(1))
        try log.flush(sync: true)
        disk.failsNextSync = true
        log.append(entry(2))
        #expect(throws: VaultError.self) { try log.flush(sync: true) }
        log.append(entry(3))
        #expect(throws: VaultError.self) { try log.flush(sync: true) }
        let (_, found) = try open(disk)
        #expect(found.entries.count <= 2)
    }

    /// A file of nonsense is the remains of a crash when nothing proves that it was more, else damage.
    @Test func randomBytesAreNoLog() throws {
        for seed in UInt64(0)..<200 {
            let random = SeededRandom(seed: seed)
            let disk = SimulatedDisk(random: random)
            let hasMore = seed % 2 == 0
            if hasMore {
                let (log, _) = try open(disk)
                log.append(entry(1))
                try log.flush(sync: true)
            }
            let file = try disk.open(LogFormat.name(1), create: true)
            try file.write(random.bytes(100 + random.below(3000)), at: 0)
            if hasMore {
                #expect(throws: VaultError.self) { try open(disk) }
            } else {
                #expect(try open(disk).1.entries.isEmpty)
            }
        }
    }
}

@Suite struct WireTests {
    @Test func progressComesBack() throws {
        var progress = RaftProgress(index: 7, term: 3, configuration: [1, 2, 3], members: [])
        for id in UInt64(1)...3 {
            progress.members.append(
                RaftPeer(
                    raftID: id, nodeID: "n\(id)", clusterAddress: "a:1", apiAddress: "https://a",
                    hostName: "h", version: "1.0", isVoter: id != 2))
        }
        let older = progress.encoded
        #expect(try RaftProgress(encoded: older) == progress)
        progress.remove(2)
        progress.remove(77)
        #expect(progress.members.map(\.raftID) == [1, 3] && progress.removed == [2, 77])
        #expect(try RaftProgress(encoded: progress.encoded) == progress)
        for bytes in [older, progress.encoded] {
            for size in 0..<bytes.count {
                let cut = Array(bytes[..<size])
                // Without its removed members it is an earlier version's, and whole.
                if (try? RaftProgress(encoded: cut))?.removed.isEmpty == true, bytes != older { continue }
                #expect(throws: VaultError.self) { try RaftProgress(encoded: cut) }
            }
        }
    }

    @Test func removedMembersAreRememberedOnceAndNotForEver() {
        var progress = RaftProgress(index: 7, term: 3, configuration: [], members: [])
        for id in UInt64(1)...200 { progress.remove(id) }
        progress.remove(150)
        #expect(progress.removed.count == 128)
        #expect(progress.removed.last == 150 && progress.removed.count { $0 == 150 } == 1)
        #expect(!progress.removed.contains(72) && progress.removed.contains(73))
    }

    @Test func framesComeBackAndNonsenseDoesNot() {
        for frame in [
            RaftFrame.message(kind: 3, term: 9, bytes: [1, 2, 3]), .readQuestion(5),
            .readAnswer(6, index: 7), .farewell,
        ] {
            #expect(RaftFrame(frame.bytes)?.bytes == frame.bytes)
        }
        #expect(RaftFrame([]) == nil)
        #expect(RaftFrame([9, 1, 2, 3]) == nil)
        #expect(RaftFrame([2, 1]) == nil)
        let random = SeededRandom(seed: 8)
        for _ in 0..<2000 { _ = RaftFrame(random.bytes(random.below(40))) }
    }
}

@Suite struct StoreLogTests {
    private func open(_ disk: SimulatedDisk) throws -> (log: StoreLog, entries: [StoreLog.Entry]) {
        try StoreLog.open(disk, identity: 5)
    }

    private func payload(_ index: UInt64) -> [UInt8] { [UInt8](repeating: UInt8(index), count: 100) }

    @Test func entriesAreCountedAndFoundAgain() throws {
        let disk = SimulatedDisk(random: SeededRandom(seed: 1))
        let (log, none) = try open(disk)
        #expect(log.isNew && none.isEmpty)
        for index in UInt64(1)...9 { try log.append(payload(index)) }
        #expect(log.lastIndex == 9)
        try log.compact(to: 4)
        try log.append(payload(10))
        disk.crash()
        let (again, found) = try open(disk)
        #expect(found.map(\.index) == Array(5...10))
        #expect(found.map(\.payload) == (5...10).map(payload))
        #expect((again.base, again.lastIndex) == (4, 10))
        try again.clear()
        disk.crash()
        let (last, left) = try open(disk)
        #expect((last.base, last.lastIndex, left.count) == (10, 10, 0))
        #expect(try disk.names().count == 2, "one segment and the anchor")
    }

    /// What found no room is not there, wherever the room ended; what came before it is, and so is what comes
    /// when there is room again.
    @Test(arguments: 0..<200)
    func aFullDiskIsNoFailure(seed: Int) throws {
        let random = SeededRandom(seed: UInt64(seed))
        let disk = SimulatedDisk(random: SeededRandom(seed: UInt64(seed)))
        var log = try open(disk).log
        var wanted: [UInt64] = []
        for _ in 0..<4 {
            disk.capacity = disk.usedBytes + Int(random.below(3000))
            for _ in 0..<40 where disk.capacity < .max {
                do throws(VaultError) {
                    try log.append(payload(log.lastIndex + 1))
                    wanted.append(log.lastIndex)
                } catch {
                    guard case .unavailable = error else { throw error }
                    if random.below(2) == 0 {
                        // A start on the full disk, after a kill.
                        disk.kill()
                        let (again, found) = try open(disk)
                        #expect(found.map(\.index) == wanted)
                        log = again
                    }
                    if random.below(3) == 0 { disk.capacity = .max }
                }
            }
            disk.capacity = .max
            try log.append(payload(log.lastIndex + 1))
            wanted.append(log.lastIndex)
        }
        disk.crash()
        let (_, found) = try open(disk)
        #expect(found.map(\.index) == wanted)
        #expect(found.map(\.payload) == wanted.map(payload))
    }

    /// A crash in the middle of it leaves something that can be erased again.
    @Test(arguments: 0..<12) func anErasedLogBeginsWhereItIsTold(operations: Int) throws {
        let disk = SimulatedDisk(random: SeededRandom(seed: UInt64(operations)))
        let log = try open(disk).log
        for index in UInt64(1)...5 { try log.append(payload(index)) }
        disk.operationsLeft = operations
        do throws(VaultError) { try StoreLog.erase(disk) } catch {}
        disk.crash()
        try StoreLog.erase(disk)
        let again = try open(disk).log
        #expect(again.isNew)
        try again.begin(behind: 5)
        try again.append(payload(6))
        disk.crash()
        let (last, found) = try open(disk)
        #expect((last.base, last.lastIndex) == (5, 6))
        #expect(found.map(\.payload) == [payload(6)])
    }

    @Test func aFailedSyncIsOne() throws {
        let disk = SimulatedDisk(random: SeededRandom(seed: 1))
        let (log, _) = try open(disk)
        try log.append(payload(1))
        disk.failsNextSync = true
        #expect(throws: VaultError.self) { try log.append(payload(2)) }
        let error = #expect(throws: VaultError.self) { try log.append(payload(2)) }
        #expect(error?.privateCause?.contains("has failed before") == true)
    }
}
