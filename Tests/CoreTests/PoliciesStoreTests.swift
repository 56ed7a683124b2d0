import Base
import PluginKit
import TestKit
import Testing

@testable import Core

@Suite struct PoliciesStoreTests {
    private let store = PolicyStore()
    private let policy = #"path "secret/*" { capabilities = ["read"] }"#

    private func fault(_ body: () throws(VaultError) -> Void) -> String? {
        do throws(VaultError) {
            try body()
            return nil
        } catch { return error.messages.first }
    }

    @Test(arguments: [
        (#"path "x" { capabilities = ["fly"] }"#, "line 1, column 28: path \"x\": invalid capability 'fly'"),
        (
            #"path "x" { capabilities = ["root"] }"#,
            "line 1, column 28: path \"x\": invalid capability 'root'"
        ),
        (
            #"path "x" { capabilities = "read" }"#,
            "line 1, column 27: 'capabilities': expected a list of strings, found a string"
        ),
        ("foo = 1", "line 1, column 1: invalid key 'foo': expected 'path' or 'name'"),
        (
            "path \"x\" {\n  capabilties = [\"read\"]\n}",
            "line 2, column 3: path \"x\": invalid key 'capabilties'"
        ),
        (
            #"path "x" { policy = "no" }"#,
            "line 1, column 21: path \"x\": invalid policy 'no': expected 'read', 'write', 'sudo' or 'deny'"
        ),
        ("path \"a+*\" {}", "line 1, column 1: path \"a+*\": invalid use of wildcards ('+*' is forbidden)"),
        ("path \"+*\" {}", "line 1, column 1: path \"+*\": invalid use of wildcards ('+*' is forbidden)"),
        (
            "path \"x\" { policy=\"read\" policy=\"deny\" }",
            "line 1, column 26: path \"x\": 'policy' is given twice"
        ),
        (
            #"path "x" { min_wrapping_ttl="10s" max_wrapping_ttl="5s" }"#,
            "line 1, column 1: path \"x\": max_wrapping_ttl is below min_wrapping_ttl"
        ),
        (
            #"path "x" { min_wrapping_ttl="soon" }"#,
            "line 1, column 29: 'min_wrapping_ttl': expected a duration such as 90, \"90s\" or \"1h\""
        ),
        (
            #"path "x" { allowed_parameters = { a = "1" } }"#,
            "line 1, column 39: 'allowed_parameters.a': expected a list of values, found a string"
        ),
        ("path \"x{{a\" {}", "line 1, column 1: path \"x{{a\": expected each '{{' to be closed by '}}'"),
        ("path \"x}}\" {}", "line 1, column 1: path \"x}}\": expected each '{{' to be closed by '}}'"),
        (#"path = "x""#, "line 1, column 8: 'path': expected an object or a list of objects, found a string"),
        (
            #"{"path": {"x": {"capabilities": ["read"], "y": 1}}}"#,
            "line 1, column 43: path \"x\": invalid key 'y'"
        ),
        ("path \"x\" {", "line 1, column 11: expected a key or '}', found the end of the text"),
    ])
    func faultyPoliciesAreRefusedByPlace(_ text: String, _ message: String) {
        #expect(fault { () throws(VaultError) in _ = try PolicyDocument(parsing: text) } == message)
    }

    @Test func documentsKeepWhatTheyState() throws {
        let document = try PolicyDocument(
            parsing: """
                name = "ops"
                path "/secret/x" { policy = "sudo" comment = "why" }
                path "y" { capabilities = ["read"] control_group = { max_ttl = "1h" } mfa_methods = ["m"] }
                """)
        #expect(document.statedName == "ops")
        #expect(document.rules.map(\.path) == ["secret/x", "y"])
        #expect(
            document.rules[0].permissions.capabilities.names == [
                "create", "delete", "list", "read", "sudo", "update",
            ])
        #expect(document.warnings.count == 2)
        #expect(!document.isTemplated)
        let json = try PolicyDocument(parsing: #"{"path":{"secret/x":{"capabilities":["create"]}}}"#)
        #expect(json.rules.map(\.path) == ["secret/x"])
    }

    @Test func builtInPoliciesAreWellFormed() throws {
        let document = try PolicyDocument(parsing: try #require(BuiltInPolicies.text("default")))
        #expect(document.isTemplated)
        let acl = ACL([document])
        #expect(acl.capabilities("auth/token/lookup-self") == ["read"])
        #expect(acl.capabilities("cubbyhole/x/y") == ["create", "delete", "list", "read", "update"])
        #expect(acl.capabilities("sys/tools/hash/sha2-256") == ["update"])
        #expect(acl.capabilities("secret/x") == ["deny"])
        #expect(acl.decide(path: "sys/capabilities-self", operation: .read).isAllowed == false)
        _ = try PolicyDocument(parsing: try #require(BuiltInPolicies.text("response-wrapping")))
        #expect(BuiltInPolicies.text("other") == nil)
    }

    @Test func policiesAreStoredUnderLowerCaseNames() throws {
        let storage = MemoryStorage()
        let view = Transaction(view: storage)
        #expect(try store.list(in: view) == ["default", "root"])
        try storage.run { tx throws(VaultError) in try store.put(" P1", policy, in: &tx) }
        #expect(Array(storage.entries.keys) == ["sys/policy/p1"])
        #expect(try store.read("P1", in: view) == policy)
        #expect(try store.read("none", in: view) == nil)
        #expect(try store.read("root", in: view) == "")
        #expect(try store.read("Default", in: view)?.contains("cubbyhole/*") == true)
        #expect(try store.list(in: view) == ["default", "p1", "root"])
        try storage.run { tx throws(VaultError) in try store.put("default", policy, in: &tx) }
        #expect(try store.read("default", in: view) == policy)
        try storage.run { tx throws(VaultError) in
            try store.delete("P1", in: &tx)
            try store.delete("none", in: &tx)
        }
    }

    @Test func protectedNamesAndEmptyTextsAreRefused() throws {
        var tx = Transaction(view: MemoryStorage())
        for name in ["root", "ROOT", " root", "root\t"] {
            #expect(
                fault { () throws(VaultError) in try store.put(name, policy, in: &tx) }
                    == "cannot update \"root\" policy")
            #expect(
                fault { () throws(VaultError) in try store.delete(name, in: &tx) }
                    == "cannot delete \"root\" policy")
        }
        #expect(
            fault { () throws(VaultError) in try store.delete("default", in: &tx) }
                == "cannot delete default policy")
        for name in ["", "/", "a//b", "../x", "a\u{1}b", String(repeating: "x", count: 257), "p\u{E9}"] {
            #expect(fault { () throws(VaultError) in try store.put(name, policy, in: &tx) } != nil, "\(name)")
        }
        for text in ["", " \n", "\u{0}\u{1}", "x", String(repeating: "path \"a\" {", count: 500)] {
            #expect(fault { () throws(VaultError) in try store.put("p", text, in: &tx) } != nil)
        }
        #expect(!tx.log.hasWrites)
    }

    @Test func base64TextsAreDecoded() {
        let sent = "cGF0aCAic2VjcmV0L2IiIHsgY2FwYWJpbGl0aWVzID0gWyJyZWFkIl0gfQ=="
        #expect(PolicyStore.text(fromAPI: sent) == #"path "secret/b" { capabilities = ["read"] }"#)
        for plain in [policy, "", "{}", "abc", "ab=c", "a===", "=====", #"{"path":{}}"#] {
            #expect(PolicyStore.text(fromAPI: plain) == plain)
        }
    }

    @Test func cacheSeesChangesAndBoundsItself() throws {
        let storage = MemoryStorage()
        let cache = ACLCache(capacity: 4)
        try storage.run { tx throws(VaultError) in try store.put("p", policy, in: &tx) }
        func reads() throws -> Bool {
            try cache.acl(for: ["default", "p"], in: Transaction(view: storage)).decide(
                path: "secret/x", operation: .read
            ).isAllowed
        }
        #expect(try reads())
        let first = try cache.acl(for: ["p", "default"], in: Transaction(view: storage))
        #expect(try cache.acl(for: ["default", "p"], in: Transaction(view: storage)) === first)
        try storage.run { tx throws(VaultError) in try store.put("p", #"path "other" {}"#, in: &tx) }
        cache.invalidate(at: storage.sequence)
        #expect(try !reads())
        for index in 0..<20 { _ = try cache.acl(for: ["x\(index)"], in: Transaction(view: storage)) }
        #expect(try cache.acl(for: ["p", "default"], in: Transaction(view: storage)) !== first)
    }

    @Test func cacheTakesNothingFromOldViews() throws {
        let storage = MemoryStorage()
        let cache = ACLCache()
        try storage.run { tx throws(VaultError) in try store.put("p", policy, in: &tx) }
        cache.invalidate(at: storage.sequence + 1)
        let old = try cache.acl(for: ["p"], in: Transaction(view: storage))
        #expect(try cache.acl(for: ["p"], in: Transaction(view: storage)) !== old)
    }

    @Test func rootStandsAloneAndInOneSpelling() throws {
        let cache = ACLCache()
        let view = Transaction(view: MemoryStorage())
        #expect(try cache.acl(for: ["root"], in: view).isRoot)
        for names in [["ROOT"], [" root"], ["default", "root"], ["root", "root"], ["Root", "root"]] {
            #expect(throws: VaultError.permissionDenied) { try cache.acl(for: names, in: view) }
        }
        #expect(try !cache.acl(for: [], in: view).decide(path: "x", operation: .read).isAllowed)
    }
}
