import Base
import PluginKit
import TestKit
import Testing

@testable import SecretsEngines

@Suite struct KVUpgradeTests {
    @Test func anUpgradedMountKeepsItsSecrets() throws {
        let kv = try MountHarness(KVEngine.self)
        let large = #"{"v":""# + String(repeating: "x", count: 20_000) + #""}"#
        kv.call(.update, "x", #"{"a":"b","ttl":"1h"}"#)
        kv.call(.update, "dir/y", large)
        kv.clock.advance(.seconds(60))
        try kv.remount(KVEngine.self, options: ["version": "2"])

        #expect(kv.call(.list, "metadata/").text == #"{"keys":["dir/","x"]}"#)
        let read = kv.call(.read, "data/x")
        #expect(read["data"] == #"{"a":"b","ttl":"1h"}"#)
        #expect(read["metadata/version"] == "1")
        #expect(read["metadata/created_time"] == #""2023-11-14T22:13:20Z""#)
        #expect(kv.call(.read, "data/dir/y")["data"] == large)
        #expect(kv.call(.read, "metadata/x")["current_version"] == "1")

        #expect(kv.call(.update, "data/x", #"{"data":{},"options":{"cas":0}}"#).status == 400)
        #expect(kv.call(.update, "data/x", #"{"data":{"n":1},"options":{"cas":1}}"#)["version"] == "2")
        #expect(kv.call(.read, "data/x", query: ["version": "1"])["data"] == #"{"a":"b","ttl":"1h"}"#)
        #expect(kv.patch("data/dir/y", #"{"data":{"v":null,"w":1}}"#)["version"] == "2")
        #expect(kv.call(.read, "data/dir/y")["data"] == #"{"w":1}"#)
        #expect(kv.call(.read, "data/dir/y", query: ["version": "1"])["data"] == large)
        kv.call(.update, "destroy/dir/y", #"{"versions":[1,2]}"#)
        kv.call(.delete, "metadata/x")
        #expect(kv.storage.entries.keys.sorted() == ["mount/layout", "mount/s/dir/y"])
    }

    @Test func theWayBackIsClosed() throws {
        let kv = try MountHarness(KVEngine.self, options: ["version": "2"])
        #expect(throws: VaultError.self) { try kv.remount(KVEngine.self, options: ["version": "1"]) }
        try kv.remount(KVEngine.self, options: ["version": "2"])
    }
}
