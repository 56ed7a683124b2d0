import Testing

@testable import CLI

@Suite struct FlagTests {
    static let name = Flag<String>("name", aliases: ["n"], "A name.")
    static let force = Flag<Bool>(switch: "force", "Force it.")
    static let count = Flag<Int>("count", default: 7, "A count.")
    static let ttl = Flag<Duration?>("ttl", "A span.")
    static let tags = Flag<[String]>(list: "tag", "Tags.")
    static let versions = Flag<[String]>(list: "versions", commas: true, "Versions.")
    static let meta = Flag<[String: String]>(map: "meta", "Pairs.")
    static let all: [any AnyFlag] = [name, force, count, ttl, tags, versions, meta]

    private func parse(_ words: String...) throws(CommandFailure) -> ParsedFlags {
        try ParsedFlags(words, Self.all)
    }

    @Test func everySpellingGivesTheSameValue() throws {
        for words in [["-name=x"], ["--name=x"], ["-name", "x"], ["--name", "x"], ["-n=x"], ["-n", "x"]] {
            #expect(try ParsedFlags(words, Self.all)[Self.name] == "x")
        }
    }

    @Test func booleansTakeNoFurtherWord() throws {
        let flags = try parse("-force", "false", "-name=x")
        #expect(flags[Self.force])
        #expect(flags.arguments == ["false", "-name=x"])
        #expect(try !parse("-force=false")[Self.force])
        #expect(try parse("-force=T")[Self.force])
    }

    @Test func absentFlagsHaveTheirDefaults() throws {
        let flags = try parse("a")
        #expect(flags[Self.count] == 7)
        #expect(flags[Self.ttl] == nil)
        #expect(!flags.has(Self.count))
    }

    @Test func repeatedFlagsGather() throws {
        let flags = try parse(
            "-tag=a,b", "-tag", "c", "-versions=1, 2", "-versions=3", "-meta=a=b=c", "-meta=d=")
        #expect(flags[Self.tags] == ["a,b", "c"])
        #expect(flags[Self.versions] == ["1", "2", "3"])
        #expect(flags[Self.meta] == ["a": "b=c", "d": ""])
    }

    @Test func flagsEndAtTheFirstArgumentOrAtDashes() throws {
        #expect(try parse("-", "-force").arguments == ["-", "-force"])
        #expect(try parse("--", "-force").arguments == ["-force"])
        #expect(try parse("-count=-3", "x").arguments == ["x"])
    }

    @Test(arguments: [
        (["-nope"], "flag provided but not defined: -nope"), (["-name"], "flag needs an argument: -name"),
        (["---name"], "bad flag syntax: ---name"), (["-=x"], "bad flag syntax: -=x"),
        (["-count=x"], "invalid value \"x\" for flag -count: expected a whole number"),
        (["-force=maybe"], "invalid value \"maybe\" for flag -force: expected true or false"),
        (
            ["-ttl=bogus"],
            "invalid value \"bogus\" for flag -ttl: expected a duration such as 90s, 1h30m or 30d"
        ),
        (["-meta=x"], "invalid value \"x\" for flag -meta: expected key=value"),
    ])
    func faultsNameTheFlag(words: [String], message: String) {
        let failure = #expect(throws: CommandFailure.self) { try ParsedFlags(words, Self.all) }
        #expect(failure?.message == message)
        #expect(failure?.code == 1)
    }

    @Test func noTwoFlagsOfACommandShareAName() {
        for definition in CommandTable.definitions {
            let flags = definition.flags + CommonFlags.of(definition.shared)
            let names = flags.flatMap { [$0.name] + $0.aliases }
            #expect(Set(names).count == names.count, "\(definition.name)")
        }
    }
}
