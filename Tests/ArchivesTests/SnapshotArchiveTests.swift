import Base
import Foundation
import TestKit
import Testing

@testable import Archives

@Suite struct SnapshotArchiveTests {
    private let random = SeededRandom(seed: 3)

    private func meta(_ size: Int) -> SnapshotMeta {
        var meta = SnapshotMeta()
        meta.index = 42
        meta.term = 3
        meta.sizeBytes = size
        meta.clusterID = "c"
        meta.created = Timestamp(seconds: 1_700_000_000)
        meta.product = "test"
        return meta
    }

    private func archive(_ state: [UInt8]) throws -> [UInt8] {
        let writer = try SnapshotArchiveWriter(meta(state.count))
        var bytes = writer.head()
        var at = 0
        while at < state.count {
            let end = min(at + 100_000, state.count)
            bytes += Array(state[at..<end]).withUnsafeBytes { writer.state($0) }
            at = end
        }
        return bytes + (try writer.end { Array("code of ".utf8) + $0.prefix(4) })
    }

    /// Reads in pieces of a given size.
    private func read(
        _ archive: [UInt8], _ piece: Int
    ) throws -> (state: [UInt8], meta: SnapshotMeta, sums: [UInt8], sealed: [UInt8]) {
        let reader = try SnapshotArchiveReader()
        var state: [UInt8] = []
        var at = 0
        while at < archive.count {
            let end = min(at + piece, archive.count)
            try Array(archive[at..<end]).withRaw { (bytes) throws(VaultError) in
                try reader.read(bytes) { (part) throws(VaultError) in state.append(contentsOf: part) }
            }
            at = end
        }
        let (meta, sums, sealed) = try reader.finish()
        return (state, meta, sums, sealed)
    }

    @Test(arguments: [0, 1, 511, 512, 513, 700_000]) func whatWasWrittenIsReadBack(size: Int) throws {
        let state = random.bytes(size)
        let archive = try archive(state)
        for piece in [7_919, 1 << 20] {
            let found = try read(archive, piece)
            #expect(found.state == state)
            #expect(found.meta == meta(size))
            #expect(found.sealed == Array("code of ".utf8) + found.sums.prefix(4))
        }
    }

    @Test func byteByByteIsTheSame() throws {
        let state = random.bytes(3_000)
        #expect(try read(archive(state), 1).state == state)
    }

    @Test func otherProgramsReadIt() throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let state = random.bytes(200_000)
        try Data(archive(state)).write(to: directory.appendingPathComponent("a.snap"))
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.currentDirectoryURL = directory
        process.arguments = [
            "-c", "tar -xzf a.snap && sha256sum -c --quiet SHA256SUMS && test -s SHA256SUMS.sealed",
        ]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        #expect(try Data(contentsOf: directory.appendingPathComponent("state.bin")) == Data(state))
    }

    @Test func everyCutIsNoticed() throws {
        let archive = try archive(random.bytes(2_000))
        for count in stride(from: 0, to: archive.count, by: 37) {
            #expect(throws: VaultError.self) { try read(Array(archive[..<count]), 1 << 20) }
        }
        #expect(throws: VaultError.self) { try read(archive + [0], 1 << 20) }
    }

    @Test func everyChangedByteIsNoticedOrChangesNothing() throws {
        let state = random.bytes(1_500)
        let archive = try archive(state)
        for index in archive.indices {
            var damaged = archive
            damaged[index] ^= 1 << UInt8(index % 8)
            guard let found = try? read(damaged, 1 << 20) else { continue }
            // gzip's own head has bytes that mean nothing.
            #expect(found.state == state && index < 10)
        }
    }

    @Test func noBytesCrashTheReader() throws {
        for input in Fuzz("snapshot archives", corpus: [try archive(random.bytes(900))], inputs: 5_000) {
            _ = try? read(input.bytes, 1 + input.random.below(2_000))
        }
        // The tar inside, without gzip's check before it.
        let file = TarFormat.head("a", sizeBytes: 3, time: Timestamp(seconds: 0)) + [1, 2, 3]
        let example = file + TarFormat.padding(behind: 3) + TarFormat.end
        for input in Fuzz("tar archives", corpus: [example], inputs: 20_000) {
            var tar = TarReader()
            try? input.bytes.withRaw { (bytes) throws(VaultError) in
                try tar.read(bytes) { (_) throws(VaultError) in }
            }
        }
    }
}
