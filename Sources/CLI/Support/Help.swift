/// The texts behind `-help`: made from the commands' own declarations, so that none can be forgotten.
enum Help {
    static let program = "holdfast"

    static func text(of definition: any CommandDefinition.Type) -> String {
        let operands = definition.operands.isEmpty ? "" : " \(definition.operands)"
        var lines = ["Usage: \(program) \(definition.name) [options]\(operands)", ""]
        lines += wrapped(definition.synopsis, indent: 2)
        if !definition.details.isEmpty {
            lines.append("")
            lines += definition.details.split(separator: "\n", omittingEmptySubsequences: false).map {
                $0.isEmpty ? "" : "  \($0)"
            }
        }
        if !definition.flags.isEmpty {
            lines += ["", "Command Options:", ""]
            for flag in definition.flags { lines += self.lines(of: flag) }
            lines.removeLast()
        }
        let shared = CommonFlags.of(definition.shared)
        if definition.shared.contains(.http) {
            lines += ["", "HTTP and Output Options:", ""]
        } else {
            lines += ["", "Output Options:", ""]
        }
        for flag in shared { lines += self.lines(of: flag) }
        while lines.last == "" { lines.removeLast() }
        return lines.joined(separator: "\n")
    }

    /// The list of commands directly under `group`; of all groups when it is empty.
    static func group(_ group: String, of commands: [Command]) -> String {
        let depth = group.isEmpty ? 0 : group.split(separator: " ").count
        var children: [(name: String, synopsis: String)] = []
        for command in commands {
            let words = command.name.split(separator: " ").map(String.init)
            guard words.count > depth, group.isEmpty || command.name.hasPrefix(group + " ") else { continue }
            let name = words[depth]
            if children.contains(where: { $0.name == name }) { continue }
            let isGroup = words.count > depth + 1
            let path = words[...depth].joined(separator: " ")
            let own = commands.first { $0.name == path }?.synopsis
            children.append((name, own ?? (isGroup ? groupSynopsis(path) : command.synopsis)))
        }
        children.sort { $0.name < $1.name }
        let width = children.map(\.name.count).max() ?? 0
        func rows(_ children: [(name: String, synopsis: String)]) -> [String] {
            children.map { child in
                let gap = String(repeating: " ", count: width - child.name.count + 4)
                return "    \(child.name)\(gap)\(child.synopsis)"
            }
        }
        let subject =
            group.isEmpty
            ? "\(program) <command> [args]" : "\(program) \(group) <subcommand> [options] [args]"
        var lines = ["Usage: \(subject)", ""]
        if !group.isEmpty { lines += ["  " + groupSynopsis(group), ""] }
        if group.isEmpty {
            lines += ["Common commands:"] + rows(children.filter { common.contains($0.name) })
            lines += ["", "Other commands:"] + rows(children.filter { !common.contains($0.name) })
        } else {
            lines += ["Subcommands:"] + rows(children)
        }
        lines += [
            "", "Run '\(program) \(group.isEmpty ? "" : group + " ")<command> -help' for the options of one.",
        ]
        return lines.joined(separator: "\n")
    }

    /// What most people need on most days.
    private static let common: Set<String> = [
        "delete", "list", "login", "read", "server", "status", "unwrap", "write",
    ]

    private static func groupSynopsis(_ path: String) -> String {
        switch path {
        case "auth": "Interact with auth methods"
        case "audit": "Interact with audit devices"
        case "kv": "Interact with the key-value store"
        case "kv metadata": "Interact with the metadata of a key"
        case "lease": "Interact with leases"
        case "plugin": "Interact with the plugin catalog"
        case "operator": "Perform operator-specific tasks"
        case "policy": "Interact with policies"
        case "print": "Print runtime configuration"
        case "secrets": "Interact with secrets engines"
        case "token": "Interact with tokens"
        default: "Commands of \(path)"
        }
    }

    private static func lines(of flag: any AnyFlag) -> [String] {
        let names = ([flag.name] + flag.aliases).map { "-\($0)" }.joined(separator: ", ")
        let head = flag.placeholder.isEmpty ? "  \(names)" : "  \(names)=\(flag.placeholder)"
        return [head] + wrapped(flag.help, indent: 6) + [""]
    }

    static func wrapped(_ text: String, indent: Int, width: Int = 80) -> [String] {
        let margin = String(repeating: " ", count: indent)
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            if !line.isEmpty, indent + line.count + 1 + word.count > width {
                lines.append(margin + line)
                line = ""
            }
            line += line.isEmpty ? String(word) : " \(word)"
        }
        if !line.isEmpty { lines.append(margin + line) }
        return lines
    }
}
