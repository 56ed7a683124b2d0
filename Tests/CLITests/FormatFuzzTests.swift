import Base
import TestKit
import Testing

@testable import CLI

@Suite struct FormatFuzzTests {
    /// Formatting moves blanks: the text means what it meant, and formatting it again moves none.
    @Test func formattedPoliciesMeanTheSame() {
        let fuzz = Fuzz(
            "policies to format",
            texts: [
                "path \"a\" {\nb=[\"read\",   \"list\"]\nx =1 # why\n\n\n}\npath \"b\" {p=[\n\"a\",\n]\n}\n",
                "# c\npath \"x/{{a}}\" {\n  a = <<EOT\n   keep = this\nEOT\n  b = \"${f(\"q\")} }\"\n}\n",
                "name = \"n\" // c\npath \"s/+\" { a = { \"b\" = [1, -2.5, true] } /* d */ }\n",
                #"{"path": {"a": {"capabilities": ["read"]}}}"#,
            ],
            pieces: [
                "{", "}", "[", "]", "\"", "=", ",", "\n", "\n\n", "  ", "\t", "#", "//", "/*", "*/", "<<E\n",
                "E\n", ":",
                "\\\"", "${", "é", "\r\n",
            ], inputs: 30_000)
        var formatted = 0
        for input in fuzz {
            guard let text = String(validating: input.bytes, as: UTF8.self),
                let before = try? HCL.parse(input.bytes)
            else { continue }
            formatted += 1
            let once = HCLFormatter.format(text)
            guard let after = try? HCL.parse(Array(once.utf8)), Self.show(after) == Self.show(before) else {
                Issue.record("became \(once.debugDescription): \(input)")
                return
            }
            guard HCLFormatter.format(once) == once else {
                Issue.record("changes again, from \(once.debugDescription): \(input)")
                return
            }
        }
        #expect(!fuzz.isWhole || formatted > fuzz.tried / 20)
    }

    private static func show(_ object: HCLObject) -> String {
        object.members.map { "\($0.key.debugDescription) \($0.labels) \(show($0.value))" }.joined(
            separator: ";")
    }

    private static func show(_ value: HCLValue) -> String {
        if let object = value.object { return "{\(show(object))}" }
        if let list = value.list { return "[\(list.map(show).joined(separator: ","))]" }
        return "\(value.kind)"
    }
}
