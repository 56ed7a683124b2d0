import Base
import Foundation
import TestKit
import Testing

@Suite struct MergePatchTests {
    /// RFC 7386, appendix A: original, patch, result.
    @Test(arguments: [
        (#"{"a":"b"}"#, #"{"a":"c"}"#, #"{"a":"c"}"#),
        (#"{"a":"b"}"#, #"{"b":"c"}"#, #"{"a":"b","b":"c"}"#),
        (#"{"a":"b"}"#, #"{"a":null}"#, #"{}"#),
        (#"{"a":"b","b":"c"}"#, #"{"a":null}"#, #"{"b":"c"}"#),
        (#"{"a":["b"]}"#, #"{"a":"c"}"#, #"{"a":"c"}"#),
        (#"{"a":"c"}"#, #"{"a":["b"]}"#, #"{"a":["b"]}"#),
        (#"{"a":{"b":"c"}}"#, #"{"a":{"b":"d","c":null}}"#, #"{"a":{"b":"d"}}"#),
        (#"{"a":[{"b":"c"}]}"#, #"{"a":[1]}"#, #"{"a":[1]}"#),
        (#"["a","b"]"#, #"["c","d"]"#, #"["c","d"]"#),
        (#"{"a":"b"}"#, #"["c"]"#, #"["c"]"#),
        (#"{"a":"foo"}"#, #"null"#, #"null"#),
        (#"{"a":"foo"}"#, #""bar""#, #""bar""#),
        (#"{"e":null}"#, #"{"a":1}"#, #"{"e":null,"a":1}"#),
        (#"[1,2]"#, #"{"a":"b","c":null}"#, #"{"a":"b"}"#),
        (#"{}"#, #"{"a":{"bb":{"ccc":null}}}"#, #"{"a":{"bb":{}}}"#),
    ])
    func appendixOfTheRFC(_ original: String, _ patch: String, _ result: String) throws {
        #expect(try text(json(original).mergePatched(with: json(patch))) == result)
    }

    @Test func untouchedBytesStayAsTheyAre() throws {
        let original = try json(
            #" { "big" : 12345678901234567890123 , "z":-0,"f":1.50, "s":"\u00e9\/" , "o":{ "k" : [ 1 ] } } "#)
        let merged = try original.mergePatched(with: json(#"{"new":1E400,"f":2}"#))
        #expect(
            text(merged)
                == #"{"big":12345678901234567890123,"z":-0,"f":2,"s":"\u00e9\/","o":{ "k" : [ 1 ] },"new":1E400}"#
        )
    }

    @Test func namesAreComparedUnescapedAndTheLastOfEqualOnesCounts() throws {
        #expect(
            try text(json(#"{"\u0061":1,"b":2}"#).mergePatched(with: json(#"{"a":null}"#))) == #"{"b":2}"#)
        #expect(try text(json(#"{"a":1,"a":2}"#).mergePatched(with: json(#"{}"#))) == #"{"a":2}"#)
        #expect(try text(json(#"{}"#).mergePatched(with: json(#"{"a":null,"a":3}"#))) == #"{"a":3}"#)
    }

    @Test func depthAndWidthCostNoStackAndNoSquare() throws {
        let deep = String(repeating: #"{"a":"#, count: 499) + "{}" + String(repeating: "}", count: 499)
        let deepPatch =
            String(repeating: #"{"a":"#, count: 499) + #"{"x":1}"# + String(repeating: "}", count: 499)
        #expect(try text(json(deep).mergePatched(with: json(deepPatch))) == deepPatch)
        let wide = "{" + (0..<10_000).map { "\"n\($0)\":\($0)" }.joined(separator: ",") + "}"
        let removing = "{" + (1..<10_000).map { "\"n\($0)\":null" }.joined(separator: ",") + "}"
        #expect(try text(json(wide).mergePatched(with: json(removing))) == #"{"n0":0}"#)
    }

    @Test func onlyNamesAreLeft() throws {
        let value = try json(
            #"{"foo":"x","bar":{"a":{"c":{"d":"x"}},"b":{}},"baz":{"e":3.14},"q":[{"z":1}]}"#)
        #expect(
            text(value.namesOnly())
                == #"{"foo":null,"bar":{"a":{"c":{"d":null}},"b":null},"baz":{"e":null},"q":null}"#)
        #expect(text(value.namesOnly(depth: 1)) == #"{"foo":null,"bar":null,"baz":null,"q":null}"#)
        #expect(
            text(value.namesOnly(depth: 2))
                == #"{"foo":null,"bar":{"a":null,"b":null},"baz":{"e":null},"q":null}"#)
        #expect(try text(json("{}").namesOnly()) == "{}")
        #expect(try text(json("null").namesOnly()) == "null")
    }

    /// Random trees against the recursive definition of RFC 7386, section 2.
    @Test func agreesWithTheDefinition() throws {
        let random = SeededRandom(seed: 7386)
        for _ in 0..<2_000 {
            let original = Tree.random(random, depth: 4)
            let patch = Tree.random(random, depth: 4)
            let merged = try json(original.text(random)).mergePatched(with: json(patch.text(random)))
            let checked = try RawJSON(validating: Array(merged.bytes))
            #expect(Tree(checked) == Tree.merge(original, patch))
        }
    }

    private func json(_ text: String) throws -> RawJSON { try RawJSON(validating: Array(text.utf8)) }
    private func text(_ json: RawJSON) -> String { String(decoding: json.bytes, as: UTF8.self) }
}

/// A JSON value as the RFC's pseudocode sees it.
private indirect enum Tree: Equatable {
    case null
    case leaf(String)
    case object([String: Tree])

    init(_ json: RawJSON) {
        switch json.kind {
        case .null: self = .null
        case .object: self = .object(Dictionary(json.members.map { ($0.name, Tree($0.value)) }) { $1 })
        default: self = .leaf(String(decoding: json.bytes, as: UTF8.self))
        }
    }

    static func merge(_ target: Tree, _ patch: Tree) -> Tree {
        guard case .object(let changes) = patch else { return patch }
        var result: [String: Tree] = [:]
        if case .object(let members) = target { result = members }
        for (name, value) in changes {
            result[name] = value == .null ? nil : merge(result[name] ?? .null, value)
        }
        return .object(result)
    }

    static func random(_ random: SeededRandom, depth: Int) -> Tree {
        switch random.below(depth > 0 ? 6 : 3) {
        case 0: return .null
        case 1: return .leaf(["1", "-0", "true", "1.5e3"][random.below(4)])
        case 2: return .leaf([#"[1,{"a":null},"]}"]"#, #""x{}\"""#, "[]"][random.below(3)])
        default:
            var members: [String: Tree] = [:]
            for _ in 0..<random.below(5) {
                members[["a", "b", "c", "d", "e", "f"][random.below(6)]] = Tree.random(
                    random, depth: depth - 1)
            }
            return .object(members)
        }
    }

    /// With blanks strewn in, and names escaped now and then.
    func text(_ random: SeededRandom) -> String {
        func blank() -> String { ["", "", " ", "\n\t"][random.below(4)] }
        switch self {
        case .null: return "null"
        case .leaf(let text): return text
        case .object(let members):
            let parts = members.sorted { $0.key < $1.key }.map { name, value in
                let code = String(name.utf8.first.map(Int.init) ?? 0, radix: 16)
                let written = random.below(5) == 0 ? "\\u00\(code)" : name
                return blank() + "\"" + written + "\"" + blank() + ":" + blank() + value.text(random)
                    + blank()
            }
            return "{" + blank() + parts.joined(separator: ",") + "}"
        }
    }
}
