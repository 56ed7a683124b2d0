import Base
import Net
import PluginKit
import SystemAPI
import TestKit
import Testing

@testable import Server

/// What the configuration says of a node's place in its cluster.
@Suite struct ClusterSettingsTests {
    private func configuration(_ text: String) throws -> ServerConfiguration {
        var configuration = ServerConfiguration()
        _ = try configuration.apply(Array(text.utf8), from: "server.hcl")
        return configuration
    }

    private func addresses(_ text: String) throws -> ClusterAddresses {
        try ClusterAddresses(configuration(text)) { "192.0.2.7" }
    }

    @Test func addressesAreTakenAsTheyAreGiven() throws {
        let found = try addresses(
            """
            listener "tcp" {
              address = "[::]:8200"
              cluster_address = "[::]:8300"
              tls_disable = 1
            }
            api_addr = "https://vault.example.com/"
            cluster_addr = "https://vault-0.vault-internal:8201"
            """)
        #expect(found.bind == ["[::]:8300"])
        #expect(found.advertised == "vault-0.vault-internal:8201")
        #expect(found.api == "https://vault.example.com")
    }

    @Test func whatIsNotGivenFollowsFromWhatIs() throws {
        let plain = "listener \"tcp\" {\n address = \"127.0.0.1:9000\"\n tls_disable = true\n}\n"
        #expect(try addresses(plain).bind == ["127.0.0.1:9001"])
        #expect(try addresses(plain).advertised == "127.0.0.1:9001")
        #expect(try addresses(plain).api == "http://127.0.0.1:9000")
        let anywhere = "listener \"tcp\" {\n address = \"0.0.0.0:8200\"\n tls_disable = true\n}\n"
        #expect(try addresses(anywhere).api == "http://192.0.2.7:8200")
        #expect(try addresses(anywhere).advertised == "192.0.2.7:8201")
        #expect(try addresses(anywhere + "api_addr = \"http://h:1\"").advertised == "h:8201")
        #expect(try addresses(plain + "cluster_addr = \"https://h\"").advertised == "h:8201")
        #expect(
            try addresses(plain + "cluster_addr = \"https://[2001:db8::1]\"").advertised
                == "[2001:db8::1]:8201")
    }

    @Test func aNodeWithoutAnAddressForOthersSaysSo() throws {
        let unix = try configuration("listener \"unix\" {\n address = \"/tmp/x\"\n}")
        #expect(throws: VaultError.self) { try ClusterAddresses(unix) { nil } }
        let anywhere = try configuration("listener \"tcp\" {\n address = \":8200\"\n tls_disable = true\n}")
        #expect(throws: VaultError.self) { try ClusterAddresses(anywhere) { nil } }
    }

    // MARK: retry_join

    private func retryJoin(_ block: String) throws -> RetryJoin {
        let whole = try configuration("storage \"raft\" {\n path = \"/x\"\n\(block)\n}")
        return try RetryJoin(
            #require(whole.storage), read: { Array("pem of \($0)".utf8) }, environment: { _ in nil })
    }

    @Test func clustersToJoinAreRead() throws {
        let found = try retryJoin(
            """
            retry_join {
              leader_api_addr = "https://a:8200"
              leader_tls_servername = "vault"
              leader_ca_cert_file = "/ca.pem"
              leader_client_cert = "inline"
              leader_client_key_file = "/key.pem"
            }
            retry_join {
              auto_join = "provider=dns name=vault-internal"
              auto_join_scheme = "http"
              auto_join_port = 8210
            }
            retry_join_as_non_voter = true
            """)
        #expect(found.targets.count == 2)
        #expect(found.targets[0].address == "https://a:8200" && found.targets[0].serverName == "vault")
        #expect(found.targets[0].caCertificate == Array("pem of /ca.pem".utf8))
        #expect(found.targets[0].clientCertificate == Array("inline".utf8))
        #expect(found.targets[0].clientKey == SecretBytes(copying: "pem of /key.pem".utf8))
        #expect(found.targets[1].autoJoin?.name == "vault-internal")
        #expect(found.targets[1].autoJoin?.scheme == "http" && found.targets[1].autoJoin?.port == 8210)
        #expect(found.options.isNonVoter && found.options.retries)
    }

    @Test(arguments: [
        ("retry_join {}", "expected leader_api_addr"),
        ("retry_join { leader_api_addr = \"a:8200\" }", "expected leader_api_addr"),
        ("retry_join {\n leader_api_addr = \"http://a\"\n typo = 1\n}", "unknown key 'typo'"),
        (
            "retry_join {\n leader_api_addr = \"http://a\"\n auto_join = \"provider=dns name=x\"\n}",
            "found both"
        ),
        ("retry_join { auto_join = \"provider=aws tag=x\" }", "expected provider=dns"),
        ("retry_join { auto_join = \"provider=dns\" }", "expected name="),
        ("retry_join {\n leader_api_addr = \"http://a\"\n leader_client_cert = \"c\"\n}", "both or neither"),
        ("retry_join_as_non_voter = true", "retry_join block"),
        ("retry_join_as_non_voter = \"perhaps\"", "true or false"),
    ])
    func aWrongBlockNamesItself(block: String, expected: String) {
        do {
            _ = try retryJoin(block)
            Issue.record("accepted: \(block)")
        } catch let error as VaultError {
            #expect(error.messages[0].contains(expected), "\(error.messages)")
        } catch { Issue.record(error) }
    }

    // MARK: Certificates

    @Test func aCertificateNamesItsMemberAndItsClusterOnly() throws {
        let seed = SecretBytes(copying: [UInt8](repeating: 1, count: 32))
        let (one, two) = (
            try ClusterAuthority(seed: seed, clusterID: "c1"),
            try ClusterAuthority(seed: seed, clusterID: "c2")
        )
        let clock = SystemClock()
        let made = try one.issue(
            raftID: 0x0123_4567_89AB_CDEF, nodeID: "n0", now: clock.now(), random: SystemRandom())
        #expect(one.member(of: made.certificate) == 0x0123_4567_89AB_CDEF)
        #expect(two.member(of: made.certificate) == nil)
        #expect(one.member(of: made.authority) == nil)
        #expect(one.member(of: [1, 2, 3]) == nil)
        let again = try one.issue(raftID: 1, nodeID: "n0", now: clock.now(), random: SystemRandom())
        #expect(again.authority == made.authority)
        #expect(again.key != made.key)
    }
}
