import Base
import Foundation
import Testing

@testable import Net

/// Certificates made by the `openssl` command in a directory of their own.
struct TestCertificates {
    let directory: String

    init() throws {
        directory = NSTemporaryDirectory() + "net-tls-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        try make("server")
        try make("client")
    }

    func make(_ name: String) throws {
        let made = try run(
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                "2", "-subj",
                "/CN=\(name)", "-keyout", path(name, "key"), "-out", path(name, "crt"),
            ], input: "")
        guard FileManager.default.fileExists(atPath: path(name, "crt")) else {
            throw VaultError.internal(made)
        }
    }

    func path(_ name: String, _ kind: String) -> String { "\(directory)/\(name).\(kind)" }

    func configuration(_ clients: TLSConfiguration.ClientCertificates = .request) -> TLSConfiguration {
        TLSConfiguration(
            certificateFile: path("server", "crt"), keyFile: path("server", "key"),
            clientCAFile: clients == .require ? path("client", "crt") : nil, clientCertificates: clients)
    }

    /// Speaks TLS to a port through `openssl s_client`, and gives back all that it printed.
    func talk(_ port: Int, _ options: [String], _ input: String) throws -> String {
        try run(["s_client", "-connect", "127.0.0.1:\(port)", "-ign_eof"] + options, input: input)
    }

    private func run(_ arguments: [String], input: String) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        let (stdin, stdout) = (Pipe(), Pipe())
        process.standardInput = stdin
        process.standardOutput = stdout
        process.standardError = stdout
        try process.run()
        try stdin.fileHandleForWriting.write(contentsOf: Data(input.utf8))
        try stdin.fileHandleForWriting.close()
        let output = stdout.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return String(decoding: output, as: UTF8.self)
    }
}

@Suite(.timeLimit(.minutes(10))) struct TLSServerTests {
    private let request = "PUT /peer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab"

    @Test(arguments: ["-tls1_2", "-tls1_3"]) func bothVersionsServe(_ version: String) throws {
        let certificates = try TestCertificates()
        let live = try LiveServer(tls: certificates.configuration())
        let output = try certificates.talk(live.port, [version, "-alpn", "http/1.1"], request)
        #expect(output.contains("HTTP/1.1 200 OK"), "\(output)")
        #expect(output.contains("127.0.0.1 true 0"))
        #expect(output.contains("ALPN protocol: http/1.1"))
    }

    @Test func olderVersionsAreRefused() throws {
        let certificates = try TestCertificates()
        let live = try LiveServer(tls: certificates.configuration())
        let old = try certificates.talk(live.port, ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], request)
        #expect(!old.contains("HTTP/1.1"))
        var configuration = certificates.configuration()
        configuration.minimumVersion = .v13
        let strict = try LiveServer(tls: configuration)
        #expect(!(try certificates.talk(strict.port, ["-tls1_2"], request).contains("HTTP/1.1")))
        #expect(try certificates.talk(strict.port, ["-tls1_3"], request).contains("HTTP/1.1 200"))
    }

    @Test func clientCertificatesAreHandedOnOrDemanded() throws {
        let certificates = try TestCertificates()
        let mine = ["-cert", certificates.path("client", "crt"), "-key", certificates.path("client", "key")]
        let asking = try LiveServer(tls: certificates.configuration(.request))
        for version in ["-tls1_2", "-tls1_3"] {
            #expect(
                try certificates.talk(asking.port, mine + [version], request).contains("127.0.0.1 true 1"))
        }
        let silent = try LiveServer(tls: certificates.configuration(.disabled))
        #expect(try certificates.talk(silent.port, mine, request).contains("127.0.0.1 true 0"))
        let strict = try LiveServer(tls: certificates.configuration(.require))
        #expect(try certificates.talk(strict.port, mine, request).contains("127.0.0.1 true 1"))
        #expect(!(try certificates.talk(strict.port, [], request).contains("HTTP/1.1")))
        let other = ["-cert", certificates.path("server", "crt"), "-key", certificates.path("server", "key")]
        #expect(!(try certificates.talk(strict.port, other, request).contains("HTTP/1.1")))
    }

    @Test func plainRequestsOnATLSPortGetAPlainAnswer() throws {
        let certificates = try TestCertificates()
        let live = try LiveServer(tls: certificates.configuration())
        let client = try live.connect()
        client.send("LIST /v1/a HTTP/1.1\r\nHost: a\r\n\r\n")
        let answer = client.answer()
        #expect(answer?.status == 400)
        #expect(answer?.body == "Client sent an HTTP request to an HTTPS server.\n")
        #expect(client.isEnded())
        let garbage = try live.connect()
        garbage.send([0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5])
        garbage.endSending()
        while !garbage.isEnded(), garbage.answer() != nil {}
    }

    @Test func bigBodiesGoBothWays() throws {
        let certificates = try TestCertificates()
        let live = try LiveServer(tls: certificates.configuration())
        let body = String(repeating: "x", count: 300_000)
        let upload = "PUT /size HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n\(body)"
        let output = try certificates.talk(
            live.port, ["-quiet"], upload + "GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        #expect(output.contains("\r\n\r\n300000HTTP/1.1 200"))
        #expect(output.hasSuffix(String(repeating: "b", count: 8 << 20)))
    }

    @Test func replacedCertificatesAreServedAndBrokenOnesAreNot() throws {
        let certificates = try TestCertificates()
        let live = try LiveServer(tls: certificates.configuration())
        try certificates.make("fresh")
        for kind in ["crt", "key"] {
            try FileManager.default.removeItem(atPath: certificates.path("server", kind))
            try FileManager.default.copyItem(
                atPath: certificates.path("fresh", kind), toPath: certificates.path("server", kind))
        }
        live.server.reloadTLS()
        #expect(try certificates.talk(live.port, [], request).contains("subject=CN = fresh"))
        try Data("nonsense".utf8).write(to: URL(fileURLWithPath: certificates.path("server", "crt")))
        live.server.reloadTLS()
        #expect(try certificates.talk(live.port, [], request).contains("subject=CN = fresh"))
    }

    @Test func wrongFilesAndSuitesAreRefusedAtStart() throws {
        let certificates = try TestCertificates()
        func refusal(_ change: (inout TLSConfiguration) -> Void) -> String? {
            var configuration = certificates.configuration()
            change(&configuration)
            do throws(VaultError) {
                _ = try TLSContext(configuration)
                return nil
            } catch {
                return error.messages.joined()
            }
        }
        #expect(refusal { _ in } == nil)
        #expect(refusal { $0.certificateFile = "/nowhere" }?.contains("/nowhere") == true)
        #expect(refusal { $0.keyFile = certificates.path("client", "key") } != nil)
        #expect(refusal { $0.cipherSuites = ["TLS_NONSENSE"] }?.contains("TLS_NONSENSE") == true)
        #expect(refusal { $0.cipherSuites = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"] } == nil)
        #expect(refusal { $0.clientCertificates = .require }?.contains("tls_client_ca_file") == true)
    }
}
