import Base
import Glibc
import Net
import TestKit
import Testing

@testable import Upstream

@Suite struct AWSSignatureTests {
    private static let credentials = AWSCredentials(
        accessKey: "AKIDEXAMPLE",
        secretKey: SecretBytes(plain: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
    private static let time = Timestamp(seconds: 1_440_938_160)

    private func signature(_ request: HTTPClientRequest) -> Substring {
        let header = request.headers.first { $0.0 == "Authorization" }?.1 ?? ""
        return header.split(separator: "=").last ?? ""
    }

    /// `post-vanilla` of AWS's Signature Version 4 test suite.
    @Test func aRequestIsSignedAsInTheTestSuite() {
        let signed = AWSSignature(region: "us-east-1", service: "service").signed(
            HTTPClientRequest(method: "POST", url: "https://example.amazonaws.com/"), by: Self.credentials,
            at: Self.time)
        #expect(
            signature(signed) == "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b")
    }

    /// As botocore signs it.
    @Test func bodyAndSessionTokenAreSigned() {
        let credentials = AWSCredentials(
            accessKey: Self.credentials.accessKey, secretKey: Self.credentials.secretKey,
            sessionToken: "TOKEN")
        let signed = AWSSignature(region: "us-east-1", service: "kms").signed(
            HTTPClientRequest(
                method: "POST", url: "https://kms.us-east-1.amazonaws.com/",
                headers: [
                    ("Content-Type", "application/x-amz-json-1.1"), ("X-Amz-Target", "TrentService.Encrypt"),
                ], body: Array(#"{"KeyId":"k"}"#.utf8)), by: credentials, at: Self.time)
        #expect(
            signature(signed) == "5559dce8004860fc05a4ba1b0d204c29374557200962bf97bbcd10b5f77b4028")
    }
}

@Suite struct AWSCredentialTests {
    @Test(arguments: [
        ("http://127.0.0.1:51679/v1/credentials", true), ("http://localhost/c", true),
        ("http://[::1]:80/c", true), ("http://169.254.170.23/v1/credentials", true),
        ("http://[fd00:ec2::23]/v1/credentials", true), ("https://credentials.example.org/c", true),
        ("http://credentials.example.org/c", false), ("http://127.0.0.1.example.org/c", false),
        ("http://127.0.0.1:x@example.org/c", false), ("ftp://127.0.0.1/c", false), ("127.0.0.1", false),
    ])
    func plainContainerEndpointsAreNear(url: String, isGood: Bool) {
        let environment = ["AWS_CONTAINER_CREDENTIALS_FULL_URI": url]
        #expect((try? AWSCredentialChain.containerURL { environment[$0] }) == (isGood ? url : nil))
    }

    @Test func aTasksEndpointComesBeforeAnyOther() throws {
        let environment = [
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/x",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/y",
        ]
        let url = try AWSCredentialChain.containerURL { environment[$0] }
        #expect(url == "http://169.254.170.2/v2/credentials/x")
        #expect(try AWSCredentialChain.containerURL { _ in nil } == nil)
    }

    /// A chain of profiles that comes back to itself, or leads nowhere, ends.
    @Test(arguments: ["loop", "lost", "bare", "elsewhere"])
    func profilesThatLeadNowhereAreRefused(profile: String) throws {
        let path = "/tmp/holdfast-profiles-\(SystemRandom().uuid())"
        let text = """
            [profile loop]
            role_arn = arn:aws:iam::1:role/a
            source_profile = back
            [profile back]
            role_arn = arn:aws:iam::1:role/b
            source_profile = loop
            [profile lost]
            role_arn = arn:aws:iam::1:role/a
            source_profile = nobody
            [profile bare]
            role_arn = arn:aws:iam::1:role/a
            [profile elsewhere]
            role_arn = arn:aws:iam::1:role/a
            credential_source = Moon
            """
        let file = try #require(fopen(path, "w"))
        fputs(text, file)
        fclose(file)
        defer { unlink(path) }
        var sources = AWSCredentialSources { _ in nil }
        sources.credentialsFile = path
        sources.profile = profile
        let chain = AWSCredentialChain(sources, clock: ManualClock())
        #expect { try chain.credentials() } throws: { error in
            (error as? VaultError)?.messages.first?.contains("source_profile") == true
        }
    }

    @Test func tokensOfAppServiceTellTheirEnd() throws {
        let clock = ManualClock(Timestamp(seconds: 1_000_000))
        let client = UpstreamClient("a service", clock: clock)
        func lifetime(_ members: String) throws -> Duration {
            let body = Array(#"{"access_token":"t",\#(members)}"#.utf8)
            return try BearerToken.read(
                HTTPClientResponse(status: 200, headers: [], body: body), from: client
            ).lifetime
        }
        #expect(try lifetime(#""expires_on":"1003600""#) == .seconds(3_600))
        #expect(try lifetime(#""expires_on":1000060"#) == .seconds(60))
        #expect(try lifetime(#""expires_on":"5""#) == .zero)
        #expect(try lifetime(#""expires_on":"9223372036854775807""#) == .seconds(86_400))
        #expect(try lifetime(#""expires_on":"-9223372036854775808""#) == .zero)
        #expect(try lifetime(#""expires_on":"1003600","expires_in":"30""#) == .seconds(30))
        #expect(try lifetime(#""other":1"#) == .seconds(300))
    }
}

@Suite struct UpstreamTextTests {
    @Test func profilesAreFoundInBothFiles() {
        let text = """
            # a comment
            [default]
            aws_access_key_id = one
            [profile two]
            aws_access_key_id=three
            ; another
              role_arn = arn:aws:iam::1:role/x
            """
        #expect(INIFile.section("default", of: Array(text.utf8)) == ["aws_access_key_id": "one"])
        #expect(
            INIFile.section("two", of: Array(text.utf8)) == [
                "aws_access_key_id": "three", "role_arn": "arn:aws:iam::1:role/x",
            ])
        #expect(INIFile.section("four", of: Array(text.utf8)).isEmpty)
    }

    @Test func formsAreEncoded() {
        let form = PercentEncoding.form([
            ("a", SecretBytes(plain: "x y&z=1/~")), ("b", SecretBytes(plain: "ü")),
        ])
        #expect(String(decoding: form, as: UTF8.self) == "a=x%20y%26z%3D1%2F~&b=%C3%BC")
    }

    @Test(arguments: [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 as Int64?), ("Sun, 06 Nov 1994 08:49:37 CET", nil),
        ("yesterday", nil), ("", nil), ("Sun, 99 Nov 1994 08:49:37 GMT", nil),
    ])
    func datesOfHTTPAreRead(text: String, seconds: Int64?) {
        #expect(Timestamp(httpDate: text)?.seconds == seconds)
    }

    @Test func aClockThatIsOffIsTold() {
        let clock = ManualClock(Timestamp(seconds: 784_111_777 + 3_600))
        let client = UpstreamClient("a service", clock: clock)
        let answer = HTTPClientResponse(
            status: 403, headers: [("date", "Sun, 06 Nov 1994 08:49:37 GMT")], body: [])
        #expect(client.skew(answer) == "; this machine's clock is 60 minutes ahead of that of a service")
        clock.advance(.seconds(-3_540))
        #expect(client.skew(answer) == "")
    }

    @Test(arguments: [
        (429, 503), (500, 503), (503, 503), (401, 403), (403, 403), (404, 400), (302, 400),
    ])
    func refusalsHaveTheirKind(status: Int, ours: Int) {
        let client = UpstreamClient("a service")
        let error = client.refusal(HTTPClientResponse(status: status, headers: [], body: []), "line\none")
        #expect(error.status == ours)
        #expect(error.messages == ["a service answers \(status): line one"])
    }

    @Test func aServiceThatIsNotThereIsUnavailable() {
        let client = UpstreamClient("a service")
        #expect {
            try client.send(HTTPClientRequest(method: "GET", url: "http://127.0.0.1:1/secret?token=x"))
        } throws: { error in
            guard case .unavailable(let text, _)? = error as? VaultError else { return false }
            return text.contains("a service cannot be reached") && !text.contains("token")
        }
    }

    /// Files and answers of others, as bad as they come.
    @Test func fuzzOfWhatOthersWrite() {
        let texts = [
            "[default]\naws_access_key_id = a\n[profile two]\nrole_arn=b\n", "<a><Code>x</Code></a>",
            "Sun, 06 Nov 1994 08:49:37 GMT",
        ]
        let fuzz = Fuzz(
            "what clouds write", texts: texts, pieces: ["[", "]", "=", "\n", "<Code>", "</Code>", " GMT"],
            inputs: 20_000)
        for input in fuzz {
            _ = INIFile.section("default", of: input.bytes)
            _ = Timestamp(httpDate: input.text)
            #expect(AWSTokenService.element("Code", input.bytes)?.count ?? 0 < input.bytes.count + 1)
            #expect(UpstreamClient.clean(input.text).allSatisfy { !$0.isNewline }, "\(input)")
        }
        #expect(fuzz.isWhole)
    }
}
