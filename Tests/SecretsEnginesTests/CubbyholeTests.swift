import Base
import PluginKit
import TestKit
import Testing

@testable import SecretsEngines

@Suite struct CubbyholeTests {
    let mount: MountHarness
    init() throws { mount = try MountHarness(Cubbyhole.self) }

    @Test func eachTokenSeesOnlyItsOwn() {
        let body = #"{"v":"1","n":[1]}"#
        #expect(mount.call(.update, "x", body).status == 204)
        #expect(mount.call(.update, "d/y", #"{"v":"2"}"#).status == 204)
        #expect(mount.call(.read, "x").text == body)
        #expect(mount.call(.list, "").text == #"{"keys":["d/","x"]}"#)
        #expect(mount.call(.list, "d/").text == #"{"keys":["y"]}"#)
        mount.client.storageID = "owner-2"
        #expect(mount.call(.read, "x").status == 404)
        #expect(mount.call(.list, "").status == 404)
        #expect(mount.call(.delete, "x").status == 204)
        mount.client.storageID = "owner-1"
        #expect(mount.call(.read, "x").status == 200)
        #expect(mount.call(.delete, "x").status == 204)
        #expect(mount.call(.read, "x").status == 404)
    }

    @Test func everythingOfATokenLiesBelowItsPrefix() {
        mount.call(.update, "x", #"{"v":1}"#)
        let prefix = "mount/" + Cubbyhole.storagePrefix(for: "owner-1")
        #expect(mount.storage.entries.keys.allSatisfy { $0.hasPrefix(prefix) })
        #expect(mount.storage.entries.count == 1)
    }

    @Test func badRequestsAreRefused() {
        #expect(mount.call(.update, "x", "{}").status == 400)
        #expect(mount.call(.update, "", #"{"v":1}"#).status == 400)
        #expect(mount.call(.update, "d/", #"{"v":1}"#).status == 400)
        mount.client.storageID = ""
        #expect(mount.call(.update, "x", #"{"v":1}"#).status == 400)
        #expect(mount.call(.read, "x").status == 400)
    }
}
