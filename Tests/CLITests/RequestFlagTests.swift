import Testing

@testable import APIClient
@testable import CLI

/// The flags and variables that every request has, and the hints behind its failures.
@Suite struct RequestFlagTests {
    @Test func policiesNameThePathAndWhatTheRequestNeeds() {
        let cases = [
            ("GET", "secret/data/a", false, #"path "secret/data/a" {\#n  capabilities = ["read"]\#n}"#),
            ("GET", "secret/metadata", true, #"path "secret/metadata" {\#n  capabilities = ["list"]\#n}"#),
            ("PUT", "a", false, #"path "a" {\#n  capabilities = ["create", "update"]\#n}"#),
            ("PATCH", "a", false, #"path "a" {\#n  capabilities = ["patch"]\#n}"#),
            (
                "DELETE", "sys/auth/x", false,
                #"path "sys/auth/x" {\#n  capabilities = ["delete", "sudo"]\#n}"#
            ),
            (
                "PUT", "sys/seal", false,
                #"path "sys/seal" {\#n  capabilities = ["create", "update", "sudo"]\#n}"#
            ),
            ("GET", "sys/raw/a/b", false, #"path "sys/raw/a/b" {\#n  capabilities = ["read", "sudo"]\#n}"#),
            ("GET", #"a"b"#, false, #"path "a\"b" {\#n  capabilities = ["read"]\#n}"#),
        ]
        for (method, path, isList, text) in cases {
            #expect(RequestPolicy.text(method, path, isList: isList) == text)
        }
    }

    @Test func outputPolicySendsNothing() {
        let server = CommandTests.kv()
        let ran = run("write -output-policy auth/token/create a=b", on: server)
        #expect(ran.code == 0)
        #expect(ran.out.hasPrefix(#"path "auth/token/create""#))
        #expect(server.requests.isEmpty)
        // Where the engine is has to be asked for; the request itself is not sent.
        #expect(run("kv get -output-policy secret/a", on: server).out.hasPrefix(#"path "secret/data/a""#))
        #expect(server.requests.map(\.target) == ["/v1/sys/internal/ui/mounts/secret/a"])
    }

    @Test func everyCommandThatTalksToAServerShowsItsRequest() {
        for command in CommandTable.definitions where command.shared.contains(.http) {
            let names = Set(CommonFlags.of(command.shared).map(\.name))
            #expect(
                names.isSuperset(of: ["output-curl-string", "output-policy", "format"]), "\(command.name)")
        }
    }

    @Test func redirectsCanBeSwitchedOff() {
        let server = FakeServer { _ in .init(status: 307, headers: [("Location", "http://127.0.0.1:1/")]) }
            .start()
        let ran = run("read -disable-redirects x", on: server)
        #expect(ran.code == 2)
        #expect(ran.error.contains("redirects are disabled"))
        let variable = run("read x", on: server, environment: ["VAULT_DISABLE_REDIRECTS": "true"])
        #expect(variable.error.contains("redirects are disabled"))
        #expect(server.requests.count == 2)
    }

    @Test func variablesReachTheRequest() {
        let server = FakeServer { _ in .init(status: 204) }.start()
        let variables = [
            "VAULT_HEADERS": #"{"X-One":"1","X-Two":["2","3"]}"#, "VAULT_MFA": "m:1",
            "VAULT_RATE_LIMIT": "nonsense", "VAULT_SRV_LOOKUP": "true",
        ]
        #expect(run("write a k=v", on: server, environment: variables).code == 0)
        #expect(server.requests[0].headers["x-one"] == "1")
        #expect(server.requests[0].headers["x-vault-mfa"] == "m:1")
        for (name, value) in [
            ("VAULT_HEADERS", "x"), ("VAULT_CLIENT_TIMEOUT", "x"), ("VAULT_DISABLE_REDIRECTS", "x"),
            ("VAULT_MAX_RETRIES", "-1"), ("VAULT_SKIP_VERIFY", "x"),
        ] {
            let ran = run("write a k=v", on: server, environment: [name: value])
            #expect(ran.code == 2)
            #expect(ran.error.contains(name))
        }
        #expect(server.requests.count == 1)
    }

    @Test func commandsOfSentencesAnswerJSONWhenAskedByTheFlag() {
        let server = FakeServer { _ in .init(status: 204) }.start()
        let ran = run("secrets disable -format=json a", on: server)
        #expect(ran.out.hasPrefix("{\n  \"message\": \"Success! Disabled"))
        let plain = run("secrets disable a", on: server, environment: ["VAULT_FORMAT": "json"])
        #expect(plain.out.hasPrefix("Success! Disabled"))
    }

    @Test func hintsSayWhatToDo() {
        let refused = run(["read", "x"], environment: ["VAULT_ADDR": "http://127.0.0.1:1"])
        #expect(refused.error.contains("\n\nHint: nothing answers at http://127.0.0.1:1."))
        let anonymous = FakeServer { _ in .init(status: 400, body: #"{"errors":["missing client token"]}"#) }
            .start()
        let ran = run("read x", on: anonymous, environment: ["VAULT_TOKEN": ""])
        #expect(ran.error.contains("Hint: no token was sent."))
        for (state, word) in [
            (#""initialized":true,"sealed":true"#, "unseal"), (#""initialized":false"#, "init"),
        ] {
            let sealed = FakeServer {
                $0.target == "/v1/sys/seal-status"
                    ? .init(body: "{\(state)}") : .init(status: 503, body: #"{"errors":["Vault is sealed"]}"#)
            }.start()
            #expect(
                run("read x", on: sealed).error.contains("\"holdfast operator\n\(word)\"")
                    || run("read x", on: sealed).error.contains("operator \(word)\""))
            #expect(
                sealed.requests.allSatisfy {
                    $0.target != "/v1/sys/seal-status" || $0.headers["x-vault-token"] == nil
                })
        }
        let plain = FakeServer { _ in .init(status: 204) }.start()
        let mismatch = run(
            ["read", "x"],
            environment: [
                "VAULT_ADDR": plain.address.replacing("http://", with: "https://"), "VAULT_TOKEN": "t",
            ])
        #expect(mismatch.code == 2)
        #expect(mismatch.error.contains("Hint: the server speaks plain HTTP"))
        withExtendedLifetime(plain) {}
        let encrypted = FakeServer { _ in .init(status: 400, body: "Client sent plain HTTP") }.start()
        #expect(run("read x", on: encrypted).error.contains("its address starts with https://"))
        // A failed login is about the credentials, whatever the token.
        #expect(
            !run("login -method=userpass username=a password=b", on: anonymous).error.contains("no token"))
    }

    @Test func aSuccessHasNoHint() {
        let server = FakeServer { _ in .init(body: envelope(#"{"k":"v"}"#)) }.start()
        #expect(run("read x", on: server).error.isEmpty)
    }
}
