internal import APIClient
internal import Base
internal import Net

/// What the arguments of a command name.
enum OperandKind: Sendable {
    case nothing
    /// Any path of the API: the mounts, and below them what can be listed.
    case path
    /// A key of the key-value store.
    case key
    case secretsMount, authMount, auditDevice, policy
}

/// A command's flags and arguments, as completion offers them.
struct CommandCompletion: Sendable {
    /// With their dash; one that needs a value ends with `=`.
    let flags: [String]
    let operand: OperandKind

    init(_ definition: any CommandDefinition.Type) {
        let known = definition.flags + CommonFlags.of(definition.shared)
        flags = known.flatMap { flag in
            ([flag.name] + flag.aliases).map { "-\($0)" + (flag.isBoolean ? "" : "=") }
        }
        operand = definition.named
    }

    /// Of a command that is known by its help alone: the lines that are nothing but a flag.
    init(help: () -> String) {
        var flags: [String] = []
        for line in help().split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 1, let word = words.first, word.hasPrefix("-") else { continue }
            flags.append(word.firstIndex(of: "=").map { String(word[...$0]) } ?? String(word))
        }
        self.flags = flags
        operand = .nothing
    }
}

/// The answers to a shell that asks what may come next. The shell gives its line in `COMP_LINE` and the
/// cursor's place in `COMP_POINT`, as bash does for `complete -C`; candidates go out a line each.
struct Completion {
    let commands: [Command]
    let console: Console

    /// How long a server may take; a shell waits for it.
    private static let patience: Duration = .seconds(1)
    private static let mostCandidates = 500

    func candidates() -> [String] {
        var words = Self.words(Self.line(console.environment))
        if words.isEmpty { return [] }
        words.removeFirst()
        let last = words.popLast() ?? ""
        let names = words.prefix { !$0.hasPrefix("-") }
        for length in stride(from: min(names.count, 4), through: 1, by: -1) {
            let name = names.prefix(length).joined(separator: " ")
            guard let command = commands.first(where: { $0.name == name }) else { continue }
            return arguments(of: command, Array(words.dropFirst(length)), last)
        }
        return Self.children(of: Array(words), commands).filter { $0.hasPrefix(last) }
    }

    /// The words that may follow those of a group.
    static func children(of group: [String], _ commands: [Command]) -> [String] {
        var found: [String] = []
        for command in commands {
            let words = command.name.split(separator: " ").map(String.init)
            guard words.count > group.count, words.starts(with: group) else { continue }
            if !found.contains(words[group.count]) { found.append(words[group.count]) }
        }
        return found.sorted()
    }

    private func arguments(of command: Command, _ before: [String], _ word: String) -> [String] {
        if word.hasPrefix("-") {
            if word.contains("=") { return [] }
            let bare = word.hasPrefix("--") ? String(word.dropFirst()) : word
            return (command.completion().flags + ["-help"]).filter { $0.hasPrefix(bare) }.sorted()
        }
        // Only the first argument is a name; what follows are data. `kv` also has groups below commands.
        let children = Self.children(
            of: command.name.split(separator: " ").map(String.init) + before, commands
        ).filter { $0.hasPrefix(word) }
        guard before.allSatisfy({ $0.hasPrefix("-") }) else { return children }
        return Array(
            (children + names(command.completion().operand, word, before)).prefix(Self.mostCandidates))
    }

    // MARK: - What the server knows

    private func names(_ kind: OperandKind, _ word: String, _ flags: [String]) -> [String] {
        guard kind != .nothing, let client = client(flags) else { return [] }
        switch kind {
        case .nothing: return []
        case .secretsMount: return mounts(client, "secret").map(\.path).filter { $0.hasPrefix(word) }
        case .authMount: return mounts(client, "auth").map(\.path).filter { $0.hasPrefix(word) }
        case .auditDevice:
            let devices = answer { () throws(APIError) in try client.read("sys/audit") }
            return (devices?.data?.members ?? []).map(\.name).filter { $0.hasPrefix(word) }
        case .policy:
            let found = answer { () throws(APIError) in try client.list("sys/policies/acl") }
            return (found?.keys ?? []).compactMap(\.string).filter { $0.hasPrefix(word) }
        case .path, .key: return paths(kind, word, client)
        }
    }

    /// Mounts, and behind a mount the keys of the folder that the word has reached.
    private func paths(_ kind: OperandKind, _ word: String, _ client: Client) -> [String] {
        let mounts = mounts(client, "secret")
        let heads =
            kind == .key
            ? mounts.filter { $0.type == "kv" || $0.type == "generic" }.map(\.path)
            : Set(mounts.map(\.path) + ["auth/", "sys/"]).sorted()
        guard let slash = word.lastIndex(of: "/") else { return heads.filter { $0.hasPrefix(word) } }
        let folder = String(word[...slash])
        guard
            let mount = mounts.filter({ folder.hasPrefix($0.path) }).max(by: { $0.path.count < $1.path.count }
            )
        else { return heads.filter { $0.hasPrefix(word) } }
        let isVersioned = kind == .key && mount.isVersioned
        let listed = isVersioned ? "\(mount.path)metadata/\(folder.dropFirst(mount.path.count))" : folder
        let found = answer { () throws(APIError) in try client.list(listed) }
        return (found?.keys ?? []).compactMap(\.string).map { folder + $0 }.filter { $0.hasPrefix(word) }
    }

    private struct Mount {
        let path: String
        let type: String
        let isVersioned: Bool
    }

    private func mounts(_ client: Client, _ kind: String) -> [Mount] {
        let found = answer { () throws(APIError) in try client.read("sys/internal/ui/mounts") }
        return (found?.data?[kind]?.members ?? []).map { name, value in
            Mount(
                path: name, type: value["type"]?.string ?? "",
                isVersioned: value["options"]?["version"]?.string == "2")
        }.sorted { $0.path < $1.path }
    }

    private func answer(_ ask: () throws(APIError) -> Secret?) -> Secret? {
        do throws(APIError) { return try ask() } catch { return nil }
    }

    /// A client with a token, or nil: without one a server says nothing.
    private func client(_ given: [String]) -> Client? {
        do throws(APIError) {
            var made = try ClientConfiguration(environment: { console.environment[$0] })
            for flag in given where flag.hasPrefix("-address=") {
                made.address = String(flag.dropFirst("-address=".count))
            }
            if made.token.isEmpty, case .success(let token) = TokenHelper(console).get() {
                made.token = token
            }
            made.maxRetries = 0
            made.wrapTTL = nil
            made.connection.timeout = Self.patience
            made.connection.connectTimeout = Self.patience
            return made.token.isEmpty ? nil : try Client(made)
        } catch { return nil }
    }

    // MARK: - The line

    private static func line(_ environment: [String: String]) -> String {
        let line = environment["COMP_LINE"] ?? ""
        guard let point = environment["COMP_POINT"].flatMap({ Int($0) }), point >= 0 else { return line }
        return String(decoding: line.utf8.prefix(point), as: UTF8.self)
    }

    /// The words of a shell's line; the last one is what the cursor stands in, and may be empty.
    static func words(_ line: String) -> [String] {
        var words: [String] = []
        var word = ""
        var quote: Character?
        var isEscaped = false
        var isInside = false
        for character in line {
            if isEscaped {
                word.append(character)
                isEscaped = false
            } else if character == "\\", quote != "'" {
                isEscaped = true
                isInside = true
            } else if let open = quote {
                if character == open { quote = nil } else { word.append(character) }
            } else if character == "'" || character == "\"" {
                quote = character
                isInside = true
            } else if character == " " || character == "\t" {
                if isInside { words.append(word) }
                word = ""
                isInside = false
            } else {
                word.append(character)
                isInside = true
            }
        }
        return words + [word]
    }
}
