import Base
import PluginKit
import TestKit
import Testing

@Suite struct FieldFuzzTests {
    /// Whatever a client sends for a field becomes a value of its type or none; a text means the same by
    /// query and in a body.
    @Test func inputsBecomeValuesOrNone() {
        let fuzz = Fuzz(
            "fields",
            texts: [
                "60", "-1", "1e2", "5.0", "1h30m", "true", "T", "a, b,c", "a=b,c=d", #"["a","b"]"#,
                #"{"a":"b"}"#,
                #""aGk=""#, "99999999999999999999.5",
            ],
            pieces: ["\"", ",", "=", "[", "]", "{", "}", "null", "e400", "-", ".", " ", "\\u0000", "é", ":"])
        for input in fuzz {
            Self.parse(.text(input.text))
            if let json = try? RawJSON(validating: input.bytes) { Self.parse(.json(json)) }
            let quoted = JSONValue.string(input.text).encoded()
            guard Int.parse(.text(input.text)) == Int.parse(.json(RawJSON(trusted: quoted))),
                Duration.parse(.text(input.text)) == Duration.parse(.json(RawJSON(trusted: quoted)))
            else {
                Issue.record("by query and in a body: \(input)")
                return
            }
        }
    }

    private static func parse(_ input: FieldInput) {
        _ = (Int.parse(input), Bool.parse(input), Duration.parse(input), String.parse(input))
        _ = ([String].parse(input)?.count, [String: String].parse(input)?.count, RawJSON.parse(input)?.kind)
        _ = SecretBytes.parse(input)?.count
    }
}
