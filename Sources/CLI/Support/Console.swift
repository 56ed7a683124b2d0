internal import Base
internal import CPosix
internal import Glibc

/// Where a command reads and writes: the process's own streams and environment, or a test's.
package final class Console: Sendable {
    /// The process's variables, or a test's.
    package let environment: [String: String]
    private let streams: any ConsoleStreams
    private let isPlain: Bool

    package init(environment: [String: String], streams: any ConsoleStreams) {
        self.environment = environment
        self.streams = streams
        isPlain = environment["VAULT_CLI_NO_COLOR"] != nil || environment["NO_COLOR"] != nil
    }

    private init(plain other: Console) {
        environment = other.environment
        streams = other.streams
        isPlain = true
    }

    /// The same console that paints nothing.
    var withoutColour: Console { Console(plain: self) }

    /// The process's own streams and environment.
    package static func ofProcess() -> Console {
        var variables: [String: String] = [:]
        var at = environ
        while let entry = at.pointee {
            let text = String(cString: entry)
            if let equals = text.firstIndex(of: "=") {
                variables[String(text[..<equals])] = String(text[text.index(after: equals)...])
            }
            at += 1
        }
        return Console(environment: variables, streams: ProcessStreams())
    }

    /// A variable under its `VAULT_` name or its `HOLDFAST_` one; nil when it is empty.
    func variable(_ name: String) -> String? {
        guard let value = environment["VAULT_" + name] ?? environment["HOLDFAST_" + name], !value.isEmpty
        else { return nil }
        return value
    }

    /// A line on standard output.
    package func out(_ line: String) { streams.write(Array((line + "\n").utf8), toError: false) }
    /// Text on standard output, as it is.
    func raw(_ text: String) { streams.write(Array(text.utf8), toError: false) }
    /// Bytes on standard output, as they are; false when nobody reads them any more.
    func write(_ bytes: [UInt8]) -> Bool { streams.write(bytes, toError: false) }
    /// A line on standard error, red where a terminal shows it.
    package func error(_ line: String) { paint(line, "31") }
    /// A line on standard error, yellow where a terminal shows it.
    package func warn(_ line: String) { paint(line, "33") }
    /// Text on standard error, without colour or line end.
    func prompt(_ text: String) { streams.write(Array(text.utf8), toError: true) }

    var inputIsTerminal: Bool { streams.isTerminal(STDIN_FILENO) }
    var outputIsTerminal: Bool { streams.isTerminal(STDOUT_FILENO) }

    /// All of standard input.
    func readInput() throws(CommandFailure) -> [UInt8] {
        switch streams.readAll() {
        case .success(let bytes): return bytes
        case .failure(let error): throw .usage(error.message)
        }
    }

    /// One line that the terminal does not show.
    func readSecret(_ question: String) throws(CommandFailure) -> String {
        guard inputIsTerminal else {
            throw .usage("\(question.trimmed) cannot be asked for: standard input is not a terminal")
        }
        prompt(question)
        let answer = streams.readHiddenLine()
        prompt("\n")
        switch answer {
        case .success(let line): return String(line.trimmed)
        case .failure(let error): throw .usage(error.message)
        }
    }

    private func paint(_ line: String, _ colour: String) {
        prompt(
            isPlain || !streams.isTerminal(STDERR_FILENO)
                ? line + "\n" : "\u{1B}[\(colour)m\(line)\u{1B}[0m\n")
    }
}

/// The streams under a console.
package protocol ConsoleStreams: Sendable {
    /// False when nobody reads any more.
    @discardableResult
    func write(_ bytes: [UInt8], toError: Bool) -> Bool
    func isTerminal(_ descriptor: Int32) -> Bool
    func readAll() -> Result<[UInt8], CommandInputError>
    func readHiddenLine() -> Result<String, CommandInputError>
}

/// Why nothing could be read.
package struct CommandInputError: Error, Sendable {
    package let message: String
    package init(_ message: String) { self.message = message }
}

private struct ProcessStreams: ConsoleStreams {
    func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

    func write(_ bytes: [UInt8], toError: Bool) -> Bool {
        FileText.write(bytes, to: toError ? STDERR_FILENO : STDOUT_FILENO)
    }

    func readAll() -> Result<[UInt8], CommandInputError> {
        FileText.read(STDIN_FILENO).mapError {
            CommandInputError("failed to read standard input: \($0.message)")
        }
    }

    func readHiddenLine() -> Result<String, CommandInputError> {
        var before = termios()
        guard tcgetattr(STDIN_FILENO, &before) == 0 else {
            return .failure(CommandInputError("standard input is not a terminal"))
        }
        var silent = before
        silent.c_lflag &= ~tcflag_t(ECHO)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent)
        defer { tcsetattr(STDIN_FILENO, TCSAFLUSH, &before) }
        var line: [UInt8] = []
        defer { line.wipe() }
        var byte: UInt8 = 0
        while Glibc.read(STDIN_FILENO, &byte, 1) == 1, byte != UInt8(ascii: "\n"), line.count < 64 << 10 {
            line.append(byte)
        }
        return .success(String(decoding: line, as: UTF8.self))
    }
}
