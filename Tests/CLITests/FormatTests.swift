import Base
import Testing

@testable import CLI

@Suite struct FormatTests {
    private func tree(_ text: String) throws -> JSONValue { try RawJSON(validating: Array(text.utf8)).tree }

    @Test func tablesPadToTheWidestCell() {
        let text = Table.text([["Key", "Value"], ["a", "1"], ["longer", ""]])
        #expect(text == "Key       Value\n---       -----\na         1\nlonger    n/a")
    }

    @Test func tablesCountCharactersAndTrimCells() {
        #expect(Table.text([["é ", "x"], ["abc", "y"]], underlined: false) == "é      x\nabc    y")
    }

    @Test(arguments: [
        (0, "0s"), (59, "59s"), (60, "1m"), (90, "1m30s"), (1800, "30m"), (3600, "1h"), (5400, "1h30m"),
        (3601, "1h0m1s"), (2_764_800, "768h"), (-3600, "-1h"),
    ])
    func secondsReadAsDurations(seconds: Int, text: String) {
        #expect(Table.humanDuration(seconds) == text)
    }

    @Test func onlyNamesThatSaySoBecomeDurations() {
        #expect(Table.cell("max_lease_ttl", .number("86400")) == "24h")
        #expect(Table.cell("ttl", .string("60")) == "60")
        #expect(Table.cell("subtotal", .number("60")) == "60")
        #expect(Table.cell("token_period", .int(60)) == "1m")
    }

    @Test func nestedValuesPrintAsGoDoes() throws {
        #expect(try tree(#"{"b":[1,"x",null],"a":{"k":true}}"#).goText == "map[a:map[k:true] b:[1 x <nil>]]")
        #expect(Table.quoted(["a", "b\"c"]) == #"["a" "b\"c"]"#)
    }

    @Test func headingsAreAsWideAsTheTable() throws {
        #expect(Table.heading("Metadata", over: ["deletion_time": "x"]) == "====== Metadata ======")
        #expect(Table.heading("Data", over: ["x": "1"]) == "== Data ==")
        #expect(Table.heading("Metadata", over: ["x": "1"]) == "== Metadata ==")
    }

    @Test func jsonIsIndentedSortedAndKeepsNumbers() throws {
        let text = try tree(#"{"b":1.50,"a":[],"c":{},"d":["<",{"e":null}]}"#).prettyText
        #expect(
            text == """
                {
                  "a": [],
                  "b": 1.50,
                  "c": {},
                  "d": [
                    "\\u003c",
                    {
                      "e": null
                    }
                  ]
                }
                """)
    }

    @Test func yamlQuotesWhatCouldBeAnotherKind() throws {
        let text = YAML.text(
            try tree(
                ##"{"a":"1","b":"yes","c":"plain text","d":"x: y","e":"","f":"2024-01-01","g":"-x","h":"#"}"##
            ))
        #expect(
            text == """
                a: "1"
                b: "yes"
                c: plain text
                d: 'x: y'
                e: ""
                f: "2024-01-01"
                g: -x
                h: '#'

                """)
    }

    @Test func yamlNestsListsAndObjects() throws {
        let text = YAML.text(
            try tree(#"{"l":[1,[2,3],{"a":1,"b":[{"c":2}]}],"m":{},"n":null,"o":[],"t":"x\ny\n"}"#))
        #expect(
            text == """
                l:
                - 1
                - - 2
                  - 3
                - a: 1
                  b:
                  - c: 2
                m: {}
                "n": null
                o: []
                t: |
                  x
                  y

                """)
    }

    @Test func yamlEscapesControlCharacters() {
        #expect(YAML.text(.string("a\u{1}b")) == "\"a\\u0001b\"\n")
        #expect(YAML.text(["k": "a\n b \n"]) == "k: \"a\\n b \\n\"\n")
    }

    @Test func policiesTakeTheirCanonicalForm() {
        let ugly =
            "\n\npath    \"a\" {\ncapabilities=[\"read\",   \"list\"]\nx =1 # why\n\n\n}\npath \"b\" {capabilities=[\n\"a\",\n]\n}\n"
        #expect(
            HCLFormatter.format(ugly) == """
                path "a" {
                  capabilities = ["read", "list"]
                  x            = 1 # why
                }
                path "b" { capabilities = [
                    "a",
                  ]
                }

                """)
    }

    @Test func formattingTwiceChangesNothing() throws {
        let text = "# c\npath \"x/{{a}}\" {\n  a = <<EOT\n   keep = this\nEOT\n  b = \"${f(\"q\")} }\"\n}\n"
        let once = HCLFormatter.format(text)
        #expect(once == text)
        #expect(HCLFormatter.format(once) == once)
    }

    @Test func keyTimesReadAsRFC822() {
        #expect(OperatorKeyStatusCommand.rfc822(Timestamp(seconds: 1_795_454_520)) == "23 Nov 26 17:22 UTC")
    }

    @Test func pgpArmourComesOff() {
        let armour =
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: x\n\nmQEN\nBFX=\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
        #expect(PGPFile.base64(of: Array(armour.utf8)) == "mQENBFX=")
        #expect(PGPFile.base64(of: [0x99, 0, 1]) == "mQAB")
        #expect(PGPFile.base64(of: [0x99]) == "mQ==")
        #expect(PGPFile.base64(of: Array("mQEN\n".utf8)) == "mQEN")
    }
}
