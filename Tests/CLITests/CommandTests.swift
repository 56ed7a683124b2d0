import Glibc
import Testing

@testable import CLI

@Suite struct CommandTests {
    static let sealStatus = """
        {"type":"shamir","initialized":true,"sealed":false,"t":1,"n":1,"progress":0,"nonce":"","version":"1.19.0",\
        "migration":false,"cluster_name":"vault-cluster-0a1b2c3d","cluster_id":"c","recovery_seal":false,\
        "storage_type":"inmem"}
        """
    static let leader = """
        {"ha_enabled":false,"is_self":false,"active_time":"0001-01-01T00:00:00Z","leader_address":"",\
        "leader_cluster_address":"","performance_standby":false,"performance_standby_last_remote_wal":0}
        """
    static let metadata =
        #"{"created_time":"2026-11-23T23:00:00Z","deletion_time":"","destroyed":false,"version":1}"#

    /// A server with one KV v2 mount at `secret/` and the key `a`.
    static func kv() -> FakeServer {
        FakeServer { request in
            switch request.target {
            case let path where path.hasPrefix("/v1/sys/internal/ui/mounts/secret"):
                return .init(body: envelope(#"{"path":"secret/","type":"kv","options":{"version":"2"}}"#))
            case "/v1/secret/data/a" where request.method == "GET", "/v1/secret/data/a?version=1":
                return .init(body: envelope(#"{"data":{"x":"1","y":"two"},"metadata":\#(metadata)}"#))
            case "/v1/secret/data/gone":
                return .init(status: 404, body: envelope(#"{"data":null,"metadata":\#(metadata)}"#))
            case "/v1/secret/data/old" where request.method == "PATCH":
                return .init(status: 405, body: #"{"errors":[]}"#)
            case "/v1/secret/data/old" where request.method == "GET":
                return .init(body: envelope(#"{"data":{"x":"1","y":"two"},"metadata":\#(metadata)}"#))
            case "/v1/secret/metadata?list=true": return .init(body: envelope(#"{"keys":["a","b/"]}"#))
            case let path
            where path.hasPrefix("/v1/secret/data/") && ["PUT", "PATCH"].contains(request.method):
                return .init(body: envelope(metadata))
            default:
                return .init(
                    status: request.method == "GET" ? 404 : 204,
                    body: request.method == "GET" ? #"{"errors":[]}"# : "")
            }
        }.start()
    }

    @Test func statusTellsTheStateInItsExitCode() {
        let open = FakeServer { .init(body: $0.target == "/v1/sys/leader" ? Self.leader : Self.sealStatus) }
            .start()
        let ran = run("status", on: open)
        #expect(ran.code == 0)
        #expect(ran.out.hasPrefix("Key             Value\n---             -----\nSeal Type       shamir\n"))
        #expect(ran.out.hasSuffix("HA Enabled      false\n"))
        let sealed = FakeServer {
            .init(
                body: $0.target == "/v1/sys/leader"
                    ? Self.leader : Self.sealStatus.replacing(#""sealed":false"#, with: #""sealed":true"#))
        }.start()
        let other = run("status", on: sealed)
        #expect(other.code == 2)
        #expect(other.out.contains("Unseal Progress    0/1\nUnseal Nonce       n/a\n"))
    }

    @Test func aRefusedConnectionIsOneForStatusAndTwoElsewhere() {
        let ran = run(["status"], environment: ["VAULT_ADDR": "http://127.0.0.1:1"])
        #expect(ran.code == 1)
        #expect(ran.error.contains("dial tcp 127.0.0.1:1: connect: connection refused"))
        #expect(run(["list", "x"], environment: ["VAULT_ADDR": "http://127.0.0.1:1"]).code == 2)
    }

    @Test func aPasswordInTheAddressIsNotShown() {
        for address in ["http://u:hunter2@127.0.0.1:1", "https://u:hunter2@127.0.0.1:1", "ftp://u:hunter2@a"]
        {
            for command in [["status"], ["read", "-format=json", "a/b"], ["login", "-no-store", "x"]] {
                let ran = run(command, environment: ["VAULT_ADDR": address])
                #expect(ran.code != 0)
                #expect(!(ran.out + ran.error).contains("hunter2"), "\(command): \(ran.error)")
            }
        }
    }

    @Test func kvGetShowsMetadataAndData() {
        let ran = run("kv get secret/a", on: Self.kv())
        #expect(
            ran.out == """
                ====== Metadata ======
                Key              Value
                ---              -----
                created_time     2026-11-23T23:00:00Z
                deletion_time    n/a
                destroyed        false
                version          1

                == Data ==
                Key    Value
                ---    -----
                x      1
                y      two

                """)
        #expect(ran.code == 0)
    }

    @Test func kvGetOfADeletedVersionShowsItsMetadata() {
        let ran = run("kv get secret/gone", on: Self.kv())
        #expect(ran.code == 0)
        #expect(ran.out.contains("Metadata"))
        #expect(!ran.out.contains("Data =="))
    }

    @Test func kvGetOfNothingIsTwo() {
        let ran = run("kv get secret/none", on: Self.kv())
        #expect(ran.code == 2)
        #expect(ran.error == "No value found at secret/data/none\n")
        #expect(ran.out.isEmpty)
    }

    @Test func fieldsComeAlone() {
        #expect(run("kv get -field=y secret/a", on: Self.kv()).out == "two")
        #expect(run("kv get -field=y secret/a", on: Self.kv(), isATerminal: true).out == "two\n")
        #expect(run("kv get -field=y -format=json secret/a", on: Self.kv()).out == "\"two\"\n")
        let none = run("kv get -field=none secret/a", on: Self.kv())
        #expect(none.code == 1)
        #expect(none.error == "Field \"none\" not present in secret\n")
    }

    @Test func kvPutSendsDataUnderTheMountsVersion() {
        let server = Self.kv()
        let ran = run("kv put -cas=1 -mount=secret k x=1", on: server)
        #expect(ran.code == 0)
        #expect(server.requests.map(\.target) == ["/v1/sys/internal/ui/mounts/secret", "/v1/secret/data/k"])
        #expect(server.requests[1].method == "PUT")
        #expect(server.requests[1].body == #"{"data":{"x":"1"},"options":{"cas":1}}"#)
        #expect(server.requests[1].headers["x-vault-token"] == "root")
        #expect(server.requests[1].headers["x-vault-request"] == "true")
    }

    @Test func kvPatchMergesOnTheServerOrAtTheClient() {
        let server = Self.kv()
        #expect(run("kv patch secret/a z=9", on: server).code == 0)
        #expect(server.requests.last?.method == "PATCH")
        #expect(server.requests.last?.headers["content-type"] == "application/merge-patch+json")
        #expect(run("kv patch secret/old x=9", on: server).code == 0)
        #expect(server.requests.last?.method == "PUT")
        #expect(server.requests.last?.body == #"{"data":{"y":"two","x":"9"},"options":{"cas":1}}"#)
    }

    @Test func kvRollbackWritesTheOldDataOnTopOfTheNewest() {
        let server = Self.kv()
        #expect(run("kv rollback -version=1 secret/a", on: server).code == 0)
        #expect(server.requests.last?.body == #"{"data":{"x":"1","y":"two"},"options":{"cas":1}}"#)
    }

    @Test func kvVersionsGoToTheirOwnPaths() {
        let server = Self.kv()
        let ran = run("kv undelete -versions=1,3 secret/a", on: server)
        #expect(ran.out == "Success! Data written to: secret/undelete/a\n")
        #expect(server.requests.last?.body == #"{"versions":["1","3"]}"#)
        #expect(run("kv destroy -versions=x secret/a", on: server).code == 1)
        #expect(run("kv destroy secret/a", on: server).code == 1)
        #expect(
            run("kv delete secret/a", on: server).out
                == "Success! Data deleted (if it existed) at: secret/a\n")
    }

    @Test func listsPrintKeys() {
        #expect(run("kv list secret", on: Self.kv()).out == "Keys\n----\na\nb/\n")
        #expect(run("kv list -format=json secret/", on: Self.kv()).out == "[\n  \"a\",\n  \"b/\"\n]\n")
        let none = run("list -format=json cubbyhole", on: Self.kv())
        #expect(none.code == 2)
        #expect(none.out == "{}\n")
    }

    @Test func errorsHaveVaultsLayout() {
        let server = FakeServer { _ in .init(status: 403, body: #"{"errors":["permission denied"]}"#) }
            .start()
        let ran = run("read sys/mounts", on: server)
        #expect(ran.code == 2)
        #expect(ran.out.isEmpty)
        #expect(
            ran.error == """
                Error reading sys/mounts: Error making API request.

                URL: GET \(server.address)/v1/sys/mounts
                Code: 403. Errors:

                * permission denied

                Hint: the token is expired, or its policies do not allow this. "holdfast token
                lookup" shows the token, the flag -output-policy what the request needs.

                """)
    }

    @Test func answersThatAreNotJSONAreShownRaw() {
        let server = FakeServer { _ in .init(status: 502, body: "bad gateway") }.start()
        #expect(run("read x", on: server).error.hasSuffix("Code: 502. Raw Message:\n\nbad gateway\n"))
        let page = FakeServer { _ in .init(body: "<html>") }.start()
        #expect(run("read x", on: page).error.contains("the answer is not JSON"))
    }

    @Test func redirectsKeepMethodBodyAndToken() {
        let active = FakeServer { _ in .init(status: 204) }.start()
        let target = active.address
        let standby = FakeServer {
            .init(status: 307, headers: [("Location", target + $0.target)])
        }.start()
        #expect(run("write cubbyhole/a k=v", on: standby).out == "Success! Data written to: cubbyhole/a\n")
        #expect(active.requests.first?.method == "PUT")
        #expect(active.requests.first?.body == #"{"k":"v"}"#)
        #expect(active.requests.first?.headers["x-vault-token"] == "root")
        let loop = FakeServer { .init(status: 307, headers: [("Location", $0.target)]) }.start()
        _ = run("write cubbyhole/a k=v", on: loop)
        #expect(loop.requests.count == 2)
    }

    @Test func retriesHappenWhenAskedFor() {
        let server = FakeServer { _ in .init(status: 503, body: #"{"errors":["Vault is sealed"]}"#) }.start()
        #expect(run("read x", on: server).code == 2)
        func asked() -> Int { server.requests.count { $0.target == "/v1/x" } }
        #expect(asked() == 1)
        _ = run("read x", on: server, environment: ["VAULT_MAX_RETRIES": "1"])
        #expect(asked() == 3)
    }

    @Test func settingsReachTheRequest() {
        let server = FakeServer { _ in .init(status: 204) }.start()
        _ = run("write -wrap-ttl=1m -ns=team -header=X-Mine=7 a/b?c k=v", on: server)
        let request = server.requests[0]
        #expect(request.target == "/v1/a/b%3Fc")
        #expect(request.headers["x-vault-wrap-ttl"] == "1m0s")
        #expect(request.headers["x-vault-namespace"] == "team")
        #expect(request.headers["x-mine"] == "7")
        #expect(run("write -header=X-Vault-Token=x a k=v", on: server).code == 2)
        #expect(
            run("read x", on: server, environment: ["VAULT_TOKEN": "a\r\nX: y"]).error.contains(
                "X-Vault-Token"))
        #expect(server.requests.count == 1)
    }

    @Test func warningsGoToStandardError() {
        let server = FakeServer { _ in
            .init(body: envelope(#"{"k":"v"}"#, warnings: #"["Policy \"dev\" does not exist"]"#))
        }.start()
        let ran = run("read x", on: server)
        #expect(ran.out == "Key    Value\n---    -----\nk      v\n")
        #expect(ran.error.contains("  * Policy \"dev\" does not exist\n"))
    }

    @Test func loginKeepsTheTokenInAPrivateFile() {
        let server = FakeServer { request in
            request.headers["x-vault-token"] == "good"
                ? .init(
                    body: envelope(#"{"accessor":"a","id":"good","policies":["root"],"ttl":0,"meta":null}"#))
                : .init(status: 403, body: #"{"errors":["permission denied"]}"#)
        }.start()
        let scratch = ScratchDirectory()
        let home = ["HOME": scratch.path, "VAULT_TOKEN": ""]
        #expect(run("login bad", on: server, environment: home).code == 2)
        #expect(scratch.read(".vault-token") == nil)
        let ran = run("login -", on: server, environment: home, input: "good\n")
        #expect(ran.code == 0)
        #expect(ran.out.hasPrefix("Success! You are now authenticated."))
        #expect(ran.out.contains("token_duration       ∞\n"))
        #expect(scratch.read(".vault-token") == "good")
        #expect(scratch.mode(".vault-token") == 0o600)
        #expect(run("token lookup", on: server, environment: home).code == 0)
        #expect(run("print token", on: server, environment: home).out == "good\n")
        #expect(run("login", on: server, environment: home, input: "good", isATerminal: true).code == 0)
        #expect(run("login", on: server, environment: home).code == 1)
    }

    @Test func rolesLogInWithTheirIDs() {
        let auth =
            #"{"auth":{"client_token":"hvs.new","accessor":"a","policies":["default"],"lease_duration":60}}"#
        let server = FakeServer { _ in .init(body: auth) }.start()
        let scratch = ScratchDirectory()
        let home = ["HOME": scratch.path, "VAULT_TOKEN": ""]
        let line = "login -method=approle -path=machines -token-only role_id=r secret_id=-"
        let ran = run(line, on: server, environment: home, input: "s\n")
        #expect(ran.code == 0 && ran.out == "hvs.new")
        #expect(server.requests.last?.target == "/v1/auth/machines/login")
        #expect(server.requests.last?.body == #"{"role_id":"r","secret_id":"s"}"#)
        #expect(server.requests.last?.headers["x-vault-token"] == nil)
        #expect(run("login -method=approle", on: server, environment: home).code == 1)
        #expect(run("login -method=approle role_id=r", on: server, environment: home).code == 0)
        #expect(server.requests.last?.body == #"{"role_id":"r"}"#)
        #expect(scratch.read(".vault-token") == "hvs.new")
    }

    @Test func tokenOnlyShowsAndKeepsNothingElse() {
        let server = FakeServer { _ in .init(body: envelope(#"{"id":"good","policies":["root"],"ttl":0}"#)) }
            .start()
        let scratch = ScratchDirectory()
        let ran = run("login -no-store -token-only good", on: server, environment: ["HOME": scratch.path])
        #expect(ran.out == "good")
        #expect(scratch.read(".vault-token") == nil)
    }

    @Test func externalTokenHelpersAreCalled() {
        let scratch = ScratchDirectory()
        scratch.write(".vault", "token_helper = \"\(scratch.path)/helper\"\n")
        scratch.write(
            "helper",
            "#!/bin/sh\ncase $1 in get) cat \(scratch.path)/kept;; store) cat > \(scratch.path)/kept;; esac\n",
            mode: 0o755)
        let helper = TokenHelper(Console(environment: ["HOME": scratch.path], streams: CapturedStreams()))
        guard case .success = helper.store("tok") else {
            Issue.record("the helper could not store")
            return
        }
        #expect((try? helper.get().get()) == "tok")
    }

    @Test func curlCommandsShowTheRequestWithoutTheToken() {
        let server = FakeServer { _ in .init(status: 204) }.start()
        let ran = run("write -output-curl-string a/b x=it's", on: server)
        #expect(ran.code == 0)
        #expect(ran.out.contains("-X PUT"))
        #expect(ran.out.contains(#"-d '{"x":"it'"'"'s"}'"#))
        #expect(!ran.out.contains("root"))
        #expect(server.requests.isEmpty)
    }

    @Test func initTellsWhetherItHappened() {
        let server = FakeServer { _ in .init(body: #"{"initialized":false}"#) }.start()
        let ran = run("operator init -status", on: server)
        #expect(ran.code == 2)
        #expect(ran.out == "Vault is not initialized\n")
    }

    @Test func initReportsSharesAndToken() {
        let server = FakeServer {
            $0.method == "PUT"
                ? .init(body: #"{"keys":["aa","bb"],"keys_base64":["qg==","uw=="],"root_token":"hvs.r"}"#)
                : .init(body: Self.sealStatus)
        }.start()
        let ran = run("operator init -n 2 -t 2", on: server)
        #expect(ran.code == 0)
        #expect(ran.out.hasPrefix("Unseal Key 1: qg==\nUnseal Key 2: uw==\n\nInitial Root Token: hvs.r\n\n"))
        #expect(server.requests.last?.body == #"{"secret_shares":2,"secret_threshold":2}"#)
        let json = run("operator init -key-shares=2 -key-threshold=2 -format=json", on: server).out
        #expect(
            json.contains(
                "\"recovery_keys_shares\": 5,\n  \"recovery_keys_threshold\": 3,\n  \"root_token\": \"hvs.r\""
            ))
    }

    @Test func unsealNeedsAKey() {
        let server = FakeServer { .init(body: $0.target == "/v1/sys/leader" ? Self.leader : Self.sealStatus) }
            .start()
        #expect(run("operator unseal", on: server).code == 1)
        #expect(run("operator unseal", on: server, input: " key \n", isATerminal: true).code == 0)
        #expect(server.requests.first?.body == #"{"key":"key","reset":false,"migrate":false}"#)
        #expect(run("operator unseal -", on: server, input: "piped\n").code == 0)
        #expect(server.requests.last { $0.body.contains("key") }?.body.contains("piped") == true)
    }

    @Test func mountsAreListedAndMade() {
        let mount = """
            {"uuid":"u","type":"kv","description":"","accessor":"kv_1","config":{"default_lease_ttl":3600,\
            "max_lease_ttl":0,"force_no_cache":false},"options":{"version":"2"},"local":false,"seal_wrap":false,\
            "external_entropy_access":false}
            """
        let server = FakeServer {
            $0.method == "GET" ? .init(body: envelope(#"{"secret/":\#(mount)}"#)) : .init(status: 204)
        }.start()
        #expect(run("secrets list", on: server).out.hasSuffix("secret/    kv      kv_1        n/a\n"))
        #expect(run("secrets list -detailed", on: server).out.contains("3600           system     false"))
        let plain = mount.replacing(#"{"version":"2"}"#, with: "null")
        let other = FakeServer { _ in .init(body: envelope(#"{"sys/":\#(plain)}"#)) }.start()
        #expect(run("secrets list -detailed", on: other).out.contains("map[]"))
        let made = run("secrets enable -path=k1 -version=1 -description=one kv", on: server)
        #expect(made.out == "Success! Enabled the kv secrets engine at: k1/\n")
        #expect(server.requests.last?.target == "/v1/sys/mounts/k1")
        #expect(
            server.requests.last?.body
                == #"{"type":"kv","description":"one","config":{},"options":{"version":"1"}}"#)
        #expect(run("secrets tune -max-lease-ttl=24h k1", on: server).code == 0)
        #expect(server.requests.last?.body == #"{"max_lease_ttl":"24h0m0s"}"#)
    }

    @Test func policiesAreFormattedInPlaceOrLeftAlone() {
        let scratch = ScratchDirectory()
        scratch.write("p.hcl", "path    \"a\" {\ncapabilities=[\"read\"]\n}\n")
        let ran = run(["policy", "fmt", "\(scratch.path)/p.hcl"])
        #expect(ran.code == 0)
        #expect(scratch.read("p.hcl") == "path \"a\" {\n  capabilities = [\"read\"]\n}\n")
        scratch.write("p.hcl", "path \"a\" {\n")
        #expect(run(["policy", "fmt", "\(scratch.path)/p.hcl"]).code == 1)
        #expect(scratch.read("p.hcl") == "path \"a\" {\n")
    }
}
