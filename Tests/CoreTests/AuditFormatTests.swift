import Base
import Crypto
import PluginKit
import TestKit
import Testing

@testable import Core

/// How records look: Vault's shape, and nothing secret in the clear.
@Suite struct AuditFormatTests {
    private static let salt = SecretBytes(copying: Array(repeating: UInt8(7), count: 32))

    private func formatter(
        _ options: [String: String] = [:], headers: [String: Bool] = [:]
    ) throws -> AuditFormatter {
        AuditFormatter(options: try AuditOptions(options), salt: Self.salt, headers: headers)
    }

    private func hash(_ text: String) -> String {
        let code = HMACSHA256(key: Self.salt).code(Array(text.utf8))
        return "hmac-sha256:" + Hex.encode(code)
    }

    private func call(
        _ operation: PluginKit.Operation = .update, _ body: String = "", config: MountConfig = MountConfig(),
        bearer: Bool = true, change: (inout LogicalRequest) -> Void = { _ in }
    ) throws -> AuditedCall {
        var request = LogicalRequest(
            id: "id-1", operation: operation, path: "secret/data/x",
            connection: ConnectionInfo(remoteAddress: "10.0.0.1", remotePort: 99), now: Timestamp(seconds: 0))
        if !body.isEmpty {
            let json = try RawJSON(validating: Array(body.utf8))
            request.body = json
            request.fields = json.members.map { ($0.name, .json($0.value)) }
        }
        change(&request)
        var entry = TokenEntry(hash: "h", created: Timestamp(seconds: 1_700_000_000))
        entry.accessor = "acc"
        entry.displayName = "ann"
        entry.policies = ["default", "ops"]
        entry.metadata = ["team": "a"]
        entry.lifetime.ttl = .seconds(60)
        var row = MountEntry(
            kind: .secret, path: "secret/", type: "kv", description: "", random: SeededRandom(seed: 1))
        row.config = config
        return AuditedCall(
            request: request, token: Array("hvs.tok".utf8), bearer: bearer ? entry : nil,
            mount: Mount(entry: row, storagePrefix: "logical/x/", routes: RouteTable([])))
    }

    private func records(
        _ formatter: AuditFormatter, _ stage: AuditStage, _ call: AuditedCall
    ) throws -> [RawJSON] {
        let bytes = formatter.records(stage, of: call, at: Timestamp(seconds: 1_700_000_100))
        #expect(bytes.last == 10)
        return try bytes.dropLast().split(separator: 10, omittingEmptySubsequences: false).map {
            try RawJSON(validating: Array($0))
        }
    }

    private func at(_ json: RawJSON, _ path: String) -> String? {
        var value: RawJSON? = json
        for name in path.split(separator: "/") { value = value?[String(name)] }
        return value.map { String(decoding: $0.bytes, as: UTF8.self) }
    }

    @Test func theRequestIsDescribedAsVaultDoes() throws {
        let found = try records(
            try formatter(), .request, try call(.update, #"{"password":"hunter2","n":5}"#))
        let record = try #require(found.first)
        #expect(found.count == 1)
        let expected = [
            "type": "\"request\"", "time": "\"2023-11-14T22:15:00Z\"", "auth/display_name": "\"ann\"",
            "auth/client_token": "\"\(hash("hvs.tok"))\"", "auth/accessor": "\"\(hash("acc"))\"",
            "auth/policies": #"["default","ops"]"#, "auth/token_policies": #"["default","ops"]"#,
            "auth/metadata": #"{"team":"a"}"#, "auth/token_type": "\"service\"", "auth/token_ttl": "60",
            "auth/token_issue_time": "\"2023-11-14T22:13:20Z\"", "request/id": "\"id-1\"",
            "request/operation": "\"update\"", "request/path": "\"secret/data/x\"",
            "request/mount_type": "\"kv\"", "request/client_token": "\"\(hash("hvs.tok"))\"",
            "request/client_token_accessor": "\"\(hash("acc"))\"", "request/namespace": #"{"id":"root"}"#,
            "request/data": #"{"password":"\#(hash("hunter2"))","n":5}"#,
            "request/remote_address": "\"10.0.0.1\"", "request/remote_port": "99",
        ]
        for (path, value) in expected { #expect(at(record, path) == value, "\(path)") }
    }

    @Test func whatAnIdentityGivesIsTold() throws {
        let plain = try call()
        let token = try #require(plain.bearer)
        #expect(
            at(try #require(try records(try formatter(), .request, plain).first), "auth/identity_policies")
                == nil)
        var bearer = token
        bearer.entityID = "e-1"
        let named = AuditedCall(
            request: plain.request, token: plain.token, bearer: bearer, mount: plain.mount,
            identityPolicies: ["blue"])
        let record = try #require(try records(try formatter(), .request, named).first)
        #expect(at(record, "auth/entity_id") == "\"e-1\"" && at(record, "request/client_id") == "\"e-1\"")
        #expect(at(record, "auth/policies") == #"["blue","default","ops"]"#)
        #expect(at(record, "auth/token_policies") == #"["default","ops"]"#)
        #expect(at(record, "auth/identity_policies") == #"["blue"]"#)
    }

    @Test func withoutAGoodTokenThereIsOnlyItsHash() throws {
        let record = try #require(
            try records(try formatter(), .both(.failure(.permissionDenied)), try call(bearer: false)).last)
        #expect(at(record, "auth") == #"{"token_type":"default"}"#)
        #expect(at(record, "request/client_token") == "\"\(hash("hvs.tok"))\"")
        #expect(record["error"]?.string == "1 error occurred:\n\t* permission denied\n\n")
    }

    @Test(arguments: [
        #"{"a":"SECRET"}"#, #"{"a":["SECRET",["SECRET"]]}"#, #"{"a":{"b":{"c":"SECRET"}},"d":"SECRET"}"#,
        #"{"a":"x\"SECRET"}"#, #"{"a":"\u0053ECRET"}"#,
        "{\"a\" : [ \"SECRET\" ,\n\t{ \"k\" : \"SECRET\"} ] }",
        #"{"a":"SECRET","a":"SECRET"}"#,
    ])
    func noStringOfABodyIsLeft(body: String) throws {
        for stage in [AuditStage.request, .both(.failure(.badRequest("field 'a': SECRET is none")))] {
            let bytes = try formatter().records(stage, of: try call(.update, body), at: Timestamp(seconds: 0))
            let text = String(decoding: bytes, as: UTF8.self)
            #expect(!text.contains("SECRET") && !text.contains("ECRET\""))
            #expect(text.split(separator: "\n").count == (text.contains("\"response\"") ? 2 : 1))
        }
    }

    @Test func escapedTextHashesAsWhatItMeans() throws {
        let record = try #require(
            try records(try formatter(), .request, try call(.update, #"{"a":"\u0041\n\"\/é"}"#)).first)
        #expect(at(record, "request/data/a") == "\"\(hash("A\n\"/é"))\"")
    }

    @Test func answersAreHashedAndErrorsToo() throws {
        var response = LogicalResponse(data: [
            "plain": "SECRET", "raw": .raw(RawJSON(trusted: Array(#"{"deep":["SECRET",1,null,true]}"#.utf8))),
            "count": 3,
        ])
        response.warnings = ["mind"]
        response.leaseID = "secret/lease"
        response.wrapInfo = WrapInfo(
            token: SecretBytes(copying: "SECRET".utf8), accessor: "wacc", ttl: .seconds(30),
            created: Timestamp(seconds: 5), creationPath: "secret/data/x")
        let record = try #require(
            try records(try formatter(), .response(.success(response)), try call()).first)
        let secret = hash("SECRET")
        #expect(at(record, "response/data/plain") == "\"\(secret)\"")
        #expect(at(record, "response/data/raw") == #"{"deep":["\#(secret)",1,null,true]}"#)
        #expect(at(record, "response/data/count") == "3")
        #expect(at(record, "response/warnings") == #"["mind"]"#)
        #expect(at(record, "response/secret/lease_id") == "\"secret/lease\"")
        #expect(at(record, "response/wrap_info/token") == "\"\(secret)\"")
        #expect(at(record, "response/wrap_info/accessor") == "\"\(hash("wacc"))\"")
        #expect(at(record, "response/wrap_info/ttl") == "30")
        let failed = try #require(
            try records(try formatter(), .response(.failure(.badRequest("SECRET is none"))), try call()).first
        )
        #expect(at(failed, "response/data/error") == "\"\(hash("SECRET is none"))\"")
        #expect(failed["error"]?.string == "1 error occurred:\n\t* invalid request\n\n")
    }

    @Test func rawBodiesAreHashed() throws {
        var response = LogicalResponse()
        response.raw = RawAnswer(
            status: 200, contentType: "application/pkix-cert", body: Array("-----BEGIN".utf8))
        let asked = try call(.update) { $0.rawBody = Array("-----BEGIN".utf8) }
        let record = try #require(
            try records(try formatter(), .both(.success(response)), asked).last)
        #expect(at(record, "response/data/http_raw_body") == "\"\(hash("-----BEGIN"))\"")
        #expect(at(record, "response/data/http_status_code") == "200")
        #expect(at(record, "request/data/http_raw_body") == "\"\(hash("-----BEGIN"))\"")
    }

    @Test func theTokenOfALoginIsHashed() throws {
        var grant = AuthGrant(policies: ["default"], displayName: "userpass-ann")
        grant.issued = IssuedToken(
            token: SecretBytes(copying: "SECRET".utf8), accessor: "newacc", policies: ["default"],
            tokenPolicies: ["default"], metadata: ["username": "ann"], leaseDuration: .seconds(9),
            isRenewable: true, entityID: "", type: "service", isOrphan: true, numberOfUses: 0)
        var response = LogicalResponse()
        response.auth = grant
        let record = try #require(
            try records(try formatter(), .response(.success(response)), try call()).first)
        #expect(at(record, "response/auth/client_token") == "\"\(hash("SECRET"))\"")
        #expect(at(record, "response/auth/accessor") == "\"\(hash("newacc"))\"")
        #expect(at(record, "response/auth/display_name") == "\"userpass-ann\"")
        #expect(at(record, "response/auth/metadata") == #"{"username":"ann"}"#)
    }

    @Test func theMountsExceptionsStayPlain() throws {
        var config = MountConfig()
        config.auditNonHMACRequestKeys = ["role"]
        config.auditNonHMACResponseKeys = ["state"]
        let asked = try call(.update, #"{"role":{"a":["x"]},"other":"x"}"#, config: config)
        let response = LogicalResponse(data: ["state": "up", "other": "x"])
        let record = try #require(try records(try formatter(), .both(.success(response)), asked).last)
        #expect(at(record, "request/data/role") == #"{"a":["x"]}"#)
        #expect(at(record, "request/data/other") == "\"\(hash("x"))\"")
        #expect(at(record, "response/data/state") == "\"up\"")
        #expect(at(record, "response/data/other") == "\"\(hash("x"))\"")
    }

    @Test func optionsChangeWhatIsHashed() throws {
        let response = LogicalResponse(data: ["keys": ["a", "b"], "key_info": ["a": 1, "b": 2]])
        let list = try call(.list)
        let elided = try formatter(["elide_list_responses": "true", "hmac_accessor": "false"])
        let record = try #require(try records(elided, .response(.success(response)), list).last)
        #expect(at(record, "response/data") == #"{"keys":2,"key_info":2}"#)
        #expect(at(record, "auth/accessor") == "\"acc\"")
        let read = try #require(try records(elided, .response(.success(response)), try call(.read)).last)
        #expect(at(read, "response/data/keys") == #"["\#(hash("a"))","\#(hash("b"))"]"#)
        let raw = try formatter(["log_raw": "true"])
        let plain = try #require(
            try records(raw, .request, try call(.update, "{\"a\" :\n\"b\"}")).first)
        #expect(at(plain, "request/data") == #"{"a":"b"}"#)
        #expect(at(plain, "request/client_token") == "\"hvs.tok\"")
    }

    @Test func headersAreRecordedAsConfigured() throws {
        let formatter = try formatter(headers: ["x-plain": false, "x-hashed": true])
        let asked = try call(.read) {
            $0.auditedHeaders = [("x-plain", ["a", "b"]), ("x-hashed", ["c"])]
        }
        let record = try #require(try records(formatter, .request, asked).first)
        #expect(at(record, "request/headers") == #"{"x-plain":["a","b"],"x-hashed":["\#(hash("c"))"]}"#)
    }

    @Test func aPathCannotForgeARecord() throws {
        let asked = try call(.read) {
            $0.path = "secret/\n{\"type\":\"response\"}\r\u{1b}[2J\u{85}x\u{2028}y\u{2029}é\u{2030}"
        }
        let found = try records(try formatter(), .both(.failure(.unsupportedPath)), asked)
        #expect(found.count == 2)
        #expect(found[0]["request"]?["path"]?.string == asked.request.path)
        let text = String(decoding: found[1].bytes, as: UTF8.self)
        #expect(!text.contains { $0.isNewline })
    }

    @Test func aBodyThatHashesWouldBlowUpIsHashedWhole() throws {
        let many = (0..<10_000).map { _ in "\"\"" }.joined(separator: ",")
        let body = "{\"a\":[" + (0..<60).map { _ in "[\(many)]" }.joined(separator: ",") + "],\"b\":\"x\"}"
        let bytes = try formatter().records(
            .request, of: try call(.update, body), at: Timestamp(seconds: 0))
        #expect(bytes.count < 4_096)
        let record = try RawJSON(validating: bytes)
        #expect(at(record, "request/data/b") == "\"\(hash("x"))\"")
    }

    @Test func deepNestingCostsOnePass() throws {
        let body =
            "{\"a\":" + String(repeating: "[", count: 400) + "\"SECRET\""
            + String(repeating: "]", count: 400) + "}"
        let bytes = try formatter().records(
            .request, of: try call(.update, body), at: Timestamp(seconds: 0))
        #expect(!String(decoding: bytes, as: UTF8.self).contains("SECRET"))
    }

    @Test(arguments: [
        ["log_raw": "maybe"], ["format": "jsonx"], ["format": "xml"], ["prefix": "#!/bin/sh"],
        ["prefix": "a b"], ["prefix": "* * * * * root id #"], ["prefix": "x\n"], ["prefix": "|/bin/sh "],
        ["prefix": String(repeating: "a", count: 65)], ["elide_list_responses": "2"],
    ])
    func impossibleOptionsAreRefused(options: [String: String]) {
        #expect(throws: VaultError.self) { try AuditOptions(options) }
    }
}
