import Base
import Foundation
import TestKit
import Testing

@testable import NodeStore

/// Damage at rest: a store must refuse to open, or give every key as it was. What values hold is the
/// barrier's to check, and so is the text of a key that stays in its order: one may differ, none may be
/// missing.
@Suite struct DamageTests {
    /// A store with small, middle and long values, free pages and several levels.
    static func filled(_ entries: Int = 800) throws -> (
        store: Store, content: [[UInt8]: [UInt8]], last: UInt64
    ) {
        let store = Store()
        let environment = try store.open()
        let random = SeededRandom(seed: 5)
        for start in stride(from: 0, to: entries, by: 50) {
            try environment.put(
                (start..<start + 50).map { number in
                    let length = number % 40 == 0 ? 9000 : number % 7 == 0 ? 1500 : 60
                    return (random.bytes(8 + random.below(50)), random.bytes(length))
                })
        }
        let victims = try environment.all().keys.sorted { $0.lexicographicallyPrecedes($1) }
        try environment.put(victims.enumerated().filter { $0.offset % 3 == 0 }.map { ($0.element, nil) })
        let last = try environment.put([([1], [1])])
        let content = try environment.all()
        environment.close()
        return (store, content, last)
    }

    /// Opens a copy after `damage`; true when it was refused. Fails when something is missing.
    @discardableResult
    static func isRefused(
        _ original: (store: Store, content: [[UInt8]: [UInt8]], last: UInt64), _ what: String,
        exact: Bool = false, _ damage: (Store) throws -> Void
    ) throws -> Bool {
        let copy = try Store(copying: original.store)
        try damage(copy)
        let environment: Environment
        do {
            environment = try copy.open()
        } catch {
            let text = (error as? VaultError).map { $0.privateCause ?? $0.messages.joined() } ?? "\(error)"
            #expect(text.contains("data"), "\(what): \(text)")
            return true
        }
        defer { environment.close() }
        #expect(environment.lastCommit == original.last, "\(what): another commit is the last")
        let found = try environment.all()
        let changed = Set(found.keys).symmetricDifference(original.content.keys)
        #expect(found.count == original.content.count && changed.count <= 2, "\(what): keys are missing")
        if exact { #expect(found == original.content, "\(what): values differ") }
        try environment.put([([7], [7])])
        return false
    }

    @Test func anUndamagedCopyOpens() throws {
        let original = try Self.filled()
        #expect(try !Self.isRefused(original, "nothing", exact: true) { _ in })
    }

    @Test func damagedHeadPagesAreNoticedOrHarmless() throws {
        let original = try Self.filled(100)
        let data = try original.store.bytes("data.mdb")
        var refused = 0
        for page in 0..<2 {
            // Every bit of the roots, the last page and the commit's number; one bit of each other byte.
            let whole = Set(80..<88).union(128..<152)
            for bit in 0..<(152 * 8) where whole.contains(bit / 8) || bit % 8 == bit / 8 % 8 {
                let at = page * 4096 + bit / 8
                let isRefused = try Self.isRefused(original, "bit \(bit) of head page \(page)", exact: true) {
                    copy in
                    var bytes = data
                    bytes[at] ^= 1 << UInt8(bit % 8)
                    try copy.replace("data.mdb", bytes)
                }
                if isRefused { refused += 1 }
            }
        }
        // The newest page's numbers and roots, at the least.
        #expect(refused > 300)
    }

    @Test(arguments: [1, 2, 3]) func flipsZeroesAndCutsAreNoticedOrHarmless(seed: UInt64) throws {
        let original = try Self.filled()
        let data = try original.store.bytes("data.mdb")
        let random = SeededRandom(seed: seed)
        let live = stride(from: 0, to: data.count, by: 4096).filter { page in
            data[page..<min(page + 4096, data.count)].contains { $0 != 0 }
        }
        for trial in 0..<90 {
            let page = live[random.below(live.count)]
            var bytes = data
            switch trial % 3 {
            case 0: bytes[page + random.below(4096)] ^= 1 << UInt8(random.below(8))
            case 1: bytes.replaceSubrange(page..<page + 4096, with: [UInt8](repeating: 0, count: 4096))
            default: bytes.removeSubrange((page + random.below(4096))...)
            }
            try Self.isRefused(original, "trial \(trial) at page \(page / 4096)") { copy in
                try copy.replace("data.mdb", bytes)
            }
        }
    }

    @Test func losingTheLastCommitIsNoticed() throws {
        let store = Store()
        let environment = try store.open()
        for number in 0..<20 { try environment.put([([UInt8(number)], [1])]) }
        let old = try store.bytes("data.mdb")
        let oldAnchor = try store.bytes("anchor")
        try environment.put([([99], [1])])
        environment.close()
        let anchor = try store.bytes("anchor")
        try store.replace("data.mdb", old)
        let error = #expect(throws: VaultError.self) { try store.open() }
        #expect(error?.privateCause?.contains("remove the file 'anchor'") == true)
        #expect(error?.privateCause?.contains(store.dataFile) == true)
        #expect(try store.bytes("anchor") == anchor)
        try store.replace("anchor", oldAnchor)
        let reopened = try store.open()
        #expect(try reopened.all().count == 20)
        reopened.close()
    }

    @Test func anAnchorThatIsOldMissingOrDamagedIsMadeAnew() throws {
        let original = try Self.filled(100)
        let anchor = try original.store.bytes("anchor")
        let halves = [anchor[..<512], anchor[512...]]
        for (what, bytes) in [
            ("zeros", [UInt8](repeating: 0, count: 1024)), ("short", [1, 2, 3]),
            ("one slot", Array(halves[0]) + [UInt8](repeating: 0, count: 512)),
            ("other slot", [UInt8](repeating: 0, count: 512) + Array(halves[1])),
        ] {
            #expect(try !Self.isRefused(original, what) { try $0.replace("anchor", bytes) }, "\(what)")
        }
        #expect(try !Self.isRefused(original, "missing") { try $0.remove("anchor") })
        #expect(try !Self.isRefused(original, "empty") { try $0.replace("anchor", []) })
    }

    @Test func aMissingOrEmptiedDataFileIsRefused() throws {
        let original = try Self.filled(100)
        #expect(try Self.isRefused(original, "missing") { try $0.remove("data.mdb") })
        #expect(try Self.isRefused(original, "empty") { try $0.replace("data.mdb", []) })
        #expect(
            try Self.isRefused(original, "empty, and the anchor damaged") {
                try $0.replace("data.mdb", [])
                try $0.replace("anchor", [1])
            })
    }

    @Test func aStoreWhoseMakingWasCutShortIsMadeAnew() throws {
        for bytes in [[], [UInt8](repeating: 7, count: 9000)] {
            let store = Store()
            try FileManager.default.createDirectory(
                atPath: store.path + "/making", withIntermediateDirectories: true)
            try store.replace("making/data.mdb", bytes)
            try store.replace("making/lock.mdb", [1])
            try store.replace("anchor", [])
            let environment = try store.open()
            try environment.put([([1], [1])])
            environment.close()
            #expect(try store.names() == ["anchor", "data.mdb", "holdfast.lock"])
        }
    }

    @Test func anEmptiedDataFileIsRefusedThoughTheAnchorIsGoneToo() throws {
        for bytes in [[], [UInt8](repeating: 0, count: 20_000)] {
            let original = try Self.filled(50)
            #expect(
                try Self.isRefused(original, "emptied") { copy in
                    try copy.replace("data.mdb", bytes)
                    try copy.remove("anchor")
                })
        }
    }

    @Test func aLargeStoreIsCheckedWithinItsBudget() throws {
        let original = try Self.filled()
        var options = Environment.Options()
        options.checkedPages = 4
        let copy = try Store(copying: original.store)
        let environment = try copy.open(options)
        #expect(try environment.all() == original.content)
        environment.close()
        var bytes = try copy.bytes("data.mdb")
        bytes.removeSubrange((20 * 4096)...)
        try copy.replace("data.mdb", bytes)
        #expect(throws: VaultError.self) { try copy.open(options) }
    }
}

/// What is too large to be checked before it is opened.
@Suite struct BackgroundCheckTests {
    private static var options: Environment.Options {
        var options = Environment.Options()
        options.checkedPages = 4
        return options
    }

    /// Where leaves of many entries begin: those of the users' tables, in use and not.
    private static func leaves(_ bytes: [UInt8]) -> [Int] {
        stride(from: 4096 * 2, to: bytes.count, by: 4096).filter { page in
            bytes[page + 10] == 2 && bytes[page + 12] > 60 && bytes[page..<page + 8].contains { $0 != 0 }
        }
    }

    @Test func aSoundStoreIsWrittenToAtOnce() throws {
        let original = try DamageTests.filled()
        let store = try Store(copying: original.store)
        for _ in 0..<3 {
            let environment = try store.open(Self.options)
            try environment.put([([9], [9])])
            #expect(environment.takesCommits)
            environment.close()
        }
        // Closing ends the check, however far it is.
        for _ in 0..<3 { try store.open(Self.options).close() }
    }

    @Test func damageInALeafStopsCommitsButNotReaders() throws {
        let original = try DamageTests.filled()
        let store = try Store(copying: original.store)
        var bytes = try store.bytes("data.mdb")
        let leaves = Self.leaves(bytes)
        #expect(!leaves.isEmpty)
        for page in leaves { bytes[page + 13] ^= 0x70 }
        try store.replace("data.mdb", bytes)
        let environment = try store.open(Self.options)
        defer { environment.close() }
        let error = #expect(throws: VaultError.self) { try environment.put([([9], [9])]) }
        #expect(error?.status == 503)
        #expect(error?.messages.first?.contains("takes no more writes") == true)
        #expect(!environment.takesCommits)
        let reader = try environment.makeReader()
        try reader.refresh()
    }
}

/// The check must never refuse what LMDB itself wrote.
@Suite struct StructureCheckTests {
    @Test(arguments: [11, 12]) func soundFilesPass(seed: UInt64) throws {
        let store = Store()
        let random = SeededRandom(seed: seed)
        var environment = try store.open()
        let idle = try environment.makeReader()
        var held: ReadTransaction? = idle
        for round in 0..<400 {
            let table = random.below(3)
            var pairs: [([UInt8], [UInt8]?)] = []
            for _ in 0..<1 + random.below(30) {
                let key =
                    [UInt8(random.below(8))] + random.bytes(random.below(2) == 0 ? 1 : random.below(510))
                let length = random.below(10) == 0 ? random.below(60_000) : random.below(1200)
                // More deletes at times, so that the trees shrink as well.
                pairs.append(
                    (key, random.below(4) < (round / 100 % 2 == 0 ? 1 : 3) ? nil : random.bytes(length)))
                if random.below(10) == 0, let last = pairs.last { pairs.append((last.0, [1])) }
            }
            if round / 100 % 2 == 1, round % 10 == 0 {
                pairs = try environment.all(table).keys.prefix(200).map { ($0, nil) }
            }
            try environment.put(pairs, table: table)
            if round % 37 == 0 { try held?.refresh() }
            if round % 101 == 0 { held?.release() }
            if round % 4 == 0 { try Self.check(store) }
            if round % 150 == 149 {
                held = nil
                environment.close()
                environment = try store.open()
                held = try environment.makeReader()
            }
        }
        environment.close()
    }

    static func check(_ store: Store) throws {
        let file = try OpenFile(store.dataFile, create: false)
        let meta = try MetaPages(file).newest
        let size = try file.size()
        #expect(size >= (Int(meta.lastPage) + 1) * 4096)
        for budget in [1 << 20, 20] {
            var check = StructureCheck(meta, fileBytes: size, pageBudget: budget)
            try check.run(file)
        }
    }
}
