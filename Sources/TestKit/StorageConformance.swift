package import Base
package import PluginKit
import Synchronization

/// What every storage backend must do. Each check gets a maker of fresh, empty backends.
///
///     @Test(arguments: StorageConformance.checks)
///     func conforms(check: StorageConformance.Check) throws {
///         try check.run { () throws(VaultError) in try InMemoryBackend.open([:], log: log) }
///     }
package enum StorageConformance {
    package typealias Maker = @Sendable () throws(VaultError) -> any StorageBackend

    /// What did not hold.
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// One thing that backends must do.
    package struct Check: Sendable, CustomStringConvertible {
        package let description: String
        private let body: @Sendable (any StorageBackend) throws -> Void

        init(_ description: String, _ body: @escaping @Sendable (any StorageBackend) throws -> Void) {
            self.description = description
            self.body = body
        }

        /// Makes a backend, runs the check over it and closes it.
        package func run(_ make: Maker) throws {
            let backend = try make()
            defer { backend.close() }
            try body(backend)
        }
    }

    package static let checks: [Check] = [
        Check("a fresh backend is empty", freshIsEmpty),
        Check("commits are numbered one after the other", commitsAreNumbered),
        Check("batches take effect whole and in order", batchesAreWhole),
        Check("a batch that is refused leaves nothing", refusedBatchesLeaveNothing),
        Check("keys are ordered by their bytes", keysAreOrdered),
        Check("first, next and last keep their promises", walkingWorks),
        Check("tables are apart", tablesAreApart),
        Check("a view does not move until it is refreshed", viewsAreStable),
        Check("a released view refuses to be read", releasedViewsRefuse),
        Check("deletes delete", deletesDelete),
        Check("values of 33 MiB are kept", largeValues),
        Check("ten thousand entries are found and listed", manyEntries),
        Check("random work ends as a model says", randomWork),
        Check("readers see whole commits while others are made", readersWhileCommitting),
    ]

    /// For durable backends: `open` opens the same place each time.
    package static func checkReopening(_ open: Maker) throws {
        let first = try open()
        for number in 0..<50 {
            _ = try first.commit(batch { $0.put(.entries, key("k\(number)"), bytes("v\(number)")) })
        }
        let last = try first.commit(batch { $0.delete(.entries, key("k7")) })
        first.close()
        let second = try open()
        defer { second.close() }
        let reader = try second.makeReader()
        try reader.refresh()
        try expect(
            reader.sequence == last, "reopening changed the sequence from \(last) to \(reader.sequence)")
        for number in 0..<50 {
            let value = try reader.copy(.entries, key("k\(number)"))
            try expect(
                value == (number == 7 ? nil : bytes("v\(number)")),
                "k\(number) is \(text(value)) after reopening")
        }
        let next = try second.commit(batch { $0.put(.links, key("x"), bytes("y")) })
        try expect(
            next == last + 1, "the first commit after reopening has the number \(next), not \(last + 1)")
    }
}

// MARK: - The checks

extension StorageConformance {
    private static func freshIsEmpty(_ backend: any StorageBackend) throws {
        let reader = try refreshed(backend)
        for table in StorageTable.allCases {
            try expect(try reader.copy(table, key("a")) == nil, "a fresh backend has a value")
            try expect(try reader.keys(table).isEmpty, "a fresh backend lists keys")
            try expect(try reader.lastKey(table, [255]) == nil, "a fresh backend has a last key")
        }
    }

    private static func commitsAreNumbered(_ backend: any StorageBackend) throws {
        let reader = try refreshed(backend)
        var last = reader.sequence
        let batches = [
            batch { $0.put(.entries, key("a"), bytes("1")) },
            batch { _ in },
            batch { $0.delete(.entries, key("never there")) },
            batch { $0.put(.entries, key("a"), bytes("1")) },
            batch { _ in },
        ]
        for (index, batch) in batches.enumerated() {
            let number = try backend.commit(batch)
            try expect(number == last + 1, "commit \(index) has the number \(number) behind \(last)")
            try reader.refresh()
            try expect(reader.sequence == number, "a refreshed view is at \(reader.sequence), not \(number)")
            last = number
        }
        try expect(try reader.keys(.entries) == [key("a")], "commits that change nothing left something")
    }

    private static func batchesAreWhole(_ backend: any StorageBackend) throws {
        _ = try backend.commit(
            batch {
                $0.put(.entries, key("a"), bytes("1"))
                $0.put(.links, key("b"), bytes("2"))
                $0.put(.bootstrap, key("c"), bytes("3"))
                $0.put(.entries, key("d"), bytes("first"))
                $0.put(.entries, key("d"), bytes("second"))
                $0.put(.entries, key("e"), bytes("gone"))
                $0.delete(.entries, key("e"))
            })
        let reader = try refreshed(backend)
        try expect(try reader.copy(.entries, key("a")) == bytes("1"), "the first write of a batch is missing")
        try expect(try reader.copy(.links, key("b")) == bytes("2"), "the second table's write is missing")
        try expect(try reader.copy(.bootstrap, key("c")) == bytes("3"), "the third table's write is missing")
        try expect(
            try reader.copy(.entries, key("d")) == bytes("second"), "the later of two writes did not win")
        try expect(try reader.copy(.entries, key("e")) == nil, "a delete behind a put did not win")
    }

    private static func refusedBatchesLeaveNothing(_ backend: any StorageBackend) throws {
        let before = try backend.commit(batch { $0.put(.entries, key("kept"), bytes("1")) })
        for bad in [[], [UInt8](repeating: 1, count: storageKeyBytesLimit + 1)] {
            var refused = false
            do {
                _ = try backend.commit(
                    batch {
                        $0.put(.entries, key("half"), bytes("1"))
                        $0.put(.entries, bad, bytes("2"))
                    })
            } catch {
                refused = true
            }
            try expect(refused, "a key of \(bad.count) bytes was accepted")
        }
        let reader = try refreshed(backend)
        try expect(try reader.keys(.entries) == [key("kept")], "a refused batch left something")
        let after = try backend.commit(batch { $0.put(.entries, key("next"), bytes("1")) })
        try expect(after == before + 1, "refused batches used up numbers: \(before), then \(after)")
    }

    private static func keysAreOrdered(_ backend: any StorageBackend) throws {
        let longest = [UInt8](repeating: 0xFF, count: storageKeyBytesLimit)
        let sorted: [[UInt8]] = [
            [0], [0, 0], [0, 1], [1], [0x61], [0x61, 0], [0x61, 0xFF], [0x62], [0x7F], [0x80], [0xFF],
            [0xFF, 0],
            longest,
        ]
        let shuffled = [7, 2, 12, 0, 9, 4, 11, 1, 8, 3, 10, 5, 6].map { sorted[$0] }
        for (index, key) in shuffled.enumerated() {
            // An empty value is a value.
            _ = try backend.commit(batch { $0.put(.entries, key, index == 3 ? [] : key) })
        }
        let reader = try refreshed(backend)
        try expect(try reader.keys(.entries) == sorted, "keys come in another order than that of their bytes")
        try expect(try reader.copy(.entries, [0]) == [], "an empty value is not kept")
        try expect(try reader.copy(.entries, longest) == longest, "the longest key is not found")
        try expect(try reader.copy(.entries, []) == nil, "an empty key has a value")
    }

    private static func walkingWorks(_ backend: any StorageBackend) throws {
        _ = try backend.commit(
            batch { batch in for k in ["b", "d", "f"] { batch.put(.entries, key(k), bytes(k)) } })
        let reader = try refreshed(backend)
        for (from, wanted) in [("", "b"), ("a", "b"), ("b", "b"), ("c", "d"), ("f", "f")] {
            try expect(
                try reader.firstKey(.entries, key(from)) == key(wanted),
                "first from '\(from)' is not '\(wanted)'")
        }
        try expect(try reader.firstKey(.entries, key("g")) == nil, "there is something behind the last key")
        try expect(try reader.nextKey(.entries) == nil, "next gives something after first gave nothing")
        for (before, wanted) in [("z", "f"), ("f", "d"), ("e", "d"), ("d", "b"), ("c", "b")] {
            try expect(
                try reader.lastKey(.entries, key(before)) == key(wanted),
                "last before '\(before)' is not '\(wanted)'")
        }
        try expect(try reader.nextKey(.entries) == key("d"), "next after last does not go on")
        try expect(try reader.nextKey(.entries) == key("f"), "next does not go on")
        try expect(try reader.nextKey(.entries) == nil, "next goes beyond the end")
        try expect(try reader.nextKey(.entries) == nil, "next starts anew at the end")
        for before in ["", "a", "b"] {
            try expect(
                try reader.lastKey(.entries, key(before)) == nil, "there is something before '\(before)'")
        }
    }

    private static func tablesAreApart(_ backend: any StorageBackend) throws {
        for table in StorageTable.allCases {
            _ = try backend.commit(batch { $0.put(table, key("same"), [table.rawValue]) })
        }
        let reader = try refreshed(backend)
        for table in StorageTable.allCases {
            try expect(try reader.copy(table, key("same")) == [table.rawValue], "tables share their keys")
            try expect(try reader.firstKey(table, []) == key("same"), "a table's cursor shows another table")
        }
    }

    private static func viewsAreStable(_ backend: any StorageBackend) throws {
        let first = try backend.commit(batch { $0.put(.entries, key("k"), bytes("old")) })
        let old = try refreshed(backend)
        _ = try old.firstKey(.entries, [])
        for round in 0..<20 {
            _ = try backend.commit(
                batch {
                    $0.put(.entries, key("k"), bytes("new\(round)"))
                    $0.put(.entries, key("z\(round)"), [UInt8](repeating: 7, count: 9000))
                })
        }
        try expect(old.sequence == first, "a view moved by itself")
        try expect(try old.copy(.entries, key("k")) == bytes("old"), "a view shows a later value")
        try expect(try old.nextKey(.entries) == nil, "a view shows a later key")
        try old.refresh()
        try expect(try old.copy(.entries, key("k")) == bytes("new19"), "a refreshed view shows an old value")
        try expect(try old.keys(.entries).count == 21, "a refreshed view lists old keys")
        try expect(try old.nextKey(.entries) == nil, "a walk went on beyond its end")
    }

    private static func releasedViewsRefuse(_ backend: any StorageBackend) throws {
        _ = try backend.commit(batch { $0.put(.entries, key("k"), bytes("v")) })
        let reader = try backend.makeReader()
        for state in ["never refreshed", "released"] {
            var refused = 0
            do { _ = try reader.copy(.entries, key("k")) } catch { refused += 1 }
            do { _ = try reader.firstKey(.entries, []) } catch { refused += 1 }
            try expect(refused == 2, "a view that was \(state) can be read")
            try reader.refresh()
            try expect(try reader.copy(.entries, key("k")) == bytes("v"), "a refreshed view cannot be read")
            try expect(try reader.firstKey(.entries, []) == key("k"), "a refreshed view cannot be walked")
            reader.release()
            reader.release()
        }
    }

    private static func deletesDelete(_ backend: any StorageBackend) throws {
        _ = try backend.commit(
            batch { batch in for n in 0..<500 { batch.put(.entries, numbered(n), bytes("\(n)")) } })
        _ = try backend.commit(
            batch { batch in
                for n in 0..<500 where n % 5 != 0 { batch.delete(.entries, numbered(n)) }
                batch.delete(.entries, key("never there"))
            })
        let reader = try refreshed(backend)
        let left = stride(from: 0, to: 500, by: 5).map { numbered($0) }
        try expect(try reader.keys(.entries) == left, "deletes left other keys than they should")
        try expect(try reader.copy(.entries, numbered(1)) == nil, "a deleted key is found")
    }

    private static func largeValues(_ backend: any StorageBackend) throws {
        let value = SeededRandom(seed: 33).bytes(1 << 20)
        let large = [[UInt8]](repeating: value, count: 33).flatMap { $0 }
        _ = try backend.commit(batch { $0.put(.entries, key("large"), large) })
        let reader = try refreshed(backend)
        try expect(try reader.copy(.entries, key("large")) == large, "a large value came back changed")
        _ = try backend.commit(batch { $0.delete(.entries, key("large")) })
        try reader.refresh()
        try expect(try reader.copy(.entries, key("large")) == nil, "a large value cannot be deleted")
    }

    private static func manyEntries(_ backend: any StorageBackend) throws {
        for start in stride(from: 0, to: 10_000, by: 1000) {
            _ = try backend.commit(
                batch { batch in
                    for n in start..<start + 1000 {
                        batch.put(.entries, numbered(n * 7919 % 10_000), bytes("\(n)"))
                    }
                })
        }
        let reader = try refreshed(backend)
        try expect(
            try reader.keys(.entries) == (0..<10_000).map { numbered($0) },
            "not all of the keys are listed in order")
        for n in stride(from: 0, to: 10_000, by: 37) {
            let value = try reader.copy(.entries, numbered(n * 7919 % 10_000))
            try expect(value == bytes("\(n)"), "entry \(n) is \(text(value))")
        }
    }

    private static func randomWork(_ backend: any StorageBackend) throws {
        let random = SeededRandom(seed: 1906)
        var model: [[UInt8]: [UInt8]] = [:]
        let reader = try backend.makeReader()
        for round in 0..<200 {
            var work = CommitBatch()
            for _ in 0..<1 + random.below(12) {
                let key =
                    [UInt8](repeating: UInt8(random.below(4)), count: random.below(40)) + [
                        UInt8(random.below(256))
                    ]
                if random.below(3) == 0 {
                    work.delete(.entries, key)
                    model[key] = nil
                } else {
                    let value = random.bytes(random.below(random.below(20) == 0 ? 20_000 : 300))
                    work.put(.entries, key, value)
                    model[key] = value
                }
            }
            _ = try backend.commit(work)
            guard round % 20 == 19 else { continue }
            try reader.refresh()
            let sorted = model.keys.sorted { $0.lexicographicallyPrecedes($1) }
            try expect(try reader.keys(.entries) == sorted, "round \(round): the keys are not the model's")
            for key in sorted {
                try expect(
                    try reader.copy(.entries, key) == model[key], "round \(round): a value is not the model's"
                )
            }
        }
    }

    private static func readersWhileCommitting(_ backend: any StorageBackend) throws {
        let commits = 150
        let first = try backend.commit(pairOfMarks(0))
        let outcome = Mutex<[String]>([])
        let threads = try (0..<3).map { _ in
            try Thread(name: "reader") {
                do {
                    let reader = try backend.makeReader()
                    var seen: UInt64 = 0
                    while seen < first + UInt64(commits) {
                        try reader.refresh()
                        let a = try reader.copy(.entries, key("mark"))
                        let b = try reader.copy(.links, key("mark"))
                        try expect(
                            a != nil && a == b, "a view shows half of a commit: \(text(a)) and \(text(b))")
                        try expect(
                            a == bytes("\(reader.sequence - first)"),
                            "a view shows another commit than its number")
                        try expect(reader.sequence >= seen, "views go back")
                        seen = reader.sequence
                        reader.release()
                    }
                } catch {
                    outcome.withLock { $0.append("\(error)") }
                }
            }
        }
        for number in 1...commits { _ = try backend.commit(pairOfMarks(number)) }
        for thread in threads { thread.join() }
        let failures = outcome.withLock { $0 }
        try expect(failures.isEmpty, failures.first ?? "")
    }

    private static func pairOfMarks(_ number: Int) -> CommitBatch {
        batch {
            $0.put(.entries, key("mark"), bytes("\(number)"))
            $0.put(.entries, numbered(number), [UInt8](repeating: 1, count: 500))
            $0.put(.links, key("mark"), bytes("\(number)"))
        }
    }
}

// MARK: - Words for the checks

extension StorageConformance {
    private static func expect(_ condition: @autoclosure () throws -> Bool, _ otherwise: String) throws {
        if try !condition() { throw Failure(description: otherwise) }
    }
    private static func refreshed(_ backend: any StorageBackend) throws -> any StorageReader {
        let reader = try backend.makeReader()
        try reader.refresh()
        return reader
    }
    private static func batch(_ fill: (inout CommitBatch) -> Void) -> CommitBatch {
        var batch = CommitBatch()
        fill(&batch)
        return batch
    }
    private static func key(_ text: String) -> [UInt8] { Array(text.utf8) }
    private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
    private static func numbered(_ number: Int) -> [UInt8] { Array("n\(100_000 + number)".utf8) }
    private static func text(_ bytes: [UInt8]?) -> String {
        bytes.map { $0.count > 40 ? "\($0.count) bytes" : "'\(String(decoding: $0, as: UTF8.self))'" }
            ?? "nothing"
    }
}

extension StorageReader {
    /// A copy of the value at a key.
    package func copy(_ table: StorageTable, _ key: [UInt8]) throws(VaultError) -> [UInt8]? {
        try key.span.bytes.withUnsafeBytes { (key) throws(VaultError) in
            try get(table, key).map { Array($0) }
        }
    }

    /// The key of the first pair that is not below `key`.
    package func firstKey(_ table: StorageTable, _ key: [UInt8]) throws(VaultError) -> [UInt8]? {
        try key.span.bytes.withUnsafeBytes { (key) throws(VaultError) in
            try first(table, from: key).map { Array($0.key) }
        }
    }

    package func nextKey(_ table: StorageTable) throws(VaultError) -> [UInt8]? {
        try next(table).map { Array($0.key) }
    }

    /// The key of the last pair below `key`.
    package func lastKey(_ table: StorageTable, _ key: [UInt8]) throws(VaultError) -> [UInt8]? {
        try key.span.bytes.withUnsafeBytes { (key) throws(VaultError) in
            try last(table, before: key).map { Array($0.key) }
        }
    }

    /// Every key of a table.
    package func keys(_ table: StorageTable) throws(VaultError) -> [[UInt8]] {
        var keys: [[UInt8]] = []
        var key = try firstKey(table, [])
        while let found = key {
            keys.append(found)
            key = try nextKey(table)
        }
        return keys
    }
}
