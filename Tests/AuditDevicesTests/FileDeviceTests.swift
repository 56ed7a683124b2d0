import Base
import Foundation
import PluginKit
import TestKit
import Testing

@testable import AuditDevices

/// The `file` device: where it may write, and what happens to its file.
@Suite struct FileDeviceTests {
    private func device(_ path: String, _ more: [String: String] = [:]) throws -> FileDevice {
        try FileDevice(options: ["file_path": path].merging(more) { $1 })
    }
    private let line = Array("{\"a\":1}\n".utf8)

    @Test(arguments: [
        "audit.log", "./audit.log", "/tmp/../etc/audit.log", "/tmp//audit.log", "/tmp/", "/",
        "/proc/self/mem",
        "/sys/kernel/x", "/dev/full", "/dev/shm/x", "/tmp/a\nb", "",
    ])
    func pathsThatAreNoneAreRefused(path: String) {
        #expect(throws: VaultError.self) { try device(path) }
    }

    @Test(arguments: [
        "0777", "0755", "0700", "0001", "0602", "4600", "1600", "2600", "99", "rw", "-1", "0x1",
    ])
    func modesThatOpenADoorAreRefused(mode: String) {
        #expect(throws: VaultError.self) { try device("/tmp/x.log", ["mode": mode]) }
    }

    @Test(arguments: [("", 0o600), ("0640", 0o640), ("0644", 0o644), ("0600", 0o600)])
    func aNewFileHasTheMode(mode: String, expected: Int) throws {
        let scratch = try Scratch()
        let device = try device(scratch.file("a.log"), mode.isEmpty ? [:] : ["mode": mode])
        try device.append([line])
        #expect(scratch.mode("a.log") == expected)
    }

    @Test func anExistingFileLosesItsExecutableBits() throws {
        let scratch = try Scratch()
        try scratch.write("a.log", "")
        chmod(scratch.file("a.log"), 0o777)
        try device(scratch.file("a.log")).append([line])
        #expect(scratch.mode("a.log") == 0o600)
    }

    @Test func modeZeroKeepsPermissionsButNotDangerousOnes() throws {
        let scratch = try Scratch()
        try scratch.write("a.log", "")
        chmod(scratch.file("a.log"), 0o644)
        try device(scratch.file("a.log"), ["mode": "0000"]).append([line])
        #expect(scratch.mode("a.log") == 0o644)
        chmod(scratch.file("a.log"), 0o755)
        #expect(throws: VaultError.self) {
            try device(scratch.file("a.log"), ["mode": "0"]).append([line])
        }
    }

    @Test func linksDirectoriesAndPipesAreRefused() throws {
        let scratch = try Scratch()
        try scratch.write("real", "")
        symlink(scratch.file("real"), scratch.file("link"))
        symlink(scratch.file("nowhere"), scratch.file("dangling"))
        mkdir(scratch.file("folder"), 0o700)
        mkfifo(scratch.file("pipe"), 0o600)
        for name in ["link", "dangling", "folder", "pipe"] {
            #expect(throws: VaultError.self, "\(name)") { try device(scratch.file(name)).append([line]) }
        }
        #expect(scratch.text("real").isEmpty)
        #expect(access(scratch.file("nowhere"), F_OK) != 0)
    }

    @Test func aFileOfAnotherKindIsLeftAlone() throws {
        let scratch = try Scratch()
        try scratch.write("passwd", "root:x:0:0\n")
        #expect(throws: VaultError.self) { try device(scratch.file("passwd")).append([line]) }
        #expect(scratch.text("passwd") == "root:x:0:0\n")
    }

    @Test func aLogWithAPrefixIsContinued() throws {
        let scratch = try Scratch()
        try scratch.write("a.log", "@cee: {\"old\":1}\n")
        try device(scratch.file("a.log"), ["prefix": "@cee: "]).append([line])
        #expect(scratch.lines("a.log").count == 2)
    }

    @Test func aFileThatWasMovedOrDeletedIsMadeAnew() throws {
        let scratch = try Scratch()
        let device = try device(scratch.file("a.log"))
        try device.append([line])
        rename(scratch.file("a.log"), scratch.file("a.log.1"))
        try device.append([line])
        #expect(scratch.lines("a.log").count == 1)
        #expect(scratch.lines("a.log.1").count == 1)
        unlink(scratch.file("a.log"))
        try device.append([line])
        #expect(scratch.lines("a.log").count == 1)
    }

    @Test func aFileThatWasEmptiedGoesOnFromItsBeginning() throws {
        let scratch = try Scratch()
        let device = try device(scratch.file("a.log"))
        try device.append([line])
        truncate(scratch.file("a.log"), 0)
        try device.append([line])
        #expect(scratch.text("a.log") == "{\"a\":1}\n")
    }

    @Test func specialNamesNeedNoFile() throws {
        for name in ["discard", "/dev/null"] { try device(name).append([line]) }
        _ = try device("stdout")
    }

    @Test func syncingIsAnOption() throws {
        let scratch = try Scratch()
        try device(scratch.file("a.log"), ["fdatasync": "true"]).append([line])
        #expect(scratch.lines("a.log").count == 1)
        #expect(throws: VaultError.self) { try device("/tmp/x.log", ["fdatasync": "maybe"]) }
    }
}
