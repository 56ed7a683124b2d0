import Base
import PluginKit
import TestKit
import Testing

@testable import SecretsEngines

/// Random operations on a few secrets, against a model that keeps everything in plain dictionaries.
@Suite struct KVModelTests {
    private struct Version {
        var value: String
        var deletion: Timestamp?
        var isDestroyed = false
    }
    private struct Secret {
        var current = 0
        var limit = 0
        var span = 0
        var versions: [Int: Version] = [:]
    }

    @Test(arguments: 0..<8)
    func randomHistoriesAgreeWithTheModel(_ seed: Int) throws {
        let random = SeededRandom(seed: UInt64(seed))
        let kv = try MountHarness(KVEngine.self, options: ["version": "2"])
        let paths = ["a", "a/b", "c"]
        var model: [String: Secret] = [:]
        for step in 0..<200 {
            let path = paths[random.below(paths.count)]
            change(path, random, kv, &model, step)
            let now = kv.clock.now()
            check(path, model[path], kv, now, "seed \(seed) step \(step) \(path)")
        }
        for path in paths { check(path, model[path], kv, kv.clock.now(), "seed \(seed) at the end \(path)") }
        let listed = kv.call(.list, "metadata/").data?["keys"]?.elements.compactMap(\.string) ?? []
        #expect(listed.contains("a") == (model["a"] != nil))
        checkStorage(kv, model)
    }

    private func change(
        _ path: String, _ random: SeededRandom, _ kv: MountHarness, _ model: inout [String: Secret],
        _ step: Int
    ) {
        let now = kv.clock.now()
        let picked = (0..<1 + random.below(3)).map { _ in random.below((model[path]?.current ?? 0) + 2) }
        let list = #"{"versions":[\#(picked.map(String.init).joined(separator: ","))]}"#
        switch random.below(12) {
        case 0...4:
            // Small values stand in the record, large ones apart.
            let size = random.below(3) == 0 ? 9_000 : 3
            let value = #"{"s":\#(step),"v":"\#(String(repeating: "x", count: size))"}"#
            let current = model[path]?.current ?? 0
            let cas = random.below(3) == 0 ? random.below(current + 2) : current
            let answer = kv.call(.update, "data/" + path, #"{"data":\#(value),"options":{"cas":\#(cas)}}"#)
            #expect((answer.status == 200) == (cas == current))
            guard cas == current else { return }
            var secret = model[path] ?? Secret()
            secret.current += 1
            let deletion = secret.span > 0 ? now + .seconds(secret.span) : nil
            secret.versions[secret.current] = Version(value: value, deletion: deletion)
            let limit = secret.limit > 0 ? secret.limit : 10
            secret.versions = secret.versions.filter { $0.key > secret.current - limit }
            model[path] = secret
        case 5:
            kv.call(.delete, "data/" + path)
            if let current = model[path]?.current { update([current], path, &model) { delete(&$0, now) } }
        case 6:
            kv.call(.update, "delete/" + path, list)
            update(picked, path, &model) { delete(&$0, now) }
        case 7:
            kv.call(.update, "undelete/" + path, list)
            update(picked, path, &model) { if !$0.isDestroyed { $0.deletion = nil } }
        case 8:
            kv.call(.update, "destroy/" + path, list)
            update(picked, path, &model) { $0.isDestroyed = true }
        case 9:
            let (limit, span) = (random.below(5), random.below(30))
            kv.call(
                .update, "metadata/" + path, #"{"max_versions":\#(limit),"delete_version_after":\#(span)}"#)
            model[path, default: Secret()].limit = limit
            model[path, default: Secret()].span = span
        case 10 where random.below(4) == 0:
            kv.call(.delete, "metadata/" + path)
            model[path] = nil
        default: kv.clock.advance(.seconds(random.below(20)))
        }
    }

    private func delete(_ version: inout Version, _ now: Timestamp) {
        if version.isDestroyed { return }
        if let deletion = version.deletion, deletion <= now { return }
        version.deletion = now
    }

    private func update(
        _ numbers: [Int], _ path: String, _ model: inout [String: Secret], _ body: (inout Version) -> Void
    ) {
        for number in numbers {
            guard var version = model[path]?.versions[number] else { continue }
            body(&version)
            model[path]?.versions[number] = version
        }
    }

    private func check(
        _ path: String, _ secret: Secret?, _ kv: MountHarness, _ now: Timestamp, _ place: String
    ) {
        let metadata = kv.call(.read, "metadata/" + path)
        #expect((metadata.status == 200) == (secret != nil), "\(place)")
        guard let secret else { return }
        #expect(metadata["current_version"] == String(secret.current), "\(place)")
        let numbers = metadata.data?["versions"]?.members.compactMap { Int($0.name) } ?? []
        #expect(numbers == secret.versions.keys.sorted(), "\(place)")
        for number in 0...secret.current + 1 {
            let answer = kv.call(.read, "data/" + path, query: ["version": String(number)])
            let version = secret.versions[number == 0 ? secret.current : number]
            let isReadable =
                version.map { !$0.isDestroyed && ($0.deletion ?? now + .seconds(1)) > now } ?? false
            #expect((answer.status == 200) == isReadable, "\(place) version \(number)")
            #expect((answer.data != nil) == (version != nil), "\(place) version \(number)")
            guard let version else { continue }
            #expect(answer["data"] == (isReadable ? version.value : "null"), "\(place) version \(number)")
            #expect(
                answer["metadata/deletion_time"] == "\"\(version.deletion?.rfc3339() ?? "")\"", "\(place)")
            #expect(answer["metadata/destroyed"] == String(version.isDestroyed), "\(place)")
        }
    }

    /// Nothing lies about that no version needs.
    private func checkStorage(_ kv: MountHarness, _ model: [String: Secret]) {
        for key in kv.storage.entries.keys where key.hasPrefix("mount/v/") {
            let parts = key.split(separator: "/", maxSplits: 3)
            let version = Int(parts[2]).flatMap { model[String(parts[3])]?.versions[$0] }
            #expect(version?.isDestroyed == false, "\(key) is left over")
        }
    }
}
