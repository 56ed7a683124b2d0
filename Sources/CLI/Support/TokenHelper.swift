internal import Base
internal import CPosix
internal import Glibc

/// Keeps the token of the last login: in `~/.vault-token`, or through the program that
/// `token_helper` names in `~/.vault` (called with `get`, `store` or `erase`, as Vault calls it).
struct TokenHelper {
    private let home: String
    private let program: String?

    init(_ console: Console) {
        home = console.environment["HOME"] ?? ""
        let configuration = console.variable("CONFIG_PATH") ?? "\(home)/.vault"
        program = Self.program(in: configuration)
    }

    struct Failure: Error { let message: String }

    /// The stored token; empty when there is none.
    func get() -> Result<String, Failure> {
        if let program { return run(program, "get", input: "") }
        switch FileText.read(path: path) {
        case .success(let bytes): return .success(String(String(decoding: bytes, as: UTF8.self).trimmed))
        case .failure(let error) where error.code == ENOENT: return .success("")
        case .failure(let error): return .failure(Failure(message: error.message))
        }
    }

    func store(_ token: String) -> Result<Void, Failure> {
        if let program { return run(program, "store", input: token).map { _ in } }
        if home.isEmpty {
            return .failure(Failure(message: "HOME is not set: there is nowhere to keep the token"))
        }
        return FileText.replace(path: path, with: Array(token.utf8), mode: 0o600)
            .mapError { Failure(message: $0.message) }
    }

    func erase() -> Result<Void, Failure> {
        if let program { return run(program, "erase", input: "").map { _ in } }
        if unlink(path) == 0 || errno == ENOENT { return .success(()) }
        return .failure(Failure(message: "remove \(path): \(String(cString: strerror(errno)).lowercased())"))
    }

    private var path: String { "\(home)/.vault-token" }

    /// The one key that the file may hold: `token_helper = "/path"`.
    private static func program(in path: String) -> String? {
        guard case .success(let bytes) = FileText.read(path: path) else { return nil }
        for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: { $0.isNewline }) {
            let parts = line.split(separator: "=", maxSplits: 1)
            guard parts.count == 2, parts[0].trimmed == "token_helper" else { continue }
            let value = parts[1].trimmed
            guard value.count >= 2, value.hasPrefix("\""), value.hasSuffix("\"") else { continue }
            let name = String(value.dropFirst().dropLast())
            return name.isEmpty ? nil : name
        }
        return nil
    }

    private func run(_ program: String, _ verb: String, input: String) -> Result<String, Failure> {
        var toChild: [Int32] = [-1, -1]
        var fromChild: [Int32] = [-1, -1]
        guard pipe(&toChild) == 0, pipe(&fromChild) == 0 else {
            return .failure(Failure(message: "no pipe to \(program)"))
        }
        for descriptor in toChild + fromChild { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, toChild[0], STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, fromChild[1], STDOUT_FILENO)
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup(program), strdup(verb), nil]
        defer { for argument in arguments { free(argument) } }
        var child: pid_t = 0
        let code = posix_spawnp(&child, program, &actions, nil, &arguments, environ)
        close(toChild[0])
        close(fromChild[1])
        defer { close(fromChild[0]) }
        guard code == 0 else {
            close(toChild[1])
            return .failure(Failure(message: "\(program): \(String(cString: strerror(code)).lowercased())"))
        }
        FileText.write(Array(input.utf8), to: toChild[1])
        close(toChild[1])
        let answer = FileText.read(fromChild[0])
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 && errno == EINTR {}
        guard status == 0 else { return .failure(Failure(message: "\(program) \(verb) failed")) }
        guard case .success(let bytes) = answer else {
            return .failure(Failure(message: "\(program) gave no answer"))
        }
        return .success(String(String(decoding: bytes, as: UTF8.self).trimmed))
    }
}
