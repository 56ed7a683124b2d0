import Base
import Foundation
import PluginKit
import StorageBackends
import TestKit
import Testing

/// A directory that is gone when the test is.
final class Scratch: Sendable {
    let path: String

    init() {
        path = FileManager.default.temporaryDirectory.appending(path: "holdfast-\(UUID().uuidString)").path
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ text: String = "x") throws {
        let file = URL(filePath: path).appending(path: name)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
    }
}

let quiet = Log(level: .error)

@Suite struct ConformanceTests {
    @Test(arguments: StorageConformance.checks)
    func inMemory(check: StorageConformance.Check) throws {
        try check.run { () throws(VaultError) in try InMemoryBackend.open([:], log: quiet) }
    }

    @Test(arguments: StorageConformance.checks)
    func file(check: StorageConformance.Check) throws {
        let scratch = Scratch()
        try check.run { () throws(VaultError) in try FileBackend.open(["path": scratch.path], log: quiet) }
    }

    @Test func fileKeepsItsDataWhenReopened() throws {
        let scratch = Scratch()
        try StorageConformance.checkReopening { () throws(VaultError) in
            try FileBackend.open(["path": scratch.path], log: quiet)
        }
    }
}

@Suite struct InMemoryBackendTests {
    @Test func storesAreApartAndForgotten() throws {
        let first = try InMemoryBackend.open([:], log: quiet)
        let second = try InMemoryBackend.open([:], log: quiet)
        var batch = CommitBatch()
        batch.put(.entries, [1], [2])
        _ = try first.commit(batch)
        let reader = try second.makeReader()
        try reader.refresh()
        #expect(try reader.copy(.entries, [1]) == nil)
        first.close()
        second.close()
    }

    @Test func nothingOfItHasANameOnAnyDisk() throws {
        let backend = try InMemoryBackend.open([:], log: quiet)
        defer { backend.close() }
        let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")
        let targets = descriptors.compactMap {
            try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
        }
        #expect(targets.contains { $0.hasPrefix("/memfd:holdfast-data") })
        for place in ["/dev/shm", "/tmp"] {
            let names = (try? FileManager.default.contentsOfDirectory(atPath: place)) ?? []
            // Other tests make theirs at the same moment, so only what stays counts.
            let left = names.filter { name in
                name.hasPrefix("holdfast-") && name.utf8.count == 15
                    && (try? FileManager.default.contentsOfDirectory(atPath: "\(place)/\(name)"))?.contains(
                        "data.mdb") == true
            }
            for name in left {
                usleep(200_000)
                #expect(!FileManager.default.fileExists(atPath: "\(place)/\(name)/data.mdb"))
            }
        }
    }
}
