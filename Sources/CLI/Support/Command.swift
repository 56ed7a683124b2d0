/// What a program made of commands needs to know about one of them.
///
/// The CLI's own commands are `CommandDefinition` types; the server's and the operator's come from
/// modules that do not know the CLI, and are joined in `holdfast` as plain entries of this type.
package struct Command: Sendable {
    /// The words that call it, such as `kv get`.
    package let name: String
    /// One line for the list of commands.
    package let synopsis: String
    /// What `-help` prints.
    package let help: @Sendable () -> String
    /// Runs with the arguments behind the name; gives the exit code.
    package let run: @Sendable (_ arguments: [String], _ console: Console) -> Int32
    /// Its flags and arguments, as completion offers them; made only when a shell asks.
    let completion: @Sendable () -> CommandCompletion

    /// A command of another module; completion knows the flags that its help lists.
    package init(
        name: String, synopsis: String, help: @escaping @Sendable () -> String,
        run: @escaping @Sendable (_ arguments: [String], _ console: Console) -> Int32
    ) {
        self.init(
            name: name, synopsis: synopsis, help: help, completion: { CommandCompletion(help: help) },
            run: run)
    }

    init(
        name: String, synopsis: String, help: @escaping @Sendable () -> String,
        completion: @escaping @Sendable () -> CommandCompletion,
        run: @escaping @Sendable (_ arguments: [String], _ console: Console) -> Int32
    ) {
        self.name = name
        self.synopsis = synopsis
        self.help = help
        self.completion = completion
        self.run = run
    }
}

/// One command of the CLI: its words, its flags and what it does, in one type in one file.
protocol CommandDefinition: SendableMetatype {
    static var name: String { get }
    static var synopsis: String { get }
    /// The arguments behind the flags, as the help shows them: `KEY [K=V...]`.
    static var operands: String { get }
    /// What it does, for whom, and an example; empty when the synopsis says all.
    static var details: String { get }
    /// How many arguments it takes; nil leaves the check to the command.
    static var count: ClosedRange<Int>? { get }
    static var flags: [any AnyFlag] { get }
    /// Which of the flags that most commands share it takes.
    static var shared: SharedFlags { get }
    /// What its arguments name, for completion.
    static var named: OperandKind { get }
    static func run(_ call: Invocation) throws(CommandFailure) -> Int32
}

extension CommandDefinition {
    static var operands: String { "" }
    static var details: String { "" }
    static var count: ClosedRange<Int>? { 0...0 }
    static var flags: [any AnyFlag] { [] }
    static var shared: SharedFlags { .output }
    static var named: OperandKind { .nothing }
}

/// Ends a command: a message for standard error and the exit code, 1 for wrong use, 2 for a failure
/// that the server or the system reports.
struct CommandFailure: Error {
    var message: String
    var code: Int32
    /// What the user may do about it; empty when there is nothing to say.
    var hint = ""

    /// The same failure with exit code 1, for commands whose 2 means something else.
    var asOne: CommandFailure {
        var failure = self
        if code != 0 { failure.code = 1 }
        return failure
    }

    static func usage(_ message: String) -> CommandFailure { CommandFailure(message: message, code: 1) }
    static func failed(_ message: String) -> CommandFailure { CommandFailure(message: message, code: 2) }
}

extension Command {
    init(_ definition: any CommandDefinition.Type) {
        self.init(
            name: definition.name, synopsis: definition.synopsis, help: { Help.text(of: definition) },
            completion: { CommandCompletion(definition) },
            run: { arguments, console in
                Invocation.run(definition, arguments, console)
            })
    }
}
