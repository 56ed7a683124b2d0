/// The command line as a whole: finds the command that the first words name and runs it.
///
/// Exit codes are Vault's: 0 success, 1 wrong use, 2 a failure that the server reports; 127 for a
/// command that does not exist. Help that was asked for goes to standard output with 0; help that
/// stands in for a missing subcommand goes to standard error with 1. No argument ever reaches a
/// shell, and nothing heavy runs before the command itself: parsing is all that starting costs.
package struct CommandLineProgram: Sendable {
    private let commands: [Command]

    /// The CLI's own commands and those that other modules bring.
    package init(adding others: [Command] = []) {
        commands = (CommandTable.commands + others).sorted { $0.name < $1.name }
    }

    /// Runs with the arguments behind the program's name; gives the exit code.
    package func run(_ arguments: [String], console: Console = .ofProcess()) -> Int32 {
        // A shell asks what may come next: nothing else is done.
        if console.environment["COMP_LINE"] != nil {
            for candidate in Completion(commands: commands, console: console).candidates() {
                console.out(candidate)
            }
            return 0
        }
        let asksForPlain = arguments.prefix { $0 != "--" }.contains {
            $0 == "-no-color" || $0 == "--no-color"
        }
        let console = asksForPlain ? console.withoutColour : console
        if arguments.first == "-version" || arguments.first == "--version" || arguments.first == "-v" {
            console.out(ProductVersion.line)
            return 0
        }
        for (word, installs) in [("autocomplete-install", true), ("autocomplete-uninstall", false)]
        where arguments.first == "-\(word)" || arguments.first == "--\(word)" {
            return CompletionInstall(console: console).run(installs: installs)
        }
        if arguments.first == "help" { return run(arguments.dropFirst() + ["-help"], console: console) }
        let words = Array(arguments.prefix { !$0.hasPrefix("-") })
        let asksForHelp = arguments.dropFirst(words.count).first.map(Self.isHelp) ?? false
        if words.isEmpty {
            if asksForHelp {
                console.out(Help.group("", of: commands))
                return 0
            }
            if !arguments.isEmpty {
                console.error(
                    "Invalid flags before the subcommand. If these flags are for the subcommand, "
                        + "please put them after it."
                )
                return 1
            }
            console.error(Help.group("", of: commands))
            return 127
        }
        for length in stride(from: min(words.count, 4), through: 1, by: -1) {
            let name = words.prefix(length).joined(separator: " ")
            guard let command = commands.first(where: { $0.name == name }) else { continue }
            return command.run(Array(arguments.dropFirst(length)), console)
        }
        return explainGroup(words, asksForHelp, console)
    }

    /// No command has that name: it is a group's, or nobody's.
    private func explainGroup(_ words: [String], _ asksForHelp: Bool, _ console: Console) -> Int32 {
        for length in stride(from: words.count, through: 1, by: -1) {
            let group = words.prefix(length).joined(separator: " ")
            guard commands.contains(where: { $0.name.hasPrefix(group + " ") }) else { continue }
            if asksForHelp, length == words.count {
                console.out(Help.group(group, of: commands))
                return 0
            }
            if length < words.count {
                let children = Completion.children(of: Array(words[..<length]), commands)
                console.error(
                    "\"\(group)\" has no subcommand \"\(words[length])\"."
                        + Spelling.suggestion(words[length], children) + "\n")
            }
            console.error(Help.group(group, of: commands))
            return 1
        }
        console.error(
            "There is no command \"\(words[0])\"."
                + Spelling.suggestion(words[0], Completion.children(of: [], commands)) + "\n")
        console.error(Help.group("", of: commands))
        return 127
    }

    private static func isHelp(_ word: String) -> Bool { ["-h", "-help", "--help", "--h"].contains(word) }
}
