import Base
import PluginKit
import TestKit
import Testing

@testable import Core

/// What `identity/` keeps, and that it stays of one piece.
@Suite struct IdentityStoreTests {
    @Test func recordsComeBackAsTheyWere() throws {
        let now = Timestamp(nanoseconds: 1_700_000_000_123_456_789)
        var alias = IdentityAlias(id: "a", name: "ann/\u{E9}\"", mountAccessor: "auth_a", created: now)
        alias.metadata = ["k": "v"]
        alias.customMetadata = ["c": ""]
        alias.mergedFrom = ["x"]
        var entity = Entity(id: "e", name: "Ann", created: now)
        entity.metadata = ["team": "blue"]
        entity.policies = ["p"]
        entity.isDisabled = true
        entity.mergedIDs = ["x", "y"]
        entity.groupIDs = (0..<10_500).map(String.init)
        entity.aliases = [alias]
        let bytes = IdentityCodec.encode(entity)
        #expect(IdentityCodec.entity(bytes, id: "e") == entity)
        var group = IdentityGroup(id: "g", name: "G", created: now)
        group.isExternal = true
        group.parentIDs = ["p"]
        group.memberGroupIDs = ["m"]
        group.alias = alias
        #expect(IdentityCodec.group(IdentityCodec.encode(group), id: "g") == group)
        for length in [0, 1, 10, bytes.count / 2, bytes.count - 1] {
            #expect(IdentityCodec.entity(Array(bytes.prefix(length)), id: "e") == nil)
        }
        for member in ["v", "name", "meta", "policies", "disabled", "groups", "aliases", "created"] {
            let text = String(decoding: bytes, as: UTF8.self)
            let without = text.replacing("\"\(member)\":", with: "\"other\":", maxReplacements: 1)
            #expect(IdentityCodec.entity(Array(without.utf8), id: "e") == nil, "\(member)")
        }
    }

    @Test func entitiesAreFoundByEachOfTheirNames() throws {
        let f = IdentityFixture()
        let id = try f.make("entity", #"{"name":"Ann Lee/1","metadata":{"team":"blue"},"policies":"P, q"}"#)
        let alias = try f.make(
            "entity-alias", #"{"name":"Ann","canonical_id":"\#(id)","mount_accessor":"auth_a"}"#)
        for body in [
            #"{"id":"\#(id)"}"#, #"{"name":"ann lee/1"}"#, #"{"alias_id":"\#(alias)"}"#,
            #"{"alias_name":"ANN","alias_mount_accessor":"auth_a"}"#,
        ] {
            #expect(try f.make("lookup/entity", body) == id, "\(body)")
        }
        #expect(try f.read("entity/name/ANN LEE/1", "id") == id)
        #expect(try f.read("entity/id/\(id)", "policies") == #"["p","q"]"#)
        #expect(try f.call(.list, "entity/name/").members["keys"] == #"["Ann Lee/1"]"#)
        #expect(try f.call(.update, "lookup/entity", #"{"name":"none"}"#).data == nil)
        #expect(
            try f.call(
                .update, "lookup/entity", #"{"alias_name":"Ann","alias_mount_accessor":"auth_b"}"#
            ).data == nil)
        #expect(f.refusal(.update, "lookup/entity", #"{"name":"a","id":"b"}"#).hasPrefix("400"))
        // The Kelvin sign is a k for Unicode.
        try f.make("entity", #"{"name":"k"}"#)
        #expect(try f.call(.update, "lookup/entity", "{\"name\":\"\u{212A}\"}").data == nil)
        #expect(try f.faults() == [])
    }

    @Test func whatIsTakenOrMissingIsRefused() throws {
        let f = IdentityFixture()
        let ann = try f.make("entity", #"{"name":"ann"}"#)
        let bob = try f.make("entity", #"{"name":"bob"}"#)
        let before = f.storage.entries
        try f.make("entity-alias", #"{"name":"x","canonical_id":"\#(ann)","mount_accessor":"auth_a"}"#)
        let other = try f.make(
            "entity-alias", #"{"name":"y","canonical_id":"\#(bob)","mount_accessor":"auth_a"}"#)
        let behind = f.storage.entries
        for (path, body) in [
            ("entity", #"{"id":"nope","name":"z"}"#), ("entity/id/\(bob)", #"{"name":"ANN"}"#),
            ("entity", #"{"name":"a\u0000b"}"#),
            ("entity", #"{"name":"\#(String(repeating: "x", count: 257))"}"#),
            ("entity/name/ann", #"{"metadata":{"":"x"}}"#),
            ("entity/name/ann", #"{"metadata":{"k":"\#(String(repeating: "v", count: 513))"}}"#),
            ("entity-alias", #"{"name":"z","canonical_id":"nope","mount_accessor":"auth_a"}"#),
            ("entity-alias", #"{"name":"z","mount_accessor":"nope"}"#),
            ("entity-alias", #"{"name":"z"}"#), ("entity-alias", #"{"mount_accessor":"auth_a"}"#),
            ("entity-alias/id/\(other)", #"{"name":"X"}"#), ("entity-alias/id/\(ann)", #"{"name":"q"}"#),
            ("entity/merge", #"{"from_entity_ids":["\#(ann)"],"to_entity_id":"\#(ann)"}"#),
            ("entity/merge", #"{"from_entity_ids":["\#(ann)","nope"],"to_entity_id":"\#(bob)"}"#),
            ("entity/merge", #"{"to_entity_id":"\#(bob)"}"#), ("entity/batch-delete", "{}"),
            ("group", #"{"name":"g","type":"odd"}"#), ("group", #"{"name":"g","member_entity_ids":["x"]}"#),
            ("group", #"{"name":"g","type":"external","member_entity_ids":["\#(ann)"]}"#),
            ("group-alias", #"{"name":"x","mount_accessor":"auth_a","canonical_id":"\#(ann)"}"#),
        ] {
            #expect(f.refusal(.update, path, body).hasPrefix("400"), "\(path) \(body)")
        }
        #expect(f.storage.entries == behind && behind != before)
    }

    @Test(arguments: ["root", "ROOT", " root", "root ", "\\troot", "p,root", "Root\\n"])
    func rootIsRefusedInEverySpelling(_ name: String) throws {
        let f = IdentityFixture()
        for body in [#"{"name":"a","policies":["\#(name)"]}"#, #"{"name":"a","policies":"\#(name)"}"#] {
            for path in ["entity", "group"] {
                #expect(f.refusal(.update, path, body).hasPrefix("400"), "\(path) \(body)")
                #expect(f.refusal(.read, "\(path)/name/a").hasPrefix("404"), "\(path) \(body)")
            }
        }
        // Nor by way of a change.
        let id = try f.make("entity", #"{"name":"b","policies":["p"]}"#)
        #expect(f.refusal(.update, "entity/id/\(id)", #"{"policies":"\#(name)"}"#).hasPrefix("400"))
        #expect(try f.read("entity/id/\(id)", "policies") == #"["p"]"#)
    }

    @Test func rootInStorageGivesNothing() throws {
        let f = IdentityFixture()
        var entity = Entity(id: "00000000-0000-4000-8000-000000000000", name: "e", created: f.now)
        entity.policies = ["root"]
        let identity = Identity(entity, groups: [], directCount: 0, keys: [])
        #expect(identity.policies == [])
        #expect(try !ACLCache().acl(for: [], of: identity, in: f.view).isRoot)
        entity.policies = [" ROOT", "p", "response-wrapping"]
        #expect(Identity(entity, groups: [], directCount: 0, keys: []).policies == ["p"])
    }

    /// A policy for one path is not one for all entities.
    @Test func whatThePathNamesIsNotOverruledByWhatIsSent() throws {
        let f = IdentityFixture()
        for kind in ["entity", "group"] {
            try f.make(kind, #"{"name":"own"}"#)
            let other = try f.make(kind, #"{"name":"other","policies":["p"]}"#)
            let body = #"{"id":"\#(other)","policies":["q"]}"#
            #expect(try f.call(.read, "\(kind)/name/own", body).members["name"] == "\"own\"")
            try f.call(.update, "\(kind)/name/own", body)
            #expect(try f.read("\(kind)/id/\(other)", "policies") == #"["p"]"#)
            #expect(try f.read("\(kind)/name/own", "policies") == #"["q"]"#)
            let own = try f.read("\(kind)/name/own", "id")
            try f.call(.update, "\(kind)/id/\(own)", #"{"id":"\#(other)","metadata":{"k":"v"}}"#)
            #expect(try f.read("\(kind)/id/\(other)", "metadata") == "null")
            try f.call(.delete, "\(kind)/name/own", #"{"id":"\#(other)"}"#)
            #expect(try f.read("\(kind)/id/\(other)", "name") == "other")
            #expect(f.refusal(.read, "\(kind)/name/own").hasPrefix("404"))
        }
        #expect(try f.faults() == [])
    }

    // MARK: Groups

    @Test func groupsGiveTheirPoliciesToThoseBelowThem() throws {
        let f = IdentityFixture()
        let ann = try f.make("entity", #"{"name":"ann","policies":["own"]}"#)
        let team = try f.make(
            "group", #"{"name":"team","policies":["team"],"member_entity_ids":["\#(ann)"]}"#)
        let firm = try f.make(
            "group", #"{"name":"firm","policies":["firm","own"],"member_group_ids":["\#(team)"]}"#)
        #expect(try f.identity(ann)?.policies == ["firm", "own", "team"])
        #expect(try f.read("entity/id/\(ann)", "direct_group_ids") == #"["\#(team)"]"#)
        #expect(try f.read("entity/id/\(ann)", "inherited_group_ids") == #"["\#(firm)"]"#)
        #expect(try f.read("group/id/\(team)", "parent_group_ids") == #"["\#(firm)"]"#)
        for members in [firm, team] {
            let body = #"{"member_group_ids":["\#(members)"]}"#
            #expect(f.refusal(.update, "group/id/\(team)", body).contains("member of itself"))
        }
        try f.call(.update, "group/id/\(firm)", #"{"member_group_ids":[]}"#)
        #expect(try f.identity(ann)?.policies == ["own", "team"])
        try f.call(.update, "group/name/TEAM", #"{"member_entity_ids":""}"#)
        #expect(try f.identity(ann)?.policies == ["own"])
        #expect(try f.faults() == [])
    }

    @Test func aDeletedGroupGivesNothingAndIsForgotten() throws {
        let f = IdentityFixture()
        let ann = try f.make("entity", #"{"name":"ann"}"#)
        let team = try f.make(
            "group", #"{"name":"team","policies":["team"],"member_entity_ids":["\#(ann)"]}"#)
        let firm = try f.make("group", #"{"name":"firm","member_group_ids":["\#(team)"]}"#)
        try f.call(.delete, "group/name/team")
        #expect(try f.identity(ann)?.policies == [])
        #expect(try f.read("entity/id/\(ann)", "group_ids") == "[]")
        #expect(try f.read("group/id/\(firm)", "member_group_ids") == "null")
        #expect(f.refusal(.read, "group/id/\(team)").hasPrefix("404"))
        while try f.storage.run("", { tx throws(VaultError) in try Cleanup.run(&tx) }) {}
        #expect(!f.storage.entries.keys.contains { $0.contains(team) })
        #expect(try f.faults() == [])
    }

    @Test func externalGroupsFollowTheLastLogin() throws {
        let f = IdentityFixture()
        let group = try f.make("group", #"{"name":"ops","type":"external","policies":["ops"]}"#)
        let alias = try f.make(
            "group-alias", #"{"name":"Ops","mount_accessor":"auth_a","canonical_id":"\#(group)"}"#)
        let chosen = try f.make("group", #"{"name":"chosen","policies":["chosen"]}"#)
        let ann = try f.logIn("ann", groups: ["ops", "unknown"])
        #expect(try f.identity(ann.id)?.policies == ["ops"])
        try f.call(.update, "group/id/\(chosen)", #"{"member_entity_ids":["\#(ann.id)"]}"#)
        _ = try f.logIn("ann")
        #expect(try f.identity(ann.id)?.policies == ["chosen", "ops"])
        // Another mount's groups of that name are others.
        let same = try f.logIn("bob", at: "auth_b", groups: ["ops"])
        #expect(try f.identity(same.id)?.policies == [])
        _ = try f.logIn("ann", groups: [])
        #expect(try f.identity(ann.id)?.policies == ["chosen"])
        _ = try f.logIn("ann", groups: ["OPS"])
        #expect(try f.identity(ann.id)?.policies == ["chosen", "ops"])
        // Nobody is in a group by a name that it no longer has.
        try f.call(.update, "group-alias/id/\(alias)", #"{"name":"others"}"#)
        #expect(try f.identity(ann.id)?.policies == ["chosen"])
        #expect(try f.faults() == [])
    }

    // MARK: Merging

    @Test func mergingMovesAliasesGroupsAndTokens() throws {
        let f = IdentityFixture()
        let ann = try f.logIn("ann")
        let bob = try f.logIn("bob", at: "auth_b")
        let eve = try f.logIn("eve", at: "auth_b")
        try f.make("group", #"{"name":"g","policies":["g"],"member_entity_ids":["\#(bob.id)"]}"#)
        try f.call(
            .update, "entity/merge", #"{"from_entity_ids":["\#(bob.id)"],"to_entity_id":"\#(ann.id)"}"#)
        try f.call(
            .update, "entity/merge", #"{"from_entity_ids":["\#(ann.id)"],"to_entity_id":"\#(eve.id)"}"#)
        for id in [ann.id, bob.id, eve.id] {
            #expect(try f.identity(id)?.id == eve.id)
            #expect(try f.identity(id)?.policies == ["g"])
        }
        #expect(try f.logIn("bob", at: "auth_b").id == eve.id)
        #expect(f.refusal(.read, "entity/id/\(bob.id)").hasPrefix("404"))
        #expect(try f.faults() == [])
        try f.call(.delete, "entity/id/\(eve.id)")
        #expect(try f.identity(bob.id) == nil)
        #expect(try f.logIn("bob", at: "auth_b").id != eve.id)
        #expect(try f.faults() == [])
    }

    /// Whatever is done in whatever order, the indexes are what the records say.
    @Test(arguments: 1...8) func indexesFollowTheRecords(seed: UInt64) throws {
        let f = IdentityFixture(seed: seed)
        let random = SeededRandom(seed: seed)
        func pick(_ count: Int) -> Int { Int(random.bytes(1)[0]) % count }
        func any(_ ids: [String]) -> String { ids.isEmpty ? "none" : ids[pick(ids.count)] }
        let names = ["a", "B", "b/c", "%2F", "\u{E9}", "e\u{301}"]
        var done = 0
        for _ in 0..<150 {
            let entities = try f.store.entityIDs(f.view)
            let groups = try f.store.groupIDs(f.view)
            let name = names[pick(names.count)]
            let accessor = IdentityFixture.accessors[pick(2)]
            let (operation, path, body): (PluginKit.Operation, String, String) =
                switch pick(10) {
                case 0: (.update, "entity", #"{"name":"\#(name)"}"#)
                case 1: (.update, "entity/id/\(any(entities))", #"{"name":"\#(name)"}"#)
                case 2: (.delete, "entity/id/\(any(entities))", "{}")
                case 3:
                    (
                        .update, "entity-alias",
                        #"{"name":"\#(name)","mount_accessor":"\#(accessor)","#
                            + #""canonical_id":"\#(any(entities))"}"#
                    )
                case 4: (.delete, "entity-alias/id/\(any(try f.store.aliasIDs(f.view)))", "{}")
                case 5:
                    (
                        .update, "entity/merge",
                        #"{"from_entity_ids":["\#(any(entities))"],"to_entity_id":"\#(any(entities))"}"#
                    )
                case 6:
                    (
                        .update, "group",
                        #"{"name":"\#(name)","member_entity_ids":["\#(any(entities))","\#(any(entities))"]}"#
                    )
                case 7:
                    (.update, "group/id/\(any(groups))", #"{"member_group_ids":["\#(any(groups))"]}"#)
                case 8:
                    (.update, "group-alias", #"{"name":"\#(name)","mount_accessor":"\#(accessor)"}"#)
                default: (.delete, "group/id/\(any(groups))", "{}")
                }
            if f.refusal(operation, path, body).isEmpty { done += 1 }
            if pick(3) == 0 { _ = try f.logIn(name, at: accessor, groups: pick(2) == 0 ? [name] : nil) }
            let faults = try f.faults()
            #expect(faults == [], "\(path) \(body)")
            if !faults.isEmpty { return }
        }
        #expect(done > 50)
    }
}
