import Base
import Foundation
import PluginKit
import Synchronization
import TestKit
import Testing

@testable import StorageBackends

@Suite struct FileBackendTests {
    @Test func pathIsNeeded() {
        for settings in [[:], ["path": ""]] {
            #expect(throws: VaultError.self) { try FileBackend.open(settings, log: quiet) }
        }
    }

    @Test(arguments: ["core/_keyring", "vault.db", "raft/raft.db", "core/_seal-config"])
    func dataOfAnotherProductIsRefusedAndLeftAlone(name: String) throws {
        let scratch = Scratch()
        try scratch.write(name)
        let error = #expect(throws: VaultError.self) {
            try FileBackend.open(["path": scratch.path], log: quiet)
        }
        #expect(error?.messages.first?.contains("Vault") == true)
        #expect(!FileManager.default.fileExists(atPath: scratch.path + "/data.mdb"))
    }

    @Test func aDirectoryInUseIsRefusedAndItsUserNamed() throws {
        let scratch = Scratch()
        let first = try FileBackend.open(["path": scratch.path], log: quiet)
        let error = #expect(throws: VaultError.self) {
            try FileBackend.open(["path": scratch.path + "/"], log: quiet)
        }
        #expect(error?.messages.first?.contains("in use by process \(getpid())") == true)
        first.close()
        let second = try FileBackend.open(["path": scratch.path], log: quiet)
        second.close()
    }

    @Test func aFileInPlaceOfTheDirectoryIsRefused() throws {
        let scratch = Scratch()
        try scratch.write("plain")
        for path in ["plain", "plain/below"] {
            #expect(throws: VaultError.self) {
                try FileBackend.open(["path": scratch.path + "/" + path], log: quiet)
            }
        }
    }

    @Test func aClosedBackendRefusesAll() throws {
        let scratch = Scratch()
        let backend = try FileBackend.open(["path": scratch.path], log: quiet)
        let reader = try backend.makeReader()
        try reader.refresh()
        reader.release()
        backend.close()
        backend.close()
        #expect(throws: VaultError.self) { try reader.refresh() }
        #expect(throws: VaultError.self) { try reader.copy(.entries, [1]) }
        #expect(throws: VaultError.self) { try backend.makeReader() }
        #expect(throws: VaultError.self) { try backend.commit(CommitBatch()) }
    }
}

/// What is in the log and not in the data file yet.
@Suite struct FileLogTests {
    /// A store in use, as a kill would leave it now.
    private func killed(_ scratch: Scratch, _ commits: Int = 3, changing: (Scratch) throws -> Void = { _ in })
        throws
        -> Scratch
    {
        let backend = try FileBackend.open(["path": scratch.path], log: quiet)
        for number in 0..<commits {
            var batch = CommitBatch()
            batch.put(.entries, [UInt8(number)], [1, UInt8(number)])
            batch.put(.links, [0], [UInt8(number)])
            _ = try backend.commit(batch)
        }
        let copy = Scratch()
        try FileManager.default.copyItem(atPath: scratch.path, toPath: copy.path)
        backend.close()
        try changing(copy)
        return copy
    }

    private func value(_ backend: FileBackend, _ table: StorageTable, _ key: UInt8) throws -> [UInt8]? {
        let reader = try backend.makeReader()
        defer { reader.release() }
        try reader.refresh()
        return try reader.copy(table, [key])
    }

    private func segments(_ scratch: Scratch) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: scratch.path + "/log")
            .filter { $0.hasSuffix(".log") }.sorted()
    }

    @Test func whatWasAcknowledgedOutlivesAKill() throws {
        let left = try killed(Scratch())
        for _ in 0..<2 {
            let backend = try FileBackend.open(["path": left.path], log: quiet)
            for number in UInt8(0)..<3 { #expect(try value(backend, .entries, number) == [1, number]) }
            #expect(try value(backend, .links, 0) == [2])
            let number = try backend.commit(CommitBatch())
            #expect(try backend.commit(CommitBatch()) == number + 1)
            backend.close()
        }
    }

    @Test func aClosedStoreHasAllInItsDataFile() throws {
        let scratch = Scratch()
        _ = try killed(scratch)
        #expect(try segments(scratch).count == 1)
        // The log holds nothing that is needed any more: it can be damaged without harm.
        try FileManager.default.removeItem(atPath: scratch.path + "/log")
        try FileManager.default.removeItem(atPath: scratch.path + "/anchor")
        let backend = try FileBackend.open(["path": scratch.path], log: quiet)
        defer { backend.close() }
        #expect(try value(backend, .links, 0) == [2])
        var batch = CommitBatch()
        batch.put(.links, [0], [9])
        _ = try backend.commit(batch)
        #expect(try value(backend, .links, 0) == [9])
    }

    @Test func aMissingLogIsMissed() throws {
        let scratch = Scratch()
        _ = try killed(scratch)
        try FileManager.default.removeItem(atPath: scratch.path + "/log")
        let error = #expect(throws: VaultError.self) {
            try FileBackend.open(["path": scratch.path], log: quiet)
        }
        #expect(error?.privateCause?.contains("log is missing or empty") == true)
    }

    @Test func theLogOfAnotherStoreIsRefused() throws {
        let (one, other) = (try killed(Scratch()), try killed(Scratch()))
        try FileManager.default.removeItem(atPath: one.path + "/log")
        try FileManager.default.moveItem(atPath: other.path + "/log", toPath: one.path + "/log")
        let error = #expect(throws: VaultError.self) { try FileBackend.open(["path": one.path], log: quiet) }
        #expect(error?.privateCause?.contains("/log/") == true)
    }

    @Test func aDamagedLogIsRefusedByName() throws {
        let left = try killed(Scratch()) { copy in
            let path = "\(copy.path)/log/\(try segments(copy)[0])"
            var bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
            bytes[110] ^= 1
            try Data(bytes).write(to: URL(filePath: path))
        }
        let error = #expect(throws: VaultError.self) { try FileBackend.open(["path": left.path], log: quiet) }
        #expect(error?.privateCause?.contains("0000000000000001.log") == true)
    }

    @Test func aTornEndWasNeverAcknowledged() throws {
        let left = try killed(Scratch()) { copy in
            let path = "\(copy.path)/log/\(try segments(copy)[0])"
            var bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
            let end = (bytes.lastIndex { $0 != 0 } ?? 0) + 8
            bytes.replaceSubrange(end..<end + 60, with: [UInt8](repeating: 0xA5, count: 60))
            try Data(bytes).write(to: URL(filePath: path))
        }
        let backend = try FileBackend.open(["path": left.path], log: quiet)
        defer { backend.close() }
        #expect(try value(backend, .links, 0) == [2])
    }

    @Test func theLogStaysSmall() throws {
        let scratch = Scratch()
        let backend = try FileBackend.open(["path": scratch.path], log: quiet)
        defer { backend.close() }
        for number in 0..<60 {
            var batch = CommitBatch()
            batch.put(.entries, [UInt8(number)], [UInt8](repeating: 1, count: 500_000))
            _ = try backend.commit(batch)
        }
        // 30 MB went through segments of 4 MiB; what memory holds at most has gone to the data file.
        let before = try segments(scratch).count
        while try segments(scratch).count > 2 {
            usleep(20_000)
            _ = try backend.commit(CommitBatch())
        }
        #expect(before < 16)
        #expect(try value(backend, .entries, 59)?.count == 500_000)
    }

    @Test func aNearlyFullDiskHasNoLog() throws {
        let scratch = Scratch()
        let free = Atomic<UInt64>(.max)
        let backend = try FileBackend.open(["path": scratch.path], log: quiet) { _ in
            free.load(ordering: .relaxed)
        }
        defer { backend.close() }
        var written: [UInt8] = []
        func write(_ room: UInt64) throws {
            free.store(room, ordering: .relaxed)
            written.append(UInt8(written.count))
            var batch = CommitBatch()
            batch.put(.entries, [written.last ?? 0], [7])
            #expect(try backend.commit(batch) == UInt64(written.count))
            // As a kill at this moment would leave it.
            let copy = Scratch()
            try FileManager.default.copyItem(atPath: scratch.path, toPath: copy.path)
            let left = try FileBackend.open(["path": copy.path], log: quiet)
            for key in written { #expect(try value(left, .entries, key) == [7]) }
            left.close()
        }
        for _ in 0..<3 { try write(.max) }
        #expect(try segments(scratch).count == 1)
        for _ in 0..<3 { try write(0) }
        #expect(try segments(scratch).isEmpty)
        // Somewhat more room, and some time, must pass before there is a log again.
        usleep(1_050_000)
        try write(100 << 20)
        #expect(try segments(scratch).isEmpty)
        for _ in 0..<3 { try write(.max) }
        #expect(try segments(scratch).count == 1)
    }
}
