import Testing

@testable import CLI

/// `operator rekey` and `generate-root`: the work of several keepers.
@Suite struct OperatorTests {
    static let nonce = "2f8c0000-0000-4000-8000-000000000001"

    /// A rekey of which `progress` shares are in.
    static func rekeyStatus(started: Bool, progress: Int = 0) -> String {
        """
        {"nonce":"\(started ? nonce : "")","started":\(started),"t":\(started ? 2 : 0),"n":\(started ? 3 : 0),\
        "progress":\(progress),"required":2,"pgp_fingerprints":null,"backup":false,"verification_required":false}
        """
    }
    static let finished = """
        {"nonce":"\(nonce)","complete":true,"keys":["aa","bb"],"keys_base64":["qg==","uw=="],\
        "pgp_fingerprints":null,"backup":false,"verification_required":false}
        """

    /// Answers the status with `progress`, and an update with what a last share gives when `isLast`.
    static func rekey(progress: Int, isLast: Bool = false) -> FakeServer {
        FakeServer { request in
            switch (request.method, request.target) {
            case ("DELETE", _): .init(status: 204)
            case ("PUT", "/v1/sys/rekey/update") where isLast: .init(body: finished)
            default: .init(body: rekeyStatus(started: true, progress: progress))
            }
        }.start()
    }

    @Test func aRekeyThatIsNotUnderWayHasNoNonce() {
        let server = FakeServer { _ in .init(body: Self.rekeyStatus(started: false)) }.start()
        let ran = run("operator rekey -status", on: server)
        #expect(ran.code == 0)
        #expect(ran.out == "Key        Value\n---        -----\nNonce      n/a\nStarted    false\n")
        let submit = run("operator rekey -nonce=x key", on: server)
        #expect(submit.code == 1)
        #expect(submit.error.contains("operator rekey -init"))
        #expect(server.requests.allSatisfy { $0.method == "GET" })
    }

    @Test func aRekeyIsStartedWithItsSharesAndAWarning() {
        let server = Self.rekey(progress: 0)
        let ran = run("operator rekey -init -key-shares=3 -key-threshold=2", on: server)
        #expect(ran.code == 0)
        #expect(ran.error.hasPrefix("WARNING!"))
        #expect(server.requests.last?.target == "/v1/sys/rekey/init")
        #expect(
            server.requests.last?.body
                == #"{"secret_shares":3,"secret_threshold":2,"pgp_keys":null,"backup":false,"#
                + #""require_verification":false}"#
        )
        let verifying = run("operator rekey -init -verify -target=recovery", on: server)
        #expect(verifying.error.isEmpty)
        #expect(server.requests.last?.target == "/v1/sys/rekey-recovery-key/init")
        #expect(server.requests.last?.body.hasSuffix(#""require_verification":true}"#) == true)
        #expect(run("operator rekey -init -backup", on: server).code == 1)
        #expect(run("operator rekey -init -target=moon", on: server).code == 1)
    }

    @Test func aShareBringsARekeyForward() {
        let server = Self.rekey(progress: 1)
        let ran = run("operator rekey -nonce=\(Self.nonce) qg==", on: server)
        #expect(ran.out.contains("Rekey Progress           1/2\nNew Shares               3\n"))
        #expect(server.requests.map(\.method) == ["GET", "PUT", "GET"])
        #expect(server.requests[1].body == #"{"key":"qg==","nonce":"\#(Self.nonce)"}"#)
        let json = run("operator rekey -nonce=\(Self.nonce) -format=json qg==", on: server).out
        #expect(json.contains("\"verification_nonce\": \"\""))
    }

    @Test func sharesComeFromStandardInputOrAreAskedFor() {
        let server = Self.rekey(progress: 1)
        #expect(run("operator rekey -nonce=n -", on: server, input: " abc \n").code == 0)
        #expect(server.requests[1].body == #"{"key":"abc","nonce":"n"}"#)
        let asked = run("operator rekey", on: server, input: "def\n", isATerminal: true)
        #expect(asked.code == 0)
        #expect(asked.error.contains("Rekey operation nonce: \(Self.nonce)\nUnseal Key (will be hidden): "))
        #expect(!asked.error.contains("def") && !asked.out.contains("def"))
        #expect(run("operator rekey -nonce=n", on: server).code == 1)
        #expect(run("operator rekey -non-interactive", on: server, isATerminal: true).code == 1)
        #expect(run("operator rekey abc", on: server).error.hasPrefix("Missing nonce value"))
    }

    @Test func theLastShareBringsTheNewOnesOut() {
        let server = Self.rekey(progress: 1, isLast: true)
        let ran = run("operator rekey -nonce=n k", on: server)
        #expect(ran.out.hasPrefix("Key 1: qg==\nKey 2: uw==\n\nOperation nonce: \(Self.nonce)\n\n"))
        let json = run("operator rekey -nonce=n -format=json k", on: server).out
        #expect(json.contains("\"complete\": true,\n  \"keys\": [\n    \"aa\",\n    \"bb\"\n  ]"))
    }

    @Test func rekeysAreCanceledVerifiedAndBackedUp() {
        let server = FakeServer { request in
            switch (request.method, request.target) {
            case ("DELETE", _): .init(status: 204)
            case ("GET", "/v1/sys/rekey/backup"):
                .init(body: #"{"nonce":"n","keys":{"f":["aa"]},"keys_base64":{"f":["qg=="]},"data":{}}"#)
            case ("PUT", "/v1/sys/rekey/verify"): .init(body: #"{"nonce":"v","complete":true}"#)
            default: .init(body: #"{"nonce":"v","started":true,"t":2,"n":3,"progress":1}"#)
            }
        }.start()
        let cancel = run("operator rekey -cancel -nonce=n", on: server)
        #expect(cancel.out == "Success! Canceled rekeying (if it was started)\n")
        #expect(server.requests.last?.target == "/v1/sys/rekey/init")
        #expect(server.requests.last?.body == #"{"nonce":"n"}"#)
        #expect(
            run("operator rekey -verify -status", on: server).out.contains("Verification Progress    1/2"))
        #expect(run("operator rekey -verify -nonce=v k", on: server).out.hasPrefix("Success! Rekey verif"))
        #expect(server.requests.last?.target == "/v1/sys/rekey/verify")
        #expect(run("operator rekey -verify -cancel", on: server).code == 0)
        #expect(server.requests.last?.target == "/v1/sys/rekey/verify")
        #expect(run("operator rekey -backup-delete", on: server).code == 0)
        #expect(server.requests.last?.target == "/v1/sys/rekey/backup")
    }

    static func attempt(started: Bool, otp: String = "", encoded: String = "") -> String {
        """
        {"nonce":"\(started ? nonce : "")","started":\(started),"progress":0,"required":1,\
        "complete":\(!encoded.isEmpty),"encoded_token":"\(encoded)","encoded_root_token":"\(encoded)",\
        "pgp_fingerprint":"","otp":"\(otp)","otp_length":28}
        """
    }

    @Test func generateRootShowsHowFarItIs() {
        let server = FakeServer { _ in .init(body: Self.attempt(started: false)) }.start()
        let ran = run("operator generate-root -status", on: server)
        #expect(
            ran.out == """
                Nonce         n/a
                Started       false
                Progress      0/1
                Complete      false
                OTP Length    28

                """)
        #expect(run("operator generate-root -nonce=n k", on: server).code == 1)
    }

    @Test func generateRootStartsWithOneWayToCoverTheToken() {
        let server = FakeServer { _ in .init(body: Self.attempt(started: true, otp: "once")) }.start()
        let ran = run("operator generate-root -init", on: server)
        #expect(ran.code == 0)
        #expect(ran.out.contains("OTP           once\n"))
        #expect(server.requests.last?.body == "{}")
        #expect(run("operator generate-root -init -otp=mine -format=json", on: server).code == 0)
        #expect(server.requests.last?.body == #"{"otp":"mine"}"#)
        #expect(run("operator generate-root -init -otp=a -pgp-key=b", on: server).code == 1)
        #expect(run("operator generate-root -init -dr-token", on: server).code == 0)
        #expect(
            server.requests.last?.target
                == "/v1/sys/replication/dr/secondary/generate-operation-token/attempt")
        #expect(run("operator generate-root -dr-token -recovery-token -init", on: server).code == 1)
    }

    @Test func theLastShareOfGenerateRootGivesTheEncodedToken() {
        let server = FakeServer {
            .init(body: Self.attempt(started: true, encoded: $0.method == "PUT" ? "Eg" : ""))
        }.start()
        let ran = run("operator generate-root -nonce=n k", on: server)
        #expect(ran.out.contains("Encoded Token    Eg\n"))
        #expect(server.requests.last?.target == "/v1/sys/generate-root/update")
        #expect(run("operator generate-root -cancel", on: server).out.hasPrefix("Success! Root token gen"))
    }

    @Test func decodingTakesThePasswordOffTheToken() {
        // "hvs.abc" under "0123456"
        let ran = run(["operator", "generate-root", "-decode=WEdBHVVXVQ", "-otp=0123456"])
        #expect(ran.code == 0)
        #expect(ran.out == "hvs.abc")
        #expect(run(["operator", "generate-root", "-decode=WEdBHVVXVQ==", "-otp=0123456"]).out == "hvs.abc")
        let piped = run(["operator", "generate-root", "-decode=-", "-otp=0123456"], input: "WEdBHVVXVQ\n")
        #expect(piped.out == "hvs.abc")
        for wrong in [
            ["-decode=WEdBHVVXVQ"], ["-decode=WEdBHVVXVQ", "-otp=012345"], ["-decode=!", "-otp=0"],
            ["-decode=-", "-otp=-"], ["-decode=WEdBHVVXVQ", "-otp=XGAXXXX"],
        ] {
            let ran = run(["operator", "generate-root"] + wrong)
            #expect(ran.code == 1)
            #expect(ran.out.isEmpty)
        }
    }

    @Test func passwordsHaveTheLengthThatTheServerWants() {
        let server = FakeServer { _ in .init(body: Self.attempt(started: false)) }.start()
        let first = run("operator generate-root -generate-otp", on: server).out
        #expect(first.count == 28)
        #expect(first.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber) })
        #expect(run("operator generate-root -generate-otp", on: server).out != first)
    }
}
