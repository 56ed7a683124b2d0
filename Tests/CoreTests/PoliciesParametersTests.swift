import Base
import PluginKit
import Testing

@testable import Core

@Suite struct PoliciesParametersTests {
    private func acl(_ texts: String...) throws -> ACL {
        ACL(try texts.map { try PolicyDocument(parsing: $0) })
    }

    /// The fields of a JSON body, repeats included.
    private func writes(_ acl: ACL, _ path: String, _ body: String) throws -> Bool {
        var fields: [(name: String, value: FieldInput)] = []
        try RawJSON(validating: Array(body.utf8)).forEachMember { fields.append(($0, .json($1))) }
        return acl.decide(path: path, operation: .update, parameters: fields).isAllowed
    }

    private static let corpus = """
        path "allow" { capabilities = ["update"] allowed_parameters = { "a" = ["x","y*"], "b" = [] } }
        path "allowstar" { capabilities = ["update"] allowed_parameters = { "a" = ["1"], "*" = [] } }
        path "denied" {
            capabilities = ["update"]
            denied_parameters = { "bad" = [], "lvl" = ["root","adm*"] }
        }
        path "deniedall" { capabilities = ["update"] denied_parameters = { "*" = [] } }
        path "req" { capabilities = ["update"] required_parameters = ["must"] }
        path "both" {
            capabilities = ["update"]
            allowed_parameters = { "a" = [], "b" = [] }
            denied_parameters = { "b" = ["no"] }
        }
        path "kinds" {
            capabilities = ["update"]
            allowed_parameters = { "n" = [5, 1.5], "f" = [true], "l" = [["a", "b"]], "o" = [{ k = 1 }] }
        }
        """

    @Test(arguments: [
        ("allow", #"{"a":"x"}"#, true), ("allow", #"{"a":"yes"}"#, true), ("allow", #"{"a":"z"}"#, false),
        ("allow", #"{"b":"anything"}"#, true), ("allow", #"{"a":"x","c":"1"}"#, false),
        ("allow", #"{"A":"x"}"#, true),
        ("allow", "{}", true), ("allow", #"{"a":null}"#, false), ("allow", #"{"a":["x"]}"#, false),
        ("allowstar", #"{"zzz":"x"}"#, true), ("allowstar", #"{"a":"2"}"#, false),
        ("allowstar", #"{"a":1}"#, false),
        ("allowstar", #"{"a":"1","k":[1,2]}"#, true), ("denied", #"{"ok":"1"}"#, true),
        ("denied", #"{"bad":"1"}"#, false), ("denied", #"{"BAD":"1"}"#, false),
        ("denied", #"{"lvl":"user"}"#, true),
        ("denied", #"{"lvl":"root"}"#, false), ("denied", #"{"lvl":"admin"}"#, false), ("denied", "{}", true),
        ("deniedall", #"{"x":"1"}"#, false), ("deniedall", "{}", true), ("req", #"{"x":"1"}"#, false),
        ("req", "{}", false),
        ("req", #"{"must":"1"}"#, true), ("req", #"{"must":null}"#, false),
        ("both", #"{"a":"1","b":"yes"}"#, true),
        ("both", #"{"a":"1","b":"no"}"#, false), ("kinds", #"{"n":5}"#, true),
        ("kinds", #"{"n":1.50}"#, true),
        ("kinds", #"{"n":"5"}"#, false), ("kinds", #"{"n":6}"#, false), ("kinds", #"{"f":true}"#, true),
        ("kinds", #"{"f":false}"#, false), ("kinds", #"{"l":["a","b"]}"#, true),
        ("kinds", #"{"l":["b","a"]}"#, false),
        ("kinds", #"{"o":{"k":1}}"#, true), ("kinds", #"{"o":{"k":1,"j":2}}"#, false),
    ])
    func fieldsAreJudgedAsVaultDoes(_ path: String, _ body: String, _ isAllowed: Bool) throws {
        #expect(try writes(acl(Self.corpus), path, body) == isAllowed)
    }

    @Test(arguments: [
        #"{"role":"user","role":"admin"}"#, #"{"role":"admin","role":"user"}"#, #"{"\u0072ole":"admin"}"#,
        #"{"ROLE":"admin"}"#, #"{"role":["admin"]}"#, #"{"role":["user","admin"]}"#,
        #"{"role":"user,admin"}"#,
        #"{"role":" admin "}"#, #"{"n":"5"}"#, #"{"n":5.0}"#, #"{"flag":"true"}"#, #"{"flag":1}"#,
        #"{"flag":"T"}"#,
    ])
    func aRefusedValueIsRefusedInEveryReading(_ body: String) throws {
        let acl = try acl(
            """
            path "p" {
                capabilities = ["update"]
                denied_parameters = { role = ["admin"], n = [5], flag = [true] }
            }
            """
        )
        #expect(try !writes(acl, "p", body))
        #expect(try writes(acl, "p", #"{"role":"administrator","n":55,"flag":false}"#))
    }

    @Test func queryTextIsJudgedToo() throws {
        let acl = try acl(
            #"path "p" { capabilities = ["read","list"] allowed_parameters = { version = ["1"] } }"#)
        func reads(_ fields: [(name: String, value: FieldInput)], _ operation: Operation = .read) -> Bool {
            acl.decide(path: "p", operation: operation, parameters: fields).isAllowed
        }
        #expect(reads([("version", .text("1"))]))
        #expect(!reads([("version", .text("2"))]))
        #expect(!reads([("other", .text("1"))]))
        #expect(reads([("other", .text("1"))], .list))
    }

    @Test func parametersOfSeveralPoliciesMerge() throws {
        let first = """
            path "p" {
                capabilities = ["update"]
                allowed_parameters = { a = ["1"], b = ["1"] }
                required_parameters = ["a"]
                min_wrapping_ttl = 10
            }
            """
        let second = """
            path "p" {
                capabilities = ["create"]
                allowed_parameters = { a = ["2"], b = [], c = [] }
                required_parameters = ["a", "c"]
                max_wrapping_ttl = 3
            }
            """
        let merged = try PolicyDocument(parsing: first + "\n" + second)
        #expect(merged.rules.count == 2)
        var permissions = merged.rules[0].permissions
        permissions.merge(merged.rules[1].permissions)
        #expect(permissions.capabilities == [.create, .update])
        #expect(permissions.required == ["a", "c"])
        #expect(permissions.allowed.map(\.name) == ["a", "b", "c"])
        #expect(permissions.allowed.map(\.values) == [[.string("1"), .string("2")], [], []])
        #expect(permissions.minWrappingTTL == .seconds(10))
        #expect(permissions.maxWrappingTTL == .seconds(3))
        // Bounds that exclude each other let nothing through.
        let acl = try acl(first, second)
        let fields: [(name: String, value: FieldInput)] = [("a", .text("1")), ("c", .text("x"))]
        let decision = acl.decide(path: "p", operation: .update, parameters: fields, wrapTTL: .seconds(4))
        #expect(decision == .denied(.wrappingTTL))
    }

    @Test(arguments: [
        ("a*", "abc", true), ("*c", "abc", true), ("*b*", "abc", true), ("**", "abc", true),
        ("a*", "b", false),
        ("*", "abc", false), ("*", "*", true), ("a*c", "abc", false), ("a*c", "a*c", true), ("", "", true),
        ("*ab", "b", false),
    ])
    func globsStandAtTheEndsOnly(_ pattern: String, _ text: String, _ fits: Bool) {
        #expect(ParameterValue.glob(pattern, text) == fits)
    }
}
