import Base
import Testing

@testable import CLI

@Suite struct ValueTests {
    private func object(_ arguments: [String], input: String = "") throws -> String {
        let console = Console(environment: [:], streams: CapturedStreams(input: input))
        let bytes = try DataArguments.object(arguments, console).encoded()
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test func pairsBecomeAnObject() throws {
        #expect(try object(["a=1", "b=x=y", "c="]) == #"{"a":"1","b":"x=y","c":""}"#)
    }

    @Test func aKeyGivenTwiceIsAList() throws {
        #expect(try object(["a=1", "a=2", "a=3"]) == #"{"a":["1","2","3"]}"#)
    }

    @Test func valuesComeFromFilesAndStandardInput() throws {
        let scratch = ScratchDirectory()
        scratch.write("v.txt", "file body\n")
        scratch.write("v.json", #"{"n":1,"o":{"k":"v"}}"#)
        #expect(try object(["a=@\(scratch.path)/v.txt"]) == #"{"a":"file body\n"}"#)
        #expect(try object(["@\(scratch.path)/v.json", "x=1"]) == #"{"n":1,"o":{"k":"v"},"x":"1"}"#)
        #expect(try object(["a=-"], input: "typed") == #"{"a":"typed"}"#)
        #expect(try object(["-"], input: #"{"n":12345678901234567890}"#) == #"{"n":12345678901234567890}"#)
        #expect(try object(["a=\\@x"]) == #"{"a":"@x"}"#)
    }

    @Test(arguments: [
        (["nope"], "", "invalid key/value pair \"nope\": format must be key=value"),
        (["=x"], "", "invalid key/value pair \"=x\": the key is empty"),
        (["a=@/nonexistent/f"], "", "error reading file: open /nonexistent/f: no such file or directory"),
        (["-"], "[1]", "standard input: expected a JSON object"),
        (["-"], "{", "standard input: failed to parse JSON input"),
    ])
    func faultsSayWhatWasExpected(arguments: [String], input: String, message: String) {
        let failure = #expect(throws: CommandFailure.self) {
            try DataArguments.object(
                arguments, Console(environment: [:], streams: CapturedStreams(input: input)))
        }
        #expect(failure?.message.hasPrefix("Failed to parse K=V data: \(message)") == true)
        #expect(failure?.code == 1)
    }

    @Test(arguments: [
        ("secret/a", "secret/", "data", "secret/data/a"),
        ("secret", "secret/", "metadata", "secret/metadata"),
        ("secret/a/b", "secret/", "destroy", "secret/destroy/a/b"),
        ("team/kv/a", "team/kv/", "data", "team/kv/data/a"),
        ("kv/a", "ns/kv/", "data", "kv/data/a"), ("secret/data/a", "secret/", "data", "secret/data/data/a"),
    ])
    func versionedPathsHaveAWordBehindTheMount(path: String, mount: String, word: String, expected: String) {
        #expect(KVPath.joined(path, mount: mount, word: word) == expected)
    }
}
