import Base
import Foundation
import Testing

@testable import Server

@Suite struct DiagnoseTests {
    private func diagnose(_ text: String, skipping: [String] = []) throws -> Diagnosis {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let file = directory.appendingPathComponent("server.hcl")
        try Data(text.replacingOccurrences(of: "DIR", with: directory.path).utf8).write(to: file)
        return DiagnoseCommand.diagnose([file.path], skipping: skipping)
    }

    private let listener = "listener \"tcp\" {\n  address = \"127.0.0.1:0\"\n  tls_disable = true\n}\n"

    private func line(_ found: Diagnosis, _ name: String) -> String? {
        found.lines().first { $0.contains("] \(name)") }
    }

    @Test func aGoodConfigurationHasNothingFailed() throws {
        let found = try diagnose(listener + "storage \"file\" {\n  path = \"DIR/data\"\n}\n")
        #expect(found.outcome < .failure)
        #expect(line(found, "Check Directory")?.contains("does not exist yet") == true)
        #expect(line(found, "Check Listener 127.0.0.1:0")?.contains("[ success ]") == true)
    }

    @Test func aWrongValueEndsItWithItsPlace() throws {
        let found = try diagnose("storage \"file\" {}\nlog_level = \"loud\"\n")
        #expect(found.outcome == .failure)
        #expect(line(found, "Parse Configuration")?.contains("log_level") == true)
        #expect(found.checks.count == 1)
    }

    @Test func anUnknownKeyIsAWarning() throws {
        let found = try diagnose(
            listener + "storage \"inmem\" {}\nnonsense = 1\n",
            skipping: ["system", "storage", "listeners", "seal", "addresses"])
        #expect(found.outcome == .warning)
        #expect(line(found, "Key")?.contains("nonsense") == true)
        #expect(line(found, "Check Storage")?.contains("[ skipped ]") == true)
    }

    @Test func whatAStartWouldEndWithIsAFailure() throws {
        let foreign = try diagnose(listener + "storage \"file\" {\n  path = \"/proc/self/environ\"\n}\n")
        #expect(line(foreign, "Check Directory")?.contains("[ failure ]") == true)
        let tls = try diagnose(
            "listener \"tcp\" {\n  address = \"127.0.0.1:0\"\n  tls_cert_file = \"DIR/none.pem\"\n"
                + "  tls_key_file = \"DIR/none.key\"\n}\nstorage \"inmem\" {}\n")
        #expect(line(tls, "Check Listener 127")?.contains("none.pem") == true)
        #expect(tls.outcome == .failure)
    }

    @Test func plainTextBeyondThisMachineIsAWarning() throws {
        let found = try diagnose(
            "listener \"tcp\" {\n  address = \"0.0.0.0:0\"\n  tls_disable = true\n}\nstorage \"inmem\" {}\n")
        #expect(line(found, "Check Listener 0.0.0.0:0")?.contains("[ warning ]") == true)
        #expect(line(found, "Check Durability")?.contains("[ warning ]") == true)
    }

    @Test func wrongFlagsAreNamed() {
        for arguments in [
            ["-nope"], ["x"], ["-config"], ["-config=a", "-skip=moon"], ["-config=a", "-format=x"],
        ] {
            #expect(DiagnoseCommand.run(arguments: arguments) == 1)
        }
    }

    @Test func flagsAreReadAsGoReadsThem() throws {
        let flags = try CommandFlags(
            ["-config", "a", "--config=b", "-reset", "-debug=false"], valued: ["config"],
            switches: ["reset", "debug"])
        #expect(flags.all("config") == ["a", "b"])
        #expect(flags.isOn("reset") && !flags.isOn("debug"))
    }
}
