import Base
import PluginKit
import TestKit
import Testing

@Suite struct TransactionTests {
    private func stored(_ keys: [String]) throws -> MemoryStorage {
        let storage = MemoryStorage()
        try storage.run { (tx) throws(VaultError) in for key in keys { tx.put(key, [1]) } }
        return storage
    }

    @Test func readsSeeTheWritesBeforeThem() throws {
        let storage = try stored(["m/a", "m/d/x", "other"])
        var tx = Transaction(view: storage, prefix: "m/")
        tx.put("b", [2])
        tx.delete("a")
        tx.put("e/y", [3])
        tx.delete("d/x")
        #expect(try tx.get("a") == nil)
        #expect(try tx.get("b") == [2])
        #expect(try tx.list("") == ["b", "e/"])
        #expect(try tx.scan("") == ["b", "e/y"])
        #expect(try tx.list("d/") == [])
        #expect(storage.entries.keys.sorted() == ["m/a", "m/d/x", "other"])
    }

    @Test func whatWasReadIsNotedForTheCommit() throws {
        let storage = try stored(["m/a"])
        var tx = Transaction(view: storage, prefix: "m/")
        _ = try tx.get("a")
        _ = try tx.get("none")
        _ = try tx.list("d/")
        tx.put("w", [1])
        _ = try tx.get("w")
        #expect(tx.log.readKeys == ["m/a", "m/none"])
        #expect(tx.log.listedPrefixes == ["m/d/"])
        #expect(tx.log.hasWrites)
        let core = tx.scoped(to: "other/")
        _ = try core.get("k")
        #expect(tx.log.readKeys.last == "other/k")
    }

    @Test func aFailedRunLeavesNothing() throws {
        let storage = try stored([])
        #expect(throws: VaultError.notFound) {
            try storage.run { (tx) throws(VaultError) in
                tx.put("a", [1])
                throw .notFound
            }
        }
        #expect(storage.entries.isEmpty)
    }

    /// Random writes over random storage: the overlay lists, pages and scans as storage does once they are
    /// in.
    @Test(arguments: 0..<20)
    func theOverlayAgreesWithTheCommittedState(_ seed: Int) throws {
        let random = SeededRandom(seed: UInt64(seed))
        func key() -> String {
            (0..<1 + random.below(3)).map { _ in ["a", "b", "a-", "ü", "a0"][random.below(5)] }.joined(
                separator: "/")
        }
        for _ in 0..<50 {
            let storage = try stored((0..<random.below(12)).map { _ in "m/" + key() } + ["n/z"])
            let changes = (0..<random.below(8)).map { _ in (key(), random.below(2) == 0) }
            var tx = Transaction(view: storage, prefix: "m/")
            for (key, isPut) in changes { if isPut { tx.put(key, [2]) } else { tx.delete(key) } }
            let after = MemoryStorage()
            try after.run { (all) throws(VaultError) in
                for (key, value) in storage.entries { all.put(key, value) }
                for (key, isPut) in changes {
                    if isPut { all.put("m/" + key, [2]) } else { all.delete("m/" + key) }
                }
            }
            let plain = Transaction(view: after, prefix: "m/")
            for folder in ["", "a/", "b/", "a/b/"] {
                let marker = random.below(2) == 0 ? nil : ["a", "a/", "b"][random.below(3)]
                let limit = [1, 2, Int.max][random.below(3)]
                let listed = try tx.list(folder, after: marker, limit: limit)
                #expect(try listed == plain.list(folder, after: marker, limit: limit))
                let scanned = try tx.scan(folder, after: marker, limit: limit)
                #expect(try scanned == plain.scan(folder, after: marker, limit: limit))
            }
        }
    }
}
