import Base
import PluginKit
import Testing

@Suite struct FieldTests {
    private func parse<Value: FieldValue>(_ json: String, as: Value.Type) throws -> Value? {
        Value.parse(.json(try RawJSON(validating: Array(json.utf8))))
    }

    @Test func numbersComeInSeveralForms() throws {
        #expect(try parse("5", as: Int.self) == 5)
        #expect(try parse(#""5""#, as: Int.self) == 5)
        #expect(try parse("5.0", as: Int.self) == 5)
        #expect(try parse("1e2", as: Int.self) == 100)
        #expect(Int.parse(.text("-7")) == -7)
        for bad in ["5.5", #""x""#, "[]", "{}", "99999999999999999999", "1e400"] {
            #expect(try parse(bad, as: Int.self) == nil, "\(bad)")
        }
        #expect(Int.parse(.text("0x1")) == nil)
        #expect(Int.parse(.text("")) == nil)
    }

    @Test func booleansAreGos() throws {
        for yes in ["true", #""T""#, #""1""#, "1"] {
            #expect(try parse(yes, as: Bool.self) == true, "\(yes)")
        }
        for no in ["false", #""False""#, "0"] { #expect(try parse(no, as: Bool.self) == false, "\(no)") }
        for bad in [#""yes""#, "[]", "0.5"] { #expect(try parse(bad, as: Bool.self) == nil, "\(bad)") }
    }

    @Test func durationsAreSecondsOrGoText() throws {
        #expect(try parse("60", as: Duration.self) == .seconds(60))
        #expect(try parse(#""1h30m""#, as: Duration.self) == .seconds(5400))
        #expect(try parse(#""""#, as: Duration.self) == .zero)
        #expect(try parse("-1", as: Duration.self) == .seconds(-1))
        #expect(try parse("1.9", as: Duration.self) == .seconds(1))
        for bad in [#""bogus""#, "[]", "1e400", #""1h ""#] {
            #expect(try parse(bad, as: Duration.self) == nil, "\(bad)")
        }
    }

    /// Numbers in every notation that JSON allows must end in a value or in nil, never in a trap.
    @Test(arguments: [
        "1e10", "1E5", "1e400", "-1e400", "1.5e300", "99999999999999999999.5", "1e-400",
        "9223372036854775807.0", "0.1",
        "123456789012345678901234567890", "-0",
    ])
    func noNumberTraps(_ text: String) throws {
        _ = try parse(text, as: Duration.self)
        _ = try parse(text, as: Int.self)
        _ = try parse(text, as: Bool.self)
        _ = try parse("\"\(text)s\"", as: Duration.self)
    }

    @Test func listsMayBeOneText() throws {
        #expect(try parse(#""a, b,c""#, as: [String].self) == ["a", "b", "c"])
        #expect(try parse(#"["a,b"," c ",1]"#, as: [String].self) == ["a,b", "c", "1"])
        #expect(try parse(#""""#, as: [String].self) == [])
        #expect(try parse(#"[["a"]]"#, as: [String].self) == nil)
        #expect(try parse(#"{"a":1}"#, as: [String].self) == nil)
    }

    @Test func mapsMayBePairs() throws {
        #expect(try parse(#"{"a":"1","b":2}"#, as: [String: String].self) == ["a": "1", "b": "2"])
        #expect(try parse(#"["a=1","b=x=y"]"#, as: [String: String].self) == ["a": "1", "b": "x=y"])
        #expect(try parse(#"{"a":[1]}"#, as: [String: String].self) == nil)
        #expect(try parse(#""a""#, as: [String: String].self) == nil)
    }

    @Test func requestsGiveDefaultsAndNameWhatIsWrong() throws {
        var request = LogicalRequest(id: "r", operation: .update, path: "p", now: Timestamp(seconds: 0))
        let count = Field<Int>("count", default: 3, "Count.")
        let name = Field<String>(required: "name", "Name.")
        #expect(try request[count] == 3)
        #expect(throws: VaultError.badRequest("missing name")) { try request[name] }
        request.fields = [("count", .text("x")), ("name", .json(RawJSON(trusted: Array("null".utf8))))]
        #expect(throws: VaultError.badRequest("field 'count': expected an integer")) { try request[count] }
        #expect(!request.has(name))
        request.fields.append(("count", .text("7")))
        #expect(try request[count] == 7)
        request.parameters = [("count", "9")]
        #expect(try request[count] == 9)
    }
}
