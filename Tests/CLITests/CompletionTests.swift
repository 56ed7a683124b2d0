import Glibc
import Testing

@testable import CLI

@Suite struct CompletionTests {
    private func complete(_ line: String, on server: FakeServer? = nil) -> [String] {
        var environment = ["COMP_LINE": line, "HOME": "/nonexistent"]
        if let server {
            environment["VAULT_ADDR"] = server.address
            environment["VAULT_TOKEN"] = "root"
        }
        return withExtendedLifetime(server) {
            run([], environment: environment).out.split(separator: "\n").map(String.init)
        }
    }

    @Test func commandsAreCompleted() {
        #expect(complete("holdfast kv me") == ["metadata"])
        #expect(complete("holdfast kv metadata ") == ["delete", "get", "patch", "put"])
        #expect(complete("holdfast sta") == ["status"])
        #expect(complete("holdfast nonsense x") == [])
        #expect(complete("holdfast ").contains("operator"))
    }

    @Test func flagsAreCompletedWithTheirSign() {
        #expect(complete("holdfast kv put -ca") == ["-ca-cert=", "-ca-path=", "-cas="])
        #expect(complete("holdfast operator rekey -ini") == ["-init"])
        #expect(complete("holdfast kv put --cas") == ["-cas="])
        #expect(complete("holdfast kv put -cas=") == [])
    }

    @Test func theCursorCutsTheLine() {
        let ran = run([], environment: ["COMP_LINE": "holdfast kv get", "COMP_POINT": "12"])
        #expect(ran.out.split(separator: "\n").contains("get"))
        #expect(ran.out.split(separator: "\n").contains("put"))
    }

    static func server() -> FakeServer {
        FakeServer { request in
            switch request.target {
            case "/v1/sys/internal/ui/mounts":
                .init(
                    body: envelope(
                        """
                        {"secret":{"secret/":{"type":"kv","options":{"version":"2"}},"old/":{"type":"kv",\
                        "options":null},"ssh/":{"type":"ssh","options":null}},"auth":{"token/":{"type":"token"}}}
                        """))
            case "/v1/secret/metadata/app/?list=true": .init(body: envelope(#"{"keys":["db","deep/"]}"#))
            case "/v1/sys/policies/acl?list=true": .init(body: envelope(#"{"keys":["default","root"]}"#))
            default: .init(status: 404, body: #"{"errors":[]}"#)
            }
        }.start()
    }

    @Test func namesComeFromTheServer() {
        #expect(complete("holdfast kv get se", on: Self.server()) == ["secret/"])
        #expect(complete("holdfast kv get ", on: Self.server()) == ["old/", "secret/"])
        #expect(
            complete("holdfast kv get -field=x secret/app/d", on: Self.server()) == [
                "secret/app/db", "secret/app/deep/",
            ])
        #expect(complete("holdfast read s", on: Self.server()) == ["secret/", "ssh/", "sys/"])
        #expect(complete("holdfast auth disable ", on: Self.server()) == ["token/"])
        #expect(complete("holdfast policy read d", on: Self.server()) == ["default"])
        // Data behind the name are nobody's to guess.
        #expect(complete("holdfast kv put secret/a ", on: Self.server()) == [])
    }

    @Test func noTokenAsksNobody() {
        let server = Self.server()
        let ran = run(
            [],
            environment: [
                "COMP_LINE": "holdfast kv get ", "VAULT_ADDR": server.address, "HOME": "/nonexistent",
            ])
        #expect(ran.out.isEmpty)
        #expect(server.requests.isEmpty)
    }

    @Test func linesAreSplitAsAShellDoes() {
        #expect(Completion.words("a 'b c' \"d\\\"e\" f\\ g ") == ["a", "b c", "d\"e", "f g", ""])
        #expect(Completion.words("a b") == ["a", "b"])
        #expect(Completion.words("") == [""])
    }

    @Test func everyShellHasAScript() {
        for shell in CompletionScript.allCases {
            let ran = run(["completion", shell.rawValue])
            #expect(ran.code == 0)
            #expect(ran.out.contains("COMP_LINE="))
        }
        #expect(run(["completion", "tcsh"]).code == 1)
    }

    @Test func installingAddsOneLineAndUninstallingTakesItAway() {
        let scratch = ScratchDirectory()
        let before = "alias x=y\n"
        scratch.write(".bashrc", before, mode: 0o640)
        let home = ["HOME": scratch.path]
        #expect(run(["-autocomplete-install"], environment: home).code == 0)
        #expect(
            scratch.read(".bashrc") == before + "source <(holdfast completion bash) # holdfast completion\n")
        #expect(scratch.mode(".bashrc") == 0o640)
        #expect(run(["-autocomplete-install"], environment: home).code == 1)
        #expect(run(["-autocomplete-uninstall"], environment: home).code == 0)
        #expect(scratch.read(".bashrc") == before)
        #expect(run(["-autocomplete-uninstall"], environment: home).code == 1)
        unlink("\(scratch.path)/.bashrc")
    }

    @Test func misspelledCommandsAreRecognised() {
        #expect(run(["staus"]).error.hasPrefix("There is no command \"staus\". Did you mean \"status\"?"))
        #expect(run(["kv", "gte"]).error.contains("Did you mean \"get\"?"))
        #expect(!run(["xyzzy"]).error.contains("Did you mean"))
        #expect(Spelling.distance("kitten", "sitting") == 3)
        #expect(Spelling.distance("gte", "get") == 1)
        #expect(Spelling.distance("", "abc") == 3)
    }
}
