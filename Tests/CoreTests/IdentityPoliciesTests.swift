import Base
import PluginKit
import TestKit
import Testing

@testable import Core

/// What an identity gives to a request: policies, and values in their paths.
@Suite struct IdentityPoliciesTests {
    private func identity(
        name: String = "ann", metadata: [String: String] = [:], aliases: [IdentityAlias] = [],
        groups: [IdentityGroup] = []
    ) -> Identity {
        var entity = Entity(
            id: "00000000-0000-4000-8000-000000000001", name: name, created: Timestamp(seconds: 1))
        entity.metadata = metadata
        entity.aliases = aliases
        return Identity(entity, groups: groups, directCount: groups.count, keys: [])
    }

    private func alias(_ name: String, at accessor: String, _ metadata: [String: String] = [:])
        -> IdentityAlias
    {
        var alias = IdentityAlias(
            id: "id-\(name)-\(accessor)", name: name, mountAccessor: accessor, created: Timestamp(seconds: 1))
        alias.metadata = metadata
        return alias
    }

    private func reads(_ policy: String, _ path: String, _ identity: Identity) throws -> Bool {
        let acl = ACL([try PolicyDocument(parsing: policy)]) { identity.value(of: $0) }
        return acl.decide(path: path, operation: .read).isAllowed
    }

    private func rule(_ path: String, _ capability: String = "read") -> String {
        "path \"\(path)\" { capabilities = [\"\(capability)\"] }"
    }

    @Test func everyPartOfAnIdentityCanBeNamed() throws {
        var group = IdentityGroup(id: "gid", name: "ops.team", created: Timestamp(seconds: 1))
        group.metadata = ["site": "hq"]
        var other = alias("ann2", at: "acc_2", ["m": "v2"])
        other.customMetadata = ["c": "own"]
        let known = identity(
            metadata: ["team": "blue", "a.b": "dots"], aliases: [alias("ann1", at: "acc_1"), other],
            groups: [group])
        for (template, value) in [
            ("identity.entity.id", "00000000-0000-4000-8000-000000000001"), ("identity.entity.name", "ann"),
            ("identity.entity.metadata.team", "blue"), ("identity.entity.metadata.a.b", "dots"),
            ("identity.entity.aliases.acc_1.name", "ann1"), ("identity.entity.aliases.acc_2.name", "ann2"),
            ("identity.entity.aliases.acc_2.id", "id-ann2-acc_2"),
            ("identity.entity.aliases.acc_2.metadata.m", "v2"),
            ("identity.entity.aliases.acc_2.custom_metadata.c", "own"),
            ("identity.groups.ids.gid.name", "ops.team"), ("identity.groups.names.ops.team.id", "gid"),
            ("identity.groups.names.ops.team.metadata.site", "hq"),
            ("identity.groups.ids.gid.metadata.site", "hq"),
        ] {
            #expect(known.value(of: Substring(template)) == value)
            #expect(try reads(rule("kv/{{\(template)}}/x"), "kv/\(value)/x", known))
            #expect(try reads(rule("kv/a-{{ \(template) }}-b"), "kv/a-\(value)-b", known))
        }
        for template in [
            "identity.entity.metadata.none", "identity.entity.aliases.acc_3.name", "identity.entity",
            "identity.groups.names.ops.id", "identity.groups.ids.other.name", "identity.entity.policies",
            "entity.name", "", "identity.entity.aliases.acc_1.metadata.m",
            "identity.entity.aliases.acc_1.custom_metadata.c",
        ] {
            #expect(known.value(of: Substring(template)) == nil, "\(template)")
            #expect(try !reads(rule("kv/{{\(template)}}*"), "kv/x", known), "\(template)")
        }
    }

    @Test(arguments: ["+", "*", "a/b", "a*", "", "/", "*/x", "\u{1}", "../x", "+/"])
    func aValueNeverWidensAPath(_ name: String) throws {
        let known = identity(name: name)
        for path in [
            "kv/{{identity.entity.name}}/s", "kv/{{identity.entity.name}}", "kv/{{identity.entity.name}}*",
            "kv/{{identity.entity.name}}/*", "{{identity.entity.name}}/victim/s",
        ] {
            for asked in ["kv/victim/s", "kv/victim", "kv/a/b", "kv/a/b/s", "kv/", "kv/x/s", "x/victim/s"] {
                #expect(try !reads(rule(path), asked, known), "\(path) \(asked)")
            }
        }
    }

    @Test func aPlusInsideOfANameIsAPlus() throws {
        let known = identity(name: "ann+x@example.com")
        #expect(try reads(rule("kv/{{identity.entity.name}}/s"), "kv/ann+x@example.com/s", known))
        #expect(try !reads(rule("kv/{{identity.entity.name}}/s"), "kv/other/s", known))
        // The author's own wildcards stay what they are.
        #expect(try reads(rule("kv/+/{{identity.entity.name}}"), "kv/any/ann+x@example.com", known))
    }

    @Test func aRefusalHoldsForWhateverNameItMeets() throws {
        for name in ["a/b", "+", "x*"] {
            let policy = rule("kv/*") + "\n" + rule("kv/{{identity.entity.name}}/s", "deny")
            let path = name == "+" ? "kv/other/s" : "kv/\(name)/s"
            #expect(try !reads(policy, path, identity(name: name)), "\(name)")
        }
    }

    /// CVE-2021-43998, CVE-2022-40186: an alias of another mount, or of the same name there, is another.
    @Test func onlyTheNamedMountsAliasCounts() throws {
        let known = identity(aliases: [
            alias("same", at: "acc_1", ["role": "admin"]), alias("same", at: "acc_2", ["role": "guest"]),
        ])
        let policy = rule("kv/{{identity.entity.aliases.acc_2.metadata.role}}")
        #expect(try reads(policy, "kv/guest", known))
        #expect(try !reads(policy, "kv/admin", known))
        let gone = identity(aliases: [alias("same", at: "acc_1", ["role": "admin"])])
        #expect(try !reads(policy, "kv/admin", gone))
    }

    @Test func policiesOfTheIdentityComeOnTopOfTheTokens() throws {
        let f = IdentityFixture()
        let cache = ACLCache()
        try f.storage.run { tx throws(VaultError) in
            try PolicyStore().put("own", rule("kv/own"), in: &tx)
            try PolicyStore().put("group", rule("kv/{{identity.entity.name}}"), in: &tx)
        }
        let id = try f.make("entity", #"{"name":"ann"}"#)
        try f.make("group", #"{"name":"g","policies":["group"],"member_entity_ids":["\#(id)"]}"#)
        let known = try #require(try f.identity(id))
        let acl = try cache.acl(for: ["own"], of: known, in: f.view)
        #expect(acl.capabilities("kv/own") == ["read"] && acl.capabilities("kv/ann") == ["read"])
        #expect(try cache.acl(for: ["own"], of: known, in: f.view) === acl)
        #expect(try cache.acl(for: ["own"], of: nil, in: f.view).capabilities("kv/ann") == ["deny"])
        #expect(try cache.acl(for: ["root"], of: known, in: f.view).isRoot)
        #expect(throws: VaultError.permissionDenied) {
            try cache.acl(for: ["own", "root"], of: known, in: f.view)
        }
        try f.storage.run { tx throws(VaultError) in try PolicyStore().put("group", rule("kv/x"), in: &tx) }
        cache.invalidate(at: f.storage.sequence)
        #expect(try cache.acl(for: ["own"], of: known, in: f.view).capabilities("kv/ann") == ["deny"])
    }

    // MARK: The cache

    @Test func theCacheFollowsEveryRecordThatAnIdentityRestsOn() throws {
        let f = IdentityFixture()
        let cache = IdentityCache(store: f.store, startingAfter: f.storage.sequence)
        func commit(_ path: String, _ body: String, _ operation: PluginKit.Operation = .update) throws
            -> String
        {
            let before = f.storage.entries
            let id = try f.call(operation, path, body).members["id"] ?? ""
            let changed = Set(before.keys).union(f.storage.entries.keys).filter {
                before[$0] != f.storage.entries[$0]
            }
            cache.note(Array(changed), at: f.storage.sequence)
            return String(id.dropFirst().dropLast())
        }
        let ann = try commit("entity", #"{"name":"ann"}"#)
        let bob = try commit("entity", #"{"name":"bob"}"#)
        let first = try #require(try cache.identity(of: ann, f.view))
        #expect(try cache.identity(of: ann, f.view) === first)
        _ = try commit("entity/id/\(bob)", #"{"policies":"p"}"#)
        #expect(try cache.identity(of: ann, f.view) === first, "what is another's changes nothing")
        let team = try commit("group", #"{"name":"t","policies":"t","member_entity_ids":["\#(ann)"]}"#)
        #expect(try cache.identity(of: ann, f.view)?.policies == ["t"])
        let firm = try commit("group", #"{"name":"f","policies":"f","member_group_ids":["\#(team)"]}"#)
        #expect(try cache.identity(of: ann, f.view)?.policies == ["f", "t"])
        _ = try commit("group/id/\(firm)", #"{"policies":"x"}"#)
        #expect(try cache.identity(of: ann, f.view)?.policies == ["t", "x"])
        _ = try commit("group/id/\(team)", "{}", .delete)
        #expect(try cache.identity(of: ann, f.view)?.policies == [])
        _ = try commit("entity/merge", #"{"from_entity_ids":["\#(ann)"],"to_entity_id":"\#(bob)"}"#)
        #expect(try cache.identity(of: ann, f.view)?.id == bob)
        _ = try commit("entity/id/\(bob)", #"{"disabled":true}"#)
        #expect(throws: VaultError.permissionDenied) { try cache.goodIdentity(of: ann, f.view) }
        _ = try commit("entity/id/\(bob)", "{}", .delete)
        #expect(try cache.identity(of: ann, f.view) == nil)
        #expect(throws: VaultError.permissionDenied) { try cache.goodIdentity(of: ann, f.view) }
    }

    @Test func theCacheKeepsNothingThatMayNeverBeCommitted() throws {
        let f = IdentityFixture()
        let id = try f.make("entity", #"{"name":"ann"}"#)
        let cache = IdentityCache(store: f.store, startingAfter: f.storage.sequence)
        let first = try #require(try cache.identity(of: id, f.view))
        var batch = f.view
        var changed = first.entity
        changed.isDisabled = true
        f.store.replace(&batch, first.entity, with: changed)
        let making = Transaction(view: OverlayView(base: f.storage, writes: batch.log.writes))
        #expect(try cache.identity(of: id, making)?.entity.isDisabled == true)
        #expect(try cache.identity(of: id, f.view) === first)
        // What was committed and not noted yet is not to be relied on.
        try f.call(.update, "entity/id/\(id)", #"{"disabled":true}"#)
        #expect(try cache.identity(of: id, f.view)?.entity.isDisabled == true)
    }

    @Test func theCacheIsBounded() throws {
        let f = IdentityFixture()
        let cache = IdentityCache(store: f.store, startingAfter: 0, capacity: 4)
        let first = try f.make("entity", "{}")
        cache.note([], at: 1_000)
        let known = try #require(try cache.identity(of: first, f.view))
        for _ in 0..<10 {
            let id = try f.make("entity", "{}")
            _ = try cache.identity(of: id, f.view)
        }
        #expect(try cache.identity(of: first, f.view) !== known)
        #expect(try cache.identity(of: first, f.view)?.entity == known.entity)
    }

    /// A client chooses what becomes part of keys.
    @Test(arguments: ["", "..", "sys/token/id/x", "00000000-0000-4000-8000-00000000000/", "\u{0}"])
    func whatIsNoIDIsNobodys(_ id: String) throws {
        let f = IdentityFixture()
        #expect(try f.identity(id) == nil)
        #expect(try f.store.group(id: id, f.view) == nil)
        #expect(try f.store.entity(ofAlias: id, f.view) == nil)
    }
}
