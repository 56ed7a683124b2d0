import Base
import PluginKit
import TestKit
import Testing

@testable import Barrier

/// What an attacker with the disk, or a failing disk, may do behind the barrier's back.
@Suite struct TamperTests {
    private let longKey = "long/" + String(repeating: "k", count: 600)

    @Test func everyFlippedBitOfAnEntryIsFound() throws {
        let fixture = try Fixture()
        try fixture.put("a/secret")
        let (key, value) = fixture.backend.contents(.entries)[0]
        for bit in 0..<value.count * 8 {
            var bad = value
            bad[bit / 8] ^= 1 << (bit % 8)
            try fixture.tamper(.entries, key, bad)
            #expect(isCorruption { try fixture.view.get("a/secret") })
        }
        for count in value.indices {
            try fixture.tamper(.entries, key, Array(value.prefix(count)))
            #expect(isCorruption { try fixture.view.get("a/secret") })
        }
        try fixture.tamper(.entries, key, value)
        #expect(try fixture.view.get("a/secret") == Array("a/secret".utf8))
    }

    @Test func anEntryOpensOnlyAtItsOwnPath() throws {
        let fixture = try Fixture()
        let stem = String(repeating: "s", count: 500)
        try fixture.put("a", "b", stem + "1", stem + "2")
        let entries = fixture.backend.contents(.entries)
        for (source, target, path) in [(0, 1, "b"), (2, 3, nil), (1, 0, "a")] as [(Int, Int, String?)] {
            try fixture.tamper(.entries, entries[target].key, entries[source].value)
            if let path {
                #expect(isCorruption { try fixture.view.get(path) })
            } else {
                #expect(isCorruption { try (fixture.view.get(stem + "1"), fixture.view.get(stem + "2")) })
            }
            try fixture.tamper(.entries, entries[target].key, entries[target].value)
        }
    }

    @Test func aLostEntryIsNotTakenForADeletedOne() throws {
        let fixture = try Fixture()
        try fixture.put("a", "b", "c", longKey)
        for (key, path) in zip(fixture.backend.contents(.entries).map(\.key), ["a", "b", "c", longKey]) {
            let value = fixture.backend.contents(.entries).first { $0.key == key }?.value
            try fixture.tamper(.entries, key, nil)
            #expect(isCorruption { try fixture.view.get(path) })
            #expect(isCorruption { try fixture.view.scrub(from: [], limit: .max) })
            try fixture.tamper(.entries, key, value)
        }
    }

    /// With both records of a key gone, its neighbours still tell: reads of it, lists around it, and writes
    /// near it.
    @Test func aKeyThatLostEntryAndLinkIsMissed() throws {
        let fixture = try Fixture()
        try fixture.put("d/a", "d/b", "d/c", "e/f/g", longKey, "z")
        let keys = ["d/a", "d/b", "d/c", "e/f/g", longKey, "z"]
        for path in keys {
            let stored = StoredKey.stored(Array(path.utf8))
            let entry = fixture.backend.contents(.entries).first { $0.key == stored }?.value
            let link = fixture.backend.contents(.links).first { $0.key == stored }?.value
            try fixture.tamper(.entries, stored, nil)
            try fixture.tamper(.links, stored, nil)
            #expect(isCorruption { try fixture.view.get(path) })
            #expect(isCorruption { try fixture.view.get(path + "0") })
            #expect(isCorruption { try fixture.view.scan("", after: nil, limit: .max) })
            let folder = path.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(path[...$0]) } ?? ""
            #expect(isCorruption { try fixture.view.list(folder, after: nil, limit: .max) })
            #expect(isCorruption { try fixture.writer.encode([[path: [1]]]) })
            #expect(isCorruption { try fixture.writer.encode([[path + "0": [1]]]) })
            #expect(isCorruption { try fixture.writer.encode([[path: nil]]) })
            try fixture.tamper(.links, stored, link)
            try fixture.tamper(.entries, stored, entry)
        }
        #expect(try fixture.view.scan("", after: nil, limit: .max) == keys)
    }

    @Test func everyFlippedBitOfALinkIsFound() throws {
        let fixture = try Fixture()
        try fixture.put("a", "b", longKey)
        for (key, value) in fixture.backend.contents(.links) {
            for bit in 0..<value.count * 8 {
                var bad = value
                bad[bit / 8] ^= 1 << (bit % 8)
                try fixture.tamper(.links, key, bad)
                #expect(isCorruption { try fixture.view.scan("", after: nil, limit: .max) })
            }
            for bad in [[], Array(value.dropLast()), value + [0]] {
                try fixture.tamper(.links, key, bad)
                #expect(isCorruption { try fixture.view.list("", after: nil, limit: .max) })
            }
            try fixture.tamper(.links, key, value)
        }
    }

    @Test func aLostFolderIsMissed() throws {
        let fixture = try Fixture()
        try fixture.put("a", "f/1", "f/2", "f/3", "g")
        for path in ["f/1", "f/2", "f/3"] {
            try fixture.tamper(.entries, Array(path.utf8), nil)
            try fixture.tamper(.links, Array(path.utf8), nil)
        }
        #expect(isCorruption { try fixture.view.list("", after: nil, limit: .max) })
        #expect(isCorruption { try fixture.view.list("f/", after: nil, limit: .max) })
        #expect(isCorruption { try fixture.view.get("f/2") })
    }

    /// A key that no writer put there is not listed, wherever it stands.
    @Test func foreignLinksAreRefused() throws {
        let fixture = try Fixture()
        try fixture.put("a", "f/1", "f/3", "z")
        let someLink = fixture.backend.contents(.links)[1].value
        for path in ["A", "b", "f/0", "f/2", "f/4", "zz"] {
            try fixture.tamper(.links, Array(path.utf8), someLink)
            #expect(isCorruption { try fixture.view.scan("", after: nil, limit: .max) })
            #expect(isCorruption { try fixture.view.get(path) })
            try fixture.tamper(.links, Array(path.utf8), nil)
        }
    }

    @Test func aMissingFirstRecordIsFound() throws {
        let fixture = try Fixture()
        try fixture.put("b")
        try fixture.tamper(.links, StorageChain.sentinel, nil)
        #expect(isCorruption { try fixture.view.get("a") })
        #expect(isCorruption { try fixture.view.list("", after: nil, limit: .max) })
        #expect(isCorruption { try fixture.writer.encode([["a": [1]]]) })
    }

    @Test func aWriterNeverBlessesDamage() throws {
        let fixture = try Fixture()
        try fixture.put("a", "c", "e")
        try fixture.tamper(.links, Array("c".utf8), nil)
        try fixture.tamper(.entries, Array("c".utf8), nil)
        #expect(isCorruption { try fixture.writer.encode([["b": [1]]]) })
        #expect(isCorruption { try fixture.writer.encode([["d": [1]]]) })
        #expect(isCorruption { try fixture.writer.encode([["e": nil]]) })
        #expect(isCorruption { try fixture.writer.encode([["a": nil]]) })
        // What does not touch the gap goes on.
        _ = try fixture.writer.encode([["a": [2], "f": [1]]])
    }

    @Test func aLongKeysNameIsAuthenticated() throws {
        let fixture = try Fixture()
        try fixture.put(longKey)
        let (key, value) = fixture.backend.contents(.links)[1]
        var bad = value
        bad[bad.count - 1] ^= 1
        try fixture.tamper(.links, key, bad)
        #expect(isCorruption { try fixture.view.list("long/", after: nil, limit: .max) })
    }
}
