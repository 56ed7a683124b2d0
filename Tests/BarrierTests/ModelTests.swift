import Base
import PluginKit
import TestKit
import Testing

@testable import Barrier

/// The barrier against sorted keys and values, step by step, in random batches.
@Suite struct ModelTests {
    @Test(arguments: [11, 12, 13, 14] as [UInt64])
    func behavesAsADictionary(seed: UInt64) throws {
        let fixture = try Fixture(seed: seed)
        let random = fixture.random
        var model = Model()
        var steps = 0
        while steps < 20_000 {
            var batch: [[String: [UInt8]?]] = []
            for _ in 0...random.below(4) {
                var writes: [String: [UInt8]?] = [:]
                for _ in 0..<random.below(random.below(20) == 0 ? 300 : 30) {
                    let value: [UInt8]? = random.below(5) < 3 ? random.bytes(random.below(40)) : nil
                    writes.updateValue(value, forKey: Self.key(random))
                }
                steps += writes.count
                batch.append(writes)
            }
            if random.below(50) == 0 {
                let below = model.scan(Self.prefix(random), nil, .max)
                batch.append(Dictionary(uniqueKeysWithValues: below.map { ($0, nil) }))
            }
            for writes in batch { model.apply(writes) }
            _ = try fixture.backend.commit(fixture.writer.encode(batch))
            if random.below(40) == 0 { try fixture.rotate() }
            try fixture.view.refresh()
            for _ in 0..<8 { try compare(fixture.view, model, random) }
            steps += 8
        }
        #expect(try fixture.view.scan("", after: nil, limit: .max) == model.keys)
        #expect(try fixture.view.scrub(from: [], limit: .max) == nil)
        #expect(fixture.backend.contents(.links).count == model.keys.count + 1)
    }

    private func compare(_ view: BarrierView, _ model: Model, _ random: SeededRandom) throws {
        let key = Self.key(random)
        #expect(try view.get(key) == model.values[key])
        let prefix = Self.prefix(random)
        let limit = random.below(3) == 0 ? 1 + random.below(5) : .max
        let after: String? = random.below(2) == 0 ? Self.key(random) : nil
        #expect(try view.scan(prefix, after: after, limit: limit) == model.scan(prefix, after, limit))
        let names = model.list(prefix, nil, .max)
        let name = names.isEmpty || random.below(2) == 0 ? after : names[random.below(names.count)]
        #expect(try view.list(prefix, after: name, limit: limit) == model.list(prefix, name, limit))
    }

    private static let long = String(repeating: "x", count: 437)

    /// Few enough names that keys meet, with stems at the border of what is stored as it is.
    private static func key(_ random: SeededRandom) -> String {
        let segments = ["a", "b", "a-", "a0", "é"]
        var key = random.below(4) == 0 ? long + String("yyyyy".prefix(random.below(6))) : ""
        for index in 0...random.below(3) {
            if index > 0 || !key.isEmpty && random.below(2) == 0 { key += "/" }
            key += segments[random.below(segments.count)]
        }
        return key
    }

    private static func prefix(_ random: SeededRandom) -> String {
        let key = key(random)
        switch random.below(6) {
        case 0: return ""
        case 1: return key + "/"
        default: return key.lastIndex(of: "/").map { String(key[...$0]) } ?? key + "/"
        }
    }
}

/// What the barrier should hold, as plainly as can be.
private struct Model {
    private(set) var values: [String: [UInt8]] = [:]
    /// In the order of bytes.
    private(set) var keys: [String] = []

    mutating func apply(_ writes: [String: [UInt8]?]) {
        for (key, value) in writes { values[key] = value }
        keys = values.keys.map { Array($0.utf8) }.sorted { $0 < $1 }.map {
            String(decoding: $0, as: UTF8.self)
        }
    }

    func scan(_ prefix: String, _ after: String?, _ limit: Int) -> [String] {
        Array(keys.lazy.filter { $0.hasPrefix(prefix) && isBehind($0, after) }.prefix(limit))
    }

    func list(_ prefix: String, _ after: String?, _ limit: Int) -> [String] {
        var names: [String] = []
        for key in keys where key.hasPrefix(prefix) {
            let rest = key.dropFirst(prefix.count)
            let name = rest.firstIndex(of: "/").map { String(rest[...$0]) } ?? String(rest)
            if name != names.last, isBehind(name, after) { names.append(name) }
        }
        return Array(names.prefix(limit))
    }

    private func isBehind(_ name: String, _ after: String?) -> Bool {
        after.map { Array($0.utf8) < Array(name.utf8) } ?? true
    }
}
