import Glibc
import Testing

@testable import CLI

@Suite struct MoreCommandTests {
    @Test func pathHelpPrintsTheServersText() {
        let server = FakeServer { _ in .init(body: #"{"help":"DESCRIPTION\nKeys.\n","see_also":null}"#) }
            .start()
        let ran = run("path-help secret/", on: server)
        #expect(ran.out == "DESCRIPTION\nKeys.\n")
        #expect(server.requests.last?.target == "/v1/secret?help=1")
        #expect(run("path-help -format=json secret", on: server).out.contains("\"help\""))
        #expect(run("path-help", on: server).code == 1)
        let none = FakeServer { _ in .init(body: "{}") }.start()
        #expect(run("path-help x", on: none).code == 2)
    }

    @Test func authHelpKnowsMethodsAndPaths() {
        #expect(run(["auth", "help", "userpass"]).out.contains("login -method=userpass"))
        let role = run(["auth", "help", "approle"]).out
        #expect(role.contains("role_id=<string>") && !role.contains("username"))
        let server = FakeServer {
            $0.target == "/v1/sys/auth"
                ? .init(body: envelope(#"{"up2/":{"type":"userpass"},"k8s/":{"type":"kubernetes"}}"#))
                : .init(body: #"{"help":"words"}"#)
        }.start()
        #expect(run("auth help up2", on: server).out.contains("-method=userpass -path=up2"))
        #expect(run("auth help k8s/", on: server).out == "words\n")
        #expect(run("auth help nope", on: server).code == 1)
    }

    @Test func patchSendsAMergePatch() {
        let server = FakeServer { _ in .init(status: 204) }.start()
        #expect(run("patch a/b k=v", on: server).out == "Success! Data written to: a/b\n")
        #expect(server.requests.last?.method == "PATCH")
        #expect(server.requests.last?.headers["content-type"] == "application/merge-patch+json")
        #expect(run("patch a/b", on: server).error == "Must supply data or use -force\n")
    }

    @Test func thePluginCatalogIsListed() {
        let server = FakeServer {
            $0.method == "GET" && $0.target == "/v1/sys/plugins/catalog"
                ? .init(
                    body: envelope(
                        """
                        {"auth":["userpass"],"database":[],"secret":["kv"],\
                        "detailed":[{"name":"kv","type":"secret",\
                        "version":"v1","builtin":true,"deprecation_status":"supported"}]}
                        """)) : .init(status: 204)
        }.start()
        #expect(
            run("plugin list", on: server).out
                == "Name        Type\n----        ----\nuserpass    auth\nkv          secret\n")
        #expect(run("plugin list secret", on: server).out == "Plugins\n-------\nkv\n")
        #expect(
            run("plugin list -detailed", on: server).out.contains("kv      secret    v1         supported"))
        #expect(run("plugin list -format=json auth", on: server).out.contains("\"userpass\""))
        #expect(run("plugin list moon", on: server).code == 1)
        #expect(run("plugin info secret none", on: server).code == 2)
        #expect(run("plugin register secret x", on: server).code == 1)
        #expect(
            run("plugin register -sha256=ab secret x", on: server).out == "Success! Registered plugin: x\n")
        #expect(server.requests.last?.target == "/v1/sys/plugins/catalog/secret/x")
        #expect(run("plugin deregister secret x", on: server).code == 0)
        #expect(run("plugin reload", on: server).code == 1)
        #expect(run("plugin reload -mounts=a,b", on: server).out == "Success! Reloaded mounts: [a b]\n")
        #expect(server.requests.last?.body == #"{"mounts":["a","b"]}"#)
    }

    @Test func versionsAreListedWithTheirTimes() {
        let server = FakeServer { _ in
            .init(
                body: envelope(
                    """
                    {"keys":["0.1.0"],"key_info":{"0.1.0":{"timestamp_installed":"2026-11-24T00:00:00Z",\
                    "previous_version":null,"build_date":""}}}
                    """))
        }.start()
        #expect(run("version-history", on: server).out.hasSuffix("0.1.0      2026-11-24T00:00:00Z    n/a\n"))
        #expect(server.requests.last?.target == "/v1/sys/version-history?list=true")
    }

    @Test func listsShowWhatTheServerTellsOfEachKey() {
        let server = FakeServer { _ in
            .init(body: envelope(#"{"keys":["a","b"],"key_info":{"a":{"name":"x","age":3}}}"#))
        }.start()
        #expect(run("list auth/x", on: server).out == "Keys\n----\na\nb\n")
        let detailed = "Keys    age    name\n----    ---    ----\na       3      x\nb       n/a    n/a\n"
        #expect(run("list -detailed auth/x", on: server).out == detailed)
        #expect(run("list auth/x", on: server, environment: ["VAULT_DETAILED": "1"]).out == detailed)
        #expect(run("list -detailed -format=json auth/x", on: server).out.contains("\"key_info\""))
    }

    @Test func rawReadsGiveTheBodyAsItIs() {
        let server = FakeServer { _ in .init(body: "-----BEGIN CERTIFICATE-----\n") }.start()
        #expect(run("read -format=raw pki/ca/pem", on: server).out == "-----BEGIN CERTIFICATE-----\n")
        #expect(run("read pki/ca/pem", on: server).code == 2)
        #expect(run("list -format=raw pki/ca/pem", on: server).code == 1)
    }

    @Test func namespacesAreRefusedClearly() {
        for words in [["namespace", "list"], ["namespace", "create", "team"], ["namespace"]] {
            let ran = run(words)
            #expect(ran.code == 2)
            #expect(ran.error.contains("there is only the root namespace"))
        }
    }

    @Test func theLogIsStreamedAsItComes() {
        let server = FakeServer { _ in .init(body: "one\ntwo\n") }.start()
        let ran = run("monitor -log-level=debug", on: server)
        #expect(ran.code == 0)
        #expect(ran.out == "one\ntwo\n")
        #expect(server.requests.last?.target == "/v1/sys/monitor?log_level=debug&log_format=standard")
        #expect(run("monitor -log-level=loud", on: server).code == 1)
        let refused = FakeServer { _ in .init(status: 403, body: #"{"errors":["permission denied"]}"#) }
            .start()
        let denied = run("monitor", on: refused)
        #expect(denied.code == 2)
        #expect(denied.out.isEmpty)
        #expect(denied.error.contains("permission denied"))
    }

    @Test func lockoutIsTunedOnAuthMethods() {
        let server = FakeServer { _ in .init(status: 204) }.start()
        let flags = "-user-lockout-threshold=3 -user-lockout-duration=5m -user-lockout-disable=false"
        #expect(run("auth tune \(flags) up", on: server).code == 0)
        #expect(
            server.requests.last?.body
                == #"{"user_lockout_config":{"lockout_threshold":"3","lockout_duration":"5m0s","#
                + #""lockout_disable":false}}"#
        )
        #expect(run("secrets tune -user-lockout-threshold=3 up", on: server).code == 1)
    }

    static let debugged = FakeServer { request in
        switch request.target {
        case let path where path.hasPrefix("/v1/sys/monitor"):
            .init(body: "a line with hvs.AAAAAAAAAAAAAAAAAAAAAAAA in it\n")
        case "/v1/sys/host-info": .init(status: 403, body: #"{"errors":["permission denied"]}"#)
        default: .init(body: #"{"sealed":false}"#)
        }
    }.start()

    @Test func debugGathersAnArchiveWithoutSecrets() throws {
        let scratch = ScratchDirectory()
        let path = "\(scratch.path)/kept"
        let ran = run("debug -duration=1s -interval=1s -compress=false -output=\(path)", on: Self.debugged)
        #expect(ran.code == 0)
        #expect(ran.out == "Success! Bundle written to: \(path)\n")
        #expect(scratch.mode("kept") == 0o600)
        let archive = try #require(scratch.read("kept"))
        for name in ["config.json", "server_status.json", "metrics.json", "holdfast.log", "index.json"] {
            #expect(archive.contains("/\(name)\0"))
        }
        #expect(archive.contains("a line with hvs.[redacted] in it"))
        #expect(!archive.contains("root") && !archive.contains("AAAAAAAA"))
        #expect(archive.contains("permission denied"))
        #expect(run("debug -duration=1s -output=\(path)", on: Self.debugged).code == 1)
    }

    @Test func debugCompressesWithGzip() throws {
        let scratch = ScratchDirectory()
        let path = "\(scratch.path)/kept"
        let ran = run("debug -duration=1s -target=server-status -output=\(path)", on: Self.debugged)
        #expect(ran.code == 0)
        let file = try #require(fopen(path, "r"))
        defer { fclose(file) }
        #expect(fgetc(file) == 0x1F && fgetc(file) == 0x8B)
        #expect(scratch.mode("kept") == 0o600)
    }

    @Test func debugRefusesWhatMakesNoSense() {
        for flags in ["-duration=0s", "-duration=30h", "-target=moon", "-interval=1ms", "-log-format=x"] {
            #expect(run("debug \(flags)", on: Self.debugged).code == 1)
        }
        let dead = run(
            ["debug", "-duration=1s", "-target=config", "-output=/nonexistent/x"],
            environment: ["VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "t"])
        #expect(dead.code == 2)
        #expect(dead.error.contains("nothing could be had"))
    }

    @Test func tokensAreBlottedOut() {
        func blot(_ text: String) -> String {
            String(decoding: Redaction.tokens(in: Array(text.utf8)), as: UTF8.self)
        }
        let body = "abcdefghij0123456789"
        #expect(blot("x hvb.\(body) y") == "x hvb.[redacted] y")
        #expect(blot("s.\(body)ABCD") == "s.[redacted]")
        #expect(blot("hvs.short") == "hvs.short")
        #expect(blot("keys.\(body)") == "keys.\(body)")
        #expect(blot("") == "")
    }
}
