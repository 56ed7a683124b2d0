import Base
import Foundation
import TestKit
import Testing

@testable import NodeStore

let quiet = Log(level: .error, descriptor: -1)

/// A store in a directory that is gone when the test is.
final class Store {
    let path: String

    init() {
        path = FileManager.default.temporaryDirectory.appending(path: "holdfast-\(UUID().uuidString)").path
    }

    /// A copy of another store's files.
    init(copying other: Store) throws {
        path = other.path + "-" + UUID().uuidString
        try FileManager.default.copyItem(atPath: other.path, toPath: path)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    var dataFile: String { path + "/data.mdb" }

    func open(_ options: Environment.Options = Environment.Options()) throws -> Environment {
        try Environment.open(directory: path, options: options, log: quiet)
    }

    func bytes(_ name: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(filePath: path + "/" + name)))
    }

    func replace(_ name: String, _ bytes: [UInt8]) throws {
        try Data(bytes).write(to: URL(filePath: path + "/" + name))
    }

    func names() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: path).sorted() }

    func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: path + "/" + name) }
}

extension Environment {
    @discardableResult
    func put(_ pairs: [([UInt8], [UInt8]?)], table: Int = 0) throws -> UInt64 {
        try commit(expectedBytes: 0, writes: pairs.count) { (transaction) throws(VaultError) in
            for (key, value) in pairs {
                if let value {
                    try transaction.put(table, key, value)
                } else {
                    try transaction.delete(table, key)
                }
            }
        }
    }

    /// Every pair of a table; the values' bytes are touched.
    func all(_ table: Int = 0) throws -> [[UInt8]: [UInt8]] {
        let reader = try makeReader()
        try reader.refresh()
        var found: [[UInt8]: [UInt8]] = [:]
        var pair = try reader.first(table, from: UnsafeRawBufferPointer(start: nil, count: 0))
        while let next = pair {
            found[Array(next.key)] = Array(next.value)
            pair = try reader.next(table)
        }
        return found
    }
}

@Suite struct EnvironmentTests {
    @Test func filesBelongToTheirUserOnly() throws {
        let store = Store()
        let environment = try store.open()
        try environment.put([([1], [2])])
        environment.close()
        let attributes = try FileManager.default.attributesOfItem(atPath: store.path)
        #expect(attributes[.posixPermissions] as? Int == 0o700)
        for name in ["data.mdb", "anchor", "holdfast.lock"] {
            let attributes = try FileManager.default.attributesOfItem(atPath: store.path + "/" + name)
            #expect(attributes[.posixPermissions] as? Int == 0o600, "\(name)")
        }
    }

    @Test func theTableOfReadersIsNoFile() throws {
        let store = Store()
        for _ in 0..<2 {
            let environment = try store.open()
            let reader = try environment.makeReader()
            try reader.refresh()
            #expect(try store.names() == ["anchor", "data.mdb", "holdfast.lock"])
            environment.close()
        }
    }

    @Test func directoriesAreMadeAsDeepAsNeeded() throws {
        let store = Store()
        let deep = try Environment.open(directory: store.path + "/one/two", log: quiet)
        try deep.put([([1], [1])])
        deep.close()
        #expect(try store.names() == ["one"])
        try Directory.syncNames(of: store.path + "/one/two")
        try Directory.syncNames(of: "relative/path")
        #expect(throws: VaultError.self) { try Directory.sync(store.path + "/missing") }
    }

    @Test func commitsCountOnAcrossReopening() throws {
        let store = Store()
        var last: UInt64 = 0
        for round in 0..<5 {
            let environment = try store.open()
            if round > 0 { #expect(environment.lastCommit == last) }
            let number = try environment.put(round == 3 ? [] : [([UInt8(round)], [1])])
            if round > 0 { #expect(number == last + 1) }
            last = number
            environment.close()
        }
    }

    @Test func aFullStoreSaysSoAndGoesOn() throws {
        let store = Store()
        var options = Environment.Options()
        options.mapBytes = 1 << 20
        let environment = try store.open(options)
        defer { environment.close() }
        try environment.put([([1], [1])])
        let error = #expect(throws: VaultError.self) {
            try environment.put([([2], [UInt8](repeating: 0, count: 2 << 20))])
        }
        #expect(error?.status == 503)
        #expect(error?.messages == ["storage is full: nothing was written"])
        #expect(environment.takesCommits)
        try environment.put([([3], [1])])
        #expect(Set(try environment.all().keys) == [[1], [3]])
    }

    @Test func aBodyThatThrowsLeavesNothingAndNoGap() throws {
        let store = Store()
        let environment = try store.open()
        defer { environment.close() }
        let before = try environment.put([([1], [1])])
        #expect(throws: VaultError.notFound) {
            try environment.commit(expectedBytes: 0, writes: 1) { (transaction) throws(VaultError) in
                try transaction.put(0, [2], [2])
                throw .notFound
            }
        }
        #expect(try environment.all() == [[1]: [1]])
        #expect(try environment.put([([3], [3])]) == before + 1)
    }

    @Test func theOldestViewsAgeIsKnown() throws {
        let store = Store()
        let clock = ManualClock()
        let environment = try Environment.open(directory: store.path, clock: clock, log: quiet)
        defer { environment.close() }
        let old = try environment.makeReader()
        let young = try environment.makeReader()
        #expect(environment.oldestViewAge() == .zero)
        try old.refresh()
        clock.advance(.seconds(5))
        try young.refresh()
        clock.advance(.seconds(2))
        #expect(environment.oldestViewAge() == .seconds(7))
        old.release()
        #expect(environment.oldestViewAge() == .seconds(2))
        young.release()
        #expect(environment.oldestViewAge() == .zero)
    }

    @Test func manyReadersComeAndGo() throws {
        let environment = try Environment.anonymous(log: quiet)
        defer { environment.close() }
        for _ in 0..<3 {
            let readers = try (0..<400).map { _ in try environment.makeReader() }
            for reader in readers { try reader.refresh() }
        }
    }

    @Test func anLMDBFileOfSomethingElseIsRefused() throws {
        let store = Store()
        try FileManager.default.createDirectory(atPath: store.path, withIntermediateDirectories: true)
        let other = try EnvironmentHandle(
            directory: store.path, mapBytes: 1 << 20, maxReaders: 4, isDurable: true)
        let transaction = try other.beginWrite()
        _ = try transaction.table(named: "theirs", create: true)
        #expect(transaction.commit() == 0)
        other.close()
        let error = #expect(throws: VaultError.self) { try store.open() }
        #expect(error?.status == 400)
        try store.replace("data.mdb", Array("plain text".utf8))
    }

    @Test func theMapIsFoundInMemory() throws {
        let store = Store()
        let environments = [try store.open(), try Environment.anonymous(log: quiet)]
        for environment in environments {
            #expect(environment.mapExtent.count >= 8192)
            environment.close()
        }
    }
}

/// Codes as LMDB gives them; which of them leave the store usable.
@Suite struct FailureTests {
    @Test(arguments: [ENOSPC, EDQUOT, EFBIG, -30792])  // MDB_MAP_FULL
    func noRoomIsHarmless(code: Int32) {
        #expect(Failure.judge(code, isUsable: true, hasRoom: true) == .full)
        #expect(Failure.full.status == 503)
    }

    @Test func aShortWriteIsToldFromAFailedOneByTheRoomThatIsLeft() {
        #expect(Failure.judge(EIO, isUsable: true, hasRoom: false) == .full)
        #expect(Failure.judge(EIO, isUsable: true, hasRoom: true) == .doubtful)
    }

    @Test(arguments: [EROFS, EBADF, -30796, -30782])  // MDB_CORRUPTED, MDB_BAD_TXN
    func whateverElseFailsIsDoubtful(code: Int32) {
        #expect(Failure.judge(code, isUsable: true, hasRoom: false) == .doubtful)
    }

    @Test(arguments: [ENOSPC, EIO, ENOMEM]) func withoutViewsNothingIsLeft(code: Int32) {
        #expect(Failure.judge(code, isUsable: false, hasRoom: false) == .fatal)
    }

    @Test func roomIsAskedOfTheDisk() throws {
        let store = Store()
        try FileManager.default.createDirectory(atPath: store.path, withIntermediateDirectories: true)
        let file = try OpenFile(store.path + "/file", create: true)
        let (little, tooMuch) = (
            file.hasRoom(for: 1 << 16, behind: 4096), file.hasRoom(for: 1 << 60, behind: 4096)
        )
        #expect(little && !tooMuch)
        #expect(try file.size() == 0)
    }
}
