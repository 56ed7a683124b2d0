internal import CLI
internal import Glibc
internal import Server

/// Joins the command tables of the modules and runs one command.
@main
struct Holdfast {
    static func main() {
        // A reader that goes away must not kill a server, nor a pipe of `holdfast … | head`.
        signal(SIGPIPE, SIG_IGN)
        exit(CommandLineProgram(adding: otherCommands).run(Array(CommandLine.arguments.dropFirst())))
    }

    /// What modules that do not know the CLI bring, adapted to its shape.
    private static var otherCommands: [Command] {
        [
            Command(
                name: ServerCommand.name, synopsis: ServerCommand.synopsis, help: { ServerCommand.help },
                run: { arguments, _ in ServerCommand.run(arguments: arguments) }),
            Command(
                name: DiagnoseCommand.name, synopsis: DiagnoseCommand.synopsis,
                help: { DiagnoseCommand.help },
                run: { arguments, _ in DiagnoseCommand.run(arguments: arguments) }),
            Command(
                name: MigrateCommand.name, synopsis: MigrateCommand.synopsis, help: { MigrateCommand.help },
                run: { arguments, _ in MigrateCommand.run(arguments: arguments) }),
            Command(
                name: RaftRecoverCommand.name, synopsis: RaftRecoverCommand.synopsis,
                help: { RaftRecoverCommand.help },
                run: { arguments, _ in RaftRecoverCommand.run(arguments: arguments) }),
            Command(
                name: RaftRebuildCommand.name, synopsis: RaftRebuildCommand.synopsis,
                help: { RaftRebuildCommand.help },
                run: { arguments, _ in RaftRebuildCommand.run(arguments: arguments) }),
        ]
    }
}
