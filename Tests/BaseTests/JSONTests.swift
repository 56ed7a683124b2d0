import Base
import Testing

@Suite struct JSONTests {
    @Test(arguments: [
        "", "{", "{\"a\":}", "{'a':1}", "{\"a\":NaN}", "[1,]", "01", "1.", "\"\\x\"", "\"\u{1}\"", "tru",
        "{} x", "{\"a\" 1}",
        "[1 2]", "{\"a\":1,}", "-", "1e", "\"\\ud8", "\u{FEFF}{}",
    ])
    func malformedTextIsRefused(_ text: String) {
        #expect(throws: VaultError.self) { try RawJSON(validating: Array(text.utf8)) }
    }

    @Test func membersKeepTheirBytes() throws {
        let json = try RawJSON(
            validating: Array(
                #" {"a":{"b":[1,"}\"]"]},"n":1.50,"a":{"c":2}, "s":"\u00e9\ud83d\ude00\n"} "#.utf8))
        #expect(json.members.map(\.name) == ["a", "n", "s"])
        #expect(json["a"].map { String(decoding: $0.bytes, as: UTF8.self) } == #"{"c":2}"#)
        #expect(json["n"]?.numberText == "1.50")
        #expect(json["s"]?.string == "é😀\n")
    }

    @Test func nestingAndSizeAreBounded() throws {
        func nested(_ depth: Int) -> [UInt8] {
            Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
        }
        _ = try RawJSON(validating: nested(500))
        #expect(throws: VaultError.self) { try RawJSON(validating: nested(501)) }
        let long = "\"" + String(repeating: "a", count: (1 << 20) + 1) + "\""
        #expect(throws: VaultError.self) { try RawJSON(validating: Array(long.utf8)) }
    }

    @Test func invalidUTF8IsRefused() {
        for bytes: [UInt8] in [
            [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xE2, 0x82], [0x80],
        ] {
            #expect(throws: VaultError.self) { try RawJSON(validating: [34] + bytes + [34]) }
        }
    }

    @Test func writerPlacesCommasAndEscapes() {
        var writer = JSONWriter()
        writer.value(["a": 1, "b": ["x", true, nil], "c": "<\"\n\u{1}>"])
        #expect(
            String(decoding: writer.bytes, as: UTF8.self)
                == #"{"a":1,"b":["x",true,null],"c":"\u003c\"\n\u0001\u003e"}"#)
    }

    @Test func durationsReadAndPrintAsGoDoes() {
        #expect(Duration(vaultText: "1h30m") == .seconds(5400))
        #expect(Duration(vaultText: "90") == .seconds(90))
        #expect(Duration(vaultText: "1.5h") == .seconds(5400))
        #expect(Duration(vaultText: "2d") == .seconds(172_800))
        for bad in ["", "h", "1x", "1h2", "--1", "1..2s", "99999999999999999999"] {
            #expect(Duration(vaultText: bad) == nil)
        }
        #expect(Duration.seconds(5400).goText == "1h30m0s")
        #expect(Duration.milliseconds(1500).goText == "1.5s")
    }

    @Test func datesRoundTrip() throws {
        for text in [
            "1970-01-01T00:00:00Z", "2024-02-29T23:59:59.000000001Z",
            "0001-01-01T00:00:00Z".replacing("0001", with: "1901"),
        ] {
            #expect(try #require(Timestamp(rfc3339: text)).rfc3339() == text)
        }
        #expect(Timestamp(rfc3339: "2024-01-01T02:00:00+02:00") == Timestamp(rfc3339: "2024-01-01T00:00:00Z"))
        #expect(Timestamp(rfc3339: "2024-13-01T00:00:00Z") == nil)
    }
}
