import Base
import Foundation
import TestKit
import Testing

private let aValue = "a value (string, number, true, false, list or object)"

@Suite struct HCLTests {
    /// The tree as text, without positions.
    private func show(_ object: HCLObject) -> String {
        object.members.map { member in
            ([member.key] + member.labels.map { "<\($0)>" }).joined() + "=" + show(member.value)
        }.joined(separator: " ")
    }

    private func show(_ value: HCLValue) -> String {
        switch value.kind {
        case .null: "null"
        case .bool(let flag): "\(flag)"
        case .int(let number): "\(number)"
        case .float(let number): "\(number)f"
        case .string(let text): "'\(text)'"
        case .list(let values): "[" + values.map(show).joined(separator: ",") + "]"
        case .object(let object): "{" + show(object) + "}"
        }
    }

    private func parse(_ text: String) throws -> HCLObject { try HCL.parse(Array(text.utf8)) }

    private func fault(_ text: String) -> String? {
        do {
            _ = try parse(text)
            return nil
        } catch {
            return (error as? VaultError)?.messages.first
        }
    }

    @Test(arguments: [
        ("", ""),
        ("a = 1", "a=1"),
        ("a = 1 b = 2, c = 3", "a=1 b=2 c=3"),
        ("a = -1\nb = 1.5\nc = 1e3\nd = 0x1F\ne = 0755", "a=-1 b=1.5f c=1000.0f d=31 e=493"),
        ("t = true f = false", "t=true f=false"),
        (#"s = "a\n\t\"\\é\x41\101""#, "s='a\n\t\"\\éAA'"),
        (#"s = "x ${file("y")} z""#, #"s='x ${file("y")} z'"#),
        (#"l = [1, "a", true, [2], {b = 3},]"#, "l=[1,'a',true,[2],{b=3}]"),
        ("# c\n// d\n/* e\n f */ a = 1 # g", "a=1"),
        (
            #"path "secret/*" { capabilities = ["read"] ttl="1s" }"#,
            "path<secret/*>={capabilities=['read'] ttl='1s'}"
        ),
        (#""path" "x" {} path "x" {}"#, "path<x>={} path<x>={}"),
        ("listener \"tcp\" {\r\n  a = \"b\"\r\n}\r\n", "listener<tcp>={a='b'}"),
        ("telemetry { x-y.z = 1 }", "telemetry={x-y.z=1}"),
        ("a = <<EOF\n one\n two\nEOF\nb = 1", "a=' one\n two\n' b=1"),
        ("a = <<-EOF\n    one\n      two\n    EOF\nb = 1", "a='one\n  two\n' b=1"),
        ("a = [<<EOF\nx\nEOF\n, \"y\"]", "a=['x\n','y']"),
        ("\u{FEFF}a = 1", "a=1"),
        (#"{"a": {"b": [1, 2.5, null, "é😀", true]}}"#, "a={b=[1,2.5f,null,'é😀',true]}"),
        (#" {"a": 1, "a": 2} "#, "a=1 a=2"),
    ])
    func wellFormedTextsBecomeTrees(_ text: String, _ tree: String) throws {
        #expect(try show(parse(text)) == tree)
    }

    @Test(arguments: [
        ("a", "line 1, column 2: expected '=', '{' or a label after the key 'a', found the end of the text"),
        (
            "a = ",
            "line 1, column 5: expected \(aValue), found the end of the text"
        ),
        (
            "a = 1\nb = yes",
            "line 2, column 5: expected \(aValue), found 'yes'; a string needs quotes"
        ),
        ("a = 10s", "line 1, column 5: expected a number, found '10s'; a string needs quotes"),
        ("é = \"é\" }", "line 1, column 9: expected a key, found '}'"),
        ("path \"x\" {", "line 1, column 11: expected a key or '}', found the end of the text"),
        ("path \"x\" = {}", "line 1, column 10: expected '{' after a label, found '='"),
        ("a = [1 2]", "line 1, column 8: expected ',' or ']', found '2'"),
        ("a = \"x\nb\"", "line 1, column 5: expected '\"' to end this string, found the end of the line"),
        ("a = \"\\q\"", #"line 1, column 7: expected one of " \ a b f n r t v x u U after '\', found 'q'"#),
        ("/* x", "line 1, column 1: expected '*/' to end this comment, found the end of the text"),
        (
            "a = <<EOF\nx\n",
            "line 1, column 5: expected a line 'EOF' to end this heredoc, found the end of the text"
        ),
        ("a = 1,, b = 2", "line 1, column 7: expected a key, found ','"),
        ("a\u{0} = 1", "line 1, column 2: expected text, found a NUL"),
        (#"{"a": 1,}"#, "line 1, column 9: expected a key in double quotes, found '}'"),
        ("{\"a\":\n 01}", "line 2, column 2: expected a JSON number, found '01'"),
        (#"{"a": 1} x"#, "line 1, column 10: expected nothing more after the JSON document, found 'x'"),
        (#"{"a": 'x'}"#, "line 1, column 7: expected a JSON value, found '''"),
    ])
    func faultsNamePlaceAndExpectation(_ text: String, _ message: String) {
        #expect(fault(text) == message)
    }

    @Test func bothNotationsGiveTheSameBlocks() throws {
        let texts = [
            #"path "a" { x = 1 } path "b" { x = 2 }"#,
            #"path { a { x = 1 } b { x = 2 } }"#,
            #"path = { "a" = { x = 1 }, "b" = { x = 2 } }"#,
            #"{"path": {"a": {"x": 1}, "b": {"x": 2}}}"#,
            #"{"path": [{"a": {"x": 1}}, {"b": [{"x": 2}]}]}"#,
        ]
        for text in texts {
            let blocks = try parse(text).members.flatMap { try $0.labelledBlocks() }
            #expect(blocks.map { "\($0.label) \(show($0.body))" } == ["a x=1", "b x=2"], "\(text)")
        }
        #expect(throws: VaultError.self) { try parse("path = 5").members[0].labelledBlocks() }
        #expect(throws: VaultError.self) { try parse(#"path "a" "b" {}"#).members[0].labelledBlocks() }
    }

    @Test func depthSizeAndCountAreBounded() throws {
        func nested(_ depth: Int) -> String {
            "a = " + String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try parse(nested(100))
        #expect(fault(nested(101)) != nil)
        #expect(fault(String(repeating: "a {", count: 500_000)) != nil)
        #expect(fault(String(repeating: "{\"a\":", count: 200_000)) != nil)
        #expect(fault(String(repeating: "a=1 ", count: 60_000)) != nil)
        #expect(fault(String(repeating: " ", count: (1 << 20) + 1)) != nil)
        #expect(throws: VaultError.self) { try HCL.parse([0x61, 0x3D, 0x22, 0xC0, 0x80, 0x22]) }
    }
}
