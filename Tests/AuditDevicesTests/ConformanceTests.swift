import Base
import Foundation
import PluginKit
import TestKit
import Testing

@testable import AuditDevices

/// Every device keeps the promises of its kind.
@Suite struct ConformanceTests {
    @Test(arguments: AuditConformance.checks)
    func file(check: AuditConformance.Check) throws {
        let scratch = try Scratch()
        let folder = scratch.file("logs")
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try check.run(
            AuditConformance.Subject(
                make: {
                    try FileDevice(options: ["file_path": scratch.file("logs/audit.log")])
                },
                arrived: { scratch.lines("logs/audit.log") },
                takeAway: { try FileManager.default.moveItem(atPath: folder, toPath: folder + "-away") },
                giveBack: { try FileManager.default.moveItem(atPath: folder + "-away", toPath: folder) }))
        withExtendedLifetime(scratch) {}
    }

    @Test(arguments: AuditConformance.checks, ["unix", "unixgram"])
    func socket(check: AuditConformance.Check, kind: String) throws {
        let scratch = try Scratch()
        let receiver = Receiver(path: scratch.file("s"), isStream: kind == "unix")
        try receiver.start()
        defer { receiver.stop() }
        try check.run(
            AuditConformance.Subject(
                make: {
                    try SocketDevice(options: ["address": scratch.file("s"), "socket_type": kind])
                },
                arrived: { receiver.records }, takeAway: { receiver.stop() },
                giveBack: { try receiver.start() }, largest: kind == "unix" ? 1 << 20 : 64 << 10))
        withExtendedLifetime(scratch) {}
    }

    @Test(arguments: AuditConformance.checks)
    func tcpSocket(check: AuditConformance.Check) throws {
        let receiver = Receiver(path: nil, isStream: true)
        try receiver.start()
        defer { receiver.stop() }
        try check.run(
            AuditConformance.Subject(
                make: {
                    try SocketDevice(options: ["address": "127.0.0.1:\(receiver.port)"])
                },
                arrived: { receiver.records }, takeAway: { receiver.stop() },
                giveBack: { try receiver.start() }, largest: 1 << 20))
    }

    @Test(arguments: AuditConformance.checks)
    func syslog(check: AuditConformance.Check) throws {
        let scratch = try Scratch()
        let receiver = Receiver(path: scratch.file("log"), isStream: false)
        try receiver.start()
        defer { receiver.stop() }
        let head = "<134>vault[\(getpid())]: "
        try check.run(
            AuditConformance.Subject(
                make: {
                    try SyslogDevice(options: ["facility": "local0"], socketPath: scratch.file("log"))
                },
                arrived: {
                    receiver.records.map { $0.hasPrefix(head) ? String($0.dropFirst(head.count)) : "?" + $0 }
                },
                takeAway: { receiver.stop() }, giveBack: { try receiver.start() }, largest: 32 << 10))
        withExtendedLifetime(scratch) {}
    }
}

@Suite struct SocketOptionTests {
    @Test(arguments: [
        [:], ["address": ""], ["address": "nohost"], ["address": ":80"], ["address": "h:0"],
        ["address": "h:70000"], ["address": "h:1", "socket_type": "sctp"],
        ["address": "rel", "socket_type": "unix"], ["address": "h:1", "write_timeout": "0"],
        ["address": "h:1", "write_timeout": "1h"], ["address": "h\u{0}x:1"],
    ])
    func impossibleOptionsAreRefused(options: [String: String]) {
        #expect(throws: VaultError.self) { try SocketDevice(options: options) }
    }

    @Test func syslogOptionsAreChecked() {
        #expect(throws: VaultError.self) { try SyslogDevice(options: ["facility": "nope"]) }
        #expect(throws: VaultError.self) { try SyslogDevice(options: ["tag": "a b"]) }
        #expect(throws: VaultError.self) { try SyslogDevice(options: ["tag": "x]\n<0>y"]) }
    }
}
