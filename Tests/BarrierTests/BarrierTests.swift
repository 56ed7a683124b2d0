import Base
import PluginKit
import TestKit
import Testing

@testable import Barrier

@Suite struct BarrierTests {
    @Test func valuesComeBackAsTheyWereWritten() throws {
        let fixture = try Fixture()
        for count in [0, 1, 15, 16, 17, 1_000, 1 << 20] {
            let value = fixture.random.bytes(count)
            try fixture.commit(["some/path": value])
            #expect(try fixture.view.get("some/path") == value)
        }
        try fixture.commit(["some/path": nil])
        #expect(try fixture.view.get("some/path") == nil)
        #expect(fixture.backend.contents(.entries).isEmpty)
    }

    @Test func laterTransactionsOfABatchWin() throws {
        let fixture = try Fixture()
        try fixture.commit(["a": [1], "b": [1]], ["a": [2], "c": [2]], ["b": nil])
        #expect(try fixture.view.get("a") == [2])
        #expect(try fixture.view.get("b") == nil)
        #expect(try fixture.view.scan("", after: nil, limit: .max) == ["a", "c"])
    }

    @Test func deletingWhatIsNotThereIsNoError() throws {
        let fixture = try Fixture()
        try fixture.put("a")
        let before = fixture.backend.contents(.links).map(\.value)
        try fixture.commit(["b": nil])
        #expect(fixture.backend.contents(.links).map(\.value) == before)
    }

    @Test func anOverwriteLeavesTheChainAlone() throws {
        let fixture = try Fixture()
        try fixture.put("a", "b")
        let batch = try fixture.writer.encode([["a": [9]]])
        #expect(batch.writes.map(\.table) == [.entries])
    }

    @Test func listsNamesAndFoldersOnceInOrderOfBytes() throws {
        let fixture = try Fixture()
        try fixture.put("x/a", "x/a-b", "x/a/1", "x/a/2/3", "x/a0", "x/b/c", "x", "y/z", "ä/ö")
        let view = fixture.view
        #expect(try view.list("x/", after: nil, limit: .max) == ["a", "a-b", "a/", "a0", "b/"])
        #expect(try view.list("x/", after: "a", limit: 2) == ["a-b", "a/"])
        #expect(try view.list("x/", after: "a/", limit: .max) == ["a0", "b/"])
        #expect(try view.list("x/", after: "b/", limit: .max) == [])
        #expect(try view.list("", after: nil, limit: .max) == ["x", "x/", "y/", "ä/"])
        #expect(try view.list("nothing/", after: nil, limit: .max) == [])
        #expect(try view.list("x/", after: nil, limit: 0) == [])
        #expect(try view.scan("x/a/", after: nil, limit: .max) == ["x/a/1", "x/a/2/3"])
        #expect(try view.scan("x/", after: "x/a/1", limit: 2) == ["x/a/2/3", "x/a0"])
    }

    @Test func impossibleKeysAreRefusedByName() throws {
        let fixture = try Fixture()
        let tooLong = String(repeating: "k", count: StoredKey.longestLogicalBytes + 1)
        for key in ["", "a\0b", "\0", tooLong] {
            #expect(failure { try fixture.view.get(key) }?.status == 400)
            #expect(failure { try BarrierWriter.validate([key: [1]]) }?.status == 400)
            #expect(failure { try fixture.writer.encode([["good": [1]], [key: nil]]) }?.status == 400)
        }
        #expect(failure { try fixture.view.list("a\0", after: nil, limit: 1) }?.status == 400)
        #expect(fixture.backend.contents(.entries).isEmpty)
    }

    @Test func longKeysWorkWhereverTheyAreCut() throws {
        let fixture = try Fixture()
        var keys: [String] = []
        for count in [439, 440, 441, 442, 500, 1_000, 3_000, 4_096] {
            keys.append("f/" + String(repeating: "a", count: count - 2))
            keys.append("f/" + String(repeating: "é", count: (count - 2) / 2))
        }
        let stem = "g/" + String(repeating: "s", count: 438)
        keys += [stem, stem + "/b/1", stem + "/b/2", stem + "/a", stem + "0", stem + "/"]
        let deep = "h/" + String(repeating: "t", count: 600) + "/"
        keys += ["x", "y/1", "y/2", "z"].map { deep + $0 }
        // Two odd and even lengths give the same number of two-byte letters.
        keys = Array(Set(keys))
        let fresh = fixture.random
        try fixture.commit(Dictionary(uniqueKeysWithValues: keys.map { ($0, fresh.bytes(20)) }))
        let sorted = keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let view = fixture.view
        for key in keys { #expect(try view.get(key) != nil) }
        #expect(try view.scan("", after: nil, limit: .max) == sorted)
        #expect(try view.list("", after: nil, limit: .max) == ["f/", "g/", "h/"])
        #expect(try view.list(deep, after: nil, limit: .max) == ["x", "y/", "z"])
        #expect(try view.list(deep, after: "x", limit: 1) == ["y/"])
        #expect(try view.list(deep + "y/", after: nil, limit: .max) == ["1", "2"])
        #expect(try view.list(stem + "/", after: "", limit: .max) == ["a", "b/"])
        let names = try view.list("g/", after: nil, limit: .max)
        #expect(names == [String(stem.dropFirst(2)), stem.dropFirst(2) + "/", stem.dropFirst(2) + "0"])
        for (key, next) in zip(sorted, sorted.dropFirst()) {
            #expect(try view.scan("", after: key, limit: 1) == [next])
        }
        #expect(try view.get(deep + "w") == nil)
        try fixture.commit(Dictionary(uniqueKeysWithValues: keys.map { ($0, nil) }))
        #expect(fixture.backend.contents(.links).count == 1)
        #expect(try view.scan("", after: nil, limit: .max) == [])
    }

    // MARK: Keys

    @Test func rotationKeepsOldEntriesAndEncryptsNewOnes() throws {
        let fixture = try Fixture()
        try fixture.put("old")
        let audit = try fixture.barrier.derivedKey("audit")
        fixture.clock.advance(.seconds(60))
        try fixture.rotate()
        try fixture.put("new")
        #expect(
            try fixture.barrier.keyStatus() == .init(term: 2, installed: fixture.clock.now(), encryptions: 1))
        let terms = fixture.backend.contents(.entries).map { $0.value[4] }
        #expect(terms == [2, 1])  // "new" sorts before "old"
        #expect(try fixture.view.get("old") == Array("old".utf8))
        let again = try BarrierBootstrap.unseal(fixture.backend, rootKey: fixture.rootKey)
        let view = try again.makeView(reader: fixture.backend.makeReader())
        try view.refresh()
        #expect(try view.get("old") == Array("old".utf8))
        #expect(try view.get("new") == Array("new".utf8))
        #expect(try view.list("", after: nil, limit: .max) == ["new", "old"])
        #expect(try again.derivedKey("audit") == audit)
        #expect(try again.derivedKey("token-salt") != audit)
        #expect(try again.keyStatus().term == 2)
    }

    @Test func aSealedBarrierGivesNothing() throws {
        let fixture = try Fixture()
        try fixture.put("a")
        fixture.barrier.seal()
        #expect(fixture.barrier.isSealed)
        #expect(failure { try fixture.view.refresh() } == .sealed)
        #expect(failure { try fixture.view.get("a") } == .sealed)
        #expect(failure { try fixture.writer.encode([["a": [1]]]) } == .sealed)
        #expect(failure { try fixture.barrier.derivedKey("audit") } == .sealed)
        #expect(failure { try fixture.barrier.rotate() } == .sealed)
        #expect(failure { try fixture.barrier.makeView(reader: fixture.backend.makeReader()) } == .sealed)
    }

    @Test func aRotationDoesNotUnsealASealedBarrier() throws {
        let fixture = try Fixture()
        let rotation = try fixture.barrier.rotate()
        fixture.barrier.seal()
        fixture.barrier.activate(rotation)
        #expect(fixture.barrier.isSealed)
    }

    @Test func aViewTakesNewTermsWhenRefreshed() throws {
        let fixture = try Fixture()
        let other = try fixture.barrier.makeView(reader: fixture.backend.makeReader())
        try other.refresh()
        try fixture.rotate()
        try fixture.put("new")
        try other.refresh()
        #expect(try other.get("new") == Array("new".utf8))
    }

    // MARK: Bootstrap

    @Test func initialisesOnlyOnce() throws {
        let fixture = try Fixture()
        #expect(try BarrierBootstrap.isInitialized(fixture.backend))
        #expect(try BarrierBootstrap.isInitialized(MemoryBackend()) == false)
        let again = failure {
            try BarrierBootstrap.initialize(
                fixture.backend, sealConfig: [], wrappedRootKey: [], rootKey: fixture.rootKey,
                clock: fixture.clock,
                random: fixture.random)
        }
        #expect(again?.status == 400)
        #expect(try BarrierBootstrap.readSealConfig(fixture.backend) == Fixture.config)
        #expect(try BarrierBootstrap.readWrappedRootKey(fixture.backend) == [1, 2, 3])
        #expect(try BarrierBootstrap.readSealConfig(MemoryBackend()) == nil)
        let fresh = failure { try BarrierBootstrap.unseal(MemoryBackend(), rootKey: fixture.rootKey) }
        #expect(fresh == .notInitialized)
    }

    @Test func aWrongRootKeyIsToldFromDamage() throws {
        let fixture = try Fixture()
        let wrong = failure {
            try BarrierBootstrap.unseal(fixture.backend, rootKey: .random(32, from: fixture.random))
        }
        #expect(wrong?.status == 400)
        #expect(failure { try BarrierBootstrap.unseal(fixture.backend, rootKey: .random(31)) }?.status == 400)
    }

    @Test func everyFlippedByteOfABootstrapRecordIsFound() throws {
        let fixture = try Fixture()
        for (key, value) in fixture.backend.contents(.bootstrap)
        where String(decoding: key, as: UTF8.self) != "core/root-key" {
            for index in value.indices {
                var bad = value
                bad[index] ^= 0x40
                fixture.backend.tamper(.bootstrap, key, bad)
                #expect(
                    isCorruption { try BarrierBootstrap.unseal(fixture.backend, rootKey: fixture.rootKey) })
            }
            for bad in [[], Array(value.dropLast()), value + [0]] {
                fixture.backend.tamper(.bootstrap, key, bad)
                #expect(
                    isCorruption { try BarrierBootstrap.unseal(fixture.backend, rootKey: fixture.rootKey) })
            }
            fixture.backend.tamper(.bootstrap, key, nil)
            #expect(isCorruption { try BarrierBootstrap.unseal(fixture.backend, rootKey: fixture.rootKey) })
            #expect(isCorruption { try BarrierBootstrap.isInitialized(fixture.backend) })
            fixture.backend.tamper(.bootstrap, key, value)
        }
        _ = try BarrierBootstrap.unseal(fixture.backend, rootKey: fixture.rootKey)
    }

    @Test func aStoreThatLostItsBootstrapIsNotTakenForAFreshOne() throws {
        let fixture = try Fixture()
        for (key, _) in fixture.backend.contents(.bootstrap) { fixture.backend.tamper(.bootstrap, key, nil) }
        #expect(isCorruption { try BarrierBootstrap.isInitialized(fixture.backend) })
    }

    @Test func theSealKeyWrapsTheRootKey() throws {
        let random = SeededRandom(seed: 3)
        let rootKey = SecretBytes.random(32, from: random)
        let sealKey = SecretBytes.random(32, from: random)
        let wrapped = try SealEnvelope.wrapRootKey(rootKey, under: sealKey, random: random)
        #expect(try SealEnvelope.unwrapRootKey(wrapped, under: sealKey) == rootKey)
        let wrong = failure { try SealEnvelope.unwrapRootKey(wrapped, under: .random(32, from: random)) }
        #expect(wrong?.status == 400)
        for index in wrapped.indices {
            var bad = wrapped
            bad[index] ^= 1
            #expect(isCorruption { try SealEnvelope.unwrapRootKey(bad, under: sealKey) })
        }
        for count in wrapped.indices {
            #expect(
                isCorruption { try SealEnvelope.unwrapRootKey(Array(wrapped.prefix(count)), under: sealKey) })
        }
    }

    @Test func theSealCanBeReplacedWithAndWithoutANewRootKey() throws {
        let fixture = try Fixture()
        try fixture.put("a")
        let newRoot = SecretBytes.random(32, from: fixture.random)
        let config = Array(#"{"shares":1}"#.utf8)
        let rotation = try fixture.barrier.replaceSeal(config: config, wrappedRootKey: [7], rootKey: newRoot)
        _ = try fixture.backend.commit(rotation.batch)
        fixture.barrier.activate(rotation)
        #expect(try fixture.barrier.isRootKey(newRoot))
        #expect(try BarrierBootstrap.readSealConfig(fixture.backend) == config)
        #expect(try BarrierBootstrap.readWrappedRootKey(fixture.backend) == [7])
        #expect(
            failure { try BarrierBootstrap.unseal(fixture.backend, rootKey: fixture.rootKey) }?.status == 400)
        let view = try BarrierBootstrap.unseal(fixture.backend, rootKey: newRoot)
            .makeView(reader: fixture.backend.makeReader())
        try view.refresh()
        #expect(try view.get("a") == Array("a".utf8))
    }
}
