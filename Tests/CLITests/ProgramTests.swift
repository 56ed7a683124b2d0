import CLI
import Glibc
import Testing

@Suite struct ProgramTests {
    @Test func nothingToRunShowsTheCommandsAndFails() {
        let ran = run([])
        #expect(ran.code == 127)
        #expect(ran.out.isEmpty)
        #expect(ran.error.contains("kv "))
    }

    @Test func askedForHelpGoesToStandardOutput() {
        for words in [
            ["-help"], ["-h"], ["kv", "-help"], ["kv", "get", "-help"], ["operator", "init", "-h"],
            ["help"], ["help", "kv"], ["help", "kv", "get"],
        ] {
            let ran = run(words)
            #expect(ran.code == 0)
            #expect(ran.out.hasPrefix("Usage: holdfast"))
            #expect(ran.error.isEmpty)
        }
    }

    @Test func everyCommandExplainsItself() {
        for command in CommandTable.commands {
            let help = command.help()
            #expect(help.hasPrefix("Usage: holdfast \(command.name) [options]"))
            #expect(help.split(separator: "\n").allSatisfy { $0.utf8.count <= 110 })
        }
    }

    @Test func everyCommandIsInTheDocument() throws {
        let page = try #require(Self.document("docs/cli.md"))
        for command in CommandTable.commands {
            #expect(page.contains("`\(command.name)`"), "docs/cli.md does not name \(command.name)")
        }
    }

    private static func document(_ path: String) -> String? {
        let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
        guard let file = fopen((root + [path[...]]).joined(separator: "/"), "r") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    @Test func unknownCommandsAndGroupsFail() {
        #expect(run(["nope"]).code == 127)
        #expect(run(["kv"]).code == 1)
        #expect(run(["kv", "nope"]).code == 1)
        #expect(run(["-address=x", "status"]).code == 1)
    }

    @Test func versionTellsOurOwn() {
        for words in [["version"], ["-version"], ["--version"]] {
            #expect(run(words).out.hasPrefix("Holdfast v0.1.0"))
            #expect(run(words).code == 0)
        }
    }

    @Test func commandsOfOtherModulesJoin() {
        let other = Command(name: "server", synopsis: "Start a server", help: { "help" }) {
            arguments, console in
            console.out(arguments.joined(separator: "|"))
            return 3
        }
        let ran = run(["server", "-dev", "x"], adding: [other])
        #expect(ran.code == 3)
        #expect(ran.out == "-dev|x\n")
        #expect(run(["-help"], adding: [other]).out.contains("    server             Start a server\n"))
    }

    @Test func wrongUseIsOneAndNamesTheFault() {
        #expect(run(["read"]).error == "Not enough arguments (expected 1, got 0)\n")
        #expect(run(["kv", "put", "secret/x"]).error == "Must supply data\n")
        #expect(run(["write", "a/b"]).error == "Must supply data or use -force\n")
        #expect(run(["token", "create", "-ttl=bogus"]).code == 1)
        #expect(run(["status", "-format=xml"]).error.hasPrefix("Invalid output format: xml"))
        #expect(run(["secrets", "move", "a"]).code == 1)
        #expect(
            run(["login", "-method=nope"]).error.contains("this command knows token, userpass, ldap, radius"))
        #expect(
            run(["read", "x"], environment: ["VAULT_ADDR": "ftp://x"]).error.contains("expected http://"))
    }

    @Test func lateFlagsAreWarnedOf() {
        let ran = run(["kv", "get", "secret/a", "-field=x"])
        #expect(ran.code == 1)
        #expect(ran.error.contains("must be provided before positional arguments"))
        #expect(ran.error.contains("[-field=x]"))
    }

    @Test func colourIsForTerminalsAlone() {
        #expect(run(["read"], isATerminal: true).error.hasPrefix("\u{1B}[31m"))
        #expect(!run(["read", "-no-color"], isATerminal: true).error.contains("\u{1B}"))
        #expect(
            !run(["read"], environment: ["VAULT_CLI_NO_COLOR": "1"], isATerminal: true).error.contains(
                "\u{1B}"))
    }
}
