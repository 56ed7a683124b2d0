import Base
import PluginKit
import TestKit
import Testing

@testable import SecretsEngines

@Suite struct KVPlainTests {
    let kv: MountHarness
    init() throws { kv = try MountHarness(KVEngine.self) }

    @Test func valuesComeBackByteForByte() {
        let body =
            #"{"a":"b","n":1,"f":1.50,"big":12345678901234567890,"z":-0,"nil":null,"arr":[1,"x",{"y":2}],"ü":"日"}"#
        #expect(kv.call(.update, "foo", body).status == 204)
        let answer = kv.call(.read, "foo")
        #expect(answer.status == 200)
        #expect(answer.text == body)
        #expect(answer.response?.leaseDuration == .seconds(2_764_800))
    }

    @Test(arguments: [
        (#"{"ttl":"30s","v":1}"#, 30), (#"{"lease":"1h","v":1}"#, 3600), (#"{"ttl":"bogus"}"#, 2_764_800),
        (#"{"ttl":60}"#, 60), (#"{"ttl":"bogus","lease":"1h"}"#, 2_764_800), (#"{"ttl":-5}"#, 2_764_800),
        (#"{"ttl":"0s"}"#, 2_764_800), (#"{"ttl":"9000h"}"#, 2_764_800), (#"{"ttl":{}}"#, 2_764_800),
    ])
    func leaseDurationFollowsTheSecret(_ body: String, _ seconds: Int) {
        kv.call(.update, "ttl", body)
        #expect(kv.call(.read, "ttl").response?.leaseDuration == .seconds(seconds))
    }

    @Test func listsFoldersAndNames() {
        for path in ["foo", "dir/bar", "dir/sub/baz", "dir"] { kv.call(.update, path, #"{"x":1}"#) }
        #expect(kv.call(.list, "").text == #"{"keys":["dir","dir/","foo"]}"#)
        #expect(kv.call(.list, "dir/").text == #"{"keys":["bar","sub/"]}"#)
        #expect(kv.call(.list, "none/").status == 404)
        #expect(kv.call(.delete, "foo").status == 204)
        #expect(kv.call(.delete, "foo").status == 204)
        #expect(kv.call(.read, "foo").status == 404)
        #expect(kv.call(.list, "").text == #"{"keys":["dir","dir/"]}"#)
    }

    @Test(arguments: ["", "dir/", "a//b", "/a"])
    func badNamesAreRefused(_ path: String) {
        #expect(kv.call(.update, path, #"{"a":1}"#).status == 400)
        #expect(kv.storage.entries.isEmpty)
        #expect(kv.call(.read, path).status == 404)
    }

    @Test func anEmptyBodyIsRefused() {
        for body in ["{}", "{ \n }", nil] {
            let answer = kv.call(.update, "a", body)
            #expect(answer.status == 400)
            #expect(answer.errors == ["missing data fields"])
        }
        #expect(kv.call(.update, "a", "[1]").status == 400)
        #expect(kv.call(.patch, "a", #"{"b":1}"#).status == 405)
    }

    @Test func formFieldsBecomeTexts() {
        #expect(kv.call(.update, "form", nil, query: ["a": "1\"<"]).status == 204)
        #expect(kv.call(.read, "form")["a"] == #""1\"\u003c""#)
    }

    @Test func aWriteTellsCreateFromUpdate() throws {
        #expect(try kv.exists("a") == false)
        kv.call(.update, "a", #"{"x":1}"#)
        #expect(try kv.exists("a") == true)
    }

    @Test func wrongOptionsAreRefused() {
        #expect(throws: VaultError.self) { try MountHarness(KVEngine.self, options: ["version": "3"]) }
    }
}
