import Base
import Consensus
import Foundation
import PluginKit
import StorageBackends
import TestKit
import Testing

@Suite struct RaftBackendTests {
    @Test(arguments: StorageConformance.checks)
    func conforms(check: StorageConformance.Check) throws {
        let scratch = Scratch()
        try check.run { () throws(VaultError) in try RaftBackend.open(["path": scratch.path], log: quiet) }
    }

    @Test func itKeepsItsDataWhenReopened() throws {
        let scratch = Scratch()
        try StorageConformance.checkReopening { () throws(VaultError) in
            try RaftBackend.open(["path": scratch.path], log: quiet)
        }
    }

    /// More than the core gives out in one turn.
    @Test func aLargeRestOfTheLogIsAppliedBeforeAStartReturns() throws {
        let scratch = Scratch()
        let copy = Scratch()
        let backend = try RaftBackend.open(["path": scratch.path], log: quiet)
        let large = String(repeating: "x", count: 6 << 20)
        _ = try backend.commit(batch("first", "1"))
        usleep(50_000)
        // As a crash would leave it: the log has all, the data file only the first.
        let manager = FileManager.default
        try manager.createDirectory(atPath: copy.path, withIntermediateDirectories: true)
        for name in ["data.mdb", "anchor"] {
            try manager.copyItem(atPath: "\(scratch.path)/\(name)", toPath: "\(copy.path)/\(name)")
        }
        for number in 0..<4 { _ = try backend.commit(batch("k\(number)", large)) }
        backend.close()
        try manager.copyItem(atPath: scratch.path + "/raft", toPath: copy.path + "/raft")
        let again = try RaftBackend.open(["path": copy.path], log: quiet)
        defer { again.close() }
        let reader = try again.makeReader()
        try reader.refresh()
        #expect(reader.sequence == 5)
        #expect(try reader.copy(.entries, Array("k3".utf8))?.count == large.utf8.count)
    }

    @Test func theFirstCommitMakesAClusterOfOne() throws {
        let scratch = Scratch()
        let backend = try RaftBackend.open(["path": scratch.path, "node_id": "one"], log: quiet)
        defer { backend.close() }
        #expect(!backend.hasCluster)
        #expect(backend.node == nil)
        #expect(try backend.commit(batch("k", "v")) == 1)
        #expect(backend.members.map(\.nodeID) == ["one"])
        #expect(backend.members.map(\.raftID) == [backend.identity.raftID])
        let state = try #require(backend.node).state
        #expect(state.isLeader)
        #expect(state.hasQuorum)
        #expect(state.leader?.nodeID == "one")
    }

    @Test func aNodeKeepsItsIdentity() throws {
        let scratch = Scratch()
        let first = try RaftBackend.open(["path": scratch.path], log: quiet)
        let identity = first.identity
        first.close()
        #expect(identity.raftID != 0)
        #expect(!identity.nodeID.isEmpty)
        let second = try RaftBackend.open(["path": scratch.path + "/"], log: quiet)
        #expect(second.identity == identity)
        second.close()
        let renamed = try RaftBackend.open(["path": scratch.path, "node_id": "other"], log: quiet)
        #expect(renamed.identity.nodeID == "other")
        #expect(renamed.identity.raftID == identity.raftID)
        renamed.close()
    }

    @Test(arguments: [
        [:], ["path": ""], ["node_id": "a b"], ["performance_multiplier": "11"],
        ["performance_multiplier": "fast"], ["trailing_logs": "0"], ["trailing_logs": "-1"],
        ["snapshot_threshold": "x"], ["max_entry_size": "10"],
    ])
    func settingsThatMakeNoSenseAreNamed(settings: [String: String]) throws {
        let scratch = Scratch()
        let key = settings.keys.first ?? "path"
        let error = #expect(throws: VaultError.self) {
            try RaftBackend.open(
                settings.merging(settings.isEmpty ? [:] : ["path": scratch.path]) { $1 == "" ? $1 : $0 },
                log: quiet)
        }
        #expect(error?.status == 400)
        #expect(error?.messages.first?.contains("'\(key)'") == true, "\(String(describing: error))")
    }

    @Test func aDirectoryOfStorageFileIsRefusedAndLeftAlone() throws {
        let scratch = Scratch()
        let file = try FileBackend.open(["path": scratch.path], log: quiet)
        _ = try file.commit(batch("k", "v"))
        file.close()
        let error = #expect(throws: VaultError.self) {
            try RaftBackend.open(["path": scratch.path], log: quiet)
        }
        #expect(error?.messages.first?.contains("migrate") == true)
        let again = try FileBackend.open(["path": scratch.path], log: quiet)
        again.close()
    }

    @Test func aDirectoryOfStorageRaftIsRefusedByFile() throws {
        let scratch = Scratch()
        let raft = try RaftBackend.open(["path": scratch.path], log: quiet)
        _ = try raft.commit(batch("k", "v"))
        raft.close()
        #expect(throws: VaultError.self) { try FileBackend.open(["path": scratch.path], log: quiet) }
    }

    @Test func valuesOverTheirLimitAreRefusedBeforeTheyAreLogged() throws {
        let scratch = Scratch()
        let backend = try RaftBackend.open(
            ["path": scratch.path, "max_entry_size": "2048"], log: quiet)
        defer { backend.close() }
        let first = try backend.commit(batch("k", "v"))
        let error = #expect(throws: VaultError.self) {
            try backend.commit(batch("large", String(repeating: "x", count: 2049)))
        }
        #expect(error?.status == 413)
        #expect(try backend.commit(batch("k", String(repeating: "x", count: 2048))) == first + 1)
    }

    @Test func aLogThatIsGoneIsRefused() throws {
        let scratch = Scratch()
        let backend = try RaftBackend.open(["path": scratch.path], log: quiet)
        for _ in 0..<3 { _ = try backend.commit(batch("k", "v")) }
        backend.close()
        try FileManager.default.removeItem(atPath: scratch.path + "/raft")
        let error = #expect(throws: VaultError.self) {
            try RaftBackend.open(["path": scratch.path], log: quiet)
        }
        #expect(error?.privateCause?.contains("missing") == true)
    }

    @Test func aLogWhoseMiddleIsDamagedIsRefusedWithItsName() throws {
        let scratch = Scratch()
        let backend = try RaftBackend.open(["path": scratch.path], log: quiet)
        for _ in 0..<20 { _ = try backend.commit(batch("k", "v")) }
        backend.close()
        let name = try #require(
            try FileManager.default.contentsOfDirectory(atPath: scratch.path + "/raft")
                .filter { $0.hasSuffix(".log") }.min())
        let file = URL(filePath: scratch.path).appending(path: "raft/\(name)")
        var bytes = try Data(contentsOf: file)
        bytes[600] ^= 4
        try bytes.write(to: file)
        let error = #expect(throws: VaultError.self) {
            try RaftBackend.open(["path": scratch.path], log: quiet)
        }
        #expect(error?.privateCause?.contains(name) == true)
        #expect(error?.privateCause?.contains("rebuild") == true)
    }

    @Test func aBatchMadeOverAnotherStateHasNoEffect() throws {
        let scratch = Scratch()
        let backend = try RaftBackend.open(["path": scratch.path], log: quiet)
        defer { backend.close() }
        let first = try backend.commit(batch("a", "1"))
        var late = batch("a", "late")
        late.over = first - 1
        let error = #expect(throws: VaultError.self) { try backend.commit(late) }
        #expect(error?.status == 503)
        var good = batch("a", "2")
        good.over = first
        #expect(try backend.commit(good) == first + 1)
        let reader = try backend.makeReader()
        try reader.refresh()
        #expect(try reader.copy(.entries, Array("a".utf8)) == Array("2".utf8))
    }

    @Test func aCopyIsRestoredWhole() throws {
        let scratch = Scratch()
        let backend = try RaftBackend.open(["path": scratch.path], log: quiet)
        defer { backend.close() }
        for number in 0..<300 {
            _ = try backend.commit(batch("k\(number)", String(repeating: "v", count: number * 40)))
        }
        let made = BlockingQueue<Result<SnapshotFile, VaultError>>(limit: 1)
        backend.makeSnapshot { _ = made.push($0) }
        let file = try #require(made.take(most: 1).first).get()
        #expect(try backend.check(snapshot: file.path).members.map(\.raftID) == [backend.identity.raftID])
        for number in 0..<400 { _ = try backend.commit(batch("k\(number)", "other")) }
        let outcome = BlockingQueue<VaultError?>(limit: 1)
        backend.restore(snapshot: file.path) { _ = outcome.push($0) }
        #expect(outcome.take(most: 1) == [nil])
        let reader = try backend.makeReader()
        try reader.refresh()
        #expect(try reader.keys(.entries).count == 300)
        #expect(try reader.copy(.entries, Array("k299".utf8))?.count == 299 * 40)
        #expect(backend.members.count == 1)
        _ = try backend.commit(batch("k", "v"))
    }

    /// Whatever is wrong with a copy, it is found before anything is replaced.
    @Test(arguments: 0..<40) func aDamagedCopyIsRefused(seed: Int) throws {
        let random = SeededRandom(seed: UInt64(seed))
        let scratch = Scratch()
        let backend = try RaftBackend.open(["path": scratch.path], log: quiet)
        defer { backend.close() }
        for number in 0..<20 { _ = try backend.commit(batch("k\(number)", "value \(number)")) }
        let made = BlockingQueue<Result<SnapshotFile, VaultError>>(limit: 1)
        backend.makeSnapshot { _ = made.push($0) }
        let file = try #require(made.take(most: 1).first).get()
        var bytes = try Data(contentsOf: URL(filePath: file.path))
        switch seed % 3 {
        case 0: bytes[random.below(bytes.count)] ^= 1 << UInt8(random.below(8))
        case 1: bytes.removeLast(1 + random.below(bytes.count - 1))
        default: bytes.append(contentsOf: random.bytes(1 + random.below(30)))
        }
        let damaged = scratch.path + "/damaged"
        try bytes.write(to: URL(filePath: damaged))
        #expect(throws: VaultError.self) { try backend.check(snapshot: damaged) }
        let outcome = BlockingQueue<VaultError?>(limit: 1)
        backend.restore(snapshot: damaged) { _ = outcome.push($0) }
        #expect(outcome.take(most: 1) != [nil])
        let reader = try backend.makeReader()
        try reader.refresh()
        #expect(try reader.keys(.entries).count == 20)
    }

    /// Right behind a commit what it wrote is in memory and the rest is in the file: views show one order.
    @Test func viewsMergeWhatIsInMemoryWithTheFile() throws {
        let scratch = Scratch()
        let backend = try RaftBackend.open(["path": scratch.path], log: quiet)
        defer { backend.close() }
        let random = SeededRandom(seed: 5)
        let reader = try backend.makeReader()
        var model: [[UInt8]: [UInt8]] = [:]
        for round in 0..<300 {
            var work = CommitBatch()
            for _ in 0..<1 + random.below(6) {
                let key = [UInt8](repeating: 1, count: random.below(3)) + [UInt8(random.below(20))]
                if random.below(3) == 0 {
                    work.delete(.links, key)
                    model[key] = nil
                } else {
                    let value = random.bytes(random.below(30))
                    work.put(.links, key, value)
                    model[key] = value
                }
            }
            _ = try backend.commit(work)
            if random.below(10) == 0 { usleep(12_000) }
            try reader.refresh()
            let sorted = model.keys.sorted { $0.lexicographicallyPrecedes($1) }
            #expect(try reader.keys(.links) == sorted, "round \(round)")
            for (at, key) in sorted.enumerated() {
                #expect(try reader.copy(.links, key) == model[key])
                #expect(try reader.lastKey(.links, key) == (at == 0 ? nil : sorted[at - 1]))
                #expect(
                    try reader.firstKey(.links, key + [0]) == (at + 1 < sorted.count ? sorted[at + 1] : nil))
            }
            #expect(try reader.lastKey(.links, [255]) == sorted.last)
        }
    }

    @Test func whatWasAppliedIsTold() throws {
        let scratch = Scratch()
        let backend = try RaftBackend.open(["path": scratch.path], log: quiet)
        defer { backend.close() }
        _ = try backend.commit(batch("a", "1"))
        let seen = BlockingQueue<String>(limit: 16)
        backend.onChange { change in
            if case .batch(let batch, let sequence, let isOwn) = change {
                _ = seen.push(
                    "\(batch.writes.map { String(decoding: $0.key, as: UTF8.self) }) \(sequence) \(isOwn)")
            }
        }
        _ = try backend.commit(batch("b", "2"))
        #expect(seen.take(most: 16) == ["[\"b\"] 2 true"])
    }
}

func batch(_ key: String, _ value: String) -> CommitBatch {
    var batch = CommitBatch()
    batch.put(.entries, Array(key.utf8), Array(value.utf8))
    return batch
}
