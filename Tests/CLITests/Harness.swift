import CLI
import Glibc
import Synchronization

/// Streams of a command under test: what it wrote, and what it may read.
final class CapturedStreams: ConsoleStreams {
    private let written = Mutex<(out: [UInt8], error: [UInt8])>(([], []))
    let input: String
    let isATerminal: Bool

    init(input: String = "", isATerminal: Bool = false) {
        self.input = input
        self.isATerminal = isATerminal
    }

    var out: String { written.withLock { String(decoding: $0.out, as: UTF8.self) } }
    var error: String { written.withLock { String(decoding: $0.error, as: UTF8.self) } }

    func write(_ bytes: [UInt8], toError: Bool) -> Bool {
        written.withLock { if toError { $0.error += bytes } else { $0.out += bytes } }
        return true
    }
    func isTerminal(_ descriptor: Int32) -> Bool { isATerminal }
    func readAll() -> Result<[UInt8], CommandInputError> { .success(Array(input.utf8)) }
    func readHiddenLine() -> Result<String, CommandInputError> { .success(input) }
}

/// What one call of the program did.
struct Ran {
    var code: Int32
    var out: String
    var error: String
}

/// Runs the program as a shell would, with no variables but the given ones.
func run(
    _ arguments: [String], environment: [String: String] = [:], input: String = "", isATerminal: Bool = false,
    adding others: [Command] = []
) -> Ran {
    let streams = CapturedStreams(input: input, isATerminal: isATerminal)
    let console = Console(environment: environment, streams: streams)
    let code = CommandLineProgram(adding: others).run(arguments, console: console)
    return Ran(code: code, out: streams.out, error: streams.error)
}

/// Runs the program against a fake server with the token `root`.
func run(
    _ command: String, on server: FakeServer, environment: [String: String] = [:], input: String = "",
    isATerminal: Bool = false
) -> Ran {
    let variables = ["VAULT_ADDR": server.address, "VAULT_TOKEN": "root", "HOME": "/nonexistent"]
    // Swift may end a value's life behind its last use, and the server serves only as long as it lives.
    return withExtendedLifetime(server) {
        run(
            command.split(separator: " ").map(String.init),
            environment: variables.merging(environment) { $1 },
            input: input,
            isATerminal: isATerminal)
    }
}

/// A directory of its own, gone when the test ends.
final class ScratchDirectory {
    let path: String
    init() {
        var template = Array("/tmp/holdfast-cli-XXXXXX".utf8CString)
        path = mkdtemp(&template).map { String(cString: $0) } ?? "/nonexistent"
    }
    deinit {
        for name in [".vault-token", ".vault", "helper", "kept", "p.hcl", "v.txt", "v.json"] {
            unlink("\(path)/\(name)")
        }
        rmdir(path)
    }
    func write(_ name: String, _ text: String, mode: mode_t = 0o644) {
        guard let file = fopen("\(path)/\(name)", "w") else { return }
        fputs(text, file)
        fclose(file)
        chmod("\(path)/\(name)", mode)
    }
    func read(_ name: String) -> String? {
        guard let file = fopen("\(path)/\(name)", "r") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
    func mode(_ name: String) -> mode_t {
        var info = stat()
        return stat("\(path)/\(name)", &info) == 0 ? info.st_mode & 0o777 : 0
    }
}

/// The envelope around `data`.
func envelope(_ data: String, auth: String = "null", warnings: String = "null") -> String {
    """
    {"request_id":"6f2c7e7e-0000-4000-8000-000000000001","lease_id":"","renewable":false,"lease_duration":0,\
    "data":\(data),"wrap_info":null,"warnings":\(warnings),"auth":\(auth)}
    """
}
