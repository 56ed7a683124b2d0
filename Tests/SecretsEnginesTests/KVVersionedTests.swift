import Base
import PluginKit
import TestKit
import Testing

@testable import SecretsEngines

@Suite struct KVVersionedTests {
    let kv: MountHarness
    init() throws { kv = try MountHarness(KVEngine.self, options: ["version": "2"]) }

    private func put(_ path: String, _ value: String, cas: Int? = nil) -> MountHarness.Answer {
        let options = cas.map { #","options":{"cas":\#($0)}"# } ?? ""
        return kv.call(.update, "data/" + path, #"{"data":\#(value)\#(options)}"#)
    }
    private func get(_ path: String, version: Int? = nil) -> MountHarness.Answer {
        kv.call(.read, "data/" + path, query: version.map { ["version": String($0)] } ?? [:])
    }

    @Test func writingAnswersWithTheNewVersion() {
        let first = put("a", #"{"v":"1"}"#)
        #expect(
            first.text
                == #"{"created_time":"2023-11-14T22:13:20Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}"#
        )
        #expect(get("a").text == #"{"data":{"v":"1"},"metadata":\#(first.text)}"#)
        #expect(put("a", #"{"v":"2"}"#)["version"] == "2")
        #expect(get("a", version: 0)["data"] == #"{"v":"2"}"#)
        #expect(get("a", version: 1)["data"] == #"{"v":"1"}"#)
        #expect(get("a", version: 2)["metadata/version"] == "2")
        #expect(get("a", version: 3).status == 404)
        #expect(get("a", version: 3).data == nil)
        #expect(get("none").status == 404)
    }

    @Test func valuesKeepTheirBytes() {
        let value = #"{ "big": 123456789012345678901234567890, "z":-0, "s":"\u2028 é \u0000", "e":1E5 }"#
        _ = put("a", value)
        #expect(get("a")["data"] == value)
        let large = #"{"v":""# + String(repeating: "x", count: 100_000) + #""}"#
        _ = put("a", large)
        #expect(get("a")["data"] == large)
        #expect(get("a", version: 1)["data"] == value)
        _ = put("a", "{}")
        #expect(get("a", version: 2)["data"] == large)
    }

    @Test func checkAndSetHolds() {
        let mismatch = ["check-and-set parameter did not match the current version"]
        #expect(put("a", "{}", cas: 1).errors == mismatch)
        #expect(put("a", "{}", cas: 0).status == 200)
        #expect(put("a", "{}", cas: 0).errors == mismatch)
        #expect(put("a", "{}", cas: 1)["version"] == "2")
        kv.call(.update, "config", #"{"cas_required":true}"#)
        #expect(put("a", "{}").errors == ["check-and-set parameter required for this call"])
        #expect(put("b", "{}").status == 400)
        #expect(put("b", "{}", cas: 0).status == 200)
        kv.call(.update, "config", #"{"cas_required":false}"#)
        kv.call(.update, "metadata/b", #"{"cas_required":true}"#)
        #expect(put("b", "{}").status == 400)
        #expect(put("a", "{}").status == 200)
        #expect(kv.call(.update, "data/a", #"{"data":{},"options":{"cas":"3"}}"#)["version"] == "4")
    }

    @Test(arguments: [
        #"{"v":1}"#, #"{"data":"x"}"#, #"{"data":[1]}"#, #"{"data":{},"options":5}"#,
        #"{"data":{},"options":{"cas":"x"}}"#,
        #"{"data":{},"options":{"cas":-1}}"#, #"{"data":{},"options":{"cas":1.5}}"#,
        #"{"data":{},"options":{"cas":true}}"#,
        #"{"data":{},"options":{"cas":99999999999999999999}}"#,
    ])
    func malformedWritesChangeNothing(_ body: String) {
        _ = put("a", #"{"v":1}"#)
        let before = kv.storage.entries
        let answer = kv.call(.update, "data/a", body)
        #expect(answer.status == 400)
        #expect(!answer.errors.isEmpty)
        #expect(kv.patch("data/a", body).status == 400)
        #expect(kv.storage.entries == before)
    }

    @Test func nullDataIsAVersion() {
        #expect(put("x", "null")["version"] == "1")
        let answer = get("x")
        #expect(answer.status == 200)
        #expect(answer["data"] == "null")
        #expect(kv.call(.update, "data/x", #"{"v":1}"#).errors == ["no data provided"])
    }

    @Test(arguments: ["data/a/", "data/a//b", "metadata/a/", "delete/a/"])
    func badNamesAreRefused(_ path: String) {
        #expect(kv.call(.update, path, #"{"data":{},"max_versions":1,"versions":[1]}"#).status == 400)
        #expect(kv.call(.read, path).status != 200)
        #expect(kv.storage.entries.keys.sorted() == ["mount/layout"])
    }

    @Test func deletionCanBeUndoneAndDestructionCannot() {
        for number in 1...3 { _ = put("a", #"{"v":\#(number)}"#) }
        #expect(kv.call(.delete, "data/a").status == 204)
        let gone = get("a")
        #expect(gone.status == 404)
        #expect(gone["data"] == "null")
        #expect(gone["metadata/deletion_time"] == #""2023-11-14T22:13:20Z""#)
        #expect(get("a", version: 2).status == 200)
        #expect(kv.call(.update, "undelete/a", #"{"versions":[3]}"#).status == 204)
        #expect(get("a")["data"] == #"{"v":3}"#)

        kv.call(.update, "delete/a", #"{"versions":[1,"2",77]}"#)
        #expect(get("a", version: 1).status == 404)
        kv.call(.update, "undelete/a", #"{"versions":"1"}"#)
        #expect(get("a", version: 1)["data"] == #"{"v":1}"#)

        kv.call(.update, "destroy/a", #"{"versions":[2,3]}"#)
        kv.call(.update, "undelete/a", #"{"versions":[2,3]}"#)
        #expect(get("a", version: 2)["metadata/destroyed"] == "true")
        #expect(get("a", version: 2)["metadata/deletion_time"] == #""2023-11-14T22:13:20Z""#)
        #expect(get("a").status == 404)
        let stored = kv.storage.entries.values.map { String(decoding: $0, as: UTF8.self) }
        #expect(!stored.contains { $0.contains(#"{"v":2}"#) || $0.contains(#"{"v":3}"#) })
        #expect(put("a", #"{"v":4}"#)["version"] == "4")
        #expect(get("a", version: 3).status == 404)
    }

    @Test(arguments: ["delete", "undelete", "destroy"])
    func versionListsAreChecked(_ verb: String) {
        _ = put("a", "{}")
        for body in [
            "{}", #"{"versions":[]}"#, #"{"versions":"x"}"#, #"{"versions":{"a":1}}"#, #"{"versions":[-1]}"#,
            #"{"versions":[1.5]}"#,
        ] {
            #expect(kv.call(.update, "\(verb)/a", body).status == 400, "\(body)")
        }
        #expect(kv.call(.update, "\(verb)/none", #"{"versions":[1]}"#).status == 204)
    }

    @Test func theSecondDeletionKeepsTheFirstTime() {
        _ = put("a", "{}")
        kv.call(.delete, "data/a")
        kv.clock.advance(.seconds(60))
        kv.call(.delete, "data/a")
        #expect(get("a")["metadata/deletion_time"] == #""2023-11-14T22:13:20Z""#)
    }

    /// The keys of values that do not stand in their secret's record.
    private var apart: [String] { kv.storage.entries.keys.filter { $0.contains("/v/") }.sorted() }

    @Test func largeHistoriesAreStoredApart() {
        let filling = String(repeating: "x", count: 1_500)
        func text(_ number: Int) -> String { "{\"v\":\"\(number)\(filling)\"}" }
        for number in 1...6 { _ = put("a", text(number)) }
        #expect(apart == (1...3).map { "mount/v/\($0)/a" })
        for number in 1...6 { #expect(get("a", version: number)["data"] == text(number)) }
        kv.call(.update, "destroy/a", #"{"versions":[2,4]}"#)
        #expect(apart == ["mount/v/1/a", "mount/v/3/a"])
        for number in 1...6 { #expect((get("a", version: number).status == 404) == [2, 4].contains(number)) }
        kv.call(.update, "undelete/a", #"{"versions":[2,4]}"#)
        #expect(get("a", version: 4).status == 404)
        _ = put("a", #"{"v":"\#(String(repeating: "y", count: 9_000))"}"#)
        #expect(apart == [1, 3, 7].map { "mount/v/\($0)/a" })
        kv.call(.update, "metadata/a", #"{"max_versions":2}"#)
        _ = put("a", text(8))
        #expect(apart == ["mount/v/7/a"])
        #expect(get("a", version: 7).status == 200 && get("a")["data"] == text(8))
        kv.call(.delete, "metadata/a")
        #expect(kv.storage.entries.keys.filter { $0.hasSuffix("/a") } == [])
    }

    /// Records of the first builds have no older values in them.
    @Test func theFirstFormatIsStillRead() throws {
        var writer = FrameWriter(reserving: 0)
        let now = kv.clock.now()
        writer.byte(RecordFormat.versionedApart)
        writer.flag(false)
        writer.int(2)
        writer.time(nil)
        let metadata = #"{"version":2}"#, value = #"{"v":2}"#
        writer.int(metadata.utf8.count)
        writer.int(value.utf8.count)
        writer.raw(Array((metadata + value).utf8))
        writer.int(0)
        writer.time(now)
        writer.time(now)
        writer.int(0)
        writer.flag(false)
        writer.int64(0)
        writer.int(0)
        writer.int(2)
        for number in 1...2 {
            writer.int(number)
            writer.time(now)
            writer.time(nil)
            writer.flag(false)
        }
        let record = writer.bytes
        try kv.storage.run("mount/") { tx throws(VaultError) in
            tx.put("s/a", record)
            tx.put("v/1/a", Array(#"{"v":1}"#.utf8))
        }
        #expect(get("a")["data"] == value)
        #expect(put("a", #"{"v":3}"#)["version"] == "3")
        #expect((1...3).map { get("a", version: $0)["data"] } == (1...3).map { #"{"v":\#($0)}"# })
        #expect(apart == ["mount/v/1/a"])
    }

    @Test func oldVersionsFallOffTheEnd() {
        for number in 1...12 { _ = put("a", #"{"v":\#(number)}"#) }
        #expect(get("a", version: 2).data == nil)
        #expect(get("a", version: 3)["data"] == #"{"v":3}"#)
        #expect(kv.call(.read, "metadata/a")["oldest_version"] == "3")
        kv.call(.update, "config", #"{"max_versions":2}"#)
        _ = put("a", #"{"v":13}"#)
        let metadata = kv.call(.read, "metadata/a")
        #expect(metadata["oldest_version"] == "12")
        #expect(metadata.data?["versions"]?.members.map(\.name) == ["12", "13"])
        #expect(apart == [])
        kv.call(.update, "metadata/b", #"{"max_versions":1}"#)
        kv.call(.update, "config", #"{"max_versions":0}"#)
        _ = put("b", "{}")
        #expect(kv.call(.read, "metadata/b")["oldest_version"] == "1")
    }

    @Test func deleteVersionAfterIsJudgedOnReading() {
        kv.call(.update, "config", #"{"delete_version_after":"30s"}"#)
        kv.call(.update, "metadata/b", #"{"delete_version_after":"2s"}"#)
        #expect(put("b", "{}")["deletion_time"] == #""2023-11-14T22:13:22Z""#)
        #expect(put("c", "{}")["deletion_time"] == #""2023-11-14T22:13:50Z""#)
        #expect(get("b").status == 200)
        kv.clock.advance(.seconds(2))
        #expect(get("b").status == 404)
        #expect(get("b")["metadata/destroyed"] == "false")
        #expect(kv.patch("data/b", #"{"data":{"x":1}}"#).status == 404)
        kv.call(.update, "config", #"{"delete_version_after":"-1s"}"#)
        #expect(kv.call(.read, "config")["delete_version_after"] == #""-1s""#)
        #expect(put("b", "{}")["deletion_time"] == #""""#)
        #expect(kv.call(.update, "metadata/b", #"{"delete_version_after":"-1s"}"#).status == 400)
    }

    @Test func settingsAreReadAndChecked() {
        #expect(
            kv.call(.read, "config").text
                == #"{"cas_required":false,"delete_version_after":"0s","max_versions":0}"#)
        kv.call(.update, "config", #"{"max_versions":"2","cas_required":true,"delete_version_after":"1h"}"#)
        kv.call(.update, "config", "{}")
        #expect(
            kv.call(.read, "config").text
                == #"{"cas_required":true,"delete_version_after":"1h0m0s","max_versions":2}"#)
        for body in [
            #"{"max_versions":"x"}"#, #"{"max_versions":-1}"#, #"{"max_versions":1e18}"#,
            #"{"max_versions":100001}"#,
            #"{"delete_version_after":"bogus"}"#, #"{"cas_required":"maybe"}"#,
            #"{"max_versions":5,"cas_required":[]}"#,
        ] {
            let answer = kv.call(.update, "config", body)
            #expect(answer.status == 400)
            #expect(answer.errors.first?.contains("field '") == true)
            #expect(kv.call(.update, "metadata/new", body).status == 400)
        }
        #expect(kv.call(.read, "config")["max_versions"] == "2")
        #expect(kv.call(.read, "metadata/new").status == 404)
    }

    @Test func metadataStandsAlone() {
        #expect(kv.call(.update, "metadata/m", "{}").status == 204)
        #expect(kv.call(.read, "metadata/m").status == 404)
        #expect(
            kv.call(.update, "metadata/m", #"{"max_versions":3,"custom_metadata":{"b":"2","a":"<1>"}}"#)
                .status == 204)
        #expect(
            kv.call(.read, "metadata/m").text
                == #"{"cas_required":false,"created_time":"2023-11-14T22:13:20Z","current_version":0,"custom_metadata":{"a":"\u003c1\u003e","b":"2"},"delete_version_after":"0s","max_versions":3,"oldest_version":0,"updated_time":"2023-11-14T22:13:20Z","versions":{}}"#
        )
        #expect(get("m").status == 404)
        #expect(get("m").data == nil)
        #expect(kv.call(.delete, "data/m").status == 204)
        #expect(kv.patch("data/m", #"{"data":{}}"#).status == 404)
        #expect(put("m", "{}")["custom_metadata/b"] == #""2""#)
        #expect(get("m")["metadata/custom_metadata/b"] == #""2""#)
        kv.call(.update, "config", #"{"cas_required":true}"#)
        let warned = kv.call(.update, "metadata/m", #"{"cas_required":false}"#)
        #expect(warned.status == 200)
        #expect(warned.response?.warnings.count == 1)
    }

    @Test func metadataIsPatched() {
        #expect(kv.patch("metadata/m", #"{"max_versions":3}"#).status == 404)
        kv.call(
            .update, "metadata/m",
            #"{"max_versions":3,"cas_required":true,"delete_version_after":"5s","custom_metadata":{"a":"1","b":"2"}}"#
        )
        #expect(kv.patch("metadata/m", #"{"custom_metadata":{"a":null,"c":"3"}}"#).status == 204)
        #expect(kv.call(.read, "metadata/m")["custom_metadata"] == #"{"b":"2","c":"3"}"#)
        #expect(
            kv.patch("metadata/m", #"{"max_versions":null,"cas_required":null,"delete_version_after":null}"#)
                .status == 204)
        let metadata = kv.call(.read, "metadata/m")
        #expect(metadata["max_versions"] == "0")
        #expect(metadata["cas_required"] == "false")
        #expect(metadata["delete_version_after"] == #""0s""#)
        #expect(kv.patch("metadata/m", #"{"custom_metadata":null}"#).status == 204)
        #expect(kv.call(.read, "metadata/m")["custom_metadata"] == "null")
        #expect(kv.call(.patch, "metadata/m", "{}").status == 415)
    }

    @Test func customMetadataIsBounded() {
        let many = "{" + (0..<65).map { "\"k\($0)\":\"v\"" }.joined(separator: ",") + "}"
        let longName = String(repeating: "é", count: 65)
        let longValue = String(repeating: "v", count: 513)
        for value in [
            #""x""#, "[]", many, #"{"":"v"}"#, #"{"k":""}"#, #"{"k":1}"#, #"{"\#(longName)":"v"}"#,
            #"{"k":"\#(longValue)"}"#,
            #"{"k":"a\nb"}"#, #"{"a\u0000":"b"}"#, #"{"k":"\u202e"}"#,
        ] {
            let answer = kv.call(.update, "metadata/m", #"{"custom_metadata":\#(value)}"#)
            #expect(answer.status == 400, "\(value)")
            #expect(answer.errors.allSatisfy { $0.contains("custom_metadata") })
        }
        let all = kv.call(.update, "metadata/m", #"{"custom_metadata":{"":"v","k":""}}"#)
        #expect(all.errors.count == 2)
        #expect(kv.call(.read, "metadata/m").status == 404)
    }

    @Test func patchesMergeIntoANewVersion() {
        #expect(kv.patch("data/p", #"{"data":{"a":1}}"#).status == 404)
        _ = put("p", #"{"a":{"b":1,"c":2},"big":12345678901234567890}"#)
        #expect(kv.patch("data/p", #"{"data":{"a":{"b":null},"d":[1]}}"#)["version"] == "2")
        #expect(get("p")["data"] == #"{"a":{"c":2},"big":12345678901234567890,"d":[1]}"#)
        #expect(get("p", version: 1)["data"] == #"{"a":{"b":1,"c":2},"big":12345678901234567890}"#)
        #expect(kv.patch("data/p", #"{"data":{},"options":{"cas":1}}"#).status == 400)
        #expect(kv.patch("data/p", #"{"data":{},"options":{"cas":2}}"#)["version"] == "3")
        #expect(kv.call(.patch, "data/p", #"{"data":{}}"#).status == 415)
        #expect(
            kv.call(
                .patch, "data/p", #"{"data":{}}"#, contentType: "Application/Merge-Patch+JSON; charset=utf-8"
            ).status == 200)
        #expect(kv.patch("data/p", "{}").errors == ["no data provided"])
        #expect(kv.patch("data/p", #"{"data":null}"#).status == 400)
        kv.call(.delete, "data/p")
        let gone = kv.patch("data/p", #"{"data":{}}"#)
        #expect(gone.status == 404)
        #expect(gone["metadata/version"] == "4")
    }

    @Test func subkeysHideTheValues() {
        _ = put("s", #"{"foo":{"bar":{"baz":123}},"x":"secret"}"#)
        #expect(kv.call(.read, "subkeys/s")["subkeys"] == #"{"foo":{"bar":{"baz":null}},"x":null}"#)
        #expect(
            kv.call(.read, "subkeys/s", query: ["depth": "2"])["subkeys"] == #"{"foo":{"bar":null},"x":null}"#
        )
        #expect(kv.call(.read, "subkeys/s", query: ["version": "1"])["metadata/version"] == "1")
        for query in [["depth": "x"], ["depth": "-1"], ["version": "x"]] {
            #expect(kv.call(.read, "subkeys/s", query: query).status == 400)
        }
        #expect(kv.call(.read, "subkeys/none").status == 404)
        kv.call(.delete, "data/s")
        let gone = kv.call(.read, "subkeys/s")
        #expect(gone.status == 404)
        #expect(gone["subkeys"] == "null")
    }

    @Test(arguments: ["-1", "99999999999999999999", "abc", "0x1", "\u{0}", "1.5", ""])
    func versionsInQueriesAreChecked(_ text: String) {
        _ = put("a", "{}")
        let answer = kv.call(.read, "data/a", query: ["version": text])
        #expect(answer.status == 400)
        #expect(answer.errors.first?.contains("'version'") == true)
    }

    @Test func listsAndDeletesWholeSecrets() {
        for path in ["a", "a/b", "new"] { for _ in 0..<3 { _ = put(path, #"{"v":1}"#) } }
        #expect(kv.call(.list, "metadata/").text == #"{"keys":["a","a/","new"]}"#)
        #expect(kv.call(.list, "metadata/a/").text == #"{"keys":["b"]}"#)
        #expect(kv.call(.list, "metadata/none/").status == 404)
        for path in ["a", "a/b", "new", "new"] { #expect(kv.call(.delete, "metadata/\(path)").status == 204) }
        #expect(kv.call(.read, "metadata/a").status == 404)
        #expect(kv.storage.entries.keys.sorted() == ["mount/layout"])
        #expect(put("a", "{}")["version"] == "1")
    }

    @Test func otherPathsAreExplainedAndOtherVerbsRefused() {
        for operation in [PluginKit.Operation.read, .update, .delete] {
            let answer = kv.call(operation, "foo", operation == .update ? "{}" : nil)
            #expect(answer.status == 404)
            #expect(answer.response?.warnings.count == 1)
            #expect(answer.data == nil)
        }
        #expect(kv.call(.list, "").response?.warnings.count == 1)
        for (operation, path) in [
            (PluginKit.Operation.list, "data/"), (.list, "data/a/"), (.read, "delete/a"), (.delete, "config"),
            (.list, "config/"),
            (.patch, "config"), (.delete, "subkeys/a"), (.update, "subkeys/a"), (.patch, "destroy/a"),
        ] {
            #expect(kv.call(operation, path).status == 405, "\(operation) \(path)")
        }
        #expect(kv.call(.read, "data").response?.warnings.count == 1)
    }

    @Test func aWriteTellsCreateFromUpdate() throws {
        #expect(try kv.exists("data/a") == false)
        _ = put("a", "{}")
        #expect(try kv.exists("data/a") == true)
        #expect(try kv.exists("metadata/a") == true)
        #expect(try kv.exists("metadata/b") == false)
        #expect(try kv.exists("delete/a") == nil)
    }

    @Test func aTruncatedRecordIsAnErrorAndNeverATrap() throws {
        for _ in 0..<3 { _ = put("a", #"{"v":1}"#) }
        kv.call(.update, "metadata/a", #"{"custom_metadata":{"a":"b"}}"#)
        let record = try #require(kv.storage.entries["mount/s/a"])
        for length in 0..<record.count {
            #expect(throws: VaultError.self) { try SecretRecord(Array(record[..<length]), at: "a") }
        }
        for place in record.indices {
            var damaged = record
            damaged[place] = 0xFF
            _ = try? SecretRecord(damaged, at: "a")
            _ = try? RecordHead(damaged, at: "a")
            _ = try? PlainRecord(damaged, at: "a")
        }
    }
}
